package prosody

import (
	"crypto/rand"
	"fmt"
	"net/netip"
	"regexp"
)

// Auth says how main and nodes prove to each other who they are.
type Auth int

const (
	// AuthSelfSigned accepts any certificate of a configured node, offers it
	// SASL EXTERNAL and shows self-signed certificates: how Jitsi is deployed.
	AuthSelfSigned Auth = iota
	// AuthDialback trusts no certificate and uses Server Dialback (XEP-0220)
	// over TLS.
	AuthDialback
	// AuthExternal accepts certificates signed by the CA of the options and
	// nothing else (XEP-0178); its own are signed by it too.
	AuthExternal
)

func (a Auth) String() string {
	switch a {
	case AuthSelfSigned:
		return "self-signed"
	case AuthDialback:
		return "dialback"
	case AuthExternal:
		return "external"
	}
	return fmt.Sprintf("Auth(%d)", int(a))
}

// Options of a server. The zero value is a main server without nodes.
type Options struct {
	// MainDomain is the domain of the participants, default meet.jitsi. Rooms
	// are at conference.MainDomain, the components at visitors.MainDomain and
	// polls.MainDomain.
	MainDomain string
	// AuthDomain is the domain of the focus, default auth.MainDomain.
	AuthDomain string
	// FocusPassword of focus@AuthDomain, default a random one.
	FocusPassword string

	// Nodes maps the id of a node (v3, for v3.meet.jitsi and
	// conference.v3.meet.jitsi) to the address of its s2s listener.
	Nodes map[string]netip.AddrPort
	// Auth of server streams.
	Auth Auth
	// CA for AuthExternal; nil makes one, see [Server.CA].
	CA *CA
	// Bidi offers and asks for bidirectional streams (XEP-0288).
	Bidi bool
	// ComponentsDial lets conference.MainDomain and visitors.MainDomain open
	// streams to nodes. In the official set-up only MainDomain can, and what
	// the components send has to take a bidirectional stream of the node.
	ComponentsDial bool

	// Ports reserved before, which become the server's, even if it does not
	// start; nil reserves some.
	Ports *Reservation
	// Dir to write everything into: made if missing, else it must be empty;
	// removed by Stop. Empty means a new one below os.TempDir.
	Dir string
	// Debug logs every stanza and every step of every stream.
	Debug bool
	// Extra is Lua added to the global section of the configuration.
	Extra string
}

// NodeDomain returns the domain of a node. The suffix is part of the protocol:
// clients and main servers build it in.
func NodeDomain(id string) string { return id + ".meet.jitsi" }

var (
	nodeID     = regexp.MustCompile(`^[a-z0-9_-]+$`)
	domainName = regexp.MustCompile(`^[a-z0-9_-]+(\.[a-z0-9_-]+)*$`)
)

// withDefaults returns the options completed, or what is wrong with them.
func (o Options) withDefaults() (Options, error) {
	if o.MainDomain == "" {
		o.MainDomain = "meet.jitsi"
	}
	if o.AuthDomain == "" {
		o.AuthDomain = "auth." + o.MainDomain
	}
	if o.FocusPassword == "" {
		o.FocusPassword = rand.Text()
	}
	for _, d := range []string{o.MainDomain, o.AuthDomain} {
		if !domainName.MatchString(d) {
			return o, fmt.Errorf("prosody: %q is not a domain", d)
		}
	}
	for id, addr := range o.Nodes {
		if !nodeID.MatchString(id) {
			return o, fmt.Errorf("prosody: %q is not the id of a node", id)
		}
		if !addr.IsValid() || addr.Port() == 0 {
			return o, fmt.Errorf("prosody: node %s has no address", id)
		}
	}
	if o.Auth < AuthSelfSigned || o.Auth > AuthExternal {
		return o, fmt.Errorf("prosody: unknown %v", o.Auth)
	}
	return o, nil
}
