package room

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Refusal says why a visitor was not let in; it is a metric label.
type Refusal string

const (
	refusedLobby    Refusal = "lobby"
	refusedPassword Refusal = "password"
	refusedFull     Refusal = "room_full"
	refusedNodeFull Refusal = "node_full"
	refusedNoToken  Refusal = "no_token"
	refusedConflict Refusal = "nick_conflict"
	refusedQueue    Refusal = "queue_full"
	refusedSize     Refusal = "presence_size"
	RefusedHealth   Refusal = "health_room"
	RefusedNoRoom   Refusal = "no_room"
	refusedBanned   Refusal = "banned"
)

var refusals = []Refusal{refusedLobby, refusedPassword, refusedFull, refusedNodeFull, refusedNoToken, refusedConflict, refusedQueue, refusedSize, RefusedHealth, RefusedNoRoom, refusedBanned}

// Metrics counts what happens in rooms. Rooms write it and never read it.
type Metrics struct {
	queued           prometheus.Gauge
	byRole           map[role]prometheus.Gauge
	byRefusal        map[Refusal]prometheus.Counter
	byEnd            map[endReason]prometheus.Counter
	chatFromVisitors prometheus.Counter
	chatFromMain     prometheus.Counter
	chatFromNodes    prometheus.Counter
	chatRefused      prometheus.Counter
	votes            prometheus.Counter
	focusHeld        prometheus.Counter
	requestsHeld     prometheus.Counter
	requestsRefused  prometheus.Counter
	handsHeld        prometheus.Counter
	mainRefused      prometheus.Counter
	byFate           map[fate]prometheus.Counter
	byWait           map[waited]prometheus.Counter
}

// NewMetrics registers the metrics of rooms.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	occupants := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "vnode_muc_occupants", Help: "Occupants of all rooms by role.",
	}, []string{"role"})
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "vnode_muc_joins_refused_total", Help: "Joins of visitors that were refused, by reason.",
	}, []string{"reason"})
	ended := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "vnode_muc_rooms_ended_total", Help: "Rooms that ended, by reason.",
	}, []string{"reason"})
	chat := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "vnode_muc_chat_messages_total", Help: "Messages said in rooms, by where they came from.",
	}, []string{"origin"})
	audience := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "vnode_muc_held_visitors_total", Help: "What became of visitors whose room was ended by a fault, or by the node's own end.",
	}, []string{"outcome"})
	waits := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "vnode_muc_joins_waited_total", Help: "Joins of visitors that waited for a room that was not there yet, by what became of them.",
	}, []string{"outcome"})
	m := &Metrics{
		byRole: make(map[role]prometheus.Gauge), byRefusal: make(map[Refusal]prometheus.Counter),
		byEnd: make(map[endReason]prometheus.Counter), byFate: make(map[fate]prometheus.Counter), byWait: make(map[waited]prometheus.Counter),
		chatFromVisitors: chat.WithLabelValues("visitors"), chatFromMain: chat.WithLabelValues("main"), chatFromNodes: chat.WithLabelValues("nodes"),
		queued: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "vnode_muc_queued_visitors", Help: "Visitors that wait until the main server has connected their room.",
		}),
		chatRefused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "vnode_muc_chat_messages_refused_total", Help: "Messages of visitors refused because of flood control.",
		}),
		votes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "vnode_muc_votes_total", Help: "Votes of visitors in polls that were taken.",
		}),
		focusHeld: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "vnode_muc_focus_presences_held_total", Help: "Presences of visitors that waited for jicofo to read, or that a newer one replaced meanwhile.",
		}),
		requestsHeld: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "vnode_muc_focus_requests_held_total", Help: "IQs of visitors that waited for jicofo to read.",
		}),
		requestsRefused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "vnode_muc_focus_requests_refused_total", Help: "IQs of visitors to jicofo that were refused because too many waited.",
		}),
		handsHeld: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "vnode_muc_hands_held_total", Help: "Raised and lowered hands that waited before the main server was told of them.",
		}),
		mainRefused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "vnode_muc_main_refused_total", Help: "Messages of visitors that were refused because the visitors of all rooms told the main server too much.",
		}),
	}
	for _, r := range []role{roleVisitor, roleParticipant, roleModerator} {
		m.byRole[r] = occupants.WithLabelValues(r.String())
	}
	for _, r := range refusals {
		m.byRefusal[r] = refused.WithLabelValues(string(r))
	}
	for f := range fates {
		m.byFate[f] = audience.WithLabelValues(f.String())
	}
	for _, w := range allWaits {
		m.byWait[w] = waits.WithLabelValues(string(w))
	}
	for _, e := range endReasons {
		m.byEnd[e] = ended.WithLabelValues(string(e))
	}
	reg.MustRegister(occupants, refused, ended, chat, audience, waits, m.queued, m.chatRefused, m.votes, m.focusHeld, m.requestsHeld, m.requestsRefused, m.handsHeld, m.mainRefused)
	return m
}

func (m *Metrics) occupants(r role) prometheus.Gauge       { return m.byRole[r] }
func (m *Metrics) ended(r endReason) prometheus.Counter    { return m.byEnd[r] }
func (m *Metrics) audience(f fate) prometheus.Counter      { return m.byFate[f] }
func (m *Metrics) joinsWaited(w waited) prometheus.Counter { return m.byWait[w] }

// Refused counts the joins of visitors that were refused for that reason.
func (m *Metrics) Refused(r Refusal) prometheus.Counter { return m.byRefusal[r] }
