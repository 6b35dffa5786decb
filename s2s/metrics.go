package s2s

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vnode/internal/wire"
)

// direction of a stream: who opened the connection.
type direction string

const (
	inbound  direction = "in"
	outbound direction = "out"
)

// state of a stream as the metrics show it.
type state string

const (
	negotiating state = "negotiating"
	ready       state = "ready"
)

// undeliveredCause says why a stanza was not delivered.
type undeliveredCause string

const (
	undeliveredExpired    undeliveredCause = "expired"        // no stream within QueueTimeout
	undeliveredNotFound   undeliveredCause = "not_found"      // the same, and the peer seems not to exist
	undeliveredOverflow   undeliveredCause = "overflow"       // the queue is full
	undeliveredNotAllowed undeliveredCause = "not_allowed"    // not between Hosts and Peers
	undeliveredTooLarge   undeliveredCause = "too_large"      // beyond what the peer announced
	undeliveredUnacked    undeliveredCause = "unacknowledged" // sent, but the stream ended before the peer had acknowledged it
	undeliveredShutdown   undeliveredCause = "shutdown"       // after Close
)

var undeliveredCauses = []undeliveredCause{
	undeliveredExpired, undeliveredNotFound, undeliveredOverflow, undeliveredNotAllowed, undeliveredTooLarge,
	undeliveredUnacked, undeliveredShutdown,
}

// resumeOutcome says what became of an attempt to resume a stream.
type resumeOutcome string

const (
	resumeDone   resumeOutcome = "resumed"
	resumeFailed resumeOutcome = "failed"
)

// metrics are this package's. Every label value exists from the start.
type metrics struct {
	streams         map[direction]map[state]prometheus.Gauge
	closed          map[direction]map[Reason]prometheus.Counter
	connectFailures map[Reason]prometheus.Counter
	stanzas, bytes  map[direction]prometheus.Counter
	undelivered     map[undeliveredCause]prometheus.Counter
	dropped         [wire.ViolationCount]prometheus.Counter // by wire.Violation
	unanswered      prometheus.Counter
	resumptions     map[resumeOutcome]prometheus.Counter
	rtt             prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer, waiting func() (stanzas, bytes int, oldest time.Time), unacked func() int) *metrics {
	streams := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "vnode_s2s_streams",
		Help: "Server-to-server streams by who opened them and whether they carry stanzas yet."}, []string{"direction", "state"})
	closed := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vnode_s2s_closed_total",
		Help: "Server-to-server streams that ended."}, []string{"direction", "reason"})
	failures := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vnode_s2s_connect_failures_total",
		Help: "Failed attempts to open a stream to a peer."}, []string{"reason"})
	stanzas := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vnode_s2s_stanzas_total",
		Help: "Stanzas received from (in) and written to (out) peers."}, []string{"direction"})
	bytes := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vnode_s2s_stanza_bytes_total",
		Help: "Bytes of the stanzas received from (in) and written to (out) peers."}, []string{"direction"})
	undelivered := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vnode_s2s_undelivered_total",
		Help: "Stanzas for peers that could not be delivered; answered with an error where the protocol allows one."}, []string{"cause"})
	resumptions := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vnode_s2s_resumptions_total",
		Help: "Attempts to resume a lost server-to-server stream."}, []string{"outcome"})
	dropped := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vnode_s2s_dropped_stanzas_total",
		Help: "Stanzas from peers dropped because clients or other servers could not read them, by reason."}, []string{"reason"})
	m := &metrics{
		streams:         map[direction]map[state]prometheus.Gauge{},
		closed:          map[direction]map[Reason]prometheus.Counter{},
		connectFailures: map[Reason]prometheus.Counter{},
		stanzas:         map[direction]prometheus.Counter{},
		bytes:           map[direction]prometheus.Counter{},
		undelivered:     map[undeliveredCause]prometheus.Counter{},
		unanswered: prometheus.NewCounter(prometheus.CounterOpts{Name: "vnode_s2s_unanswered_total",
			Help: "Undelivered stanzas that got no error because too many errors waited for the rooms."}),
		resumptions: map[resumeOutcome]prometheus.Counter{},
		rtt: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "vnode_s2s_rtt_seconds",
			Help:    "Time from a request for acknowledgement, or a ping, to a peer until its answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}}),
	}
	for _, d := range []direction{inbound, outbound} {
		m.streams[d] = map[state]prometheus.Gauge{}
		for _, s := range []state{negotiating, ready} {
			m.streams[d][s] = streams.WithLabelValues(string(d), string(s))
		}
		m.closed[d] = map[Reason]prometheus.Counter{}
		for _, r := range reasons {
			m.closed[d][r] = closed.WithLabelValues(string(d), string(r))
		}
		m.stanzas[d] = stanzas.WithLabelValues(string(d))
		m.bytes[d] = bytes.WithLabelValues(string(d))
	}
	for _, r := range reasons {
		m.connectFailures[r] = failures.WithLabelValues(string(r))
	}
	for _, v := range wire.Violations() {
		m.dropped[v] = dropped.WithLabelValues(v.String())
	}
	for _, c := range undeliveredCauses {
		m.undelivered[c] = undelivered.WithLabelValues(string(c))
	}
	for _, o := range []resumeOutcome{resumeDone, resumeFailed} {
		m.resumptions[o] = resumptions.WithLabelValues(string(o))
	}
	queued := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	reg.MustRegister(streams, closed, failures, stanzas, bytes, undelivered, dropped, m.unanswered, resumptions, m.rtt,
		queued("vnode_s2s_unacked_stanzas", "Stanzas written to peers that have not acknowledged them yet.",
			func() float64 { return float64(unacked()) }),
		queued("vnode_s2s_queue_stanzas", "Stanzas waiting to be written to peers.",
			func() float64 { n, _, _ := waiting(); return float64(n) }),
		queued("vnode_s2s_queue_bytes", "Bytes of the stanzas waiting to be written to peers.",
			func() float64 { _, b, _ := waiting(); return float64(b) }),
		queued("vnode_s2s_queue_age_seconds", "How long the oldest stanza waiting for a peer has waited.",
			func() float64 {
				_, _, oldest := waiting()
				if oldest.IsZero() {
					return 0
				}
				return time.Since(oldest).Seconds()
			}))
	return m
}
