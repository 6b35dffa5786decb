package visitor

import (
	"net/netip"

	"vnode/internal/guard"
)

// A panic while a client is served ends that client's session, and nothing else.

// latest is what a stream has read last, for the log of a panic.
type latest struct {
	kind uint8 // in kinds
	size uint32
}

var kinds = [...]string{"", "other", "message", "presence", "iq"}

func latestOf(data []byte) latest {
	l := latest{kind: 1, size: uint32(len(data))}
	for i, name := range kinds[2:] {
		if len(data) > len(name) && string(data[1:1+len(name)]) == name {
			l.kind = uint8(i + 2)
		}
	}
	return l
}

// Doing implements [guard.Met].
func (s *Session) Doing() (string, int) {
	if st := s.current.Load(); st != nil {
		return kinds[st.latest.kind], int(st.latest.size)
	}
	return "", 0
}

// Whose implements [guard.Owned].
func (s *Session) Whose() string {
	if st := s.current.Load(); st != nil {
		return st.Whose()
	}
	return ""
}

// Whose implements [guard.Owned], for panics of the write side.
func (st *stream) Whose() string {
	if st.who.admin {
		return ""
	}
	return whose(st.peer)
}

// whose is an address that a client is counted under.
func whose(peer netip.Addr) string {
	if !peer.IsValid() {
		return ""
	}
	return peer.String()
}

// Panicked implements [guard.Met], on the session's goroutine. What finish could not
// do then is lost; the connection is not.
func (s *Session) Panicked() {
	if !s.finishing {
		s.finish(errPanicked)
		return
	}
	s.fan.Abort(reasonOf(errPanicked).label)
	if st := s.current.Load(); st != nil {
		st.conn.Close()
		s.srv.forget(st)
	}
}

// Doing implements [guard.Met].
func (p *parked) Doing() (string, int) { return (*Session)(p).Doing() }

// Whose implements [guard.Owned].
func (p *parked) Whose() string { return (*Session)(p).Whose() }

// Panicked implements [guard.Met], on the poller's goroutine, which others need.
func (p *parked) Panicked() { p.srv.crew.do(going{s: (*Session)(p), err: errPanicked}) }

// open tells the Handler of the session. False: that met a panic, and the session is
// over.
func (s *Session) open() (opened bool) {
	defer s.srv.cfg.Guard.Recover(guard.Session, s)
	s.srv.handler.Opened(s)
	return true
}

// close tells the Handler that the session is over.
func (s *Session) close() {
	defer s.srv.cfg.Guard.Recover(guard.Session, nil)
	s.srv.handler.Closed(s)
}

// aborted is a session that cannot be ended in order.
type aborted Session

// Doing implements [guard.Met].
func (a *aborted) Doing() (string, int) { return (*Session)(a).Doing() }

// Whose implements [guard.Owned].
func (a *aborted) Whose() string { return (*Session)(a).Whose() }

// Panicked implements [guard.Met].
func (a *aborted) Panicked() {
	r := reasonOf(errPanicked)
	r.gone = true
	a.ending.CompareAndSwap(nil, &r)
	a.fan.Abort(r.label)
}

// cut is a stream whose connection is closed after a panic.
type cut stream

// Doing implements [guard.Met].
func (c *cut) Doing() (string, int) { return "", 0 }

// Whose implements [guard.Owned].
func (c *cut) Whose() string { return (*stream)(c).Whose() }

// Panicked implements [guard.Met].
func (c *cut) Panicked() { c.raw.Close() }

// carefully does something with a connection that a panic may have left broken:
// another one only closes it.
func (st *stream) carefully(b guard.Boundary, do func()) {
	defer st.srv.cfg.Guard.Recover(b, (*cut)(st))
	do()
}

// rest lets go of what only reading needs, if a panic has not left that broken.
func (st *stream) rest() {
	defer st.srv.cfg.Guard.Recover(guard.Session, guard.Named(st.Whose()))
	st.t.rest()
}
