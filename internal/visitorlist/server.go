// Package visitorlist tells moderators who watches: jitsi-meet's list of
// visitors, which it subscribes to by STOMP over a WebSocket when its
// configuration names a queue service and the user's token has the feature
// list-visitors.
//
// A client subscribes to the topic of a meeting for changes and then to a queue
// of its own for the list; each change after the list is relative to it. The
// list is of the visitors on this node.
package visitorlist

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"

	"vnode/internal/guard"
)

// Path is where jitsi-meet connects to.
const Path = "/visitors-list/websocket"

// Visitor is a visitor as moderators see it.
type Visitor struct {
	ID   string // the endpoint's
	Name string // "" for none
}

// Watcher is told of the visitors of a room as they come and go, in order. Its
// methods do not block.
type Watcher interface {
	// Here: a visitor came, or has another name.
	Here(Visitor)
	// Gone: it left.
	Gone(id string)
	// Ended: the room has ended; nothing more will be told.
	Ended()
}

// ErrNoMeeting is in the tree of the error for a meeting that has no room on
// the node.
var ErrNoMeeting = errors.New("no such meeting")

// Rooms are the node's. The methods with a context may block until it ends.
type Rooms interface {
	// RoomOfMeeting returns the address of a meeting's room. The error is of
	// [ErrNoMeeting] or ctx's.
	RoomOfMeeting(ctx context.Context, meeting string) (room string, err error)
	// Watch lists a room's visitors and tells w of changes until Unwatch.
	// The error is of [ErrNoMeeting] when the room is no more.
	Watch(ctx context.Context, room string, w Watcher) ([]Visitor, error)
	// Unwatch ends a Watch. It does not block.
	Unwatch(room string, w Watcher)
}

// Pass tells which rooms' visitors a token lets its bearer see.
type Pass func(room string) bool

// Gate verifies tokens.
type Gate interface {
	// Admit checks a token, "" for none. The error tells the user in words
	// why it is refused. It may block until ctx ends.
	Admit(ctx context.Context, token string) (Pass, error)
}

// Config of a [Server].
type Config struct {
	// Guard keeps a panic to the connection that met it; nil: a panic ends the process.
	Guard *guard.Guard
	Rooms Rooms
	Gate  Gate
	// MaxConnections at a time; default 1000. PerAddress is the same for one
	// network address; default 500.
	MaxConnections, PerAddress int
	// Client tells where a request is from; invalid: not known, and not
	// counted. Nil: nobody's is.
	Client func(*http.Request) netip.Addr
}

// Server is an http.Handler for [Path]. Its methods may be called from any
// goroutine.
type Server struct {
	// Static after construction.
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	every   time.Duration   // a tick
	ctx     context.Context // ends with Close
	stop    context.CancelFunc

	running sync.WaitGroup

	mu sync.Mutex
	// Guarded by mu.
	connections int
	addresses   map[netip.Addr]int // connections of each
	closed      bool
}

// New returns a Server, which must be closed.
func New(cfg Config, log *slog.Logger, reg prometheus.Registerer) *Server {
	if cfg.MaxConnections == 0 {
		cfg.MaxConnections = 1000
	}
	if cfg.PerAddress == 0 {
		cfg.PerAddress = 500
	}
	s := &Server{cfg: cfg, log: log, metrics: newMetrics(reg), every: tellEvery, addresses: make(map[netip.Addr]int)}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s
}

// Close ends all connections. It returns when they have ended, or with ctx's
// error.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	done := make(chan struct{})
	go func() { defer close(done); s.running.Wait() }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("visitor list: closing: %w", ctx.Err())
	}
}

// enter counts a connection; false when there may be no more.
func (s *Server) enter(from netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.connections >= s.cfg.MaxConnections || from.IsValid() && s.addresses[from] >= s.cfg.PerAddress {
		return false
	}
	if from.IsValid() {
		s.addresses[from]++
	}
	s.connections++
	s.running.Add(1)
	s.metrics.connections.Inc()
	return true
}

func (s *Server) leave(from netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.addresses[from]--; s.addresses[from] <= 0 {
		delete(s.addresses, from)
	}
	s.connections--
	s.metrics.connections.Dec()
	s.running.Done()
}

// maxMessage bounds a WebSocket message: a CONNECT with a token is the largest.
const maxMessage = 32 << 10

// ServeHTTP implements http.Handler: it serves one connection until its end.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var from netip.Addr
	if s.cfg.Client != nil {
		from = s.cfg.Client(r)
	}
	if !s.enter(from) {
		s.metrics.refused(refusedFull)
		w.Header().Set("Retry-After", "5")
		http.Error(w, "too many connections", http.StatusServiceUnavailable)
		return
	}
	defer s.leave(from)
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols: []string{"v12.stomp", "v11.stomp"},
		// The page may be from another host. What counts is the token, which
		// the page must know and no browser adds by itself.
		InsecureSkipVerify: true,
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil {
		return // it has answered
	}
	conn.SetReadLimit(maxMessage)
	newConnection(s, conn, from).serve(s.ctx)
}
