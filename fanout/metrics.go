package fanout

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	delay      prometheus.Histogram
	batch      prometheus.Histogram
	lag        prometheus.Histogram
	sessions   prometheus.Gauge
	blocked    prometheus.Gauge
	suspended  prometheus.Gauge
	deliveries prometheus.Counter
	bytes      prometheus.Counter
	writes     prometheus.Counter
	conflated  prometheus.Counter
	overflows  prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
	}
	m := &metrics{
		delay: histogram("vnode_fanout_delivery_seconds",
			"Time from a room's publication to the hand-over to the kernel, one observation a write.",
			prometheus.ExponentialBuckets(0.0001, 2, 16)),
		batch: histogram("vnode_fanout_batch_stanzas",
			"Room stanzas in one write.", prometheus.ExponentialBuckets(1, 2, 10)),
		lag: histogram("vnode_fanout_lag_stanzas",
			"Stanzas a session was behind its room when visited.", prometheus.ExponentialBuckets(1, 2, 13)),
		sessions:   gauge("vnode_fanout_sessions", "Sessions attached."),
		blocked:    gauge("vnode_fanout_blocked_sessions", "Sessions whose connection takes no more bytes at present."),
		suspended:  gauge("vnode_fanout_suspended_sessions", "Sessions without a connection that may resume."),
		deliveries: counter("vnode_fanout_deliveries_total", "Stanzas written to sessions."),
		bytes:      counter("vnode_fanout_written_bytes_total", "Bytes handed to the kernel or to a TLS connection."),
		writes:     counter("vnode_fanout_writes_total", "Writes, each carrying one or more stanzas."),
		conflated:  counter("vnode_fanout_conflated_total", "Superseded presence updates left out for sessions that lag."),
		overflows:  counter("vnode_fanout_overflows_total", "Sessions ended because they could not follow."),
	}
	reg.MustRegister(m.delay, m.batch, m.lag, m.sessions, m.blocked, m.suspended, m.deliveries, m.bytes, m.writes,
		m.conflated, m.overflows)
	return m
}

// tally collects counts during a sweep, so that a delivery costs an addition
// and not an atomic operation on a shared cache line.
type tally struct {
	deliveries, bytes, writes, conflated int
}

func (t *tally) flush(m *metrics) {
	if t.writes > 0 {
		m.deliveries.Add(float64(t.deliveries))
		m.bytes.Add(float64(t.bytes))
		m.writes.Add(float64(t.writes))
		m.conflated.Add(float64(t.conflated))
	}
	*t = tally{}
}
