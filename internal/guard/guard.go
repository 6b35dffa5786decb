// Package guard keeps a panic to the client, the room or the stream that met it.
//
// A goroutine that serves one of many defers [Guard.Recover]. A panic is then
// logged with its stack and counted, and what met it is ended, as a connection that
// breaks is; everybody else goes on. That is right only where no lock is left
// locked and what others share is whole: a panic elsewhere ends the process, and so
// do the runtime's own fatal errors, which nobody can recover. When panics come
// often, something shared is broken after all, and the process ends on purpose.
//
// One client that comes back with the same stanza again and again, or one room that
// is made again and again, is not often: it must not end the process for everybody
// else. See [Owned].
package guard

import (
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"runtime"
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
	// Most is how many panics the process outlives within [Within]. Those of one
	// owner count once, but there may be no more than MostInAll.
	Most      = 5
	MostInAll = 60
	Within    = time.Minute
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

// Owned is a Met whose panics belong to somebody: a network address, or the name of a
// room. It is not logged. "" belongs to nobody, and each panic counts.
type Owned interface{ Whose() string }

// Named is a Met that others depend on, who are told elsewhere: what it does is tried
// again.
type Named string

// Doing implements [Met].
func (Named) Doing() (string, int) { return "", 0 }

// Panicked implements [Met].
func (Named) Panicked() {}

// Whose implements [Owned].
func (n Named) Whose() string { return string(n) }

// Guard counts panics. A nil Guard keeps nothing in: a panic ends the process, as
// tests of a package by itself want it.
type Guard struct {
	// Static after construction.
	log  *slog.Logger
	exit func(status int)
	met  map[Boundary]prometheus.Counter

	mu     sync.Mutex
	latest []occurrence // guarded by mu; the panics of the last minute
}

type occurrence struct {
	at    time.Time
	whose string
	again bool // it is not the owner's first
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
	g.met[b].Inc()
	whose := ""
	if o, ok := m.(Owned); ok {
		whose = o.Whose()
	}
	again, tooMany := g.count(occurrence{at: time.Now(), whose: whose})
	args := []any{"boundary", string(b), "panic", describe(v)}
	if m != nil {
		if stanza, size := m.Doing(); stanza != "" {
			args = append(args, "stanza", stanza, "bytes", size)
		}
	}
	if again { // a flood of stacks would push the first one out of the log
		g.log.Error("a panic was kept in, again of the same client, room or task", args...)
	} else {
		g.log.Error("a panic was kept in; please report it with this stack", append(args, "stack", string(debug.Stack()))...)
	}
	if tooMany {
		g.log.Error("the process ends: too many panics", "within", Within, "most", Most)
		g.exit(status)
	}
}

// describe is what a panic says if that is the runtime's, else only what kind of
// value it is: a text may hold some of a stanza. The stack tells the rest.
func describe(v any) string {
	if err, ok := v.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("a value of type %T", v)
}

// count notes a panic. again is that its owner had one within the last minute,
// tooMany that the process should end.
func (g *Guard) count(o occurrence) (again, tooMany bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	recent, counted := g.latest[:0], 0
	for _, p := range g.latest {
		if o.at.Sub(p.at) >= Within {
			continue
		}
		recent = append(recent, p)
		if !p.again {
			counted++
		}
		o.again = o.again || o.whose != "" && p.whose == o.whose
	}
	g.latest = append(recent, o)
	if !o.again {
		counted++
	}
	return o.again, counted > Most || len(g.latest) > MostInAll
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
