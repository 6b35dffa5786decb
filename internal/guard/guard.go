// Package guard keeps a panic to the client, the room or the stream that met it.
//
// A goroutine that serves one of many defers [Guard.Recover]. A panic is then
// logged with its stack and counted, and what met it is ended, as a connection that
// breaks is; everybody else goes on. That is right only where no lock is left
// locked and what others share is whole: a panic elsewhere ends the process, and so
// do the runtime's own fatal errors, which nobody can recover. When panics come
// often, something shared is broken after all, and the process ends on purpose.
package guard

import (
	"log/slog"
	"net/http"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Boundary is where a panic is kept in; it is a metric label.
type Boundary string

// The boundaries, and what a panic there costs.
const (
	Connection Boundary = "connection" // a connection whose client is not known yet
	Login      Boundary = "login"      // a client on its way to its session
	Session    Boundary = "session"    // a client's session
	Output     Boundary = "output"     // a client's session, found in its write side
	Request    Boundary = "request"    // an HTTP request
	Room       Boundary = "room"       // a room, whose visitors return to a new one
	Stream     Boundary = "stream"     // a stream with another server, which is opened again
	Task       Boundary = "task"       // something the node does by itself, which begins anew
)

var boundaries = []Boundary{Connection, Login, Session, Output, Request, Room, Stream, Task}

const (
	// Most is how many panics the process outlives within [Within].
	Most   = 5
	Within = time.Minute
	// status of a process that ends because of panics: EX_SOFTWARE of sysexits.
	status = 70
)

// Met is what meets a panic.
type Met interface {
	// Doing names the stanza in hand, or "", and its size in bytes. Its content
	// is nobody's business.
	Doing() (stanza string, size int)
	// Panicked ends what has met the panic. It runs on the same goroutine,
	// behind the deferred calls of the frames that are gone.
	Panicked()
}

// Guard counts panics. A nil Guard keeps nothing in: a panic ends the process, as
// tests of a package by itself want it.
type Guard struct {
	// Static after construction.
	log  *slog.Logger
	exit func(status int)
	met  map[Boundary]prometheus.Counter

	mu     sync.Mutex
	latest []time.Time // guarded by mu; the panics of the last minute
}

// New returns a Guard that logs to log. exit ends the process and does not return;
// nil is [os.Exit].
func New(log *slog.Logger, reg prometheus.Registerer, exit func(status int)) *Guard {
	if exit == nil {
		exit = os.Exit
	}
	panics := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "vnode_panics_total", Help: "Panics that cost one client, room, stream or request, by where they were met.",
	}, []string{"boundary"})
	reg.MustRegister(panics)
	g := &Guard{log: log, exit: exit, met: make(map[Boundary]prometheus.Counter)}
	for _, b := range boundaries {
		g.met[b] = panics.WithLabelValues(string(b))
	}
	return g
}

// Recover is deferred by the function that serves m, or nobody in particular if m is
// nil. It keeps a panic in and ends m.
func (g *Guard) Recover(b Boundary, m Met) {
	if g == nil {
		return
	}
	v := recover()
	if v == nil {
		return
	}
	g.note(b, m, v)
	if m != nil {
		m.Panicked()
	}
}

// Task runs f, again after a panic, until it returns.
func (g *Guard) Task(f func()) {
	for !g.finished(f) {
	}
}

func (g *Guard) finished(f func()) (done bool) {
	defer g.Recover(Task, nil)
	f()
	return true
}

// note tells of a panic, and ends the process if it is one too many.
func (g *Guard) note(b Boundary, m Met, v any) {
	args := []any{"boundary", string(b), "panic", v, "stack", string(debug.Stack())}
	if m != nil {
		if stanza, size := m.Doing(); stanza != "" {
			args = append(args, "stanza", stanza, "bytes", size)
		}
	}
	g.log.Error("a panic was kept in; please report it with this stack", args...)
	g.met[b].Inc()
	if g.tooMany(time.Now()) {
		g.log.Error("the process ends: too many panics", "within", Within, "most", Most)
		g.exit(status)
	}
}

func (g *Guard) tooMany(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	recent := g.latest[:0]
	for _, t := range g.latest {
		if now.Sub(t) < Within {
			recent = append(recent, t)
		}
	}
	g.latest = append(recent, now)
	return len(g.latest) > Most
}

// Handler returns h with each request guarded: at a panic its connection is closed.
func (g *Guard) Handler(h http.Handler) http.Handler {
	if g == nil {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if v != http.ErrAbortHandler { // the handler's way to give up
				g.note(Request, nil, v)
			}
			panic(http.ErrAbortHandler) // net/http closes the connection, and says nothing
		}()
		h.ServeHTTP(w, r)
	})
}
