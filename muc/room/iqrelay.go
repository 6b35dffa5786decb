package room

import "vnode/internal/wire"

// clientIQ handles a local session's IQ.
func (r *conference) clientIQ(from Session, st *wire.Stanza) {
	switch string(st.Type) {
	case "get", "set", "result", "error":
	default:
		r.refuse(from, st, wire.ErrBadRequest)
		return
	}
	o := r.occupantOf(from)
	if st.To.Resource != "" {
		r.relay(from, o, st)
		return
	}
	if st.Answerable() {
		r.ownIQ(from, o, st)
	}
}

// relay passes an IQ from one occupant to another: Jingle between the focus
// and visitors, XEP-0045 §7.5 and §17.4. The bodies are 10 to 30 KB; those of the
// focus are never looked into. The id stays as it is: both sides tell answers apart by the
// pair of address and id, and each sees the other under one address only.
func (r *conference) relay(from Session, o *occupant, st *wire.Stanza) {
	to := r.nicks.Get(st.To.Resource)
	switch {
	case o == nil:
		r.refuse(from, st, ErrNotJoined.From(r.pub.String()))
	case to == nil && r.forParted(from, st, st.To.Resource):
	case to == nil:
		r.refuse(from, st, errNoRecipient.From(r.pub.String()))
	case to == o && string(st.Type) == "get" && isPing(st): // XEP-0410 §3.1
		r.answer(from, st, nil)
	case to.kind == participant:
		// Main's occupants have no use for them; what reaches main by way
		// of the node is chat only.
		r.refuse(from, st, wire.ErrServiceUnavailable)
	case o.kind == visitor && to.kind == visitor:
		r.refuse(from, st, wire.ErrForbidden)
	case o.kind == visitor && string(st.Type) == "set" && isDial(st):
		r.dial(o, to, st)
	case o.kind == visitor && st.Answerable() && !readable(st):
		r.refuse(from, st, wire.ErrServiceUnavailable)
	default:
		r.pass(o, to, st)
	}
}

// readable reports whether a visitor's request is one that jicofo knows. Its XMPP
// library answers another with an error that repeats the request and is not
// well-formed: that would end jicofo's stream, and with it every room of the node.
// A request has one payload (RFC 6120 §8.2.3); of several the library reads the
// last.
func readable(st *wire.Stanza) bool {
	n := 0
	for c := range st.Children() {
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
func (r *conference) pass(o, to *occupant, st *wire.Stanza) {
	lang := wire.Unescape(st.Lang)
	if lang == "" {
		lang = defaultLang
	}
	start, body := st.AppendStart(make([]byte, 0, 256), st.Raw, wire.Stamp{
		Space: wire.NSClient, To: to.jid().String(), From: r.pub.WithResource(o.nick).String(),
		ID: wire.Unescape(st.ID), Type: string(st.Type), Lang: lang,
	})
	p := &Packet{head: start, tail: body, whole: true}
	if to.kind == focus && o.kind == visitor {
		r.request(o, st, p)
		return
	}
	r.out.Deliver(to.session, p)
}

func isPing(st *wire.Stanza) bool {
	c, ok := st.FirstChild()
	return ok && c.Space == wire.NSPing && c.Local == "ping"
}

// ownIQ handles a request to the room itself; o is nil for one who is not in
// it.
func (r *conference) ownIQ(from Session, o *occupant, st *wire.Stanza) {
	c, ok := st.FirstChild()
	if !ok {
		r.refuse(from, st, wire.ErrBadRequest)
		return
	}
	set := string(st.Type) == "set"
	switch {
	case c.Space == wire.NSMUCOwner && c.Local == "query":
		r.ownerIQ(from, o, st, &c)
	case c.Space == wire.NSMUCAdmin && c.Local == "query":
		r.adminIQ(from, o, st, &c)
	case c.Space == wire.NSVisitors:
		r.refuse(from, st, ErrNotFromMain)
	case set:
		r.refuse(from, st, wire.ErrServiceUnavailable)
	case c.Space == wire.NSDisco && c.Local == "query":
		r.info(from, o, st)
	case c.Space == wire.NSItems && c.Local == "query":
		r.items(from, o, st)
	case c.Space == wire.NSPing:
		r.answer(from, st, nil)
	default:
		r.refuse(from, st, wire.ErrServiceUnavailable)
	}
}
