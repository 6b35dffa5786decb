package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeNode is what a test says the node is.
type fakeNode struct {
	mu sync.Mutex
	// Guarded by mu.
	links    []Link
	rooms    []RoomDetail
	slow     []Slow
	debugged []DebugTarget
	stuck    error
	drained  []string
	alone    bool // no other node takes over
	focus    Focus
	work     func() // done each second
}

func (f *fakeNode) change(do func(*fakeNode)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do(f)
}

func (f *fakeNode) Links() []Link {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.links)
}

func (f *fakeNode) Alive(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stuck
}

func (f *fakeNode) Rooms(context.Context) ([]Room, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.work != nil {
		f.work()
	}
	var list []Room
	for i := range f.rooms {
		f.rooms[i].Stanzas += 2
		list = append(list, f.rooms[i].Room)
	}
	return list, f.stuck
}

func (f *fakeNode) Room(_ context.Context, name string) (RoomDetail, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.rooms {
		if r.Address == name {
			return r, nil
		}
	}
	return RoomDetail{}, fmt.Errorf("%w: %s", ErrNoRoom, name)
}

func (f *fakeNode) Slow(_ context.Context, limit int) ([]Slow, int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.slow[:min(limit, len(f.slow))]), len(f.slow), nil
}

func (f *fakeNode) Debugged() []DebugTarget {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]DebugTarget{}, f.debugged...)
}

func (f *fakeNode) Drain(_ context.Context, timeout time.Duration, why string, force bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.alone && !force {
		return errors.New("no other node is known")
	}
	f.drained = append(f.drained, fmt.Sprint(timeout, " ", why))
	return nil
}

func (f *fakeNode) Focus() Focus {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.focus
}

func (f *fakeNode) Undrain() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.drained) == 0 {
		return errors.New("the node does not drain")
	}
	f.drained = nil
	return nil
}

func (f *fakeNode) Debug(name string, d time.Duration) error {
	f.change(func(f *fakeNode) {
		f.debugged = slices.DeleteFunc(f.debugged, func(t DebugTarget) bool { return t.Name == name })
		if d > 0 {
			f.debugged = append(f.debugged, DebugTarget{name, time.Now().Add(d)})
		}
	})
	return nil
}

// house is a listener with everything around it.
type house struct {
	*Server
	t      *testing.T
	node   *fakeNode
	health *Health
	reg    *prometheus.Registry
	url    string
	cut    func() // breaks all connections
}

const token = "an operator's token"

func newHouse(t *testing.T, token string) *house {
	t.Helper()
	h := &house{t: t, health: new(Health), reg: prometheus.NewRegistry(), node: &fakeNode{focus: Focus{LoggedIn: true}, links: []Link{
		{Name: "main", From: "conference.v3.meet.jitsi", To: "meet.jitsi", Up: true},
		{Name: "rooms", From: "conference.v3.meet.jitsi", To: "conference.meet.jitsi", Up: true},
		{Name: "visitors", From: "v3.meet.jitsi", To: "visitors.meet.jitsi", Up: true},
		{Name: "polls", From: "conference.v3.meet.jitsi", To: "polls.meet.jitsi", Reason: "host_unknown: it does not serve polls.meet.jitsi; check that the component is enabled there"},
	}}}
	h.health.Set(Ready, "")
	h.Server = New(Options{
		Identity: Identity{Host: "v3.meet.jitsi", Rooms: "conference.v3.meet.jitsi", Version: "1.0.0", Started: time.Now().Add(-50 * time.Hour)},
		Registry: h.reg, Health: h.health, Source: h.node, Control: h.node, Token: token, Log: slog.New(slog.DiscardHandler),
	})
	web := httptest.NewServer(h.Handler())
	h.url, h.cut = web.URL, web.CloseClientConnections
	t.Cleanup(func() {
		h.Close()
		web.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return h
}

// ask sends a request and returns the answer.
func (h *house) ask(method, path, body, bearer string) (int, string) {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), method, h.url+path, strings.NewReader(body))
	require.NoError(h.t, err)
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(h.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(h.t, err)
	return resp.StatusCode, string(b)
}

// meters are the metrics the page reads, as the parts of a node have them.
type meters struct {
	delivered, bytes, received prometheus.Counter
	main, closed               *prometheus.CounterVec
	delay                      prometheus.Histogram
	sessions                   *prometheus.GaugeVec
}

func newMeters(reg prometheus.Registerer) *meters {
	counter := func(name string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name})
	}
	m := &meters{
		delivered: counter(metricDelivered), bytes: counter(metricBytes), received: counter(metricReceived),
		main:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: metricMain}, []string{"direction"}),
		closed:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: metricClosed}, []string{"reason"}),
		delay:    prometheus.NewHistogram(prometheus.HistogramOpts{Name: metricDelay, Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16)}),
		sessions: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: metricSessions}, []string{"transport", "state"}),
	}
	reg.MustRegister(m.delivered, m.bytes, m.received, m.main, m.closed, m.delay, m.sessions)
	return m
}
