// Package logging is what stands between the node and its log: secrets are
// taken out, floods are cut short, single rooms and sessions can be logged in
// every detail while the node runs, and what happened in each room lately is
// kept for the operator.
package logging

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
)

// Trace is below debug: each stanza, without its content. It is logged for
// targets only.
const Trace = slog.LevelDebug - 4

// The keys whose values name a target.
const (
	keyRoom    = "room"
	keySession = "session"
	keyPeer    = "peer"
)

// maxTargets is how many rooms and sessions may be logged in detail at once.
const maxTargets = 16

// ErrTooMany is the error of [Logs.Debug] when no more targets fit.
var ErrTooMany = fmt.Errorf("%d rooms and sessions are logged in detail already; turn one off first", maxTargets)

// Logs decides what of a node's records reaches its handler. Its methods are
// safe for concurrent use and do not block.
type Logs struct {
	// Static after construction.
	level      slog.Leveler
	records    map[slog.Level]prometheus.Counter
	suppressed prometheus.Counter
	now        func() time.Time

	targets atomic.Pointer[[]Target]
	limits  sync.Map // of *limit, by the program counter of the log call
	events  events

	mu sync.Mutex // serializes changes of targets
}

// Target is a room or session that is logged in detail until a time.
type Target struct {
	// Name is the value of room, session or peer, or its localpart.
	Name  string
	Until time.Time
}

// New returns Logs whose Logger writes through next what is at level or above.
// Metrics are registered with reg; it panics when they are there already.
func New(next slog.Handler, level slog.Leveler, reg prometheus.Registerer) (*Logs, *slog.Logger) {
	records := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vnode_log_records_total",
		Help: "Records written to the log, by level."}, []string{"level"})
	l := &Logs{
		level: level, now: time.Now, records: make(map[slog.Level]prometheus.Counter),
		suppressed: prometheus.NewCounter(prometheus.CounterOpts{Name: "vnode_log_suppressed_total",
			Help: "Records left out of the log because their kind came too often."}),
	}
	for _, v := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		l.records[v] = records.WithLabelValues(strings.ToLower(v.String()))
	}
	l.targets.Store(&[]Target{})
	reg.MustRegister(records, l.suppressed)
	return l, slog.New(&handler{logs: l, next: next})
}

// Debug logs everything about a room, session or peer for d; 0 turns it off.
// The error is ErrTooMany or says that there is no such target.
func (l *Logs) Debug(name string, d time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	known := false
	next := slices.DeleteFunc(slices.Clone(*l.targets.Load()), func(t Target) bool {
		known = known || t.Name == name
		return t.Name == name || !now.Before(t.Until)
	})
	switch {
	case d <= 0 && !known:
		return errors.New("no detailed log of that name is on")
	case d > 0 && len(next) >= maxTargets:
		return ErrTooMany
	case d > 0:
		next = append(next, Target{name, now.Add(d)})
	}
	l.targets.Store(&next)
	return nil
}

// Debugged returns what is logged in detail now.
func (l *Logs) Debugged() []Target {
	now := l.now()
	return slices.DeleteFunc(slices.Clone(*l.targets.Load()), func(t Target) bool { return !now.Before(t.Until) })
}

// targeted reports whether one of names is a target at that time.
func (l *Logs) targeted(now time.Time, names []string) bool {
	for _, t := range *l.targets.Load() {
		if !now.Before(t.Until) {
			continue
		}
		for _, n := range names {
			if local, _, ok := strings.Cut(n, "@"); n == t.Name || ok && local == t.Name {
				return true
			}
			if bare, _, ok := strings.Cut(n, "/"); ok && bare == t.Name {
				return true
			}
		}
	}
	return false
}

// handler is the way of one logger's records.
type handler struct {
	// Static after construction.
	logs  *Logs
	next  slog.Handler
	room  string   // of the attributes it was given, "" for none
	names []string // room, session and peer of these
	group bool     // what comes is in a group, and names nothing
}

// Enabled implements slog.Handler. A logger of a room is heard from debug on,
// for the room's events.
func (h *handler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.logs.level.Level() || h.room != "" && level >= slog.LevelDebug ||
		level >= Trace && len(*h.logs.targets.Load()) > 0
}

// Handle implements slog.Handler.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	room, names := h.room, h.names
	if !h.group {
		r.Attrs(func(a slog.Attr) bool {
			room, names = name(a, room, names)
			return true
		})
	}
	r = redacted(r)
	if room != "" && r.Level >= slog.LevelDebug {
		h.logs.events.add(room, r)
	}
	if !h.logs.targeted(r.Time, names) {
		if r.Level < h.logs.level.Level() {
			return nil
		}
		left, ok := h.logs.allow(r)
		if !ok {
			h.logs.suppressed.Inc()
			return nil
		}
		if left > 0 {
			r.AddAttrs(slog.Uint64("suppressed", left))
		}
	}
	h.logs.count(r.Level)
	return h.next.Handle(ctx, r)
}

// name takes a room, session or peer out of an attribute.
func name(a slog.Attr, room string, names []string) (string, []string) {
	switch a.Key {
	case keyRoom:
		room = a.Value.String()
	case keySession, keyPeer:
	default:
		return room, names
	}
	return room, append(slices.Clip(names), a.Value.String())
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	safe := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		if !h.group {
			c.room, c.names = name(a, c.room, c.names)
		}
		safe[i] = redact(a)
	}
	c.next = h.next.WithAttrs(safe)
	return &c
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(g string) slog.Handler {
	c := *h
	c.group = true
	c.next = h.next.WithGroup(g)
	return &c
}

func (l *Logs) count(level slog.Level) {
	for _, v := range []slog.Level{slog.LevelError, slog.LevelWarn, slog.LevelInfo} {
		if level >= v {
			l.records[v].Inc()
			return
		}
	}
	l.records[slog.LevelDebug].Inc()
}

// limit is how often one place in the code may log.
type limit struct {
	rate *rate.Limiter
	left atomic.Uint64 // left out since the last record
}

// What one place in the code may log: as much as a person can read, and of
// debug records, which somebody has asked for, as much as a disk can take.
const (
	perSecond, burst           = 5, 100
	debugPerSecond, debugBurst = 1000, 5000
)

// allow reports whether a record may be written, and how many of its kind were
// left out before it.
func (l *Logs) allow(r slog.Record) (left uint64, ok bool) {
	// Debug is told apart: one place may log at several levels.
	type place struct {
		pc    uintptr
		debug bool
	}
	p := place{r.PC, r.Level < slog.LevelInfo}
	v, found := l.limits.Load(p)
	if !found {
		fresh := &limit{rate: rate.NewLimiter(perSecond, burst)}
		if p.debug {
			fresh.rate = rate.NewLimiter(debugPerSecond, debugBurst)
		}
		v, _ = l.limits.LoadOrStore(p, fresh)
	}
	lim := v.(*limit)
	if !lim.rate.AllowN(r.Time, 1) {
		lim.left.Add(1)
		return 0, false
	}
	return lim.left.Swap(0), true
}
