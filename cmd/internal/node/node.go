package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"vnode/cmd/internal/admin"
	"vnode/cmd/internal/config"
	"vnode/fanout"
	"vnode/muc"
	"vnode/s2s"
	"vnode/visitor"
)

// Node is a visitor node with all its parts.
type Node struct {
	// Static after construction.
	cfg          *config.Config
	log          *slog.Logger
	state        *state
	passwordFile string
	listeners    *listeners
	registry     *prometheus.Registry
	fan          *fanout.Broadcaster
	rooms        *muc.Service
	federation   *s2s.Server
	clients      *visitor.Server
	health       *admin.Health
}

// New makes a node of a valid configuration and opens its listening sockets.
// It serves nothing until Run, which must be called.
func New(cfg *config.Config, version string, log *slog.Logger) (*Node, error) {
	n := &Node{cfg: cfg, log: log, registry: prometheus.NewRegistry(), health: new(admin.Health)}
	n.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	var err error
	if n.state, err = openState(cfg); err != nil {
		return nil, err
	}
	cert, err := n.state.certificate([]string{cfg.Host(), cfg.Rooms(), cfg.AuthDomain})
	if err != nil {
		return nil, err
	}
	accounts, err := n.accounts()
	if err != nil {
		return nil, err
	}
	trust, err := n.trust()
	if err != nil {
		return nil, err
	}
	if n.listeners, err = listen(cfg); err != nil {
		return nil, err
	}
	if err := n.assemble(cert, accounts, trust, version); err != nil {
		n.listeners.close()
		return nil, err
	}
	return n, nil
}

func (n *Node) accounts() (visitor.Accounts, error) {
	password, path, err := n.state.focusPassword(n.cfg.FocusPasswordFile)
	if err != nil {
		return nil, err
	}
	n.passwordFile = path
	const user = "focus"
	account, err := visitor.NewAccount(user, password, true)
	if err != nil {
		return nil, fmt.Errorf("focus password in %s: %w", path, err)
	}
	return visitor.StaticAccounts{user: account}, nil
}

func (n *Node) trust() (s2s.Trust, error) {
	addresses, err := n.cfg.TrustedAddresses()
	if err != nil {
		return s2s.Trust{}, fmt.Errorf("s2s-trusted-addresses: %w", err)
	}
	t := s2s.Trust{
		Pins: n.cfg.S2SPins, KnownCerts: n.state.knownCerts(), Addresses: addresses,
		Strict: n.cfg.S2STrust == config.TrustCertificate,
		Anyone: n.cfg.S2STrust == config.TrustAnyone,
	}
	if n.cfg.S2SCAFile == "" {
		return t, nil
	}
	pem, err := os.ReadFile(n.cfg.S2SCAFile)
	if err != nil {
		return s2s.Trust{}, fmt.Errorf("s2s-ca-file: %w", err)
	}
	t.CAs = x509.NewCertPool()
	if !t.CAs.AppendCertsFromPEM(pem) {
		return s2s.Trust{}, fmt.Errorf("s2s-ca-file: %s holds no certificate in PEM form", n.cfg.S2SCAFile)
	}
	return t, nil
}

// assemble makes the parts. The handlers are tied before anything is served.
func (n *Node) assemble(cert tls.Certificate, accounts visitor.Accounts, trust s2s.Trust, version string) error {
	c := n.cfg
	tlsConfig := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	rooms := muc.Config{
		Domain: c.Rooms(), RoomPrefix: c.RoomPrefix, MainDomain: c.MainDomain,
		ParticipantDomains: c.ExtraDomains, MaxVisitors: c.MaxVisitorsPerRoom,
	}
	if err := rooms.Validate(); err != nil {
		return err
	}
	r := new(router)
	var err error
	n.federation, err = s2s.New(s2s.Config{
		Hosts: []string{c.Host(), c.Rooms()}, Peers: n.peers(), Main: c.MainS2S, TLS: tlsConfig, Trust: trust,
	}, fromMain{r}, n.log, n.registry)
	if err != nil {
		return err
	}
	n.fan = fanout.New(fanout.Config{}, n.registry)
	n.clients, err = visitor.New(visitor.Config{
		Domain: c.Host(), AuthDomain: c.AuthDomain, Accounts: accounts, TLS: tlsConfig, Version: version,
		Limits: visitor.Limits{Connections: c.MaxConnections},
	}, n.fan, fromClients{r}, n.log, n.registry)
	if err != nil {
		return err
	}
	n.rooms = muc.New(rooms, n.federation, n.fan, n.log, n.registry)
	r.rooms = n.rooms
	return nil
}

// peers are the domains main speaks from.
func (n *Node) peers() []string {
	c := n.cfg
	return append([]string{c.MainDomain, c.MainRooms(), "visitors." + c.MainDomain, "polls." + c.MainDomain}, c.ExtraDomains...)
}

// Run serves until ctx ends, then ends conferences and streams in order and
// returns. It returns an error only when a listener fails or the end takes
// longer than it should.
func (n *Node) Run(ctx context.Context) error {
	serving, stop := context.WithCancel(ctx)
	defer stop()
	g, serving := errgroup.WithContext(serving)
	web := n.serve(serving, g)
	for _, p := range n.kept() {
		n.federation.Keep(p.from, p.to)
	}
	n.health.SetReady(true)
	<-serving.Done()
	n.health.SetReady(false)
	err := n.shutdown(web)
	stop()
	if servingErr := g.Wait(); servingErr != nil {
		err = errors.Join(servingErr, err)
	}
	return err
}

// serve starts everything that listens and returns the HTTP servers, which do
// not end with ctx.
func (n *Node) serve(ctx context.Context, g *errgroup.Group) (web []*http.Server) {
	for _, ln := range n.listeners.s2s {
		g.Go(func() error { return n.federation.Serve(ctx, ln) })
	}
	for _, ln := range n.listeners.c2s {
		g.Go(func() error { return n.clients.ServeTCP(ctx, ln, ln.trusted) })
	}
	start := func(h http.Handler, listeners ...net.Listener) {
		s := &http.Server{
			Handler: h, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 32 << 10,
			ErrorLog: slog.NewLogLogger(n.log.Handler(), slog.LevelDebug),
		}
		for _, ln := range listeners {
			g.Go(func() error { return serveHTTP(s, ln) })
		}
		web = append(web, s)
	}
	for _, ln := range n.listeners.http {
		start(n.clients.HTTPHandler(), ln)
	}
	if n.listeners.admin != nil {
		start(admin.Handler(n.registry, n.health, n.links), n.listeners.admin)
	}
	return web
}

func serveHTTP(s *http.Server, ln net.Listener) error {
	if err := s.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("http: %w", err)
	}
	return nil
}

// shutdownTimeout bounds the orderly end. systemd's own limit is 90 s.
const shutdownTimeout = 20 * time.Second

// shutdown ends the node from the rooms outwards, so that every visitor is
// told that the conference ended before its stream does, and main hears of it
// last.
func (n *Node) shutdown(web []*http.Server) error {
	n.log.Info("shutting down")
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	errs := []error{
		n.rooms.Close(ctx),
		n.clients.Close(ctx),
		n.federation.Close(ctx),
		n.fan.Close(ctx),
	}
	for _, s := range web {
		errs = append(errs, s.Shutdown(ctx))
	}
	return errors.Join(errs...)
}

// links are the kept streams to main and whether each is up.
func (n *Node) links() map[string]bool {
	up := make(map[string]bool)
	for _, p := range n.kept() {
		up[p.from+" -> "+p.to] = n.federation.Up(p.from, p.to)
	}
	return up
}

// pair is the two domains of an s2s stream.
type pair struct{ from, to string }

// kept are the streams that are opened before they are needed. Main's
// components cannot dial a node themselves in the usual set-up: promotion
// answers and other nodes' chat come on streams that the node opened.
func (n *Node) kept() []pair {
	c := n.cfg
	return []pair{
		{c.Rooms(), c.MainDomain},
		{c.Rooms(), c.MainRooms()},
		{c.Host(), "visitors." + c.MainDomain},
	}
}
