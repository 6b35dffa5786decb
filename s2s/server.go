package s2s

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"vnode/internal/guard"
	"vnode/internal/wire"
	"vnode/s2s/trust"
)

// Handler gets what peers send, and the errors of what could not be delivered
// to them. It is called from one goroutine per stream.
type Handler interface {
	// Stanza handles one stanza, which is valid during the call only. It has no
	// xmlns or jabber:server. The domain of its From was proved by the stream,
	// that of its To is one of Config.Hosts. Stanza may block: the peer is slowed
	// down by TCP.
	Stanza(s *wire.Stanza)
	// Link tells that the first ready stream with a peer came up, in either
	// direction, or that the last one ended. change counts these events for
	// each peer, from 1: odd ones are ups. An up comes before anything the
	// peer says on the stream, a loss behind all that it said; calls for
	// different streams may overtake each other. Link may block like Stanza.
	Link(peer string, change uint64)
}

// Server holds all streams to and from other servers. Its methods may be called
// from any goroutine.
type Server struct {
	// Static after construction.
	handler Handler
	guard   *guard.Guard
	log     *slog.Logger
	m       *metrics
	bounces *bouncer
	known   *trust.Known
	secret  string // of dialback keys
	noise   *rate.Limiter
	ctx     context.Context // ends with Close: no more dialing
	cancel  context.CancelFunc
	wg      sync.WaitGroup // of streams, dial loops and dialback checks
	stopped chan struct{}  // closed when the bouncer may end
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	lookup  func(ctx context.Context, host string) ([]netip.Addr, error)

	cfg atomic.Pointer[settings] // replaced whole by Reload

	// Guarded by mu.
	mu       sync.Mutex
	pairs    map[domainPair]*pair
	streams  map[*stream]struct{}
	incoming int                 // streams accepted
	places   places              // of those that have not authenticated
	dialed   map[netip.Addr]bool // addresses at which peers were reached, without zones
	links    map[string]*link
	closing  bool
}

// New returns a Server for cfg, which is checked by [Config.Validate]. It
// listens nowhere and dials nobody until told. [Server.Close] must be called.
func New(cfg Config, h Handler, log *slog.Logger, reg prometheus.Registerer) (*Server, error) {
	c, err := cfg.compile()
	if err != nil {
		return nil, err
	}
	known, err := trust.Open(c.Trust.KnownCerts)
	if err != nil {
		return nil, fmt.Errorf("s2s: %w", err)
	}
	s := &Server{
		handler: h, guard: cfg.Guard, log: log, known: known, secret: c.DialbackSecret,
		noise:   rate.NewLimiter(rate.Every(10*time.Second), 20),
		stopped: make(chan struct{}),
		lookup: func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		},
		pairs:   map[domainPair]*pair{},
		streams: map[*stream]struct{}{},
		links:   map[string]*link{},
		dialed:  map[netip.Addr]bool{},
	}
	s.dial = (&net.Dialer{}).DialContext
	if s.secret == "" {
		s.secret = rand.Text()
	}
	s.cfg.Store(c)
	s.m = newMetrics(reg, s.waiting, s.unacked)
	s.bounces = newBouncer(h, s.m)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	go s.bounces.run(s.guard, s.stopped)
	s.warn(c)
	return s, nil
}

func (s *Server) warn(c *settings) {
	if c.Trust.Anyone {
		s.log.Warn("whoever reaches the server port and names a peer domain is believed: Trust.Anyone is set")
	}
}

// Reload replaces the configuration for what begins from now on; streams that
// are up stay. Trust.KnownCerts and DialbackSecret cannot change.
func (s *Server) Reload(cfg Config) error {
	c, err := cfg.compile()
	if err != nil {
		return err
	}
	if old := s.cfg.Load(); c.Trust.KnownCerts != old.Trust.KnownCerts || c.DialbackSecret != old.DialbackSecret {
		return errors.New("s2s: Trust.KnownCerts and DialbackSecret cannot change while running")
	}
	s.cfg.Store(c)
	s.warn(c)
	return nil
}

// Serve accepts streams from ln until ctx is done or the Server is closed,
// and then returns nil; it returns an error only when ln fails. It closes ln.
// Streams outlive Serve. Connections that start with a TLS handshake are taken
// as direct TLS.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	defer context.AfterFunc(s.ctx, func() { ln.Close() })()
	defer ln.Close()
	pause := time.Duration(0)
	for {
		conn, err := ln.Accept()
		switch {
		case err == nil:
			pause = 0
			s.accept(conn)
		case ctx.Err() != nil || s.ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("s2s: accept: %w", err)
		default: // out of file descriptors, for instance: it passes
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.log.Error("cannot accept a connection", "error", err)
			sleep(ctx, pause)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// accept starts an incoming stream, or turns it away.
func (s *Server) accept(conn net.Conn) {
	c := s.cfg.Load()
	p := &place{addr: block(addrOf(conn)), since: time.Now(), leave: func() { conn.Close() }}
	gives, ok := s.placed(c, p, addrOf(conn))
	if !ok {
		s.turnAway(conn, c)
		return
	}
	if gives != nil {
		s.m.closed[inbound][Busy].Inc()
		s.crowded("too many connections of strangers that say nothing, ended the oldest", gives.addr)
		gives.leave()
	}
	tune(conn, c)
	go func() {
		defer s.wg.Done()
		st := newStream(s, conn, inbound)
		st.place = p
		st.acceptAndServe()
	}()
}

// placed counts an incoming stream and gives it a place, maybe another's.
func (s *Server) placed(c *settings, p *place, addr netip.Addr) (gives *place, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || s.incoming >= c.MaxStreams {
		return nil, false
	}
	p.believed = s.speaks(c, addr)
	if gives, ok = s.places.take(p, c.MaxPending); ok {
		s.incoming++
		s.wg.Add(1)
	}
	return gives, ok
}

// speaks reports whether a connection comes from an address that speaks for peers,
// as far as that is known without asking: mu is held.
func (s *Server) speaks(c *settings, addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	return addr.IsValid() && (c.trust.Listed(addr) || c.dials(addr) || s.dialed[addr])
}

// reached notes the address of a peer that is dialed by name.
func (s *Server) reached(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.dialed) >= maxDialed {
		clear(s.dialed)
	}
	s.dialed[addrOf(conn).Unmap().WithZone("")] = true
}

// maxDialed bounds the addresses remembered.
const maxDialed = 256

func addrOf(conn net.Conn) netip.Addr {
	if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr()
	}
	return netip.Addr{}
}

// crowded says, not too often, that strangers are turned away.
func (s *Server) crowded(text string, addr netip.Addr) {
	if s.noise.Allow() {
		s.log.Warn(text, "addr", addr, "reason", Busy,
			"help", "if it is a server of yours, add its address to s2s-trusted-addresses")
	}
}

// turnAway says why and closes. The few bytes fit the buffer of a new socket,
// so this does not block the accept loop.
func (s *Server) turnAway(conn net.Conn, c *settings) {
	s.m.closed[inbound][Busy].Inc()
	s.crowded("too many incoming connections, refused one", addrOf(conn))
	h := wire.StreamHeader{Content: wire.NSServer, From: c.anyHost(), Version: "1.0"}
	e := wire.StreamError{Condition: wire.ResourceConstraint, Text: "too many connections"}
	conn.SetWriteDeadline(time.Now().Add(time.Second))
	conn.Write(append(e.Append(h.Append(nil, ""), false), streamEnd...))
	conn.Close()
}

// Send queues stanza for the remote domain to, coming from the local domain
// from, and never blocks. The stanza must be complete, addressed, and without
// xmlns; Send takes it over, so the caller must not change it any more. When it
// cannot be delivered within Config.QueueTimeout, or there is no room or no
// permission for it, the Handler gets an error stanza from its addressee,
// unless it is an error or a result itself.
func (s *Server) Send(from, to string, stanza []byte) {
	if p := s.pair(domainPair{from, to}); p != nil {
		p.push(stanza)
		return
	}
	s.undelivered(s.log.With("peer", to, "stream", domainPair{from, to}), stanza, undeliveredNotAllowed)
}

// Keep opens a stream from the local domain from to the peer to, keeps it
// alive, and opens it again when it ends, with a jittered pause between
// attempts. A stream the peer opened for the same pair with bidi will do.
func (s *Server) Keep(from, to string) {
	p := s.pair(domainPair{from, to})
	if p == nil {
		s.log.Error("cannot keep a stream that is not between Hosts and Peers", "peer", to, "stream", domainPair{from, to})
		return
	}
	p.setKeep()
}

// Up reports whether a stream that carries stanzas from the local domain from
// to the peer to is ready now.
func (s *Server) Up(from, to string) bool {
	p := s.pair(domainPair{from, to})
	return p != nil && p.up()
}

// pair returns the pair of d, nil when d is not between Hosts and Peers.
func (s *Server) pair(d domainPair) *pair {
	c := s.cfg.Load()
	if !c.hosts[d.local] || !c.peers[d.remote] {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pairs[d]
	if p == nil {
		p = newPair(s, d)
		p.closed = s.closing
		s.pairs[d] = p
	}
	return p
}

func (s *Server) waiting() (stanzas, bytes int, oldest time.Time) {
	for _, p := range s.allPairs() {
		n, b, t := p.waiting()
		stanzas += n
		bytes += b
		if !t.IsZero() && (oldest.IsZero() || t.Before(oldest)) {
			oldest = t
		}
	}
	return stanzas, bytes, oldest
}

// unacked counts what peers have not acknowledged.
func (s *Server) unacked() (n int) {
	for _, st := range s.allStreams() {
		n += st.unacked()
	}
	return n
}

// link is how many ready streams there are with a peer.
type link struct {
	streams int
	change  uint64 // how often it became none, or some
}

// linked counts one stream more or less with a peer and tells the Handler.
func (s *Server) linked(peer string, by int) {
	if change, changed := s.countLink(peer, by); changed {
		s.handler.Link(peer, change)
	}
}

func (s *Server) countLink(peer string, by int) (change uint64, changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.links[peer]
	if l == nil {
		l = &link{}
		s.links[peer] = l
	}
	before := l.streams
	l.streams += by
	if changed = (before == 0) != (l.streams == 0); changed {
		l.change++
	}
	return l.change, changed
}

func (s *Server) allPairs() []*pair {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.pairs))
}

func (s *Server) allStreams() []*stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.streams))
}

// add registers a stream; false when the Server is closing.
func (s *Server) add(st *stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams[st] = struct{}{}
	return !s.closing
}

// remove forgets a stream that ended.
func (s *Server) remove(st *stream, wasReady bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, st)
	if st.dir == inbound {
		s.incoming--
		if !wasReady {
			s.places.free(st.place)
		}
	}
}

// authenticated frees the place an incoming stream took among those that are
// not.
func (s *Server) authenticated(st *stream) {
	if st.dir != inbound {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.places.free(st.place)
}

// Close stops listening and dialing, writes what waits on streams that are up,
// closes them and waits for the peers to do the same, at most until ctx is
// done; then it breaks the rest and returns ctx's error. Stanzas that no stream
// could take are counted and logged, not answered.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	again := s.closing
	s.closing = true
	s.mu.Unlock()
	for _, p := range s.allPairs() {
		p.close()
	}
	s.cancel()
	for _, st := range s.allStreams() {
		st.end(&ending{reason: Shutdown})
	}
	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(done)
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = fmt.Errorf("s2s: streams still open: %w", ctx.Err())
		for _, st := range s.allStreams() {
			st.raw.Close()
		}
	}
	if again {
		return err
	}
	close(s.stopped)
	for _, p := range s.allPairs() {
		if n := p.drop(); n > 0 {
			s.m.undelivered[undeliveredShutdown].Add(float64(n))
			p.log.Warn("stanzas left unsent", "stanzas", n, "reason", Shutdown)
		}
	}
	return err
}
