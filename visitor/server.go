package visitor

import (
	"container/list"
	"context"
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

	"vnode/fanout"
	"vnode/internal/address"
	"vnode/internal/table"
	"vnode/internal/wire"
	"vnode/visitor/admission"
	"vnode/visitor/bosh"
)

// Handler is the rest of the node, as sessions see it.
type Handler interface {
	// Stanza takes a stanza that is not for the client's own account nor
	// for one of the server's domains. It was checked completely and counted,
	// is an IQ, message or presence that RFC 6120 allows, and has not been
	// changed: its namespace may be undeclared (then it is jabber:client) and
	// its 'from' is whatever the client wrote. Its From is s.JID().
	//
	// st is valid during the call only. It runs on the goroutine that reads the
	// client, and may block: the client waits then, and nobody else.
	Stanza(s *Session, st *wire.Stanza)
	// Opened tells that a client has bound its session: once for each, after
	// the answer to its bind and before its first Stanza, on the same
	// goroutine.
	Opened(s *Session)
	// Closed tells that the session has ended: once for each session, after
	// its last Stanza, on the same goroutine. A connection that is lost ends
	// a session only when the client cannot resume it or has not done so in
	// time (XEP-0198 §5). A session with the same address is bound only
	// after Closed has returned.
	Closed(s *Session)
}

// Server serves clients. Its methods may be called from any goroutine.
type Server struct {
	// Static after construction.
	cfg      Config
	fan      *fanout.Broadcaster
	handler  Handler
	log      *slog.Logger
	noise    *rate.Limiter // of log lines that clients can cause
	metrics  *metrics
	users    *users
	hosts    map[string]*host
	version  []byte
	services *services
	terms    terms
	rooms    *address.Domains
	bosh     *bosh.Server
	pollers  *pollers
	headTime time.Duration // for the first head of an HTTP connection
	crew     *crew
	gate     *admission.Gate
	lifetime context.Context // ends when Close begins
	end      context.CancelFunc

	running sync.WaitGroup // streams, and sessions from bind to their end
	cutting atomic.Bool    // Close has run out of time

	noAdmins atomic.Bool // see RefuseAdmins

	mu        sync.Mutex // guards what follows
	streams   *table.Table[*stream, stream]
	sessions  *table.Table[wire.JID, Session]
	ids       *table.Table[smID, Session] // those that can be resumed
	arrivals  map[*arrival]struct{}       // connections that have yet to say what they are
	listeners map[net.Listener]struct{}
	closing   bool
	// hibernating is the sessions without a connection, oldest first.
	hibernating list.List
	sleepers    map[netip.Addr]int // of these, by the address they were counted under
	counts      lateCounts
}

// New returns a server. It starts nothing; ServeTCP and HTTPHandler do. The
// error is that of [Config.Validate]. Metrics are registered with reg; it
// panics when they are registered there already.
func New(cfg Config, fan *fanout.Broadcaster, h Handler, log *slog.Logger, reg prometheus.Registerer) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("visitor: %w", err)
	}
	cfg.Limits = cfg.Limits.withDefaults()
	if cfg.Software == "" {
		cfg.Software = "vnode"
	}
	if cfg.RoomPrefix == "" {
		cfg.RoomPrefix = "conference"
	}
	s := &Server{
		cfg: cfg, fan: fan, handler: h, log: log, metrics: newMetrics(reg), users: newUsers(),
		noise:     rate.NewLimiter(rate.Every(10*time.Second), 20),
		version:   softwareVersion(cfg.Software, cfg.Version),
		services:  newServices(cfg.Services),
		terms:     newTerms(&cfg.Limits, fan),
		rooms:     address.NewDomains(cfg.RoomPrefix+"."+cfg.Domain, cfg.RoomPrefix, "", nil),
		streams:   table.New(func(st *stream) *stream { return st }),
		sessions:  table.New((*Session).JID),
		ids:       table.New(func(s *Session) smID { return s.id }),
		arrivals:  make(map[*arrival]struct{}),
		listeners: make(map[net.Listener]struct{}),
		sleepers:  make(map[netip.Addr]int),
		pollers:   newPollers(&cfg.Limits),
		crew:      newCrew(cfg.Guard),
		headTime:  headTime,
	}
	s.gate = admission.NewGate(admission.Limits{
		Connections: cfg.Limits.Connections, PerAddress: cfg.Limits.PerAddress, Rate: cfg.Limits.JoinsPerSecond,
	})
	s.lifetime, s.end = context.WithCancel(context.Background())
	s.newHosts()
	s.newBOSH()
	return s, nil
}

// Deliver sends m to the session bound to the full JID to. False means that
// there is none.
func (s *Server) Deliver(to wire.JID, m *fanout.Message) bool {
	sess := s.session(to)
	if sess == nil {
		return false
	}
	sess.Deliver(nil, m)
	return true
}

// Close stops listening, ends every session and stream with system-shutdown and
// waits until all are gone. When ctx ends first, what is left is cut off, and
// the error is ctx's.
func (s *Server) Close(ctx context.Context) error {
	streams, sessions := s.beginClosing()
	for _, st := range streams {
		if st.session == nil {
			st.interrupt()
		}
	}
	for _, sess := range sessions {
		sess.end(streamReason(errShutdown))
	}
	gone := make(chan struct{})
	go func() {
		s.running.Wait()
		s.pollers.close()
		s.crew.close()
		close(gone)
	}()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
	}
	s.cutting.Store(true)
	streams, _ = s.open()
	for _, st := range streams {
		st.cut()
	}
	return fmt.Errorf("visitor: streams cut off: %w", ctx.Err())
}

// live is a stream and, once it is bound, its session.
type live struct {
	*stream
	session *Session
}

// cut makes a stream that is closing close at once.
func (l live) cut() {
	if l.session != nil {
		l.session.fan.Abort(streamReason(errShutdown).label)
	}
	l.abandon()
}

// beginClosing lets nobody in any more and returns what is open.
func (s *Server) beginClosing() ([]live, []*Session) {
	s.mu.Lock()
	s.closing = true
	listeners, arrivals := s.listeners, slices.Collect(maps.Keys(s.arrivals))
	s.listeners = nil
	s.mu.Unlock()
	s.end()
	for ln := range listeners {
		ln.Close()
	}
	for _, a := range arrivals {
		_ = a.conn.SetReadDeadline(time.Unix(1, 0)) // one that is closed needs none
	}
	return s.open()
}

// open returns the streams and the sessions there are now.
func (s *Server) open() (streams []live, sessions []*Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for st := range s.streams.All() {
		streams = append(streams, live{st, st.session})
	}
	return streams, slices.Collect(s.sessions.All())
}

func (s *Server) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

// session returns the session bound to a full JID, or nil.
func (s *Server) session(jid wire.JID) *Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions.Get(jid)
}

// bound makes a session known. The client's name is the session's from here on.
func (s *Server) bound(sess *Session, st *stream) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closing:
		return errShutdown
	case s.sessions.Get(sess.JID()) != nil: // bound since replace looked
		return errReplaced
	}
	s.sessions.Put(sess)
	st.who.named = false
	s.attachedLocked(sess, st)
	return nil
}

// attachedLocked notes that a stream is a session's.
func (s *Server) attachedLocked(sess *Session, st *stream) {
	st.session = sess
	s.metrics.sessionsOf(st.name, stateNegotiating).Dec()
	s.metrics.sessionsOf(st.name, stateBound).Inc()
}

// sessionOf returns the session that a stream is of, nil before bind.
func (s *Server) sessionOf(st *stream) *Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return st.session
}

// unbound makes a session unreachable.
func (s *Server) unbound(sess *Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions.Delete(sess.JID())
	s.ids.Delete(sess.id)
}

// over tells who waits for the end of a session that the Handler knows of it.
func (s *Server) over(sess *Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sess.over = true
	if sess.gone != nil {
		close(sess.gone)
	}
}

// waitOver waits until over has been called. False means that deadline came
// first.
func (s *Server) waitOver(sess *Session, deadline <-chan time.Time) bool {
	s.mu.Lock()
	if sess.over {
		s.mu.Unlock()
		return true
	}
	if sess.gone == nil {
		sess.gone = make(chan struct{})
	}
	gone := sess.gone
	s.mu.Unlock()
	select {
	case <-gone:
		return true
	case <-deadline:
		return false
	}
}

// admit asks the gate for a new connection, and waits for its turn for as long
// as patience and ctx allow. What is admitted is given to start, or leaves the
// gate.
func (s *Server) admit(ctx context.Context, peer netip.Addr, kind admission.Kind, patience time.Duration) *admission.Refusal {
	began := time.Now()
	refusal := s.gate.Enter(ctx, peer, kind, patience)
	s.admitted(peer, kind, began, refusal)
	return refusal
}

// admitted counts what came of asking the gate.
func (s *Server) admitted(peer netip.Addr, kind admission.Kind, began time.Time, refusal *admission.Refusal) {
	if refusal != nil {
		s.refused(refusal, peer)
	} else if kind != admission.Exempt {
		s.metrics.waited.Observe(time.Since(began).Seconds())
	}
}

// Watch adapts the rate at which clients are let in to how late the node is,
// until ctx ends. It must end before the Broadcaster does. Without it the rate
// stays what it is at start.
func (s *Server) Watch(ctx context.Context) {
	due := time.Now().Add(admission.Interval)
	timer := time.NewTimer(admission.Interval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		s.gate.Observe(time.Since(due)) // a busy machine's timers are late
		s.gate.Observe(s.fan.Lag(ctx))
		rate, delay := s.gate.Adapt()
		s.metrics.rate.Set(rate)
		s.metrics.delay.Set(delay.Seconds())
		due = time.Now().Add(admission.Interval)
		timer.Reset(admission.Interval)
	}
}

// start runs an admitted stream on a goroutine of its own. False means that
// the server is closing or the connection broken, and the stream is closed.
func (s *Server) start(st *stream) bool {
	if !s.enter(st) {
		return false
	}
	if st.meter.polled != nil {
		s.crew.do(st)
	} else {
		go st.work()
	}
	return true
}

// enter is start for who runs the stream itself.
func (s *Server) enter(st *stream) bool {
	if st.deadline() != nil || !s.track(st) {
		s.gate.Leave(st.peer)
		st.raw.Close()
		return false
	}
	return true
}

func (s *Server) track(st *stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.streams.Put(st)
	s.metrics.sessionsOf(st.name, stateNegotiating).Inc()
	s.running.Add(1)
	return true
}

// forget is the last a stream does.
func (s *Server) forget(st *stream) {
	if st.who.named {
		s.users.release(st.who.user)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams.Delete(st)
	s.gate.Leave(st.peer)
	if st.passed {
		return
	}
	state := stateNegotiating
	if st.session != nil {
		state = stateBound
	}
	s.metrics.sessionsOf(st.name, state).Dec()
}
