package visitor

import (
	"crypto/rand"
	"time"

	"vnode/fanout"
	"vnode/internal/wire"
)

// bindRequest returns the <bind/> of an IQ that asks for it (RFC 6120 §7.6).
func bindRequest(h *wire.Header, data []byte) (wire.Child, bool) {
	if string(h.Name) != "iq" || string(h.Type) != "set" || len(h.ID) == 0 {
		return wire.Child{}, false
	}
	c, ok := wire.FirstChild(data)
	return c, ok && c.Space == wire.NSBind && c.Local == "bind"
}

// bind makes the session. The address is the server's choice but for the
// resource: whom the client claimed to be, in a header or in the stanza, has
// no part in it.
func (n *negotiation) bind(h *wire.Header, req wire.Child) (*Session, error) {
	if err := n.rename(); err != nil {
		return nil, err
	}
	jid, err := n.address(req)
	if err != nil {
		return nil, n.flush(wire.AppendErrorReply(nil, h, wire.NSClient, "", wire.ErrBadRequest))
	}
	if err := n.replace(func() *Session { return n.srv.session(jid) }); err != nil {
		return nil, err
	}
	// From here on fanout sets the deadlines of writing, the session those
	// of reading.
	if err := n.raw.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	s := n.newSession(jid)
	n.made = s
	if err := n.srv.bound(s, n.stream); err != nil {
		s.fan.Abort(reasonOf(err).label)
		<-s.fan.Done()
		return nil, err
	}
	s.welcome(h, n.host)
	return s, nil
}

// rename gives a client that could have resumed a session, and binds instead, a
// name of its own. The session is one it will not come back to.
func (n *negotiation) rename() error {
	if !n.who.resuming {
		return nil
	}
	n.who.user, n.who.named, n.who.resuming = n.srv.users.take(), true, false
	return n.replace(func() *Session { return n.srv.resumable(n.request.PrevID) })
}

// address returns the full JID of the client: with the resource it asks for,
// or one of ours.
func (n *negotiation) address(req wire.Child) (wire.JID, error) {
	jid := wire.JID{Local: n.who.user, Domain: n.host.name}
	asked := ""
	if r, ok := wire.FindChild(req.Raw, wire.NSBind, "resource"); ok {
		asked = r.Text()
	}
	if asked == "" {
		return jid.WithResource(rand.Text()[:16]), nil
	}
	return wire.ParseJID(jid.String() + "/" + asked)
}

// replace ends the session that find returns, and waits until the rest of the
// node has forgotten it, until find returns none. The new connection wins (RFC
// 6120 §7.7.2.2): a focus that comes back must not wait for its dead
// predecessor to time out.
func (n *negotiation) replace(find func() *Session) error {
	old := find()
	if old == nil {
		return nil
	}
	deadline := time.NewTimer(n.srv.cfg.Limits.Negotiation)
	defer deadline.Stop()
	for ; old != nil; old = find() {
		old.end(streamReason(errReplaced))
		if !n.srv.waitOver(old, deadline.C) {
			return errSilent
		}
	}
	return nil
}

// newSession hands the write side to fanout.
func (n *negotiation) newSession(jid wire.JID) *Session {
	s := &Session{srv: n.srv, address: newFullJID(jid), host: n.host, admin: n.who.admin, named: n.who.named}
	if local := s.address.localpart(); n.who.user == local {
		n.who.user = local // in one memory
	}
	s.fan = n.srv.fan.Attach(fanout.Options{
		Conn: n.output(), To: escaped(s.address.text), Terms: n.srv.terms.of(n.t.output(), n.who.admin),
	})
	s.carry(n.stream)
	n.bound(s.fan.Link())
	s.current.Store(n.stream)
	return s
}

// escaped returns s fit for an attribute value, the same string if it is.
func escaped(s string) string {
	var buf [128]byte
	if e := wire.AppendText(buf[:0], s); string(e) != s {
		return string(e)
	}
	return s
}

// welcome pushes the domain's identities and answers the bind request. In this
// order: the client takes them only until it counts itself connected.
func (s *Session) welcome(h *wire.Header, on *host) {
	if on.pushed != nil {
		s.Deliver(nil, fanout.NewPrivate(wire.NewBuilder(nil).
			Start("message", "xmlns", wire.NSClient, "from", on.name, "to", s.address.text).Raw(on.pushed).Bytes()))
	}
	s.Deliver(nil, fanout.NewPrivate(wire.NewBuilder(nil).
		Start("iq", "xmlns", wire.NSClient, "type", "result", "id", wire.Unescape(h.ID)).
		Start("bind", "xmlns", wire.NSBind).Elem("jid", s.address.text).Bytes()))
}
