package room

import "vnode/internal/wire"

// clientIQ handles a local session's IQ.
func (r *conference) clientIQ(from Session, h *wire.Header, nick string, stanza []byte) {
	switch string(h.Type) {
	case "get", "set", "result", "error":
	default:
		r.refuse(from, h, wire.ErrBadRequest)
		return
	}
	o := r.occupantOf(from)
	if nick != "" {
		r.relay(from, o, h, nick, stanza)
		return
	}
	if wire.Answerable(h) {
		r.ownIQ(from, o, h, stanza)
	}
}

// relay passes an IQ from one occupant to another: Jingle between the focus
// and visitors, XEP-0045 §7.5 and §17.4. The bodies are 10 to 30 KB; those of the
// focus are never looked into. The id stays as it is: both sides tell answers apart by the
// pair of address and id, and each sees the other under one address only.
func (r *conference) relay(from Session, o *occupant, h *wire.Header, nick string, stanza []byte) {
	to := r.nicks.Get(nick)
	switch {
	case o == nil:
		r.refuse(from, h, ErrNotJoined.From(r.pub.String()))
	case to == nil && r.forParted(from, h, nick):
	case to == nil:
		r.refuse(from, h, errNoRecipient.From(r.pub.String()))
	case to == o && string(h.Type) == "get" && isPing(stanza): // XEP-0410 §3.1
		r.answer(from, h, nil)
	case to.kind == participant:
		// Main's occupants have no use for them; what reaches main by way
		// of the node is chat only.
		r.refuse(from, h, wire.ErrServiceUnavailable)
	case o.kind == visitor && to.kind == visitor:
		r.refuse(from, h, wire.ErrForbidden)
	case o.kind == visitor && string(h.Type) == "set" && isDial(stanza):
		r.dial(o, to, h, stanza)
	case o.kind == visitor && wire.Answerable(h) && !readable(stanza):
		r.refuse(from, h, wire.ErrServiceUnavailable)
	default:
		r.pass(o, to, h, stanza)
	}
}

// readable reports whether a visitor's request is one that jicofo knows. Its XMPP
// library answers another with an error that repeats the request and is not
// well-formed: that would end jicofo's stream, and with it every room of the node.
// A request has one payload (RFC 6120 §8.2.3); of several the library reads the
// last.
func readable(stanza []byte) bool {
	n := 0
	for c := range wire.Children(stanza) {
		if n++; n > 1 || requests[c.Space] != c.Local {
			return false
		}
	}
	return n == 1
}

// requests are the payloads that jicofo knows, by namespace.
var requests = map[string]string{
	nsJingle: "jingle", nsFocus: "conference", nsRayo: "hangup",
	wire.NSDisco: "query", wire.NSItems: "query", wire.NSPing: "ping",
}

const (
	nsJingle = "urn:xmpp:jingle:1"               // XEP-0166
	nsFocus  = "http://jitsi.org/protocol/focus" // conference requests
)

// pass gives an IQ to an occupant. The body stays where it is: copying 20 KB and
// the garbage of it cost a tenth of the relaying.
func (r *conference) pass(o, to *occupant, h *wire.Header, stanza []byte) {
	lang := wire.Unescape(h.Lang)
	if lang == "" {
		lang = defaultLang
	}
	start, body := h.AppendStart(make([]byte, 0, 256), stanza, wire.Stamp{
		Space: wire.NSClient, To: to.jid().String(), From: r.pub.WithResource(o.nick).String(),
		ID: wire.Unescape(h.ID), Type: string(h.Type), Lang: lang,
	})
	p := &Packet{head: start, tail: body, whole: true}
	if to.kind == focus && o.kind == visitor {
		r.request(o, h, p)
		return
	}
	r.out.Deliver(to.session, p)
}

func isPing(stanza []byte) bool {
	c, ok := wire.FirstChild(stanza)
	return ok && c.Space == wire.NSPing && c.Local == "ping"
}

// ownIQ handles a request to the room itself; o is nil for one who is not in
// it.
func (r *conference) ownIQ(from Session, o *occupant, h *wire.Header, stanza []byte) {
	c, ok := wire.FirstChild(stanza)
	if !ok {
		r.refuse(from, h, wire.ErrBadRequest)
		return
	}
	set := string(h.Type) == "set"
	switch {
	case c.Space == wire.NSMUCOwner && c.Local == "query":
		r.ownerIQ(from, o, h, &c)
	case c.Space == wire.NSMUCAdmin && c.Local == "query":
		r.adminIQ(from, o, h, &c)
	case c.Space == wire.NSVisitors:
		r.refuse(from, h, ErrNotFromMain)
	case set:
		r.refuse(from, h, wire.ErrServiceUnavailable)
	case c.Space == wire.NSDisco && c.Local == "query":
		r.info(from, o, h)
	case c.Space == wire.NSItems && c.Local == "query":
		r.items(from, o, h)
	case c.Space == wire.NSPing:
		r.answer(from, h, nil)
	default:
		r.refuse(from, h, wire.ErrServiceUnavailable)
	}
}
