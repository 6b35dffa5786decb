package visitor

import (
	"github.com/prometheus/client_golang/prometheus"

	"vnode/fanout"
	"vnode/internal/wire"
	"vnode/visitor/admission"
	"vnode/visitor/sasl"
)

type metrics struct {
	sessions *prometheus.GaugeVec
	gauges   map[[2]string]prometheus.Gauge // of sessions, by transport and state
	closed   map[fanout.Reason]prometheus.Counter
	logins   *prometheus.CounterVec
	refused  map[admission.Limit]prometheus.Counter
	waited   prometheus.Histogram
	rate     prometheus.Gauge
	delay    prometheus.Gauge
	guessers prometheus.Counter
	// resumptions is by result.
	resumptions map[string]prometheus.Counter
	dropped     [wire.ViolationCount]prometheus.Counter // by wire.Violation
	stanzas     prometheus.Counter
	bytes       prometheus.Counter
}

const (
	stateNegotiating = "negotiating"
	stateBound       = "bound"
	stateHibernating = "hibernating" // no stream, to be resumed

	resumeOK       = "resumed"
	resumeNotFound = "not_found" // or another user's
	resumeBadAck   = "bad_ack"
	resumeOverrun  = "overrun" // what was missed is no longer kept
	resumeTimeout  = "timeout" // the session was busy for too long
)

func newMetrics(reg prometheus.Registerer) *metrics {
	closed := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "vnode_visitor_closed_total", Help: "Client streams, and sessions without one, ended, by reason.",
	}, []string{"reason"})
	resumptions := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "vnode_visitor_resumptions_total", Help: "Attempts to resume a session (XEP-0198).",
	}, []string{"result"})
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "vnode_visitor_refused_total", Help: "Connections refused, by the limit reached.",
	}, []string{"limit"})
	dropped := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "vnode_visitor_dropped_stanzas_total", Help: "Stanzas of clients dropped because others could not read them, by reason.",
	}, []string{"reason"})
	m := &metrics{
		gauges:      make(map[[2]string]prometheus.Gauge),
		resumptions: make(map[string]prometheus.Counter),
		sessions: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "vnode_visitor_sessions", Help: "Client streams open, and sessions that hibernate.",
		}, []string{"transport", "state"}),
		closed: make(map[fanout.Reason]prometheus.Counter),
		logins: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vnode_visitor_logins_total", Help: "SASL exchanges ended.",
		}, []string{"mechanism", "result"}),
		refused: make(map[admission.Limit]prometheus.Counter),
		waited: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "vnode_visitor_admission_wait_seconds", Help: "How long clients waited to be let in.",
			Buckets: []float64{0, .05, .1, .25, .5, 1, 2, 5},
		}),
		rate: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "vnode_visitor_admission_rate", Help: "Logins let in per second at most, as the node can serve them.",
		}),
		delay: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "vnode_visitor_delay_seconds", Help: "The longest delay seen in the latest interval.",
		}),
		guessers: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "vnode_visitor_guessing_total", Help: "Logins refused because of wrong passwords from the same address.",
		}),
		stanzas: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "vnode_visitor_received_stanzas_total", Help: "Stanzas received from clients after bind.",
		}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "vnode_visitor_received_bytes_total", Help: "Bytes of stanzas received from clients after bind.",
		}),
	}
	for _, l := range labels() {
		m.closed[fanout.Reason(l)] = closed.WithLabelValues(l)
	}
	for _, t := range []string{transportTCP, transportWebSocket, transportBOSH} {
		for _, state := range []string{stateNegotiating, stateBound, stateHibernating} {
			m.gauges[[2]string{t, state}] = m.sessions.WithLabelValues(t, state)
		}
	}
	for _, name := range append([]string{mechAnonymous}, sasl.Mechanisms...) {
		m.logins.WithLabelValues(name, "success")
		m.logins.WithLabelValues(name, "failure")
	}
	for _, v := range wire.Violations() {
		m.dropped[v] = dropped.WithLabelValues(v.String())
	}
	for _, l := range admission.AllLimits {
		m.refused[l] = refused.WithLabelValues(string(l))
	}
	for _, r := range []string{resumeOK, resumeNotFound, resumeBadAck, resumeOverrun, resumeTimeout} {
		m.resumptions[r] = resumptions.WithLabelValues(r)
	}
	reg.MustRegister(m.sessions, closed, resumptions, m.logins, refused, m.waited, m.rate, m.delay, m.guessers, dropped, m.stanzas, m.bytes)
	return m
}

// sessionsOf returns the gauge of a transport's streams in a state.
func (m *metrics) sessionsOf(transport, state string) prometheus.Gauge {
	return m.gauges[[2]string{transport, state}]
}

// ended counts the end of a stream. A reason outside the closed set, should
// one be forgotten there, must not make a label of its own.
func (m *metrics) ended(r fanout.Reason) {
	c, ok := m.closed[r]
	if !ok {
		c = m.closed[streamReason(wire.StreamError{Condition: wire.UndefinedCondition}).label]
	}
	c.Inc()
}
