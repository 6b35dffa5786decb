package history

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var start = time.Unix(1000, 0)

func line(i, size int) Line[string] {
	return Line[string]{Packet: fmt.Sprint(i), Size: size, Speaker: "x", ID: fmt.Sprint(i), Time: start.Add(time.Duration(i) * time.Second)}
}

func (h *Log[P]) all() []P { return h.Since(All, start) }

func TestLogKeepsTheNewestWithinItsBounds(t *testing.T) {
	h := New[string](3, 100)
	for _, i := range []int{2, 1, 4, 3} { // 1 is gone again
		require.True(t, h.Add(line(i, 10)))
	}
	require.Equal(t, []string{"2", "3", "4"}, h.all(), "by time, the oldest gone")
	require.False(t, h.Add(line(0, 10)), "older than all of a full log")
	require.False(t, h.Add(line(3, 10)), "twice")
	twin := line(3, 10)
	twin.Speaker = "y"
	require.False(t, h.has(&twin), "another speaker's")
	twin.Speaker = ""
	require.True(t, h.has(&twin), "as main calls a visitor")
	require.False(t, h.Add(line(9, 101)), "too large for itself")
	require.True(t, h.Add(line(5, 85)))
	require.Equal(t, []string{"4", "5"}, h.all(), "bytes count too")
	require.Equal(t, 95, h.bytes)
	require.Equal(t, 2, h.Len())

	none := New[string](-1, 100)
	require.False(t, none.Add(line(1, 10)))
	require.Nil(t, none.Find("1", nil))
}

func TestCorrectionTakesTheLinesPlace(t *testing.T) {
	h := New[string](3, 100)
	for i := range 3 {
		h.Add(line(i, 10))
	}
	h.Correct(h.Find("1", nil), "one", 20, "e1")
	require.Equal(t, []string{"0", "one", "2"}, h.all())
	h.Correct(h.Find("e1", nil), "uno", 15, "e2") // by the id of the correction, as some clients do
	require.Equal(t, []string{"0", "uno", "2"}, h.all())
	require.Equal(t, 35, h.bytes)
	require.Nil(t, h.Find("e1", nil), "only the latest")
	require.Nil(t, h.Find("", nil))
	require.False(t, h.Add(line(1, 10)), "main's copy of the first wording is no other line")
	h.Correct(h.Find("2", nil), "much", 90, "e3")
	require.Equal(t, []string{"much"}, h.all(), "older lines make room")
}

func TestRetractionLeavesNothing(t *testing.T) {
	h := New[string](3, 100)
	for i := range 3 {
		h.Add(line(i, 10))
	}
	h.React(h.Find("1", nil), Line[string]{Packet: "+1", Size: 5, Speaker: "y"})
	h.Retract(h.Find("1", nil))
	require.Equal(t, []string{"0", "2"}, h.all())
	require.Equal(t, 20, h.bytes)
	gone := line(1, 10)
	h.Retract(&gone)
	require.Equal(t, 2, h.Len())
}

func TestModerationLeavesATombstone(t *testing.T) {
	h := New[string](3, 100)
	h.Add(line(1, 10))
	h.React(h.Find("1", nil), Line[string]{Packet: "+1", Size: 5, Speaker: "y"})
	h.Moderate(h.Find("1", nil), "tombstone", 30)
	require.Equal(t, []string{"tombstone"}, h.all())
	require.Equal(t, 30, h.bytes)
	h.Correct(h.Find("1", nil), "again", 5, "e")
	h.React(h.Find("1", nil), Line[string]{Packet: "+1", Size: 5, Speaker: "y"})
	require.Equal(t, []string{"tombstone"}, h.all(), "for good")
	h.Moderate(h.Find("1", nil), "other", 20)
	require.Equal(t, []string{"other"}, h.all())
}

func TestReactionsFollowTheirLine(t *testing.T) {
	h := New[string](2, 1000)
	h.Add(line(1, 10))
	h.Add(line(2, 10))
	react := func(speaker, id, text string) {
		h.React(h.Find("1", nil), Line[string]{Packet: text, Size: 5, Speaker: speaker, ID: id})
	}
	react("y", "a", "y likes")
	react("z", "b", "z likes")
	react("y", "c", "y loves")
	require.Equal(t, []string{"1", "z likes", "y loves", "2"}, h.all(), "the latest of each")
	react("", "d", "somebody likes")
	react("", "e", "somebody else likes")
	react("", "e", "somebody else likes") // main has sent it twice
	require.Equal(t, []string{"1", "z likes", "y loves", "somebody likes", "somebody else likes", "2"}, h.all())
	require.Equal(t, []string{"2"}, h.Since(Request{Stanzas: 3, Chars: -1, Seconds: -1}, start), "a line comes with its reactions or not at all")
	for i := range 2 * maxReactions {
		react(fmt.Sprint("n", i), "", "n")
	}
	require.Len(t, h.all(), 2+maxReactions)
	h.Add(line(3, 10))
	require.Equal(t, []string{"2", "3"}, h.all())
	require.Equal(t, 20, h.bytes)
}

func TestSince(t *testing.T) {
	h := New[string](10, 1000)
	for i := range 5 {
		h.Add(line(i, 10))
	}
	now := start.Add(5 * time.Second)
	for _, c := range []struct {
		name string
		q    Request
		want []string
	}{
		{"all", All, []string{"0", "1", "2", "3", "4"}},
		{"none", Request{Stanzas: 0, Chars: -1, Seconds: -1}, []string{}},
		{"two", Request{Stanzas: 2, Chars: -1, Seconds: -1}, []string{"3", "4"}},
		{"35 characters", Request{Stanzas: -1, Chars: 35, Seconds: -1}, []string{"2", "3", "4"}},
		{"two seconds", Request{Stanzas: -1, Chars: -1, Seconds: 2}, []string{"3", "4"}},
		{"since", Request{Stanzas: -1, Chars: -1, Seconds: -1, Since: start.Add(time.Second)}, []string{"1", "2", "3", "4"}},
		{"the narrowest counts", Request{Stanzas: 3, Chars: -1, Seconds: 1, Since: start}, []string{"4"}},
	} {
		require.Equal(t, c.want, h.Since(c.q, now), c.name)
	}
}

// Whatever is done in whatever order, the log keeps its bounds, and its count
// of bytes is right.
func TestLogInvariants(t *testing.T) {
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		h := New[string](8, 200)
		for i := range 300 {
			l := h.Find(fmt.Sprint(rnd.IntN(i+1)), nil)
			switch op := rnd.IntN(6); {
			case op < 2 || l == nil:
				h.Add(line(i-rnd.IntN(5), 1+rnd.IntN(60)))
			case op == 2:
				h.Correct(l, "corrected", 1+rnd.IntN(60), fmt.Sprint("e", i))
			case op == 3:
				h.Retract(l)
			case op == 4:
				h.Moderate(l, "moderated", 1+rnd.IntN(60))
			default:
				h.React(l, Line[string]{Packet: "r", Size: 1 + rnd.IntN(20), Speaker: fmt.Sprint(rnd.IntN(3))})
			}
			total := 0
			for j := range h.lines {
				total += h.lines[j].total()
				require.True(t, j == 0 || !h.lines[j].Time.Before(h.lines[j-1].Time), "in order")
			}
			require.Equal(t, total, h.bytes)
			require.LessOrEqual(t, total, 200)
			require.LessOrEqual(t, h.Len(), 8)
		}
	}
}

// Ids are the clients' own: one who takes another's does not get at its line.
func TestFindTellsSpeakersApart(t *testing.T) {
	h := New[string](3, 100)
	h.Add(line(1, 10))
	forged := line(1, 10)
	forged.Speaker, forged.Packet = "y", "forged"
	h.Add(forged)
	require.Equal(t, "forged", h.Find("1", nil).Packet)
	require.Equal(t, "1", h.Find("1", func(l *Line[string]) bool { return l.Speaker == "x" }).Packet)
	require.Nil(t, h.Find("1", func(l *Line[string]) bool { return l.Speaker == "z" }))
}

// Ids are the clients': one who takes another's does not silence it.
func TestAReactionUnderAnothersIDLeavesThatAlone(t *testing.T) {
	h := New[string](2, 1000)
	h.Add(line(1, 10))
	h.React(h.Find("1", nil), Line[string]{Packet: "y likes", Size: 5, Speaker: "y", ID: "a"})
	h.React(h.Find("1", nil), Line[string]{Packet: "z dislikes", Size: 5, Speaker: "z", ID: "a"})
	require.Equal(t, []string{"1", "y likes", "z dislikes"}, h.all())
	h.React(h.Find("1", nil), Line[string]{Packet: "y likes", Size: 5, ID: "a"}) // as main tells of it
	require.Len(t, h.all(), 3)
}
