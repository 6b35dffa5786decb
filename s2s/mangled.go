package s2s

import (
	"strings"

	"vnode/internal/wire"
)

// misaddressed decides about a stanza whose domains are not those the stream
// proved: it is put right when it is main's rewriting of what it meant, else
// the stream ends (RFC 6120 §4.9.3.9, §4.9.3.6).
func (st *stream) misaddressed(elem []byte, h *wire.Header, from, to wire.JID) error {
	f, t, ok := st.unmangle(from, to)
	if ok {
		stamp := wire.Stamp{To: t.String(), From: f.String(), ID: wire.Unescape(h.ID), Type: wire.Unescape(h.Type), Lang: wire.Unescape(h.Lang)}
		elem = h.AppendStamped(nil, elem, stamp)
		fixed, err := wire.ParseHeader(elem)
		if err != nil {
			return err
		}
		st.srv.handler.Stanza(elem, &fixed, f, t)
		return nil
	}
	if !st.proves(from.Domain) {
		return refuse(ForeignFrom, wire.InvalidFrom, "")
	}
	return refuse(HostUnknown, wire.HostUnknown, unserved(to.Domain))
}

func unserved(domain string) string { return "This host does not serve " + domain }

// unmangle undoes what Jitsi's mod_muc_domain_mapper does on main when main's
// domain is a suffix of ours, as with meet.jitsi and v3.meet.jitsi. It takes
// conference.v3.meet.jitsi for the rooms of main's tenant v3 and, on streams we
// opened, writes [v3]room@conference.meet.jitsi where it means
// room@conference.v3.meet.jitsi, conference.meet.jitsi for our bare domain, and
// then our domain for its own. Which domains are meant is certain: they are
// those of the stream.
func (st *stream) unmangle(from, to wire.JID) (f, t wire.JID, ok bool) {
	tenant, mapped := tenantForm(st.local)
	if !mapped || to.Domain != tenant.domain || len(*st.proved.Load()) == 0 {
		return from, to, false
	}
	t = to.WithDomain(st.local)
	t.Local = strings.TrimPrefix(t.Local, "["+tenant.name+"]")
	switch {
	case st.proves(from.Domain):
		return from, t, true
	case from == (wire.JID{Domain: st.local}):
		return wire.JID{Domain: st.remote}, t, true
	}
	return from, to, false
}

// tenantForm is how the mapper sees one of our domains: prefix.name.base is
// the tenant name of prefix.base.
func tenantForm(local string) (t struct{ name, domain string }, ok bool) {
	prefix, rest, ok1 := strings.Cut(local, ".")
	name, base, ok2 := strings.Cut(rest, ".")
	t.name, t.domain = name, prefix+"."+base
	return t, ok1 && ok2
}
