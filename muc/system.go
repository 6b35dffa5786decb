package muc

import "vnode/internal/wire"

// Main addresses some messages to one visitor by its real address. A client
// knows the room, and the components, by the node's names only: messages from
// others are lost on it. A visitor prosody cuts the end off the sender and puts
// its own domain there, which goes wrong where main's domain is the end of the
// node's own, as in Docker's default set-up. Here whole domains are mapped.

// componentMessage passes on what main, or one of its components, sends to a
// visitor in some room; ok is false when it is not that.
func (s *Service) componentMessage(st *wire.Stanza) (ok bool) {
	from, to := st.From, st.To
	if string(st.Name) != "message" || string(st.Type) == "error" || from.Local != "" || to.Resource == "" {
		return false
	}
	domain, ok := s.domains.Component(from.Domain)
	if !ok {
		return false
	}
	session := s.sessionAt(to)
	if session == nil || session.Admin() {
		return false
	}
	reply(session, st.AppendStamped(nil, st.Raw, wire.Stamp{
		Space: wire.NSClient, To: to.String(), From: domain,
		ID: wire.Unescape(st.ID), Type: wire.Unescape(st.Type), Lang: wire.Unescape(st.Lang),
	}))
	return true
}

// sessionAt returns the session of an address that is in a room, or nil.
func (s *Service) sessionAt(jid wire.JID) Session {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if g := s.guests.Get(jid); g != nil {
		return g.session
	}
	return nil
}
