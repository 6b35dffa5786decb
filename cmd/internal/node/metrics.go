package node

import (
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vnode/cmd/internal/admin"
)

// nodeMetrics are what the node knows beyond its parts.
type nodeMetrics struct {
	reloads    map[bool]prometheus.Counter // by whether they worked
	reloadedAt prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer, n *Node) *nodeMetrics {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	reloads := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vnode_config_reloads_total",
		Help: "Times the configuration was read anew, by result."}, []string{"result"})
	m := &nodeMetrics{
		reloads: map[bool]prometheus.Counter{true: reloads.WithLabelValues("success"), false: reloads.WithLabelValues("failure")},
		reloadedAt: prometheus.NewGauge(prometheus.GaugeOpts{Name: "vnode_config_loaded_timestamp_seconds",
			Help: "When the configuration in use was read."}),
	}
	m.reloadedAt.SetToCurrentTime()
	info := prometheus.NewGauge(prometheus.GaugeOpts{Name: "vnode_build_info", Help: "Always 1; the labels tell what runs.",
		ConstLabels: prometheus.Labels{"version": n.version, "goversion": runtime.Version(), "node": string(n.cfg.Load().ID)}})
	info.Set(1)
	reg.MustRegister(info, reloads, m.reloadedAt, &stateCollector{n},
		gauge("vnode_certificate_expiry_timestamp_seconds", "When the node's own certificate expires.",
			func() float64 { return float64(n.cert.Load().Leaf.NotAfter.Unix()) }),
		gauge("vnode_limit_connections", "How many client connections the node takes (max-connections).",
			func() float64 { return float64(n.cfg.Load().MaxConnections) }),
		gauge("vnode_limit_visitors_per_room", "How many visitors a room takes (max-visitors-per-room).",
			func() float64 { return float64(n.cfg.Load().MaxVisitorsPerRoom) }))
	return m
}

// reloaded counts a reload.
func (m *nodeMetrics) reloaded(ok bool) {
	m.reloads[ok].Inc()
	if ok {
		m.reloadedAt.Set(float64(time.Now().Unix()))
	}
}

// stateCollector tells the state of the node and of its streams to main when it
// is asked.
type stateCollector struct{ n *Node }

var (
	descState = prometheus.NewDesc("vnode_state", "1 for the state the node is in, 0 for the others.", []string{"state"}, nil)
	descLink  = prometheus.NewDesc("vnode_main_link_up", "Whether a stream the node keeps open to main is up.", []string{"link"}, nil)
)

// Describe implements prometheus.Collector.
func (c *stateCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- descState
	ch <- descLink
}

// Collect implements prometheus.Collector.
func (c *stateCollector) Collect(ch chan<- prometheus.Metric) {
	now, _ := c.n.health.Get()
	for _, s := range admin.States {
		ch <- prometheus.MustNewConstMetric(descState, prometheus.GaugeValue, number(s == now), string(s))
	}
	for _, p := range c.n.kept() {
		ch <- prometheus.MustNewConstMetric(descLink, prometheus.GaugeValue, number(c.n.federation.Up(p.from, p.to)), p.name)
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
