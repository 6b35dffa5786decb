package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"vnode/cmd/internal/admin"
	"vnode/cmd/internal/admin/api"
	"vnode/cmd/internal/config"
	"vnode/cmd/internal/logging"
	"vnode/cmd/internal/memory"
	"vnode/cmd/internal/state"
	"vnode/cmd/internal/systemd"
	"vnode/fanout"
	"vnode/internal/guard"
	"vnode/internal/visitorlist"
	"vnode/muc"
	"vnode/muc/rate"
	"vnode/muc/room"
	"vnode/s2s"
	"vnode/visitor"
	"vnode/visitor/token"
)

// Node is a visitor node with all its parts.
type Node struct {
	// Static after construction.
	version      string
	started      time.Time
	log          *slog.Logger
	level        *slog.LevelVar
	state        state.Directory
	passwordFile string
	listeners    *listeners
	guard        *guard.Guard
	router       *router
	registry     *prometheus.Registry
	fan          *fanout.Broadcaster
	rooms        *muc.Service
	federation   *s2s.Server
	clients      *visitor.Server
	web          http.Handler // what browsers reach
	list         *visitorlist.Server
	health       *admin.Health
	logs         *logging.Logs
	metrics      *nodeMetrics
	drain        *drainer
	record       *record
	adminToken   string
	hurry        context.Context // ended by Hurry
	Hurry        func()          // ends a drain, and the end itself, sooner: nobody is waited for

	accounts map[string]*accounts // by domain
	tokens   *token.Verifier      // nil: none are asked for

	// Owned by who calls Reload.
	configured room.Limits // as the configuration has them
	keySource  keySource

	// Replaced whole by Reload.
	cfg  atomic.Pointer[config.Config]
	cert atomic.Pointer[tls.Certificate]
}

// New makes a node of a valid configuration and opens its listening sockets,
// or takes over those that the service manager opened. It serves nothing until
// Run, which must be called. level, the logger's, is set and follows reloads.
func New(cfg *config.Config, version string, log *slog.Logger, level *slog.LevelVar) (*Node, error) {
	n := &Node{version: version, level: level, started: time.Now(), registry: prometheus.NewRegistry(), health: new(admin.Health)}
	n.hurry, n.Hurry = context.WithCancel(context.Background())
	n.logs, n.log = logging.New(log.Handler(), level, n.registry)
	n.cfg.Store(cfg)
	level.Set(cfg.Level())
	n.guard = guard.New(n.log, n.registry, nil)
	n.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	var err error
	if n.state, err = openState(cfg); err != nil {
		return nil, err
	}
	cert, err := n.certificate(cfg)
	if err != nil {
		return nil, err
	}
	n.cert.Store(&cert)
	clients, err := n.clientConfig(cfg)
	if err != nil {
		return nil, err
	}
	federation, err := n.s2sConfig(cfg)
	if err != nil {
		return nil, err
	}
	if n.adminToken, err = n.operatorsToken(cfg.AdminTokenFile); err != nil {
		return nil, err
	}
	if n.listeners, err = listen(cfg); err != nil {
		return nil, err
	}
	if err := n.assemble(cfg, clients, federation); err != nil {
		n.listeners.close()
		return nil, err
	}
	return n, nil
}

// tlsConfig shows the certificate of the last reload.
func (n *Node) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return n.cert.Load(), nil },
	}
}

func (n *Node) s2sConfig(c *config.Config) (s2s.Config, error) {
	trust, err := n.trust(c)
	if err != nil {
		return s2s.Config{}, err
	}
	peers := append([]string{c.MainDomain, c.MainRooms(), "visitors." + c.MainDomain, "polls." + c.MainDomain}, c.ExtraDomains...)
	return s2s.Config{
		Hosts: []string{c.Host(), c.Rooms()}, Peers: peers, Main: c.MainS2S, TLS: n.tlsConfig(), Trust: trust,
		MaxBytes: maxFromMain, Guard: n.guard,
	}, nil
}

// maxFromMain bounds a stanza of main. With each change of a poll it sends all
// polls with all voters, some 100 bytes each: 5,000 votes would exceed the
// default, and the end of the stream would be the end of the conference.
const maxFromMain = 8 << 20

func (n *Node) trust(c *config.Config) (s2s.Trust, error) {
	addresses, err := c.TrustedAddresses()
	if err != nil {
		return s2s.Trust{}, fmt.Errorf("s2s-trusted-addresses: %w", err)
	}
	t := s2s.Trust{
		Pins: c.S2SPins, KnownCerts: n.state.KnownCertificates(), Addresses: addresses,
		Strict: c.S2STrust == config.TrustCertificate,
		Anyone: c.S2STrust == config.TrustAnyone,
	}
	if c.S2SCAFile == "" {
		return t, nil
	}
	pem, err := os.ReadFile(c.S2SCAFile)
	if err != nil {
		return s2s.Trust{}, fmt.Errorf("s2s-ca-file: %w", err)
	}
	t.CAs = x509.NewCertPool()
	if !t.CAs.AppendCertsFromPEM(pem) {
		return s2s.Trust{}, fmt.Errorf("s2s-ca-file: %s holds no certificate in PEM form", c.S2SCAFile)
	}
	return t, nil
}

// services are the STUN and TURN servers that visitors are told of. The secret
// goes with those that want credentials.
func (n *Node) services(c *config.Config) ([]visitor.Service, error) {
	secret := c.TURNSecret
	if c.TURNSecretFile != "" {
		var err error
		if secret, err = state.Secret(c.TURNSecretFile); err != nil {
			return nil, fmt.Errorf("turn-secret-file: %w", err)
		}
	}
	password := c.TURNPassword
	if c.TURNPasswordFile != "" {
		var err error
		if password, err = state.Secret(c.TURNPasswordFile); err != nil {
			return nil, fmt.Errorf("turn-password-file: %w", err)
		}
	}
	external, err := c.ExternalServices()
	if err != nil {
		return nil, fmt.Errorf("turn-services: %w", err)
	}
	var list []visitor.Service
	for _, e := range external {
		s := visitor.Service{Type: e.Type, Host: e.Host, Port: e.Port, Transport: e.Transport}
		if e.Type == "turn" || e.Type == "turns" {
			s.TTL = time.Duration(c.TURNTTL)
			if s.Secret = visitor.Secret(secret); secret == "" {
				s.Username, s.Password = c.TURNUsername, visitor.Secret(password)
				s.Restricted = password != ""
			}
		}
		list = append(list, s)
	}
	return list, nil
}

// assemble makes the parts. The handlers are tied before anything is served.
// Parts made before one that failed are closed again.
func (n *Node) assemble(c *config.Config, clients visitor.Config, federation s2s.Config) (err error) {
	rooms := muc.Config{
		Guard:  n.guard,
		Domain: c.Rooms(), RoomPrefix: c.RoomPrefix, MainDomain: c.MainDomain,
		ParticipantDomains: c.ExtraDomains, Limits: roomLimits(c),
		Room: room.Config{
			MainGrace: time.Duration(c.MainGrace), MainWithoutConnect: c.MainWithoutConnect, Comeback: comeback(c),
			HistoryMessages: historyLength(c), NoTokenPromotion: !c.TokenPromotion, Tokens: c.Tokens(),
		},
	}
	if c.JicofoURL != "" {
		at := jicofo{strings.TrimSuffix(c.JicofoURL, "/")}
		rooms.AskJicofo, rooms.CountParticipants = at.ask, at.count
	}
	if err := rooms.Validate(); err != nil {
		return err
	}
	for _, x := range muc.Components(rooms) {
		clients.Items = append(clients.Items, x.Domain)
		clients.Identities = append(clients.Identities, visitor.Identity{Category: "component", Type: x.Type, Name: x.Domain})
	}
	r := &router{main: c.MainDomain, log: n.log}
	n.router = r
	n.federation, err = s2s.New(federation, fromMain{r}, n.log, n.registry)
	if err != nil {
		return err
	}
	n.fan = fanout.New(fanout.Config{Guard: n.guard, SweepGap: time.Duration(c.SweepGap)}, n.registry)
	defer func() {
		if err != nil {
			ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
			defer cancel()
			err = errors.Join(err, n.federation.Close(ctx), n.fan.Close(ctx))
		}
	}()
	siblings, err := n.siblings(c)
	if err != nil {
		return err
	}
	if siblings != nil {
		clients.Elsewhere = siblings
	}
	n.clients, err = visitor.New(clients, n.fan, fromClients{r}, n.log, n.registry)
	if err != nil {
		return err
	}
	if n.web = n.clients.HTTPHandler(); siblings != nil {
		n.web = siblings.Handler(n.web)
	}
	n.rooms = muc.New(rooms, n.federation, n.fan, n.log, n.registry)
	r.rooms, n.configured = n.rooms, n.rooms.Limits()
	n.record = &record{path: n.state.Rooms(), rooms: n.rooms, log: n.log}
	if err := n.record.recall(); err != nil {
		n.log.Error("the record of the process before is of no use", "error", err)
	}
	n.web = n.withHealth(n.withList(n.web, &clients), &clients)
	n.drain = newDrainer(n.rooms, n.clients, n.health, n.log, n.spread, n.takesOver)
	n.metrics = newMetrics(n.registry, n)
	return nil
}

// historyLength is the room's, for which 0 means its default.
func historyLength(c *config.Config) int {
	if c.HistoryMessages == 0 {
		return -1
	}
	return c.HistoryMessages
}

// roomLimits are those of the rooms' limits that a reload changes.
func roomLimits(c *config.Config) room.Limits {
	return room.Limits{
		MaxRooms: c.MaxRooms, MaxVisitors: c.MaxVisitorsPerRoom, MaxVisitorsOnNode: c.MaxVisitors,
		Joins:     rate.Limit{PerSecond: c.JoinRate, Burst: burst(c.JoinRate)},
		Leaves:    rate.Limit{PerSecond: c.LeaveRate, Burst: burst(c.LeaveRate)},
		Presences: rate.Limit{PerSecond: c.PresenceRate, Burst: c.PresenceBurst},
		Chat: room.Chat{
			Audience: room.Audience(c.ChatAudience), SlowMode: time.Duration(c.ChatSlowMode),
			Visitor: rate.Limit{PerSecond: c.ChatRate, Burst: c.ChatBurst},
			Room:    rate.Limit{PerSecond: c.RoomChatRate, Burst: c.RoomChatBurst},
		},
		Main: rate.Limit{PerSecond: c.MainRate, Burst: c.MainBurst},
	}
}

// burst lets come at once what may come in a second.
func burst(perSecond float64) int { return int(math.Ceil(perSecond)) }

// Run serves until ctx ends, then drains, ends conferences and streams in
// order and returns. It returns an error only when a listener fails or the end
// takes longer than it should.
func (n *Node) Run(ctx context.Context) error {
	running, stop := context.WithCancel(context.Background())
	defer stop()
	g, serving := errgroup.WithContext(running)
	operators := admin.New(admin.Options{
		Identity: admin.Identity{Host: n.cfg.Load().Host(), Rooms: n.cfg.Load().Rooms(), Version: n.version, Started: n.started},
		Registry: n.registry, Health: n.health, Source: operator{n}, Control: operator{n}, Token: n.adminToken, Log: n.log,
		Guard: n.guard,
	})
	web := n.serve(serving, g, operators.Handler())
	for _, p := range n.kept() {
		n.federation.Keep(p.from, p.to)
	}
	task := func(run func(context.Context)) {
		g.Go(func() error {
			n.guard.Task(func() { run(serving) })
			return nil
		})
	}
	task(n.drain.run)
	task(n.record.run)
	task(memory.GiveBack)
	g.Go(func() error { n.tellManager(serving); return nil })
	n.health.Set(admin.Ready, "")
	systemd.Ready(n.status(serving))
	select {
	case <-ctx.Done():
		n.emptied(serving)
	case <-serving.Done(): // a listener failed
	}
	n.health.Set(admin.Stopping, "the node ends")
	systemd.Stopping("ending", shutdownTimeout+n.spread())
	err := n.shutdown(web, operators, stop)
	n.Hurry() // nobody waits for anything any more
	return errors.Join(g.Wait(), err)
}

// emptied drains the node and returns when no room is left, when that took too
// long, or when somebody is in a hurry.
func (n *Node) emptied(serving context.Context) {
	timeout := time.Duration(n.cfg.Load().DrainTimeout)
	if n.hurry.Err() != nil {
		timeout = 0
	}
	n.log.Info("draining", "timeout", timeout)
	systemd.Stopping("draining", timeout+2*n.spread()+shutdownTimeout)
	n.drain.finish(timeout, "the node was told to end")
	select {
	case <-n.drain.empty:
	case <-n.hurry.Done():
	case <-serving.Done():
	}
}

// spread is over how long ends are spread.
func (n *Node) spread() time.Duration { return time.Duration(n.cfg.Load().DrainSpread) }

// serve starts everything that listens and returns the HTTP servers, which do
// not end with ctx.
func (n *Node) serve(ctx context.Context, g *errgroup.Group, operators http.Handler) (web []*http.Server) {
	for _, ln := range n.listeners.s2s {
		g.Go(func() error { return n.federation.Serve(ctx, ln) })
	}
	for _, ln := range n.listeners.c2s {
		g.Go(func() error { return n.clients.ServeTCP(ctx, ln, ln.trusted) })
	}
	start := func(h http.Handler, ln net.Listener) {
		s := &http.Server{
			Handler: n.guard.Handler(h), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10,
			ErrorLog: slog.NewLogLogger(n.log.Handler(), slog.LevelDebug),
		}
		g.Go(func() error { return serveHTTP(s, ln) })
		web = append(web, s)
	}
	g.Go(func() error {
		n.guard.Task(func() { n.clients.Watch(ctx) })
		return nil
	})
	for _, ln := range n.listeners.http {
		start(n.web, n.clients.Entrance(ln.Listener, nil))
	}
	for _, ln := range n.listeners.https {
		start(n.web, n.clients.Entrance(ln.Listener, n.webTLS()))
	}
	if n.listeners.admin != nil {
		mux := http.NewServeMux()
		mux.Handle("/", operators)
		mux.Handle(api.Prefix, api.New(moderator{n.rooms}, n.adminToken, n.log))
		start(mux, n.listeners.admin)
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
const (
	shutdownTimeout = 20 * time.Second
	hurriedTimeout  = 2 * time.Second // when somebody is in a hurry
)

// shutdown ends the node from the rooms outwards, so that every visitor is
// told that the conference ended before its stream does, and main hears of it
// last. stop ends the listening.
func (n *Node) shutdown(web []*http.Server, operators *admin.Server, stop func()) error {
	n.log.Info("shutting down")
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout+n.spread())
	defer cancel()
	unhurried := context.AfterFunc(n.hurry, func() { time.AfterFunc(hurriedTimeout, cancel) })
	defer unhurried()
	errs := []error{n.rooms.Close(ctx), n.list.Close(ctx)}
	n.clients.Refuse()
	spread(n.hurry, n.spread(), perSession, n.clients.EndSome)
	errs = append(errs, n.clients.Close(ctx))
	stop()
	errs = append(errs, n.federation.Close(ctx), n.fan.Close(ctx))
	operators.Close()
	for _, s := range web {
		errs = append(errs, s.Shutdown(ctx))
	}
	return unlessHurried(ctx, errors.Join(errs...))
}

// unlessHurried returns err but when somebody was in a hurry: that clients were
// cut off is what was asked for then.
func unlessHurried(ctx context.Context, err error) error {
	if errors.Is(err, context.Canceled) && errors.Is(ctx.Err(), context.Canceled) {
		return nil
	}
	return err
}

// pair is the two domains of an s2s stream, and what it is for.
type pair struct{ name, from, to string }

// kept are the streams that are opened before they are needed. Main's
// components cannot dial a node themselves in the usual set-up: promotion
// answers and other nodes' chat come on streams that the node opened.
func (n *Node) kept() []pair {
	c := n.cfg.Load()
	return []pair{
		{"main", c.Rooms(), c.MainDomain},
		{"rooms", c.Rooms(), c.MainRooms()},
		{"visitors", c.Host(), "visitors." + c.MainDomain},
		{"polls", c.Rooms(), "polls." + c.MainDomain},
	}
}
