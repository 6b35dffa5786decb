package s2s

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
)

// vouch says what speaks for a peer that claims domain and connected from addr
// with these certificates; "" when nothing does.
func (s *Server) vouch(c *settings, certs []*x509.Certificate, addr netip.Addr, domain string) string {
	if c.Trust.Anyone {
		return "trusting anyone"
	}
	if how := c.certified(certs, domain); how != "" {
		return how
	}
	if known, ok := s.known.get(domain); ok && c.firstUse() && len(certs) > 0 && known == fingerprintOf(certs[0]) {
		return "known certificate"
	}
	if !c.Trust.Strict && s.addressOf(c, addr, domain) {
		return "address"
	}
	return ""
}

// certified checks a chain against CAs and pins.
func (c *settings) certified(certs []*x509.Certificate, domain string) string {
	if len(certs) == 0 {
		return ""
	}
	if c.pins[fingerprintOf(certs[0])] {
		return "pinned certificate"
	}
	if c.Trust.CAs == nil || certs[0].VerifyHostname(domain) != nil {
		return ""
	}
	between := x509.NewCertPool()
	for _, cert := range certs[1:] {
		between.AddCert(cert)
	}
	// Servers show the same certificate in both directions, whatever the
	// purpose in it (XEP-0178 §6).
	_, err := certs[0].Verify(x509.VerifyOptions{
		Roots: c.Trust.CAs, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return ""
	}
	return "certificate"
}

// firstUse reports whether certificates seen at configured addresses count.
func (c *settings) firstUse() bool {
	return !c.Trust.Strict || c.Trust.CAs == nil && len(c.pins) == 0
}

// addressOf reports whether addr is one the peer would be dialed at, or one
// that may speak for every peer.
func (s *Server) addressOf(c *settings, addr netip.Addr, domain string) bool {
	if !addr.IsValid() {
		return false
	}
	if slices.ContainsFunc(c.Trust.Addresses, func(p netip.Prefix) bool { return p.Contains(addr) }) {
		return true
	}
	host := c.target(domain).host
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Unmap().WithZone("") == addr
	}
	ctx, cancel := context.WithTimeout(s.ctx, c.NegotiationTimeout)
	defer cancel()
	addrs, err := s.lookup(ctx, host)
	if err != nil {
		s.log.Warn("cannot resolve the address of a peer", "peer", domain, "error", err)
		return false
	}
	return slices.ContainsFunc(addrs, func(a netip.Addr) bool { return a.Unmap().WithZone("") == addr })
}

// checkDialed decides whether the server at the configured address of domain
// is the one we know there.
func (s *Server) checkDialed(c *settings, certs []*x509.Certificate, domain string) error {
	if c.Trust.Anyone || c.certified(certs, domain) != "" {
		return nil
	}
	if len(certs) == 0 {
		return because(BadCertificate, errors.New("the peer shows no certificate"))
	}
	seen := fingerprintOf(certs[0])
	if !c.firstUse() {
		return because(BadCertificate, fmt.Errorf("certificate %v is neither signed by the configured CAs for this domain nor pinned", seen))
	}
	known, ok := s.known.get(domain)
	switch {
	case known == seen && ok:
		return nil
	case ok && c.Trust.Strict:
		return because(BadCertificate, fmt.Errorf("certificate %v is not the one seen before, %v", seen, known))
	case ok:
		s.log.Warn("the certificate of a peer changed", "peer", domain, "old", known, "new", seen)
	default:
		s.log.Info("learned the certificate of a peer", "peer", domain, "new", seen)
	}
	if err := s.known.learn(domain, seen); err != nil {
		s.log.Error("cannot remember the certificate of a peer", "peer", domain, "error", err)
	}
	return nil
}

func (st *stream) peerCertificates() []*x509.Certificate {
	if t, ok := st.conn.(*tls.Conn); ok {
		return t.ConnectionState().PeerCertificates
	}
	return nil
}

func fingerprintOf(c *x509.Certificate) fingerprint { return sha256.Sum256(c.Raw) }

func (f fingerprint) String() string { return hex.EncodeToString(f[:]) }

// knownCerts remembers the certificate each peer showed when it was dialed.
// The file has a line "domain fingerprint" for each time one was learned, the
// last of a domain counts; lines are only appended, so that no crash loses what
// was there and the history of changes stays readable.
type knownCerts struct {
	path string // static; "" keeps nothing on disk

	// Guarded by mu.
	mu    sync.Mutex
	certs map[string]fingerprint
}

func openKnownCerts(path string) (*knownCerts, error) {
	k := &knownCerts{path: path, certs: map[string]fingerprint{}}
	if path == "" {
		return k, nil
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	if err != nil {
		return nil, fmt.Errorf("known certificates: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		domain, text, _ := strings.Cut(lines.Text(), " ")
		b, err := hex.DecodeString(strings.TrimSpace(text))
		if err == nil && len(b) == sha256.Size { // a line cut short by a crash is no certificate
			k.certs[domain] = fingerprint(b)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("known certificates: %w", err)
	}
	return k, nil
}

func (k *knownCerts) get(domain string) (fingerprint, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f, ok := k.certs[domain]
	return f, ok
}

func (k *knownCerts) learn(domain string, seen fingerprint) error {
	k.mu.Lock()
	k.certs[domain] = seen
	k.mu.Unlock()
	if k.path == "" {
		return nil
	}
	f, err := os.OpenFile(k.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s %v\n", domain, seen)
	return errors.Join(err, f.Close())
}
