package polls

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseVote(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       error // nil: a vote for p of [true false]
	}{
		{"usual", `{"type":"polls","command":"answer-poll","pollId":"p","answers":[true,false]}`, nil},
		{"says who it is", `{"senderId":"x","senderName":1,"type":"polls","command":"answer-poll","pollId":"p","answers":[true,false]}`, nil},
		{"new poll", `{"type":"polls","command":"new-poll","pollId":"p","question":"?","answers":[{"name":"a"}]}`, ErrCreation},
		{"old polls", `{"type":"polls","command":"old-polls","polls":[]}`, ErrMalformed},
		{"other type", `{"type":"av_moderation","command":"answer-poll","pollId":"p","answers":[true]}`, ErrMalformed},
		{"no answers", `{"type":"polls","command":"answer-poll","pollId":"p"}`, ErrMalformed},
		{"empty answers", `{"type":"polls","command":"answer-poll","pollId":"p","answers":[]}`, ErrMalformed},
		{"names for answers", `{"type":"polls","command":"answer-poll","pollId":"p","answers":[{"name":"a"}]}`, ErrMalformed},
		{"null for an answer", `{"type":"polls","command":"answer-poll","pollId":"p","answers":[true,null]}`, ErrMalformed},
		{"number for an id", `{"type":"polls","command":"answer-poll","pollId":7,"answers":[true]}`, ErrMalformed},
		{"an array", `[]`, ErrMalformed},
		{"cut off", `{"type":"polls"`, ErrMalformed},
		{"nothing", ``, ErrMalformed},
		{"too long", strings.Repeat(" ", MaxVoteBytes) + `{`, ErrTooLong},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, err := ParseVote(c.text)
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
				return
			}
			require.NoError(t, err)
			require.Equal(t, Vote{Poll: "p", Choices: []bool{true, false}}, v)
		})
	}
}

// said is main's list of polls of two answers each; the voters of the first
// and of the second answer of each poll.
func said(polls ...[2][]string) string {
	l := list{Type: messageType, Command: commandOld}
	for i, voters := range polls {
		p := pollJSON{ID: fmt.Sprint("p", i+1), Question: "?", Answers: []answerJSON{{Name: "y"}, {Name: "n"}}}
		for j, ids := range voters {
			for _, id := range ids {
				p.Answers[j].Voters = append(p.Answers[j].Voters, Voter{ID: id})
			}
		}
		l.Polls = append(l.Polls, p)
	}
	return string(encode(l))
}

func board(t *testing.T, text string) *Board {
	b := NewBoard("room@v", "room@main", Limits{})
	update(t, b, text)
	told(t, b)
	return b
}

func update(t *testing.T, b *Board, text string) {
	left, err := b.Update(text)
	require.NoError(t, err)
	require.Zero(t, left)
}

// told drains the news, each as "who what where": where is v for visitors, m
// for main.
func told(t *testing.T, b *Board) (list []string) {
	for {
		n, ok := b.Next()
		if !ok {
			return list
		}
		var m struct {
			Command, PollID, SenderID string
			Answers                   []any
		}
		where := ""
		for text, name := range map[string]string{string(n.Announce): "v", string(n.ToMain): "m"} {
			if text != "" {
				where += name
				require.NoError(t, json.Unmarshal([]byte(text), &m))
			}
		}
		if len(where) == 2 {
			where = "vm"
		}
		if m.Command == commandNew {
			list = append(list, "new "+m.PollID+" "+where)
			continue
		}
		list = append(list, fmt.Sprint(m.PollID, " ", m.SenderID, " ", m.Answers, " ", where))
	}
}

func TestMainsListIsComparedWithWhatIsKnown(t *testing.T) {
	b := board(t, said([2][]string{{"a"}, {"b"}}))
	update(t, b, said([2][]string{{"a"}, {"b"}}))
	require.Empty(t, told(t, b), "nothing is new")
	update(t, b, said([2][]string{{"c", "b"}, {"b", "d"}}, [2][]string{{"x"}, nil}))
	require.Equal(t, []string{
		"p1 a [false false] v", "p1 b [true true] v", "p1 c [true false] v", "p1 d [false true] v", "new p2 v",
	}, told(t, b), "all that changed, not only the first")
	var old list
	require.NoError(t, json.Unmarshal(b.Old(), &old))
	require.Len(t, old.Polls, 2)
	require.Equal(t, voters{{ID: "b"}, {ID: "c"}}, old.Polls[0].Answers[0].Voters)

	update(t, b, said([2][]string{{"c"}, nil}))
	require.Equal(t, 1, b.Len(), "main made its room anew")
	require.ErrorIs(t, b.Cast(Voter{ID: "v"}, Vote{"p2", []bool{true}}), ErrNoPoll)
	b.Clear()
	require.Nil(t, b.Old())
	require.Empty(t, told(t, b))
}

// A poll whose text has changed under the same id is another one.
func TestAnotherPollOfTheSameID(t *testing.T) {
	b := board(t, said([2][]string{{"a"}, nil}))
	update(t, b, strings.ReplaceAll(said([2][]string{nil, {"a"}}), `"y"`, `"yes"`))
	require.Equal(t, []string{"new p1 v"}, told(t, b))
	require.Contains(t, string(b.Old()), `"yes"`)
}

func TestAVotersLastWordIsTheNews(t *testing.T) {
	b := board(t, said([2][]string{nil, nil}))
	who := Voter{ID: "v", Name: "Vi"}
	for _, choices := range [][]bool{{true}, {false, true}, {true, true}} {
		require.NoError(t, b.Cast(who, Vote{"p1", choices}))
	}
	require.NoError(t, b.Cast(Voter{ID: "w"}, Vote{"p1", []bool{false, true}}))
	require.Equal(t, []string{"p1 v [true true] vm", "p1 w [false true] vm"}, told(t, b))
	require.NoError(t, b.Cast(who, Vote{"p1", []bool{true, true}}))
	require.Empty(t, told(t, b), "unchanged")
	require.Contains(t, string(b.Old()), `"voters":[{"id":"v","name":"Vi"}]`)
	require.ErrorIs(t, b.Cast(who, Vote{"p1", []bool{true, true, true}}), ErrChoices)
}

func TestAVoteThatMainHasNotSeenStands(t *testing.T) {
	b := board(t, said([2][]string{nil, nil}))
	require.NoError(t, b.Cast(Voter{ID: "v"}, Vote{"p1", []bool{true}}))
	told(t, b)
	update(t, b, said([2][]string{nil, {"x"}}))
	require.Equal(t, []string{"p1 x [false true] v"}, told(t, b))
	update(t, b, said([2][]string{{"v"}, {"x"}})) // main has it
	update(t, b, said([2][]string{nil, {"v"}}))   // and something newer
	require.Equal(t, []string{"p1 v [false true] v", "p1 x [false false] v"}, sorted(told(t, b)))
}

func sorted(s []string) []string { slices.Sort(s); return s }

func TestAVoteThatCameBackIsSentAgain(t *testing.T) {
	b := board(t, said([2][]string{nil, nil}))
	require.NoError(t, b.Cast(Voter{ID: "v"}, Vote{"p1", []bool{true}}))
	for try := range maxTries {
		n, ok := b.Next()
		require.True(t, ok, try)
		require.NotEmpty(t, n.ToMain)
		require.Equal(t, try > 0, n.Announce == nil, "visitors are told once")
		b.Returned(n.MessageID)
		b.Returned(n.MessageID) // nobody can make it be sent twice
		b.Returned("?")
		b.Retry()
		b.Retry()
	}
	n, ok := b.Next()
	require.True(t, ok)
	b.Returned(n.MessageID)
	b.Retry()
	require.Empty(t, told(t, b), "given up")

	// A new vote starts anew.
	require.NoError(t, b.Cast(Voter{ID: "v"}, Vote{"p1", []bool{false, true}}))
	n, _ = b.Next()
	b.Returned(n.MessageID)
	require.NoError(t, b.Cast(Voter{ID: "v"}, Vote{"p1", []bool{true, true}}))
	b.Retry()
	require.Equal(t, []string{"p1 v [true true] vm"}, told(t, b), "the later one goes instead")

	// What was confirmed meanwhile is not sent again.
	require.NoError(t, b.Cast(Voter{ID: "v"}, Vote{"p1", []bool{false, true}}))
	n, _ = b.Next()
	b.Returned(n.MessageID)
	update(t, b, said([2][]string{nil, {"v"}}))
	b.Retry()
	require.Empty(t, told(t, b))
}

func TestLimits(t *testing.T) {
	b := NewBoard("r", "m", Limits{Polls: 2, Answers: 2, Bytes: 20, Voters: 2})
	left, err := b.Update(said([2][]string{{"a", "b", "c"}, nil}, [2][]string{}, [2][]string{}))
	require.NoError(t, err)
	require.Equal(t, 1, left)
	require.Equal(t, 2, b.Len())
	require.NotContains(t, string(b.Old()), `"c"`)
	require.ErrorIs(t, b.Cast(Voter{ID: "d"}, Vote{"p1", []bool{true}}), ErrFull)
	require.NoError(t, b.Cast(Voter{ID: "a"}, Vote{"p1", []bool{false, true}}), "who is in may change its mind")

	for name, polls := range map[string]string{
		"too many answers": `{"pollId":"p","question":"?","answers":[{"name":"a"},{"name":"b"},{"name":"c"}]}`,
		"too long":         `{"pollId":"p","question":"twenty-one characters","answers":[{"name":"a"}]}`,
		"no id":            `{"question":"?","answers":[{"name":"a"}]}`,
		"no answers":       `{"pollId":"p","question":"?"}`,
	} {
		b.Clear()
		left, err := b.Update(`{"type":"polls","command":"old-polls","polls":[` + polls + `]}`)
		require.NoError(t, err, name)
		require.Equal(t, 1, left, name)
		require.Zero(t, b.Len(), name)
	}
	update(t, b, said([2][]string{{"a"}, nil}))
	for _, bad := range []string{"", "{}", "[]", `{"command":"new-poll"}`, `{"command":"old-polls","polls":[{"pollId":1}]}`} {
		_, err := b.Update(bad)
		require.ErrorIs(t, err, errNoList, bad)
		require.Equal(t, 1, b.Len(), "nothing has changed")
	}
}

// FuzzBoard: whatever main and visitors say, in whatever order, the board keeps
// to its limits, tells valid JSON, comes to rest, and after main's last word
// shows exactly that, but for votes that main has not shown.
func FuzzBoard(f *testing.F) {
	f.Add(said([2][]string{{"a"}, {"b"}}), `{"type":"polls","command":"answer-poll","pollId":"p1","answers":[true,false]}`, said([2][]string{nil, {"v"}}), true)
	f.Add(said([2][]string{{"v"}, {"v"}}), `{"type":"polls","command":"answer-poll","pollId":"p2","answers":[true]}`, said(), false)
	f.Add(`{"command":"old-polls","polls":[{"pollId":"p1","question":"\uffff\ud800","answers":[{"name":"<&>","voters":{}}]}]}`, "{}", "x", true)
	f.Fuzz(func(t *testing.T, first, vote, second string, lost bool) {
		b := NewBoard("r", "m", Limits{Polls: 3, Answers: 4, Bytes: 100, Voters: 4})
		_, _ = b.Update(first)
		if v, err := ParseVote(vote); err == nil {
			if err = b.Cast(Voter{ID: "v"}, v); err != nil {
				require.True(t, errors.Is(err, ErrNoPoll) || errors.Is(err, ErrChoices) || errors.Is(err, ErrFull))
			}
		}
		drain(t, b, lost)
		_, err := b.Update(second)
		b.Retry()
		drain(t, b, false)
		require.LessOrEqual(t, b.Len(), 3)
		if old := b.Old(); old != nil {
			again := NewBoard("r", "m", Limits{Polls: 3, Answers: 4, Bytes: 100, Voters: 4})
			left, err := again.Update(string(old))
			require.NoError(t, err)
			require.Zero(t, left)
		}
		if err == nil {
			_, err = b.Update(second)
			require.NoError(t, err)
			_, ok := b.Next()
			require.False(t, ok, "the same again is no news")
		}
	})
}

func drain(t *testing.T, b *Board, lost bool) {
	for range 100 {
		n, ok := b.Next()
		if !ok {
			return
		}
		for _, text := range [][]byte{n.Announce, n.ToMain} {
			require.True(t, text == nil || json.Valid(text), "%s", text)
		}
		if lost {
			b.Returned(n.MessageID)
		}
	}
	require.Fail(t, "does not come to rest")
}
