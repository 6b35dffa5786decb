package s2s

import (
	"strings"

	"vnode/internal/wire"
)

// misaddressed decides about a stanza whose domains are not those the stream
// proved: it is put right when it is main's rewriting of what it meant, else
// the stream ends (RFC 6120 §4.9.3.9, §4.9.3.6).
func (st *stream) misaddressed(s *wire.Stanza) error {
	from, to, ok := st.unmangle(s.From, s.To)
	if ok {
		stamp := wire.Stamp{To: to.String(), From: from.String(), ID: wire.Unescape(s.ID), Type: wire.Unescape(s.Type), Lang: wire.Unescape(s.Lang)}
		fixed, err := wire.ParseStanza(s.AppendStamped(nil, s.Raw, stamp))
		if err != nil {
			return err
		}
		st.hand(fixed)
		return nil
	}
	if !st.proves(s.From.Domain) {
		st.log.Warn("a stanza came from a domain that the stream does not prove; the stream is closed", "domain", s.From.Domain)
		return refuse(ForeignFrom, wire.InvalidFrom, "")
	}
	return refuse(HostUnknown, wire.HostUnknown, unserved(s.To.Domain))
}

func unserved(domain string) string { return "This host does not serve " + domain }

// unmangle undoes what Jitsi's mod_muc_domain_mapper does on main to stanzas of
// streams that we opened. There it translates its rooms' addresses between
// servers into those for clients, and takes our domains for its tenants':
//
//   - a room of a tenant, [acme]room@conference.meet.example, comes from
//     room@conference.acme.meet.example;
//   - when main's domain is a suffix of ours, as with meet.jitsi and
//     v3.meet.jitsi, what is for room@conference.v3.meet.jitsi comes to
//     [v3]room@conference.meet.jitsi and what is for that bare domain to
//     conference.meet.jitsi, from our domain instead of its own.
//
// Which domains are meant is certain: they are those of the stream.
func (st *stream) unmangle(from, to wire.JID) (f, t wire.JID, ok bool) {
	if len(*st.proved.Load()) == 0 {
		return from, to, false
	}
	t, ok = st.unmangleTo(to)
	if !ok {
		return from, to, false
	}
	f, ok = st.unmangleFrom(from, t != to)
	return f, t, ok
}

// unmangleFrom puts a sender right; toToo says that the recipient needed it.
func (st *stream) unmangleFrom(from wire.JID, toToo bool) (wire.JID, bool) {
	switch {
	case st.proves(from.Domain):
		return from, true
	case toToo && from == (wire.JID{Domain: st.local}):
		return wire.JID{Domain: st.remote}, true
	case st.cfg.hosts[from.Domain] || from.Local == "" || !st.proves(st.remote):
		return from, false
	}
	tenant, mapped := tenantForm(from.Domain)
	if !mapped || tenant.domain != st.remote {
		return from, false
	}
	return wire.JID{Local: wire.WithTenant(tenant.name, from.Local), Domain: st.remote, Resource: from.Resource}, true
}

func (st *stream) unmangleTo(to wire.JID) (wire.JID, bool) {
	if st.cfg.hosts[to.Domain] {
		return to, true
	}
	tenant, mapped := tenantForm(st.local)
	if !mapped || to.Domain != tenant.domain {
		return to, false
	}
	to.Local = strings.TrimPrefix(to.Local, wire.WithTenant(tenant.name, ""))
	return to.WithDomain(st.local), true
}

// tenantForm reads a domain as the mapper does: prefix.name.base is the tenant
// name of prefix.base.
func tenantForm(domain string) (t struct{ name, domain string }, ok bool) {
	prefix, rest, ok1 := strings.Cut(domain, ".")
	name, base, ok2 := strings.Cut(rest, ".")
	t.name, t.domain = name, prefix+"."+base
	return t, ok1 && ok2
}
