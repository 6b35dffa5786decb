package s2s

import (
	"vnode/internal/wire"
)

// A peer is trusted; those whose stanzas it passes on are not. What they say
// must not end the stream that all share: a stanza that clients or other servers
// could not read, see wire.Violation, is dropped alone. So is one larger than
// maxFromPerson, or than MaxBytes if a peer says it for itself: a server that
// writes a participant's apostrophes again makes six bytes of each, and never
// looks at the size of what it sends.

// outside deals with a stanza that is outside the profile. It is answered where
// that is allowed. Who leaves does so whatever they say with it, or they would
// be shown for ever.
func (st *stream) outside(tok *wire.Token, h *wire.Header) error {
	st.dropped(tok, string(h.Name))
	if string(h.Name) == "presence" && string(h.Type) == "unavailable" && len(h.From) > 0 && len(h.To) > 0 {
		return st.bareLeave(h)
	}
	st.srv.m.stanzas[inbound].Inc()
	if !wire.AnswerableViolation(h) {
		return nil
	}
	from, errFrom := st.address(h.From)
	to, errTo := st.address(h.To)
	if errFrom != nil || errTo != nil {
		return nil
	}
	if !st.proves(from.Domain) || !st.cfg.hosts[to.Domain] {
		var ok bool
		if from, to, ok = st.unmangle(from, to); !ok {
			return nil
		}
	}
	head := *h
	head.To = wire.AppendText(nil, to.String())
	st.srv.Send(to.Domain, from.Domain, wire.AppendErrorReply(nil, &head, "", from.String(), tok.Outside.StanzaError()))
	return nil
}

// bareLeave handles the presence that h heads without all that it says.
func (st *stream) bareLeave(h *wire.Header) error {
	elem := wire.NewBuilder(nil).Start("presence", "from", wire.Unescape(h.From), "to", wire.Unescape(h.To), "type", "unavailable").Bytes()
	bare := wire.Stanza{Raw: elem}
	var err error
	if bare.Header, err = wire.ParseHeader(elem); err != nil {
		return err
	}
	return st.stanza(&bare)
}

// dropped counts and, not too often, logs a stanza that nobody gets to see. Of
// its text nothing is said.
func (st *stream) dropped(tok *wire.Token, name string) {
	st.srv.m.dropped[tok.Outside].Inc()
	if st.srv.noise.Allow() {
		st.log.Info("a stanza dropped, others could not read it", "stanza", name, "bytes", len(tok.Data), "reason", tok.Outside.String())
	}
}
