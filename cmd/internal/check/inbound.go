package check

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vnode/cmd/internal/config"
	"vnode/internal/wire"
	"vnode/s2s"
)

// watch waits for main's answer to reach the node.
type watch struct {
	secret string // of dialback, where the port is ours
	wait   func(context.Context) error
	close  func()
}

// listenAsNode takes the place of a node that does not run: its s2s port, with
// its rules of whom to believe.
func (c *checker) listenAsNode(ctx context.Context) (*watch, error) {
	ln, err := net.Listen("tcp", c.cfg.S2S[0])
	if err != nil {
		return nil, err
	}
	trust, err := c.trust()
	if err != nil {
		ln.Close()
		return nil, err
	}
	h := &answered{done: make(chan struct{}, 1)}
	secret := rand.Text()
	srv, err := s2s.New(s2s.Config{
		Hosts: []string{c.cfg.Host(), c.cfg.Rooms()},
		Peers: append([]string{c.cfg.MainDomain, c.cfg.MainRooms(), "visitors." + c.cfg.MainDomain, "polls." + c.cfg.MainDomain}, c.cfg.ExtraDomains...),
		Main:  c.cfg.MainS2S, TLS: &tls.Config{Certificates: []tls.Certificate{*c.cert.tls}}, Trust: trust, DialbackSecret: secret,
	}, h, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		ln.Close()
		return nil, err
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		// It ends with serving; a listener that fails shows in no answer.
		_ = srv.Serve(serving, ln)
	}()
	return &watch{secret: secret, wait: h.wait, close: func() {
		stop()
		<-ended
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = srv.Close(closing) // main may be slow to say good-bye
	}}, nil
}

// trust is whom the node believes, without what it would write down.
func (c *checker) trust() (s2s.Trust, error) {
	addresses, err := c.cfg.TrustedAddresses()
	if err != nil {
		return s2s.Trust{}, err
	}
	t := s2s.Trust{Pins: c.cfg.S2SPins, Addresses: addresses,
		Strict: c.cfg.S2STrust == config.TrustCertificate, Anyone: c.cfg.S2STrust == config.TrustAnyone}
	if c.cfg.S2SCAFile != "" {
		pem, err := os.ReadFile(c.cfg.S2SCAFile)
		if err != nil {
			return s2s.Trust{}, fmt.Errorf("s2s-ca-file: %w", err)
		}
		t.CAs = x509.NewCertPool()
		t.CAs.AppendCertsFromPEM(pem)
	}
	return t, nil
}

// answered is told of main's answer.
type answered struct{ done chan struct{} }

// Stanza implements s2s.Handler.
func (a *answered) Stanza(s *wire.Stanza) {
	if string(s.Name) == "iq" && strings.HasPrefix(string(s.ID), "check-") {
		select {
		case a.done <- struct{}{}:
		default:
		}
	}
}

// Link implements s2s.Handler.
func (a *answered) Link(string, uint64) {}

func (a *answered) wait(ctx context.Context) error {
	select {
	case <-a.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// watchNode looks at the counters of a running node: main's answer shows as a
// stream that main opened, with a stanza on it.
func (c *checker) watchNode(ctx context.Context) (*watch, error) {
	before, err := c.running.metrics(ctx)
	if err != nil {
		return nil, err
	}
	return &watch{close: func() {}, wait: func(ctx context.Context) error {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			now, err := c.running.metrics(ctx)
			if err != nil {
				return err
			}
			// Main may have a stream already, from the last time it was asked.
			// Streams that ended do not count: a look at the port is one.
			if now[streamsIn] > before[streamsIn] || before[streamsIn] > 0 && now[stanzasIn] > before[stanzasIn] {
				return nil
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return errors.New("no stream of main's with a stanza")
			}
		}
	}}, nil
}

const (
	streamsIn = `vnode_s2s_streams{direction="in",state="ready"}`
	stanzasIn = `vnode_s2s_stanzas_total{direction="in"}`
)
