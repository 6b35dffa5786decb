// Package admin is the operator's HTTP listener: metrics, health, a live
// status page, and what an operator may do to a running node.
package admin

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"vnode/cmd/internal/admin/access"
	"vnode/internal/guard"
)

// Options are what a [Server] shows and what it lets operators do.
type Options struct {
	Identity Identity
	Registry *prometheus.Registry
	Health   *Health
	Source   Source
	Control  Control
	// Token is what a request that changes something, or wants to know of
	// people, must bear ("Authorization: Bearer …"). Empty: nobody may.
	Token string
	Log   *slog.Logger
	// Guard keeps a panic in while the node is looked at; nil: it ends the process.
	Guard *guard.Guard
}

// Server is the operator's listener. Its methods may be called from any
// goroutine.
type Server struct {
	// Static after construction.
	o       Options
	gate    access.Gate
	names   []string // of the machine and the node
	samples *sampler
	hub     *hub
	stopped chan struct{} // closed by Close: event streams end
	stop    func()

	running sync.WaitGroup
	reached atomic.Bool // main, once since the start
}

// New starts a server, which watches the node once a second until Close.
func New(o Options) *Server {
	s := &Server{o: o, gate: access.New(o.Token), samples: newSampler(o.Registry), hub: newHub(maxWatchers), stopped: make(chan struct{})}
	s.names = append(s.names, o.Identity.Host)
	if name, err := os.Hostname(); err == nil {
		s.names = append(s.names, name)
	}
	s.stop = sync.OnceFunc(func() { close(s.stopped) })
	s.running.Go(func() { o.Guard.Task(s.watch) })
	return s
}

// Close ends the event streams, which an http.Server's Shutdown waits for
// otherwise, and the watching. It blocks until that has ended.
func (s *Server) Close() {
	s.stop()
	s.running.Wait()
}

// Handler serves
//
//   - / and /status: the status page, its data as JSON at /status.json and as
//     events at /status/events
//   - /metrics
//   - /healthz: 200 as long as the node works; /readyz: 200 when it takes new
//     conferences. Both say in JSON why not, and are 503 then; they tell as well
//     whether jicofo is logged in.
//   - /debug/pprof/
//   - POST and DELETE /admin/drain; GET, POST and DELETE /admin/debug
//
// Metrics, health and the page, which is empty without its data, are for
// everybody who reaches the listener and names it as this machine is named, or by
// an address: a page elsewhere whose name was made to point here learns no more
// than whether the node is healthy. The status and profiles are for who bears
// the token and for programs on this machine, which are not told of people:
// who is in a room, and which session is slow.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.named(promhttp.HandlerFor(s.o.Registry, promhttp.HandlerOpts{Registry: s.o.Registry})))
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /{$}", s.named(http.HandlerFunc(servePage)))
	mux.Handle("GET /status", s.named(http.HandlerFunc(servePage)))
	mux.HandleFunc("GET /status.json", s.looks(s.statusJSON))
	mux.HandleFunc("GET /status/events", s.looks(s.events))
	mux.HandleFunc("GET /debug/pprof/", s.looks(pprof.Index))
	mux.HandleFunc("GET /debug/pprof/cmdline", s.looks(pprof.Cmdline))
	mux.HandleFunc("GET /debug/pprof/profile", s.looks(pprof.Profile))
	mux.HandleFunc("GET /debug/pprof/symbol", s.looks(pprof.Symbol))
	mux.HandleFunc("GET /debug/pprof/trace", s.looks(pprof.Trace))
	mux.HandleFunc("POST /admin/drain", s.allowed(s.drain))
	mux.HandleFunc("DELETE /admin/drain", s.allowed(s.undrain))
	mux.HandleFunc("GET /admin/debug", s.allowed(s.debugged))
	mux.HandleFunc("POST /admin/debug", s.allowed(s.debug))
	mux.HandleFunc("DELETE /admin/debug", s.allowed(s.undebug))
	return mux
}

// interval is how often the node is looked at and status pages are told.
const interval = time.Second

// watch takes a sample each interval and tells the status pages.
func (s *Server) watch() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		s.samples.take(time.Now())
		s.reachedMain(s.o.Source.Links())
		if s.hub.any() {
			s.hub.tell(s.encoded(ctx))
		}
		select {
		case <-s.stopped:
			return
		case <-ticker.C:
		}
	}
}

// writeJSON answers with a value.
func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// It fails only when the client is gone.
	_ = json.NewEncoder(w).Encode(v)
}

// problem is the answer to a request that was not carried out.
type problem struct {
	Error string `json:"error"`
}
