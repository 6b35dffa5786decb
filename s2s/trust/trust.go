package trust

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Config says what makes a peer believable. For an incoming stream SASL
// EXTERNAL is offered when any of CAs, Pins, a known certificate or the peer's
// address speaks for it; otherwise it may prove itself by dialback, which asks
// the configured address of that peer.
type Config struct {
	// CAs sign certificates that are valid for the domains named in them. Nil:
	// none are trusted, not even the system's.
	CAs *x509.CertPool
	// Pins are SHA-256 fingerprints, in hexadecimal with or without colons, of
	// certificates that may speak for every peer.
	Pins []string
	// KnownCerts is a file that remembers which certificate the configured
	// address of each peer showed when it was dialed: trust on first use. A
	// peer with that certificate is believed on incoming streams too. Empty:
	// remembered until the process ends.
	KnownCerts string
	// Addresses are networks whose hosts may speak for every peer, in addition
	// to the addresses that the configured target of the peer resolves to.
	Addresses []netip.Prefix
	// Strict believes no TCP address, neither that of the target nor
	// Addresses, and refuses to dial a peer whose certificate is neither
	// signed by CAs nor pinned nor the one remembered. When CAs or Pins are
	// set a certificate is not remembered but must match one of them.
	Strict bool
	// Anyone believes whoever names a domain of Peers, as Jitsi's visitor
	// prosody does. For private networks only.
	Anyone bool
	// NoDialback neither offers dialback nor uses it.
	NoDialback bool
}

// Policy is a Config whose text was parsed. It does not change.
type Policy struct {
	Config
	pins map[Fingerprint]bool
}

// Compile returns the Policy of c, or what is wrong with it.
func (c Config) Compile() (*Policy, error) {
	p := &Policy{Config: c, pins: make(map[Fingerprint]bool, len(c.Pins))}
	for _, text := range c.Pins {
		b, err := hex.DecodeString(strings.ReplaceAll(text, ":", ""))
		if err != nil || len(b) != sha256.Size {
			return nil, fmt.Errorf("Trust.Pins: %q is not a SHA-256 fingerprint in hexadecimal", text)
		}
		p.pins[Fingerprint(b)] = true
	}
	return p, nil
}

// Vouch says what speaks for a peer that claims domain and showed these
// certificates, its own first; "" when nothing does. byAddress is asked last,
// and only when an address counts: whether the peer's speaks for it.
func (p *Policy) Vouch(known *Known, certs []*x509.Certificate, domain string, byAddress func() bool) string {
	if p.Anyone {
		return "trusting anyone"
	}
	if how := p.certified(certs, domain); how != "" {
		return how
	}
	if seen, ok := known.Get(domain); ok && p.firstUse() && len(certs) > 0 && seen == Of(certs[0]) {
		return "known certificate"
	}
	if !p.Strict && byAddress() {
		return "address"
	}
	return ""
}

// Listed reports whether addr is one of Addresses.
func (p *Policy) Listed(addr netip.Addr) bool {
	return slices.ContainsFunc(p.Addresses, func(n netip.Prefix) bool { return n.Contains(addr) })
}

// certified checks a chain against CAs and pins.
func (p *Policy) certified(certs []*x509.Certificate, domain string) string {
	if len(certs) == 0 {
		return ""
	}
	if p.pins[Of(certs[0])] {
		return "pinned certificate"
	}
	if p.CAs == nil || certs[0].VerifyHostname(domain) != nil {
		return ""
	}
	between := x509.NewCertPool()
	for _, cert := range certs[1:] {
		between.AddCert(cert)
	}
	// Servers show the same certificate in both directions, whatever the
	// purpose in it (XEP-0178 §6).
	_, err := certs[0].Verify(x509.VerifyOptions{
		Roots: p.CAs, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return ""
	}
	return "certificate"
}

// firstUse reports whether certificates seen at configured addresses count.
func (p *Policy) firstUse() bool {
	return !p.Strict || p.CAs == nil && len(p.pins) == 0
}

// Dialed is what became of the certificate a dialed peer showed.
type Dialed struct {
	Seen, Before Fingerprint
	New          bool // it was not known before, and is to be learned
	Changed      bool // another one was: Before
}

// CheckDialed decides whether the server at the configured address of domain,
// which showed these certificates, is the one we know there. The error says
// why it is not believed.
func (p *Policy) CheckDialed(known *Known, certs []*x509.Certificate, domain string) (d Dialed, err error) {
	if p.Anyone || p.certified(certs, domain) != "" {
		return d, nil
	}
	if len(certs) == 0 {
		return d, errors.New("the peer shows no certificate")
	}
	d.Seen = Of(certs[0])
	if !p.firstUse() {
		return d, fmt.Errorf("certificate %v is neither signed by the configured CAs for this domain nor pinned", d.Seen)
	}
	before, ok := known.Get(domain)
	d.Before, d.Changed = before, ok && before != d.Seen
	d.New = !ok || d.Changed
	if d.Changed && p.Strict {
		return d, fmt.Errorf("certificate %v is not the one seen before, %v", d.Seen, before)
	}
	return d, nil
}
