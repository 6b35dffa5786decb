// Package address knows the domains of a visitor node and of its main server,
// and the two names of each room: a room of a tenant is
// [tenant]room@conference.HOST between servers, and
// room@conference.tenant.HOST to clients.
package address

import (
	"strings"

	"vnode/internal/wire"
)

// Domains of a node and its main server, in lower case. It is not changed.
type Domains struct {
	Prefix    string // conference
	Rooms     string // conference.v3.meet.jitsi
	Host      string // v3.meet.jitsi
	Main      string // meet.jitsi
	MainRooms string // conference.meet.jitsi
	Visitors  string // visitors.meet.jitsi
	Polls     string // polls.v3.meet.jitsi
	MainPolls string // polls.meet.jitsi
	Files     string // filesharing.v3.meet.jitsi

	extra map[string]bool
}

// NewDomains returns what follows from the domain of the node's rooms, which
// begins with prefix, and from main's domain. participants are domains besides
// main's, and those below it, whose users take part in main's rooms.
func NewDomains(rooms, prefix, main string, participants []string) *Domains {
	rooms, prefix, main = strings.ToLower(rooms), strings.ToLower(prefix), strings.ToLower(main)
	d := &Domains{
		Prefix: prefix, Rooms: rooms, Host: strings.TrimPrefix(rooms, prefix+"."),
		Main: main, MainRooms: prefix + "." + main, Visitors: "visitors." + main, MainPolls: "polls." + main,
		extra: make(map[string]bool, len(participants)),
	}
	d.Polls, d.Files = "polls."+d.Host, "filesharing."+d.Host
	for _, p := range participants {
		d.extra[strings.ToLower(p)] = true
	}
	return d
}

// OfParticipants reports whether users of domain may be mirrored. The node's own
// domains never are, although they lie below the main domain in Docker's
// default set-up.
func (d *Domains) OfParticipants(domain string) bool {
	switch domain {
	case d.Main:
		return true
	case d.MainRooms, d.Visitors, d.MainPolls:
		return false
	}
	return !d.own(domain) && (d.extra[domain] || strings.HasSuffix(domain, "."+d.Main))
}

// own reports whether domain is the node's or below it.
func (d *Domains) own(domain string) bool {
	return domain == d.Host || strings.HasSuffix(domain, "."+d.Host)
}

// Component maps the domain of main, or of one of its components, to the name
// visitors know it by. ok is false for all other domains: the rooms', which send
// in a room's name, this node's own and other nodes', which lie below main's in
// Docker's default set-up, and what is no component's.
func (d *Domains) Component(domain string) (local string, ok bool) {
	if domain == d.Main {
		return d.Host, true
	}
	label, ok := strings.CutSuffix(domain, "."+d.Main)
	if !ok || label == "" || strings.Contains(label, ".") || d.own(domain) || domain == d.MainRooms {
		return "", false
	}
	return label + "." + d.Host, true
}

// Real maps the address a client uses to the localpart of the room between
// servers. ok is false when domain is none of the rooms'. The localpart is empty
// for the service itself.
func (d *Domains) Real(local, domain string) (real string, ok bool) {
	if domain == d.Rooms {
		return local, true
	}
	tenant, ok := strings.CutPrefix(domain, d.Prefix+".")
	if !ok {
		return "", false
	}
	tenant, ok = strings.CutSuffix(tenant, "."+d.Host)
	if !ok || tenant == "" {
		return "", false
	}
	if local == "" {
		return "", true
	}
	return wire.WithTenant(tenant, local), true
}

// Public is the address local clients know a room by, from its localpart between
// servers.
func (d *Domains) Public(real string) wire.JID { return d.at(real, d.Host) }

// OnMain is the address main's clients know it by.
func (d *Domains) OnMain(real string) wire.JID { return d.at(real, d.Main) }

func (d *Domains) at(real, host string) wire.JID {
	if tenant, room := wire.CutTenant(real); tenant != "" {
		return wire.JID{Local: room, Domain: d.Prefix + "." + tenant + "." + host}
	}
	return wire.JID{Local: real, Domain: d.Prefix + "." + host}
}

// Room returns the name and the tenant, "" for none, of the room at the address a
// client uses. ok is false when the address is no room's.
func (d *Domains) Room(to wire.JID) (room, tenant string, ok bool) {
	real, ok := d.Real(to.Local, to.Domain)
	tenant, room = wire.CutTenant(real)
	return room, tenant, ok && room != ""
}
