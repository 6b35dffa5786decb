package s2s

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"slices"

	"vnode/s2s/trust"
)

// Trust is what a [Config] says of who is believed.
type Trust = trust.Config

// vouch says what speaks for a peer that claims domain and connected from addr
// with these certificates; "" when nothing does.
func (s *Server) vouch(c *settings, certs []*x509.Certificate, addr netip.Addr, domain string) string {
	return c.trust.Vouch(s.known, certs, domain, func() bool { return s.addressOf(c, addr, domain) })
}

// addressOf reports whether addr is one the peer would be dialed at, or one
// that may speak for every peer.
func (s *Server) addressOf(c *settings, addr netip.Addr, domain string) bool {
	if !addr.IsValid() {
		return false
	}
	if c.trust.Listed(addr) {
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
// is the one we know there, and remembers what it showed.
func (s *Server) checkDialed(c *settings, certs []*x509.Certificate, domain string) error {
	d, err := c.trust.CheckDialed(s.known, certs, domain)
	switch {
	case err != nil:
		return because(BadCertificate, err)
	case d.Changed:
		s.log.Warn("the certificate of a peer changed", "peer", domain, "old", d.Before, "new", d.Seen)
	case d.New:
		s.log.Info("learned the certificate of a peer", "peer", domain, "new", d.Seen)
	default:
		return nil
	}
	if err := s.known.Learn(domain, d.Seen); err != nil {
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
