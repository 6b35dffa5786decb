package visitor

import (
	"slices"
	"strconv"
	"sync"
	"time"

	"vnode/internal/wire"
	"vnode/visitor/sasl"
)

// host is a domain the server serves.
type host struct {
	name       string
	mechanisms []mechanism
	passwords  bool // the mechanisms send some: never in clear
	tcpOnly    bool
	// hibernation is how long a session outlives its connection.
	hibernation time.Duration

	// Payloads of answers, encoded once.
	info, items []byte // disco of the domain
	pushed      []byte // identities told to a client at bind; nil for none

	told sync.Map // features → []byte, encoded when they were first needed
}

// unbound are the mechanisms for a client without a channel to bind to.
func (h *host) unbound() []mechanism {
	return slices.DeleteFunc(slices.Clone(h.mechanisms), func(m mechanism) bool { return m.bound })
}

// mechanism returns the mechanism with that name, if it is offered.
func (h *host) mechanism(name string, st *stream) (mechanism, bool) {
	i := slices.IndexFunc(h.mechanisms, func(m mechanism) bool {
		return m.name == name && (!m.bound || len(st.bindings) > 0)
	})
	if i < 0 {
		return mechanism{}, false
	}
	return h.mechanisms[i], true
}

func (s *Server) newHosts() {
	visitors := &host{
		name:       s.cfg.Domain,
		mechanisms: []mechanism{{mechAnonymous, false, func(st *stream) exchange { return anonymousExchange{s, st} }}},
		info:       discoInfo(s.cfg.Identities, true),
		items:      discoItems(s.cfg.Items),
		pushed:     discoInfo(s.cfg.Identities, false),

		hibernation: s.cfg.Limits.Hibernation,
	}
	s.hosts = map[string]*host{visitors.name: visitors}
	l := &s.cfg.Limits
	guesses := sasl.NewGuesses(l.Guesses, l.GuessEvery, s.metrics.guessers.Inc)
	if s.cfg.AuthDomain != "" {
		s.hosts[s.cfg.AuthDomain] = &host{
			name: s.cfg.AuthDomain, tcpOnly: true, passwords: true,
			mechanisms: passwords(sasl.NewAuthenticator(s.cfg.AuthDomain, s.cfg.Accounts, guesses)),
			info:       discoInfo(nil, true), items: discoItems(nil), hibernation: l.AuthHibernation,
		}
	}
	for domain, accounts := range s.cfg.AccountDomains {
		s.hosts[domain] = &host{
			name: domain, passwords: true, mechanisms: passwords(sasl.NewAuthenticator(domain, accounts, guesses)),
			info: visitors.info, items: visitors.items, pushed: visitors.pushed, hibernation: l.Hibernation,
		}
	}
}

// discoInfo encodes a disco#info answer (XEP-0030 §3.1).
func discoInfo(ids []Identity, features bool) []byte {
	b := wire.NewBuilder(nil).Start("query", "xmlns", wire.NSDisco)
	for _, id := range ids {
		b.Start("identity", "category", id.Category, "type", id.Type).Attr("name", id.Name).End()
	}
	b.Elem("identity", "", "category", "server", "type", "im", "name", "vnode")
	if features {
		for _, f := range []string{
			wire.NSDisco, wire.NSItems, wire.NSPing, nsExtdisco1, nsExtdisco2, nsVersion,
		} {
			b.Elem("feature", "", "var", f)
		}
	}
	return b.Bytes()
}

func discoItems(jids []string) []byte {
	b := wire.NewBuilder(nil).Start("query", "xmlns", wire.NSItems)
	for _, j := range jids {
		b.Elem("item", "", "jid", j)
	}
	return b.Bytes()
}

// features are the stream features (RFC 6120 §4.3.2) of one step of the
// negotiation.
type features struct {
	declare  bool // on WebSocket: each message is a document of its own
	startTLS bool
	offer    bool // the mechanisms
	bind     bool
	acks     bool // stream management, with bind
	maxBytes int
}

// features encodes f, once but for who can use a channel binding.
func (h *host) features(f features, bindings []sasl.Binding, idle time.Duration) []byte {
	if len(bindings) > 0 {
		return f.append(h.mechanisms, bindings, idle)
	}
	if b, ok := h.told.Load(f); ok {
		return b.([]byte)
	}
	b, _ := h.told.LoadOrStore(f, f.append(h.unbound(), nil, idle))
	return b.([]byte)
}

func (f *features) append(mechanisms []mechanism, bindings []sasl.Binding, idle time.Duration) []byte {
	b := wire.NewBuilder(nil).Start("stream:features")
	if f.declare {
		b.Attr("xmlns:stream", wire.NSStream).Attr("xmlns", wire.NSClient)
	}
	if f.startTLS {
		b.Start("starttls", "xmlns", wire.NSTLS).Elem("required", "").End()
	}
	if f.offer {
		b.Start("mechanisms", "xmlns", wire.NSSASL)
		for _, m := range mechanisms {
			b.Elem("mechanism", m.name)
		}
		b.End()
	}
	if f.offer && len(bindings) > 0 && slices.ContainsFunc(mechanisms, func(m mechanism) bool { return m.bound }) { // XEP-0440
		b.Start("sasl-channel-binding", "xmlns", "urn:xmpp:sasl-cb:0")
		for _, c := range bindings {
			b.Elem("channel-binding", "", "type", c.Type)
		}
		b.End()
	}
	if f.bind {
		// No <session/>: a client that sees it spends a round trip on it.
		b.Start("bind", "xmlns", wire.NSBind).Elem("required", "").End()
	}
	if f.acks {
		b.Start("sm", "xmlns", wire.NSSM).Elem("optional", "").End()
	}
	b.Start("limits", "xmlns", wire.NSLimits).
		Elem("max-bytes", strconv.Itoa(f.maxBytes)).
		Elem("idle-seconds", strconv.Itoa(int(idle/time.Second)))
	return b.Bytes()
}
