package admin

import (
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// What the status page reads from the metrics.
const (
	metricDelivered = "vnode_fanout_deliveries_total"
	metricBytes     = "vnode_fanout_written_bytes_total"
	metricDelay     = "vnode_fanout_delivery_seconds"
	metricReceived  = "vnode_visitor_received_stanzas_total"
	metricMain      = "vnode_s2s_stanzas_total"
	metricSessions  = "vnode_visitor_sessions"
	metricClosed    = "vnode_visitor_closed_total"
)

// Metrics are the names of the metrics the status page shows; without them it
// shows zeroes.
func Metrics() []string {
	return []string{metricDelivered, metricBytes, metricDelay, metricReceived, metricMain, metricSessions, metricClosed}
}

const (
	// sparkline is how many intervals the page's curve shows.
	sparkline = 120
	// memory is how many intervals are kept: recent closes look back so far.
	memory = 300
)

// sample is the metrics at one time.
type sample struct {
	at                         time.Time
	delivered, bytes, received float64
	fromMain, toMain           float64
	bounds                     []float64 // of the delay's buckets
	buckets                    []uint64  // cumulative, the last is all
	closed                     map[string]float64
	sessions                   []SessionCount
}

// sampler keeps the metrics of the last minutes.
type sampler struct {
	// Static after construction.
	from prometheus.Gatherer

	mu   sync.Mutex
	ring []sample // guarded by mu; oldest first
}

func newSampler(from prometheus.Gatherer) *sampler { return &sampler{from: from} }

// take remembers the metrics as they are.
func (s *sampler) take(now time.Time) {
	families, err := s.from.Gather()
	if err != nil && len(families) == 0 {
		return // /metrics tells the same error to who can read it
	}
	n := sample{at: now, closed: make(map[string]float64)}
	for _, f := range families {
		n.read(f)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ring) == memory {
		s.ring = slices.Delete(s.ring, 0, 1)
	}
	s.ring = append(s.ring, n)
}

func (n *sample) read(f *dto.MetricFamily) {
	for _, m := range f.GetMetric() {
		switch v := m.GetCounter().GetValue(); f.GetName() {
		case metricDelivered:
			n.delivered = v
		case metricBytes:
			n.bytes = v
		case metricReceived:
			n.received = v
		case metricMain:
			if label(m, "direction") == "in" {
				n.fromMain = v
			} else {
				n.toMain = v
			}
		case metricClosed:
			n.closed[label(m, "reason")] = v
		case metricSessions:
			n.sessions = append(n.sessions, SessionCount{label(m, "transport"), label(m, "state"), int(m.GetGauge().GetValue())})
		case metricDelay:
			h := m.GetHistogram()
			for _, b := range h.GetBucket() {
				if !math.IsInf(b.GetUpperBound(), 1) {
					n.bounds = append(n.bounds, b.GetUpperBound())
					n.buckets = append(n.buckets, b.GetCumulativeCount())
				}
			}
			n.buckets = append(n.buckets, h.GetSampleCount())
		}
	}
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// SessionCount is how many client sessions are in a state.
type SessionCount struct {
	Transport string `json:"transport"`
	State     string `json:"state"`
	Count     int    `json:"count"`
}

// Rates are per second, over the last interval.
type Rates struct {
	Delivered float64 `json:"delivered"` // stanzas to clients
	Bytes     float64 `json:"bytes"`     // to clients
	Received  float64 `json:"received"`  // stanzas from clients
	FromMain  float64 `json:"fromMain"`
	ToMain    float64 `json:"toMain"`
}

// Latency is the time from a room's publication to the hand-over to the
// kernel, in seconds; nil when nothing was delivered.
type Latency struct {
	P50 *float64 `json:"p50"`
	P99 *float64 `json:"p99"`
}

// CloseCount is how many client streams ended for a reason lately.
type CloseCount struct {
	Reason string `json:"reason"`
	Count  int    `json:"count"`
}

// trend is what the samples tell.
type trend struct {
	rates    Rates
	latency  []Latency
	closes   []CloseCount
	sessions []SessionCount
}

func (s *sampler) trend() trend {
	s.mu.Lock()
	defer s.mu.Unlock()
	var t trend
	if len(s.ring) == 0 {
		return t
	}
	last := &s.ring[len(s.ring)-1]
	t.sessions = last.sessions
	for reason, n := range last.closed {
		if d := n - s.ring[0].closed[reason]; d > 0 {
			t.closes = append(t.closes, CloseCount{reason, int(d)})
		}
	}
	slices.SortFunc(t.closes, func(a, b CloseCount) int {
		if a.Count != b.Count {
			return b.Count - a.Count
		}
		return strings.Compare(a.Reason, b.Reason)
	})
	if len(s.ring) < 2 {
		return t
	}
	t.rates = last.since(&s.ring[len(s.ring)-2])
	for i := max(1, len(s.ring)-sparkline); i < len(s.ring); i++ {
		t.latency = append(t.latency, s.ring[i].latencySince(&s.ring[i-1]))
	}
	return t
}

func (n *sample) since(before *sample) Rates {
	d := n.at.Sub(before.at).Seconds()
	if d <= 0 {
		return Rates{}
	}
	return Rates{
		Delivered: (n.delivered - before.delivered) / d,
		Bytes:     (n.bytes - before.bytes) / d,
		Received:  (n.received - before.received) / d,
		FromMain:  (n.fromMain - before.fromMain) / d,
		ToMain:    (n.toMain - before.toMain) / d,
	}
}

func (n *sample) latencySince(before *sample) Latency {
	if len(n.buckets) == 0 || len(n.buckets) != len(before.buckets) {
		return Latency{}
	}
	counts := make([]uint64, len(n.buckets))
	for i := range counts {
		counts[i] = n.buckets[i] - before.buckets[i]
	}
	return Latency{P50: quantile(.5, n.bounds, counts), P99: quantile(.99, n.bounds, counts)}
}

// quantile estimates from cumulative counts, as Prometheus does: evenly spread
// within a bucket. What lies beyond the last bound counts as that.
func quantile(q float64, bounds []float64, counts []uint64) *float64 {
	all := counts[len(counts)-1]
	if all == 0 || len(bounds) == 0 {
		return nil
	}
	rank := q * float64(all)
	i := 0
	for i < len(bounds) && float64(counts[i]) < rank {
		i++
	}
	if i == len(bounds) {
		return &bounds[len(bounds)-1]
	}
	low, below := 0.0, uint64(0)
	if i > 0 {
		low, below = bounds[i-1], counts[i-1]
	}
	v := low + (bounds[i]-low)*(rank-float64(below))/float64(counts[i]-below)
	return &v
}
