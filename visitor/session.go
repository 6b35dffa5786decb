package visitor

import (
	"sync/atomic"
	"time"

	"vnode/fanout"
	"vnode/internal/wire"
	"vnode/visitor/websocket"
)

// Session is a client from bind on. Its exported methods never block and may
// be called from any goroutine.
type Session struct {
	// Static after construction.
	*stream
	jid     wire.JID
	address string // jid as a string
	host    *host  // it logged in at
	fan     *fanout.Session
	gone    chan struct{} // closed when the Handler has been told of its end

	// Shared.
	ending  atomic.Pointer[reason] // set once, by what ended it first
	written atomic.Bool            // fanout writes no more
	acks    atomic.Bool            // stream management is enabled
	counted atomic.Uint32          // stanzas received since then, modulo 2^32

	// Owned by the stream's goroutine.
	asked bool // the client was asked whether it is there
}

// JID returns the client's full address.
func (s *Session) JID() wire.JID { return s.jid }

// Admin reports whether the client is the focus.
func (s *Session) Admin() bool { return s.who.admin }

// Deliver sends ms to the client, in order behind everything appended to after
// so far (nil: as soon as possible).
func (s *Session) Deliver(after *fanout.Log, ms ...*fanout.Message) { s.fan.Deliver(after, ms...) }

// Follow sends ms, a room's snapshot, and everything appended to l from now on.
// The goroutine that appends to l calls it. False means that the session
// follows another log already, and nothing was done.
func (s *Session) Follow(l *fanout.Log, ms ...*fanout.Message) bool { return s.fan.Follow(l, ms...) }

// Unfollow sends what was appended to l so far, then ms, then nothing of l any
// more. It does nothing when the session does not follow l.
func (s *Session) Unfollow(l *fanout.Log, ms ...*fanout.Message) { s.fan.Unfollow(l, ms...) }

// Transport returns the name of the client's transport: "websocket" or "tcp".
func (s *Session) Transport() string { return s.name }

// run reads the client until the session ends, then sees the connection off.
func (s *Session) run() { s.finish(s.read()) }

// finish ends the session for what reading it ended with.
//
//go:noinline
func (s *Session) finish(err error) {
	s.end(reasonOf(err))
	s.srv.unbound(s)
	s.srv.handler.Closed(s)
	close(s.gone)
	<-s.fan.Done()
	r := *s.ending.Load()
	if found := s.fan.Reason(); found != r.label {
		r = reason{label: found} // fanout ended it before we did
	}
	s.hangUp(r)
	s.ended(r, s.jid)
}

// end ends the session for the reason, unless it has one already.
func (s *Session) end(r reason) {
	if !s.ending.CompareAndSwap(nil, &r) {
		return
	}
	if r.gone || r.frame.Code != 0 {
		// A close frame goes out when fanout has let go of the connection.
		s.fan.Abort(r.label)
	} else {
		s.fan.Close(r.label, s.farewell(&r)...)
	}
	s.interrupt()
}

// farewell is what fanout sends last.
func (s *Session) farewell(r *reason) []*fanout.Message {
	out := s.t.output()
	var ms []*fanout.Message
	if s.acks.Load() { // XEP-0198 §4: the last count, before the end
		ms = append(ms, s.answerAck())
	}
	if r.stream.Condition != "" {
		ms = append(ms, fanout.NewNonza(r.stream.Append(nil, out.declare)))
	}
	return append(ms, fanout.NewNonza(out.end))
}

// hangUp closes the connection, which is ours again.
func (s *Session) hangUp(r reason) {
	defer s.conn.Close()
	if r.gone || r.label == fanout.WriteFailed || r.label == fanout.Stalled {
		return
	}
	if r.frame.Code != 0 {
		_ = s.raw.SetWriteDeadline(time.Now().Add(s.srv.cfg.Limits.Close)) // else the write fails, as well
		if s.write(websocket.AppendClose(nil, r.frame.Code, r.frame.Text)) != nil {
			return
		}
	}
	s.linger()
}

// read handles what the client sends until the stream ends; the error says
// why.
func (s *Session) read() error {
	for {
		seen := s.meter.total
		if err := s.arm(); err != nil {
			return err
		}
		ev, err := s.t.next()
		if err == nil {
			s.asked = false
			err = s.handle(ev)
		} else if isTimeout(err) {
			err = s.silent(s.meter.total != seen)
		}
		if err != nil {
			return err
		}
	}
}

//go:noinline
func (s *Session) handle(ev event) error {
	switch ev.kind {
	case eventElement:
		return s.element(ev.data)
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
//
//go:noinline
func (s *Session) arm() error {
	wait := s.srv.cfg.Limits.PingAfter
	if s.asked {
		wait = s.srv.cfg.Limits.PingTimeout
	}
	if err := s.raw.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return err
	}
	// Looked at behind the deadline, which interrupt may have undone.
	if s.over() {
		return errClosed
	}
	return nil
}

// silent deals with a wait that was in vain but for some bytes, maybe. A client
// that says nothing is asked for a sign of life, and given up if none comes:
// the connection of a phone that lost its network stays open for ever
// otherwise.
func (s *Session) silent(bytes bool) error {
	switch {
	case bytes:
		s.asked = false
	case s.asked:
		return errSilent
	default:
		s.asked = true
		s.ask()
	}
	return nil
}

// over reports whether the session has ended already, here or in fanout.
func (s *Session) over() bool {
	return s.ending.Load() != nil || s.written.Load()
}

// outputEnded is told by fanout that it has ended: its reason may be its own,
// a client that takes nothing, and then the reader must hear of it.
func (s *Session) outputEnded() {
	s.written.Store(true)
	s.interrupt()
}

// ask makes the client say something: an acknowledgement, or the answer to a
// ping (XEP-0199 §4.1).
func (s *Session) ask() {
	if s.acks.Load() {
		s.Deliver(nil, s.srv.ackRequest)
		return
	}
	s.Deliver(nil, fanout.NewPrivate(wire.NewBuilder(nil).
		Start("iq", "xmlns", wire.NSClient, "type", "get", "id", "ping", "from", s.host.name, "to", s.address).
		Elem("ping", "", "xmlns", wire.NSPing).Bytes()))
}
