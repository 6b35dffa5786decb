package visitor

import (
	"errors"
	"time"

	"vnode/fanout"
	"vnode/internal/guard"
	"vnode/internal/socket"
	"vnode/visitor/websocket"
)

// How a session is read. Most visitors are silent most of the time, and a
// goroutine that waits costs more memory than all the rest of a visitor. So a
// session whose connection is polled has a goroutine only while it does
// something that may take its time. In between it is parked; the poller's
// goroutine reads what comes and deals with what can be dealt with at once, such
// as acknowledgements. Any other connection is read by a goroutine that blocks.

// errParked is what reading a polled connection ends with when there is nothing
// to read: the session is the poller's now.
var errParked = errors.New("parked")

// run is the session's goroutine. It goes on where another one has left off: ev
// is to be handled, or err says what reading ended with. It returns when the
// session has ended or is parked.
func (s *Session) run(ev event, err error) {
	defer s.srv.cfg.Guard.Recover(guard.Session, s)
	for {
		st := s.current.Load()
		if err == nil {
			err = s.take(st, ev)
		}
		if err == nil {
			_, err = s.read(st, false)
		}
		if err == errParked {
			return
		}
		if err = s.next(err); err != nil {
			s.finish(err)
			return
		}
		ev = event{}
	}
}

// parked is a session as the poller sees it.
type parked Session

// Readable implements socket.Reader, on the poller's goroutine.
func (p *parked) Readable() {
	s := (*Session)(p)
	defer s.srv.cfg.Guard.Recover(guard.Session, p)
	if ev, err := s.read(s.current.Load(), true); err != errParked {
		s.srv.crew.do(going{s, ev, err})
	}
}

// Interrupted implements socket.Reader.
func (p *parked) Interrupted() { p.srv.crew.do(going{s: (*Session)(p)}) }

// going is a session that needs a goroutine.
type going struct {
	s   *Session
	ev  event
	err error
}

func (g going) work() { g.s.run(g.ev, g.err) }

// atOnce is how many events of one client the poller's goroutine handles before
// the others have their turn.
const atOnce = 16

// read handles what the client sends on a connection until that is of no more
// use, or the session's goroutine is wanted elsewhere, or is needed no longer;
// the error says why. Quick, it does not block, and returns without an error what
// might: an event that is to be handled by a goroutine.
func (s *Session) read(st *stream, quick bool) (event, error) {
	for n := 0; ; n++ {
		if st.paused.Load() {
			if quick {
				return event{}, nil
			}
			time.Sleep(pauseStep)
			if err := s.arm(st); err != nil {
				return event{}, err
			}
			continue
		}
		ev, err := st.t.next()
		switch {
		case err == nil:
			if quick && (n >= atOnce || mayBlock(ev)) {
				return ev, nil
			}
			err = s.take(st, ev)
		case err == socket.ErrAgain:
			err = s.park(st)
		case err == errPace:
			if quick {
				return event{}, nil
			}
			st.meter.pay()
			err = s.arm(st) // somebody may want the session meanwhile
		case isTimeout(err):
			err = s.silent(st)
		}
		if err != nil {
			return event{}, err
		}
	}
}

// pauseStep is how often the goroutine of a paused session looks whether it may
// read again.
const pauseStep = 50 * time.Millisecond

// mayBlock reports whether handling the event could take its time: a room's
// mailbox may be full. Counts of stanzas and WebSocket pings, most of what
// visitors send, are met at once.
func mayBlock(ev event) bool {
	if ev.kind != eventElement {
		return false
	}
	if len(ev.data) < 3 || ev.data[1] != 'a' && ev.data[1] != 'r' {
		return true
	}
	return ev.data[2] != ' ' && ev.data[2] != '/' // <a h=''/>, <r/>
}

// park leaves the session to the poller; nil means that there is something to
// read, or an interruption, after all.
func (s *Session) park(st *stream) error {
	st.t.rest()
	if st.meter.polled.Park((*parked)(s)) {
		return errParked
	}
	return nil
}

// take handles an event, if there is one, and begins to wait for the next.
//
//go:noinline
func (s *Session) take(st *stream, ev event) error {
	if ev.kind != 0 {
		s.asked = false
		st.latest = latestOf(ev.data)
		st.meter.took(len(ev.data)) // control frames as well: they cost no less
	}
	if err := s.handle(ev); err != nil {
		return err
	}
	return s.arm(st)
}

func (s *Session) handle(ev event) error {
	switch ev.kind {
	case eventElement:
		return s.element(ev)
	case eventEnd:
		return errClosed
	case eventHeader:
		return errSecondHeader
	case eventPing:
		s.Deliver(nil, fanout.NewRaw(websocket.AppendPong(nil, ev.data)))
	}
	return nil
}

// arm bounds the next wait for the client.
func (s *Session) arm(st *stream) error {
	wait := s.srv.cfg.Limits.PingAfter
	if s.asked {
		wait = s.srv.cfg.Limits.PingTimeout
	}
	until := time.Now().Add(wait)
	s.seen, s.until = st.meter.total, until.Sub(epoch)
	if err := st.raw.SetReadDeadline(until); err != nil {
		return err
	}
	// Looked at behind the deadline, which interrupt may have undone.
	if s.ending.Load() != nil || s.claim.Load() != nil || st.released.Load() {
		return errInterrupted
	}
	return nil
}

// silent deals with a wait that was in vain but for some bytes, maybe. A client
// that says nothing is asked for a sign of life, and given up if none comes:
// the connection of a phone that lost its network stays open for ever
// otherwise.
//
//go:noinline
func (s *Session) silent(st *stream) error {
	switch {
	case time.Since(epoch) < s.until: // interrupted; arm finds out what for
	case st.meter.total != s.seen:
		s.asked = false
	case s.asked:
		return errSilent
	default:
		s.asked = true
		s.ask()
	}
	return s.arm(st)
}
