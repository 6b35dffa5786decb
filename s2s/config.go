package s2s

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"vnode/internal/guard"
	"vnode/internal/wire"
	"vnode/s2s/trust"
)

// Config says which domains may talk to each other and how. Zero values of
// durations and sizes mean the default given with each.
type Config struct {
	// Guard keeps a panic to the stream that met it; nil: a panic ends the process.
	Guard *guard.Guard
	// Hosts are the domains served here. At least one.
	Hosts []string
	// Peers are the domains that may open streams to Hosts and that Hosts may
	// send to: exactly these, no sub-domains. At least one, none of Hosts.
	Peers []string
	// Main is where every peer is dialed: host:port, tcp://host:port (the
	// same), or tls://host:port for direct TLS (XEP-0368). The host is a name,
	// resolved anew at each dial, or an address; the port defaults to 5269,
	// 5270 for tls.
	Main string
	// Targets replaces Main for single peers; the keys are domains of Peers.
	Targets map[string]string
	// TLS holds the certificate shown in both directions (Certificates or
	// GetCertificate) and may narrow versions and ciphers; less than TLS 1.2
	// is never spoken. Its client authentication and root settings are not
	// used: see Trust.
	TLS *tls.Config
	// Trust says how peers prove who they are.
	Trust trust.Config
	// DialbackSecret makes dialback keys verifiable by every process that has
	// the same secret (XEP-0185). Empty: a random one for each Server.
	DialbackSecret string

	// NegotiationTimeout bounds each phase of a negotiation: connecting, a
	// stream header, the TLS handshake, authentication. Default 15 s.
	NegotiationTimeout time.Duration
	// WriteTimeout ends a stream whose peer takes no bytes. Default 30 s.
	WriteTimeout time.Duration
	// CloseTimeout is how long a closed stream waits for the peer to close it
	// too. Default 5 s.
	CloseTimeout time.Duration
	// KeepAlive is the longest silence on a stream before something is sent:
	// a question to a peer that answers (XEP-0198 §4, XEP-0199), else
	// whitespace (RFC 6120 §4.6.1). It is half of what the peer announces as its limit when
	// that is less (XEP-0478). Default 60 s; Prosody gives up after 840 s.
	KeepAlive time.Duration
	// LossTimeout bounds how long a half-open TCP connection goes unnoticed:
	// it is the time without any answer of the peer's kernel, to data or to
	// probes. Default 30 s. Linux only; elsewhere probes alone find it. It is
	// also how long a peer whose kernel still answers may owe us an answer and
	// say nothing at all; it is asked with what we send, and after KeepAlive.
	LossTimeout time.Duration
	// RetryMin and RetryMax bound the jittered, doubling pause between two
	// attempts to open a stream. Defaults 1 s and 60 s.
	RetryMin, RetryMax time.Duration

	// QueueTimeout is how long a stanza may wait for a stream. Default 30 s.
	QueueTimeout time.Duration
	// QueueBytes and QueueStanzas bound what waits in one pair. Defaults 8 MiB
	// and 8192.
	QueueBytes, QueueStanzas int

	// MaxBytes is the largest stanza accepted, announced to peers (XEP-0478).
	// Default 512 KiB, which is in any case the limit of those that a peer
	// passes on for somebody with a full address. Larger ones are dropped.
	MaxBytes int
	// MaxPending bounds incoming connections of strangers that have not
	// authenticated, and apart from them those of addresses that speak for peers.
	// MaxStreams bounds all incoming ones. Defaults 64 and 1024.
	MaxPending, MaxStreams int
}

// Validate reports everything that is wrong with c.
func (c Config) Validate() error {
	_, err := c.compile()
	return err
}

// settings is a Config with defaults filled in and its text parsed. It is
// immutable: a reload replaces it.
type settings struct {
	Config
	hosts   map[string]bool
	peers   map[string]bool
	main    target
	targets map[string]target
	trust   *trust.Policy
	server  *tls.Config
}

func (c Config) compile() (*settings, error) {
	s := &settings{Config: c.withDefaults()}
	var errs []error
	note := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	var err error
	s.hosts, err = domains("Hosts", c.Hosts)
	note(err)
	s.peers, err = domains("Peers", c.Peers)
	note(err)
	for d := range s.peers {
		if s.hosts[d] {
			note(fmt.Errorf("%s is in both Hosts and Peers", d))
		}
	}
	s.main, err = parseTarget(c.Main)
	note(err)
	note(s.parseTargets())
	s.trust, err = c.Trust.Compile()
	note(err)
	note(s.compileTLS())
	for _, d := range s.durations() {
		if *d.v < 0 {
			note(fmt.Errorf("%s is negative", d.name))
		}
	}
	if s.RetryMin > s.RetryMax {
		note(errors.New("RetryMin is greater than RetryMax"))
	}
	if s.MaxBytes < minMaxBytes {
		note(fmt.Errorf("MaxBytes is less than %d, which RFC 6120 §13.12 asks for", minMaxBytes))
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("s2s: %w", errors.Join(errs...))
	}
	return s, nil
}

const minMaxBytes = 10000

// duration is one of the fields of a Config.
type duration struct {
	name string
	v    *time.Duration
	def  time.Duration
}

func (c *Config) durations() []duration {
	return []duration{
		{"NegotiationTimeout", &c.NegotiationTimeout, 15 * time.Second},
		{"WriteTimeout", &c.WriteTimeout, 30 * time.Second},
		{"CloseTimeout", &c.CloseTimeout, 5 * time.Second},
		{"KeepAlive", &c.KeepAlive, 60 * time.Second},
		{"LossTimeout", &c.LossTimeout, 30 * time.Second},
		{"RetryMin", &c.RetryMin, time.Second},
		{"RetryMax", &c.RetryMax, 60 * time.Second},
		{"QueueTimeout", &c.QueueTimeout, 30 * time.Second},
	}
}

func (c Config) withDefaults() Config {
	for _, d := range c.durations() {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	for _, f := range []struct {
		v   *int
		def int
	}{
		{&c.QueueBytes, 8 << 20}, {&c.QueueStanzas, 8192},
		{&c.MaxBytes, wire.DefaultMaxServerBytes}, {&c.MaxPending, 64}, {&c.MaxStreams, 1024},
	} {
		if *f.v <= 0 {
			*f.v = f.def
		}
	}
	return c
}

// domains normalises a list as [wire.ParseJID] does with what peers send.
func domains(field string, list []string) (map[string]bool, error) {
	set := make(map[string]bool, len(list))
	for _, d := range list {
		name, ok := domain(d)
		if !ok {
			return nil, fmt.Errorf("%s: %q is not a domain", field, d)
		}
		set[name] = true
	}
	if len(set) == 0 {
		return nil, fmt.Errorf("%s is empty", field)
	}
	return set, nil
}

// domain normalises s and reports whether it is a domain and nothing else.
func domain(s string) (string, bool) {
	j, err := wire.ParseJID(s)
	return j.Domain, err == nil && j.Local == "" && j.Resource == ""
}

func (s *settings) parseTargets() error {
	s.targets = make(map[string]target, len(s.Targets))
	for d, text := range s.Targets {
		name, ok := domain(d)
		if !ok || !s.peers[name] {
			return fmt.Errorf("Targets: %q is not one of Peers", d)
		}
		t, err := parseTarget(text)
		if err != nil {
			return err
		}
		s.targets[name] = t
	}
	return nil
}

// target returns where a peer is dialed.
func (s *settings) target(remote string) target {
	if t, ok := s.targets[remote]; ok {
		return t
	}
	return s.main
}

// dials reports whether a peer is configured to be at addr. Names are not looked
// up.
func (s *settings) dials(addr netip.Addr) bool {
	is := func(t target) bool {
		a, err := netip.ParseAddr(t.host)
		return err == nil && a.Unmap().WithZone("") == addr
	}
	for _, t := range s.targets {
		if is(t) {
			return true
		}
	}
	return is(s.main)
}

func (s *settings) compileTLS() error {
	c := s.TLS
	if c == nil || len(c.Certificates) == 0 && c.GetCertificate == nil {
		return errors.New("TLS has no certificate")
	}
	s.server = c.Clone()
	s.server.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	s.server.ClientAuth = tls.RequestClientCert // checked by Trust, after the stream header names the domain
	s.server.NextProtos = []string{alpn}
	s.server.GetConfigForClient = nil

	return nil
}

// clientTLS is the configuration to dial remote with as local.
func (s *settings) clientTLS(local, remote string, direct bool) *tls.Config {
	c := s.TLS.Clone()
	c.MinVersion = s.server.MinVersion
	c.ServerName = remote
	c.InsecureSkipVerify = true // checked by Trust, which knows pins and remembered certificates
	c.NextProtos = nil
	if direct {
		c.NextProtos = []string{alpn}
	}
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		// Not left to crypto/tls: it would show no certificate at all to a
		// server that lists CAs other than the issuer of ours.
		if len(s.TLS.Certificates) > 0 {
			return &s.TLS.Certificates[0], nil
		}
		return s.TLS.GetCertificate(&tls.ClientHelloInfo{ServerName: local})
	}
	return c
}

// alpn is the protocol name of direct TLS, XEP-0368 §2.
const alpn = "xmpp-server"

// target is where to dial.
type target struct {
	host, port string
	direct     bool // TLS from the first byte
}

func parseTarget(s string) (target, error) {
	t := target{port: "5269"}
	rest, direct := strings.CutPrefix(s, "tls://")
	if direct {
		t.direct, t.port = true, "5270"
	}
	rest = strings.TrimPrefix(rest, "tcp://")
	host, port, err := net.SplitHostPort(rest)
	if err != nil {
		host, port = strings.Trim(rest, "[]"), t.port
	}
	_, badPort := strconv.ParseUint(port, 10, 16)
	badHost := host == "" || strings.ContainsAny(host, "/ []") || strings.Contains(host, ":") && net.ParseIP(host) == nil
	if badPort != nil || badHost {
		return target{}, fmt.Errorf("%q is not an address like host:5269 or tls://host:5270", s)
	}
	t.host, t.port = host, port
	return t, nil
}

func (t target) String() string { return net.JoinHostPort(t.host, t.port) }

// limits are those of a stream before or after authentication. A peer that has
// not authenticated has nothing large to say; 10,000 bytes is also the least
// RFC 6120 §13.12 allows.
func (s *settings) limits(authenticated bool) wire.Limits {
	if !authenticated {
		return wire.Limits{MaxBytes: minMaxBytes, MaxDepth: 16}
	}
	return wire.Limits{MaxBytes: s.MaxBytes}
}

// anyHost is the domain to answer as when the peer named none.
func (s *settings) anyHost() string {
	host, _ := domain(s.Hosts[0])
	return host
}
