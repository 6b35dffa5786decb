package visitorlist

import "github.com/prometheus/client_golang/prometheus"

// refusal says why a connection was refused or ended; it is a metric label.
type refusal string

const (
	refusedFull     refusal = "too_many"
	refusedToken    refusal = "token"
	refusedProtocol refusal = "protocol"
	refusedSlow     refusal = "too_slow"
)

type metrics struct {
	connections prometheus.Gauge
	byRefusal   map[refusal]prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "vnode_visitorlist_refused_total", Help: "Connections for the list of visitors that were refused or ended, by reason.",
	}, []string{"reason"})
	m := &metrics{
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "vnode_visitorlist_connections", Help: "Moderators connected for the list of visitors.",
		}),
		byRefusal: make(map[refusal]prometheus.Counter),
	}
	for _, r := range []refusal{refusedFull, refusedToken, refusedProtocol, refusedSlow} {
		m.byRefusal[r] = refused.WithLabelValues(string(r))
	}
	reg.MustRegister(m.connections, refused)
	return m
}

func (m *metrics) refused(r refusal) { m.byRefusal[r].Inc() }
