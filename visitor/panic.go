package visitor

import (
	"vnode/internal/guard"
	"vnode/internal/wire"
)

// A panic while a client is served ends that client's session, and nothing else.

// latest is the stanza that a stream has read last, for the log of a panic.
type latest struct {
	kind uint8 // in kinds
	size uint32
}

var kinds = [...]string{"", "message", "presence", "iq"}

func latestOf(st *wire.Stanza) latest {
	l := latest{size: uint32(len(st.Raw))}
	switch string(st.Name) {
	case "message":
		l.kind = 1
	case "presence":
		l.kind = 2
	case "iq":
		l.kind = 3
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
