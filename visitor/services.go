package visitor

import "vnode/internal/wire"

const (
	nsRoster  = "jabber:iq:roster"  // RFC 6121 §2
	nsVersion = "jabber:iq:version" // XEP-0092
)

// Payloads of answers that are the same for everybody.
var (
	emptyRoster = []byte("<query xmlns='" + nsRoster + "'/>")
	accountInfo = []byte("<query xmlns='" + wire.NSDisco + "'>" +
		"<identity category='account' type='registered'/>" +
		"<feature var='" + wire.NSDisco + "'/><feature var='" + wire.NSItems + "'/></query>")
	noItems = []byte("<query xmlns='" + wire.NSItems + "'/>")
)

// query is an IQ request to one of our own addresses.
type query struct {
	set          bool
	space, local string // of the payload
}

// askHost answers a request to a domain of ours. An answer of nil bytes with
// ok is an empty result.
func (s *Server) askHost(h *host, q query) (payload []byte, ok bool) {
	switch q {
	case query{false, wire.NSPing, "ping"}: // XEP-0199
		return nil, true
	case query{false, wire.NSDisco, "query"}:
		return h.info, true
	case query{false, wire.NSItems, "query"}:
		return h.items, true
	case query{false, nsVersion, "query"}:
		return s.version, true
	case query{true, wire.NSSession, "session"}: // RFC 3921 §3; not offered, still sent
		return nil, true
	}
	return nil, false
}

// askAccount answers a request to the client's own account: without a 'to', or
// to its bare JID (RFC 6120 §10.3.3).
func askAccount(q query) (payload []byte, ok bool) {
	switch q {
	case query{false, nsRoster, "query"}:
		return emptyRoster, true
	case query{false, wire.NSDisco, "query"}:
		return accountInfo, true
	case query{false, wire.NSItems, "query"}:
		return noItems, true
	case query{false, wire.NSPing, "ping"}, query{true, wire.NSSession, "session"}:
		return nil, true
	}
	return nil, false
}

func softwareVersion(name, version string) []byte {
	b := wire.NewBuilder(nil).Start("query", "xmlns", nsVersion).Elem("name", name)
	if version != "" {
		b.Elem("version", version)
	}
	return b.Bytes()
}
