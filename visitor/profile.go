package visitor

import (
	"vnode/internal/wire"
)

// What a client sends that others could not read, see wire.Violation, reaches
// nobody: it is answered where that is allowed, and the stream goes on. That
// holds for the focus too, which repeats what participants say.

// outside deals with a stanza that is outside the profile. The error ends the
// stream: a prefix that is not declared is a stream error (RFC 6120 §4.9.3.2),
// but for the focus, which may have been told it by others.
func (s *Session) outside(h *wire.Header, ev event) error {
	if ev.outside.EndsStream() && !s.admin {
		return ev.outside.StreamError()
	}
	s.srv.dropped(h, ev, s.address.text)
	if wire.AnswerableViolation(h) {
		s.refuse(h, ev.outside.StanzaError())
	}
	return nil
}

// outside is the same before bind. What is not a stanza cannot be left out.
func (n *negotiation) outside(h *wire.Header, ev event) error {
	if h.Unprefix(); !isStanza(h) || ev.outside.EndsStream() {
		return ev.outside.StreamError()
	}
	n.srv.dropped(h, ev, "")
	if !wire.AnswerableViolation(h) {
		return nil
	}
	return n.flush(wire.AppendErrorReply(nil, h, wire.NSClient, "", ev.outside.StanzaError()))
}

// dropped counts and, not too often, logs a stanza that nobody gets to see. Of
// its text nothing is said.
func (s *Server) dropped(h *wire.Header, ev event, session string) {
	s.metrics.dropped[ev.outside].Inc()
	if s.noise.Allow() {
		s.log.Info("a client's stanza dropped, others could not read it", "session", session,
			"stanza", string(h.Name), "bytes", len(ev.data), "reason", ev.outside.String())
	}
}
