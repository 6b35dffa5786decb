package muc

import (
	"strings"

	"vnode/internal/wire"
)

// Rooms of a tenant are [tenant]room@conference.HOST between servers and
// room@conference.tenant.HOST to local clients.

// realLocal maps the address a client uses to the localpart of the room
// between servers. ok is false when domain is none of the rooms'. local is
// empty for the service itself.
func (d *domains) realLocal(local, domain string) (real string, ok bool) {
	if domain == d.rooms {
		return local, true
	}
	tenant, ok := strings.CutPrefix(domain, d.prefix+".")
	if !ok {
		return "", false
	}
	tenant, ok = strings.CutSuffix(tenant, "."+d.host)
	if !ok || tenant == "" {
		return "", false
	}
	if local == "" {
		return "", true
	}
	return "[" + tenant + "]" + local, true
}

// tenantOf returns the tenant of a room between servers, "" for none.
func tenantOf(local string) string {
	tenant, _, _ := splitTenant(local)
	return tenant
}

func splitTenant(local string) (tenant, room string, ok bool) {
	rest, ok := strings.CutPrefix(local, "[")
	if !ok {
		return "", local, false
	}
	if tenant, room, ok = strings.Cut(rest, "]"); !ok || tenant == "" || room == "" {
		return "", local, false
	}
	return tenant, room, true
}

// publicAddress is the address local clients know a room by.
func (d *domains) publicAddress(local string) wire.JID {
	return d.addressAt(local, d.host)
}

// addressOnMain is the address main's clients know the room by.
func (d *domains) addressOnMain(local string) wire.JID { return d.addressAt(local, d.main) }

func (d *domains) addressAt(local, host string) wire.JID {
	if tenant, room, ok := splitTenant(local); ok {
		return wire.JID{Local: room, Domain: d.prefix + "." + tenant + "." + host}
	}
	return wire.JID{Local: local, Domain: d.prefix + "." + host}
}
