package muc

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are those of all rooms together.
type metrics struct {
	heldVisitors  prometheus.Gauge
	heldRooms     prometheus.Gauge
	focusSessions prometheus.Gauge
	rooms         prometheus.Gauge
	roomsBeyond   prometheus.Counter
	requestBytes  prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		heldVisitors: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "vnode_muc_held_visitors", Help: "Visitors that wait, in rooms that a fault has ended, until they can come back.",
		}),
		heldRooms: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "vnode_muc_held_rooms", Help: "Rooms that a fault has ended and whose visitors wait.",
		}),
		focusSessions: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "vnode_muc_focus_sessions", Help: "Sessions of jicofo at the node; 0: no conference can begin here.",
		}),
		rooms: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "vnode_muc_rooms", Help: "Rooms on the node.",
		}),
		roomsBeyond: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "vnode_muc_rooms_beyond_limit_total", Help: "Rooms that jicofo made although max-rooms were there already.",
		}),
		requestBytes: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "vnode_muc_focus_request_bytes", Help: "Bytes of visitors' IQs that wait for jicofo to read.",
		}),
	}
	reg.MustRegister(m.heldVisitors, m.heldRooms, m.focusSessions, m.rooms, m.roomsBeyond, m.requestBytes)
	return m
}
