package visitor

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"vnode/internal/guard"
	"vnode/internal/wire"
	"vnode/visitor/admission"
	"vnode/visitor/request"
	"vnode/visitor/sasl"
	"vnode/visitor/token"
)

// Config says whom the server serves and within which bounds.
type Config struct {
	// Guard keeps a panic to the client that met it; nil: a panic ends the process.
	Guard *guard.Guard
	// Believed reports whether an address is one of those that the focus may come
	// from: its connections by TCP have a share of their own, so that strangers
	// cannot keep it out. Nil means that there is none, but for trusted listeners.
	// It is called by several goroutines and must not block.
	Believed func(netip.Addr) bool
	// Domain is where visitors log in anonymously, e.g. v3.meet.jitsi.
	Domain string
	// AuthDomain is the domain of Accounts, e.g. auth.meet.jitsi. Empty
	// means that there is none. It is served over TCP only: nobody guesses
	// passwords through the public WebSocket.
	AuthDomain string
	Accounts   sasl.Accounts
	// AccountDomains are further domains with accounts, for visitors that are
	// no browsers: jigasi. They are served on every transport.
	AccountDomains map[string]sasl.Accounts
	// Elsewhere knows the nodes that are reached through this one; nil: none.
	Elsewhere Elsewhere
	// Tokens verifies those of anonymous clients; nil: none is looked at.
	Tokens *token.Verifier
	// RoomPrefix is the first label of the rooms' domains, by which a token's
	// room is known; default "conference".
	RoomPrefix string
	// Requests says what is believed of HTTP requests and which pages may ask.
	Requests request.Policy
	// Shard is announced as x-jitsi-shard on plain GETs and over BOSH, unless
	// empty.
	Shard string
	// TLS is for STARTTLS. Without it only trusted listeners can be served.
	TLS *tls.Config
	// Identities of Domain, besides server/im, in disco#info (XEP-0030) and
	// in what is pushed to each visitor at bind.
	Identities []Identity
	// Items of Domain in disco#items: its components' addresses.
	Items []string
	// Services are told to clients that ask (XEP-0215).
	Services []Service
	// Software and Version answer XEP-0092; default "vnode", no version.
	Software, Version string

	Limits Limits
}

// Identity is one of XEP-0030's.
type Identity struct{ Category, Type, Name string }

// Limits bound what clients may use. A zero field means its default.
type Limits struct {
	// Connections is how many clients are served at once, logged in or not;
	// default 20,000. Above it TCP clients get resource-constraint, others
	// HTTP 503; 64 on trusted listeners are served nevertheless.
	Connections int
	// PerAddress is the same for one client address (for IPv6 a /64), and how
	// many of its sessions may be without a connection besides; default 500. Loopback and unix sockets are exempt: all that comes
	// through a proxy comes from there.
	PerAddress int
	// JoinsPerSecond is the highest rate of logins; default 2000. A node that
	// is busy lets in fewer. Who comes back to a session comes first.
	JoinsPerSecond int
	// JoinPatience is how long a WebSocket's handshake may wait for its turn;
	// default 2 s. Who would wait longer is told to come again, with HTTP 503
	// or resource-constraint.
	JoinPatience time.Duration
	// Negotiation is how long a client has from connecting to bind; default
	// 20 s.
	Negotiation time.Duration
	// NegotiationBytes is the largest element before login; default 16 KiB.
	// RFC 6120 §13.12 wants at least 10,000.
	NegotiationBytes int
	// NegotiationElements is how many elements a client may send before
	// bind; default 32.
	NegotiationElements int
	// Logins is how many failed logins end a stream; default 3 (RFC 6120
	// §6.4.5 wants 2 to 5).
	Logins int
	// Guesses is how many wrong passwords one client address may try at once,
	// GuessEvery the time after which it may try one more; default 20 and
	// 30 s. Others get temporary-auth-failure.
	Guesses    int
	GuessEvery time.Duration
	// StanzaBytes is the largest stanza of a visitor; default 256 KiB.
	StanzaBytes int
	// AdminStanzaBytes is the largest stanza of an admin; default 10 MiB.
	// Jicofo's stanzas grow with the conference.
	AdminStanzaBytes int
	// BytesPerSecond is what a visitor may send in the long run, RateBurst
	// what it may send at once; default 64 KiB/s and 512 KiB. Faster ones
	// are read more slowly, nothing is lost. Admins are exempt.
	BytesPerSecond, RateBurst int
	// StanzasPerSecond is how many stanzas, or WebSocket control frames, a
	// visitor may send in the long run; default 32. Each counts as so many bytes at least that as many make
	// BytesPerSecond. Admins are exempt.
	StanzasPerSecond int
	// PingAfter is the silence after which a client is asked whether it is
	// there, PingTimeout the further silence that ends it; default 60 s
	// each.
	PingAfter, PingTimeout time.Duration
	// AckEvery is after how many stanzas a client with stream management is
	// asked for an acknowledgement; default 10.
	AckEvery int
	// PrivateBytes is how many bytes of stanzas for one visitor may wait to
	// be sent, besides its room's, and half of what it may leave
	// unacknowledged of them; default 1 MiB. AdminPrivateBytes is the
	// same for an admin, which gets every visitor's presence; default 64 MiB.
	PrivateBytes, AdminPrivateBytes int
	// Unacked is how many stanzas a visitor that may resume its session can
	// leave unacknowledged before it is ended as too slow; default 8192,
	// twice what a room keeps: a visitor that comes back gets all of that at
	// once. AdminUnacked is the same for an admin; default 65,536.
	Unacked, AdminUnacked int
	// Hibernation is how long a session at Domain outlives its connection
	// and may be resumed (XEP-0198 §5), in whole seconds; default 60 s.
	// AuthHibernation is the same at AuthDomain; default 15 s.
	Hibernation, AuthHibernation time.Duration
	// Hibernating is how many sessions may be without a connection at once;
	// default Connections, for a proxy that restarts drops all. Above it the
	// one that has waited longest is given up.
	Hibernating int
	// Close is how long a client has to take the last bytes and to close
	// its side; default 2 s.
	Close time.Duration
}

func (l Limits) withDefaults() Limits {
	setDefault(&l.Connections, 20_000)
	setDefault(&l.PerAddress, 500)
	setDefault(&l.JoinsPerSecond, 2000)
	setDefault(&l.JoinPatience, 2*time.Second)
	setDefault(&l.Guesses, 20)
	setDefault(&l.GuessEvery, 30*time.Second)
	setDefault(&l.StanzasPerSecond, 32)
	setDefault(&l.Negotiation, 20*time.Second)
	setDefault(&l.NegotiationBytes, 16<<10)
	setDefault(&l.NegotiationElements, 32)
	setDefault(&l.Logins, 3)
	setDefault(&l.StanzaBytes, wire.DefaultMaxBytes)
	setDefault(&l.AdminStanzaBytes, 10<<20)
	setDefault(&l.BytesPerSecond, 64<<10)
	setDefault(&l.RateBurst, 512<<10)
	setDefault(&l.PingAfter, time.Minute)
	setDefault(&l.PingTimeout, time.Minute)
	setDefault(&l.AckEvery, 10)
	setDefault(&l.PrivateBytes, 1<<20)
	setDefault(&l.AdminPrivateBytes, 64<<20)
	setDefault(&l.Unacked, 8192)
	setDefault(&l.AdminUnacked, 65_536)
	setDefault(&l.Hibernation, time.Minute)
	setDefault(&l.AuthHibernation, 15*time.Second)
	setDefault(&l.Hibernating, l.Connections)
	setDefault(&l.Close, 2*time.Second)
	return l
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// Validate reports everything that is wrong with c, or nil.
func (c *Config) Validate() error {
	var errs []error
	domain := func(name, s string) {
		j, err := wire.ParseJID(s)
		if err != nil || j.Local != "" || j.Resource != "" || j.Domain != s {
			errs = append(errs, fmt.Errorf("%s: %q is not a domain in lower case", name, s))
		}
	}
	domain("domain", c.Domain)
	if c.AuthDomain != "" {
		domain("auth domain", c.AuthDomain)
		if c.Accounts == nil {
			errs = append(errs, errors.New("auth domain: no accounts"))
		}
	}
	for d := range c.AccountDomains {
		domain("account domain", d)
		if d == c.Domain || d == c.AuthDomain {
			errs = append(errs, fmt.Errorf("account domain: %q is served already", d))
		}
	}
	if c.AuthDomain == c.Domain {
		errs = append(errs, errors.New("auth domain: same as the domain"))
	}
	for _, item := range c.Items {
		if _, err := wire.ParseJID(item); err != nil {
			errs = append(errs, fmt.Errorf("item: %w", err))
		}
	}
	for i := range c.Services {
		if err := c.Services[i].validate(); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, c.Limits.validate()...)...)
}

func (l *Limits) validate() []error {
	var errs []error
	for _, v := range []struct {
		name string
		n    int
		min  int
	}{
		{"connections", l.Connections, 1},
		{"connections per address", l.PerAddress, 1},
		{"joins per second", l.JoinsPerSecond, admission.MinRate},
		{"join patience", int(l.JoinPatience), 1},
		{"guesses", l.Guesses, 1},
		{"time between guesses", int(l.GuessEvery), 1},
		{"stanzas per second", l.StanzasPerSecond, 1},
		{"bytes before login", l.NegotiationBytes, 10_000},
		{"elements before bind", l.NegotiationElements, 8},
		{"failed logins", l.Logins, 2},
		{"stanza bytes", l.StanzaBytes, 10_000},
		{"admin stanza bytes", l.AdminStanzaBytes, 10_000},
		{"bytes per second", l.BytesPerSecond, 1},
		{"burst", l.RateBurst, 1},
		{"ack every", l.AckEvery, 1},
		{"private bytes", l.PrivateBytes, 1},
		{"admin private bytes", l.AdminPrivateBytes, 1},
		{"unacknowledged stanzas", l.Unacked, 100},
		{"unacknowledged admin stanzas", l.AdminUnacked, 100},
		{"hibernation", int(l.Hibernation), int(time.Second)},
		{"hibernation at the auth domain", int(l.AuthHibernation), int(time.Second)},
		{"hibernating sessions", l.Hibernating, 1},
		{"negotiation time", int(l.Negotiation), 1},
		{"ping after", int(l.PingAfter), 1},
		{"ping timeout", int(l.PingTimeout), 1},
		{"close time", int(l.Close), 1},
	} {
		if v.n != 0 && v.n < v.min {
			errs = append(errs, fmt.Errorf("limit %s: %d is below %d", v.name, v.n, v.min))
		}
	}
	return errs
}
