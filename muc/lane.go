package muc

import (
	"sync"

	"vnode/internal/fifo"
	"vnode/muc/room"
)

// turnOf is a room that waits for its turn with a session of the focus.
type turnOf struct {
	b     *box
	focus Session
}

// lane is the way to one session of the focus. Rooms that hold something for it
// get turns, one after the other, so that none waits for more than a turn of
// each other one, however much they hold.
type lane struct {
	mu sync.Mutex
	// Guarded by mu.
	waiting fifo.Queue[turnOf] // rooms that have asked, the first first
	under   int                // turns under way
}

// maxTurns is how many turns may be under way, each until the connection has
// taken its bytes: enough to keep the connection busy while the next room comes to
// its turn, and little for a stanza out of turn to wait behind.
const maxTurns = 4

// ask has a room get a turn.
func (l *lane) ask(t turnOf) {
	l.wait(t)
	l.grant()
}

func (l *lane) wait(t turnOf) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting.Push(t)
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
		t, ok := l.next()
		if !ok {
			return
		}
		if !t.b.mail.push(event{source: fromFocus, what: room.FocusTurn{Focus: t.focus}, lane: l}) {
			l.mu.Lock()
			l.under--
			l.mu.Unlock()
		}
	}
}

func (l *lane) next() (t turnOf, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.under >= maxTurns || l.waiting.Len() == 0 {
		return turnOf{}, false
	}
	l.under++
	return l.waiting.Pop(), true
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
		l = new(lane)
		s.lanes[focus] = l
	}
	return l
}
