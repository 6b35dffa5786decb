package muc

import (
	"sync"
	"sync/atomic"

	"vnode/internal/fifo"
	"vnode/muc/room"
)

// turnOf is a room that waits for its turn with a session of the focus.
type turnOf struct {
	b     *box
	focus Session
}

// lane is the way to one session of the focus. What rooms say out of turn is
// bounded for all of them together. Rooms that hold something get turns, one after
// the other, so that none waits for more than a turn of each other one, however
// much they hold; and a room that begins to hold gets a short one before that, so
// that the few words of a quiet room do not wait for the floods of others.
type lane struct {
	// Static after construction.
	focus Session

	full atomic.Bool // ahead is all there may be

	mu sync.Mutex
	// Guarded by mu.
	fresh   fifo.Queue[turnOf] // rooms that have begun to hold, the first first
	waiting fifo.Queue[turnOf] // rooms that have had a turn and hold more
	short   int                // turns of fresh since one of waiting
	under   int                // turns under way
	ahead   int                // bytes said out of turn that the connection has not taken, as far as is known
	marked  int                // of these, what the lane will be told of; 0: it has not asked
}

const (
	// mostAhead is how many bytes all rooms together give a connection out of
	// turn, beyond what that has taken: an eighth of a second of a focus that
	// reads 8 MB/s.
	mostAhead = 1 << 20
	// markAhead is after how many the lane asks to be told that they were taken.
	markAhead = mostAhead / 8
	// shortTurns is how many short turns there are for one that is not: as many
	// bytes.
	shortTurns = 8
)

// says counts bytes that were said out of turn.
func (l *lane) says(n int) {
	if l.count(n, false) {
		l.focus.Drained(l.taken)
	}
}

// taken takes notice that the connection has taken what was marked.
func (l *lane) taken() {
	if l.count(0, true) {
		l.focus.Drained(l.taken)
	}
}

// count adds bytes to those ahead, and takes off what was marked if that was taken.
// It reports whether the lane is to ask when the rest is.
func (l *lane) count(n int, taken bool) (mark bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ahead += n; taken {
		l.ahead -= l.marked
		l.marked = 0
	}
	l.full.Store(l.ahead >= mostAhead)
	if l.marked > 0 || l.ahead < markAhead {
		return false
	}
	l.marked = l.ahead
	return true
}

// maxTurns is how many turns may be under way, each until the connection has
// taken its bytes: enough to keep the connection busy while the next room comes to
// its turn, and little for a stanza out of turn to wait behind.
const maxTurns = 4

// ask has a room get a turn, again if it has just had one.
func (l *lane) ask(t turnOf, again bool) {
	l.wait(t, again)
	l.grant()
}

func (l *lane) wait(t turnOf, again bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if again {
		l.waiting.Push(t)
		return
	}
	l.fresh.Push(t)
}

// over ends a turn.
func (l *lane) over() {
	l.mu.Lock()
	l.under--
	l.mu.Unlock()
	l.grant()
}

// grant gives turns as long as there are any. A room that has ended needs none.
func (l *lane) grant() {
	for {
		t, short, ok := l.next()
		if !ok {
			return
		}
		if !t.b.mail.push(event{source: fromFocus, what: room.FocusTurn{Focus: t.focus, Short: short}, lane: l}) {
			l.mu.Lock()
			l.under--
			l.mu.Unlock()
		}
	}
}

func (l *lane) next() (t turnOf, short, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fresh, waiting := l.fresh.Len(), l.waiting.Len()
	switch {
	case l.under >= maxTurns || fresh+waiting == 0:
		return turnOf{}, false, false
	case fresh > 0 && (waiting == 0 || l.short < shortTurns):
		l.under++
		l.short++
		return l.fresh.Pop(), true, true
	}
	l.under++
	l.short = 0
	return l.waiting.Pop(), false, true
}

// laneOf returns the lane of an open session of the focus; nil when it has
// closed.
func (s *Service) laneOf(focus Session) *lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.guest(focus) == nil {
		return nil
	}
	l := s.lanes[focus]
	if l == nil {
		l = &lane{focus: focus}
		s.lanes[focus] = l
	}
	return l
}
