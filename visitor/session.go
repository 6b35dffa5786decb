package visitor

import (
	"container/list"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"vnode/fanout"
	"vnode/internal/guard"
	"vnode/internal/wire"
	"vnode/visitor/websocket"
)

// Session is a client from bind on, over one connection or, when it resumes
// (XEP-0198 §5), several. Its exported methods never block and may be called
// from any goroutine.
//
// One goroutine at a time owns it, whatever connections come and go: who wants
// something of the session leaves word and interrupts it. While a polled
// connection has nothing to read there is no goroutine: see reading.go.
type Session struct {
	// Static after construction.
	srv     *Server
	address fullJID
	admin   bool
	named   bool  // the localpart is to be released
	host    *host // it logged in at
	fan     *fanout.Session

	// Shared.
	current atomic.Pointer[stream] // its connection; nil while it hibernates
	wake    atomic.Pointer[alarm]  // while it hibernates
	ending  atomic.Pointer[reason] // set once, by what ended it first
	claim   atomic.Pointer[claim]  // a connection that wants to take over
	bearer  atomic.Pointer[bearer] // what its latest connection's request told
	acks    atomic.Bool            // stream management is enabled
	counted atomic.Uint32          // stanzas received since then, modulo 2^32

	// Owned by the session's goroutine, handed on with it.
	until       time.Duration // when the wait for the client ends, since epoch
	seen        uint64        // bytes received when it began
	hibernation time.Duration // how long it outlives its connection; 0: not at all
	lost        *loss         // the latest connection that was lost; nil before
	asked       bool          // the client was asked whether it is there
	finishing   bool

	// Guarded by Server.mu.
	over  bool          // the Handler has been told of its end
	gone  chan struct{} // closed then; nil while nobody waits for that
	id    smID          // to resume it by; zero for none
	sleep *list.Element // in Server.hibernating; nil while it has a connection
}

// loss is what is remembered of a connection that a session has lost.
type loss struct {
	from      netip.Addr // what it was counted under
	transport string
}

// JID returns the client's full address.
func (s *Session) JID() wire.JID { return s.address.jid() }

// Admin reports whether the client is the focus.
func (s *Session) Admin() bool { return s.admin }

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

// Drained calls tell, which must not block, once the connection has taken what was
// delivered so far; never if the session ends before.
func (s *Session) Drained(tell func()) { s.fan.Drained(tell) }

// Pause has the client read no more, so that TCP tells it to wait, until Pause is
// called with false. What was read already is handled.
// A client that resumes the session on another connection is read there.
func (s *Session) Pause(on bool) {
	if st := s.current.Load(); st != nil {
		st.paused.Store(on)
	}
}

// finish ends the session for what reading it ended with, and sees its
// connection off.
//
//go:noinline
func (s *Session) finish(err error) {
	defer s.srv.running.Done()
	s.finishing = true
	s.endOutput(err)
	s.srv.unbound(s)
	s.refuseClaims()
	s.close()
	if s.named {
		s.srv.users.release(s.address.localpart())
	}
	s.srv.over(s)
	<-s.fan.Done()
	r := *s.ending.Load()
	if found := s.fan.Reason(); found != r.label {
		r = reason{label: found} // fanout ended it before we did
	}
	st := s.current.Load()
	if st == nil {
		s.srv.comesTooLate(s)
		s.srv.metrics.ended(r.label)
		s.log("hibernating session ended", "reason", string(r.label))
		return
	}
	st.carefully(guard.Session, func() { s.hangUp(st, r) })
	st.ended(r, s.JID())
	s.srv.forget(st)
}

// endOutput has fanout end the session. A panic that has left the transport broken
// may come again here; then the client is told nothing.
func (s *Session) endOutput(err error) {
	defer s.srv.cfg.Guard.Recover(guard.Session, (*aborted)(s))
	if st := s.current.Load(); st != nil {
		st.rest()
	}
	s.end(reasonOf(err))
}

// end ends the session for the reason, unless it has one already.
func (s *Session) end(r reason) {
	if !s.ending.CompareAndSwap(nil, &r) {
		return
	}
	if st := s.current.Load(); st == nil || r.gone || r.frame.Code != 0 {
		// A close frame goes out when fanout has let go of the connection.
		s.fan.Abort(r.label)
	} else {
		s.fan.Close(r.label, s.farewell(st, &r)...)
	}
	s.interrupt()
}

// interrupt makes the session's goroutine look up, whatever it waits for.
func (s *Session) interrupt() {
	if a := s.wake.Load(); a != nil {
		a.ring()
	}
	if st := s.current.Load(); st != nil {
		st.interrupt()
	}
}

// farewell is what fanout sends last.
func (s *Session) farewell(st *stream, r *reason) []*fanout.Message {
	out := st.t.output()
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
func (s *Session) hangUp(st *stream, r reason) {
	defer st.conn.Close()
	if r.gone || r.label == fanout.WriteFailed || r.label == fanout.Stalled {
		return
	}
	if r.frame.Code != 0 {
		_ = st.raw.SetWriteDeadline(time.Now().Add(s.srv.cfg.Limits.Close)) // else the write fails, as well
		if st.write(websocket.AppendClose(nil, r.frame.Code, r.frame.Text)) != nil {
			return
		}
	}
	st.linger()
}

// log tells of the session; of visitors only to who wants to know everything.
func (s *Session) log(msg string, args ...any) {
	log := s.srv.log.Debug
	if s.admin {
		log = s.srv.log.Info
	}
	if !s.admin && !s.srv.log.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	log(msg, append([]any{"session", s.address.text, "transport", s.transport()}, args...)...)
}

// transport is that of the connection, or of the latest one.
func (s *Session) transport() string {
	if st := s.current.Load(); st != nil {
		return st.name
	}
	return s.lost.transport
}

// ask makes the client say something: an acknowledgement, or the answer to a
// ping (XEP-0199 §4.1).
func (s *Session) ask() {
	if s.acks.Load() {
		s.Deliver(nil, ackRequest)
		return
	}
	s.Deliver(nil, fanout.NewPrivate(wire.NewBuilder(nil).
		Start("iq", "xmlns", wire.NSClient, "type", "get", "id", "ping", "from", s.host.name, "to", s.address.text).
		Elem("ping", "", "xmlns", wire.NSPing).Bytes()))
}

// survivable reports whether what ended the reading of a connection broke that
// alone, not the stream: no </stream:stream>, and nothing the client did wrong
// (RFC 7395 §3.6 for a close frame without <close/>).
func survivable(err error) bool {
	var peer peerClosed
	return errors.As(err, &peer) || errors.Is(err, errInterrupted) || err == errSilent || reasonOf(err).label == reasonDisconnected
}
