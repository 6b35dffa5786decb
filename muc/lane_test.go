package muc

import (
	"testing"

	"github.com/stretchr/testify/require"

	"vnode/muc/room"
)

// markedFocus is a session of the focus whose connection takes what it is given when
// the test says so.
type markedFocus struct {
	Session
	marks []func()
}

func (f *markedFocus) Drained(tell func()) { f.marks = append(f.marks, tell) }

// takes has the connection take all it was given so far.
func (f *markedFocus) takes() {
	marks := f.marks
	f.marks = nil
	for _, tell := range marks {
		tell()
	}
}

// laneRooms are rooms without a machine that wait for turns.
func laneRooms(n int) []*box {
	rooms := make([]*box, n)
	for i := range rooms {
		rooms[i] = &box{mail: newMailbox(10, 1<<20)}
	}
	return rooms
}

// turns are those that a room has been given since it was asked last: how many, and
// whether the last was a short one.
func (b *box) turns() (n int, short bool) {
	b.mail.mu.Lock()
	defer b.mail.mu.Unlock()
	for _, e := range b.mail.events {
		n++
		short = e.what.(room.FocusTurn).Short
	}
	b.mail.events = nil
	return n, short
}

// A room that begins to hold something says a little within a few turns, although
// five hundred others hold a lot; and each of those gets its turns all the same.
func TestQuietRoomsComeBeforeFloods(t *testing.T) {
	focus := new(markedFocus)
	l := &lane{focus: focus}
	loud, quiet := laneRooms(500), laneRooms(1)[0]
	for _, b := range loud {
		l.ask(turnOf{b, focus}, false)
	}
	served := make(map[*box]int)
	// round ends the turns under way; their rooms, which hold more, ask again.
	round := func() (over int) {
		var under []*box
		for _, b := range loud {
			if n, _ := b.turns(); n > 0 {
				under = append(under, b)
			}
		}
		for _, b := range under {
			served[b]++
			l.ask(turnOf{b, focus}, true)
			l.over()
		}
		return len(under)
	}
	for range 1000 {
		require.LessOrEqual(t, l.under, maxTurns)
		require.Positive(t, round())
	}
	for _, b := range loud {
		require.GreaterOrEqual(t, served[b], 2, "nobody is forgotten")
	}
	for range 100 {
		l.ask(turnOf{quiet, focus}, false)
		waited := 0
		for {
			if n, short := quiet.turns(); n > 0 {
				require.True(t, short)
				l.over()
				break
			}
			waited += round()
		}
		require.LessOrEqual(t, waited, 2*maxTurns)
	}

	// Rooms that begin over and over do not keep out those that hold a lot.
	before := served[loud[0]]
	busy := laneRooms(20)
	for _, b := range busy {
		l.ask(turnOf{b, focus}, false)
	}
	for range 10_000 {
		round()
		for _, b := range busy {
			if n, _ := b.turns(); n > 0 {
				l.ask(turnOf{b, focus}, false)
				l.over()
			}
		}
	}
	require.Greater(t, served[loud[0]], before+1)
}

// What all rooms together say out of turn is bounded, however little each says.
func TestWhatIsSaidOutOfTurnIsBoundedForAllRooms(t *testing.T) {
	focus := new(markedFocus)
	l := &lane{focus: focus}
	said := 0
	for !l.full.Load() {
		l.says(1000)
		said += 1000
	}
	require.InDelta(t, mostAhead, said, 1000)
	require.Len(t, focus.marks, 1)
	focus.takes() // the first mark, which was of an eighth
	require.False(t, l.full.Load())
	focus.takes()
	l.says(mostAhead - 1)
	require.False(t, l.full.Load(), "all had been taken")
	l.says(1)
	require.True(t, l.full.Load())
	focus.takes()
	focus.takes()
	require.Less(t, l.ahead, markAhead)
	require.Empty(t, focus.marks)
}
