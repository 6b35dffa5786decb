package muc

import (
	"github.com/prometheus/client_golang/prometheus"
)

// refusal says why a visitor was not let in; it is a metric label.
type refusal string

const (
	refusedLobby    refusal = "lobby"
	refusedPassword refusal = "password"
	refusedFull     refusal = "room_full"
	refusedNodeFull refusal = "node_full"
	refusedNoToken  refusal = "no_token"
	refusedConflict refusal = "nick_conflict"
	refusedQueue    refusal = "queue_full"
	refusedSize     refusal = "presence_size"
	refusedHealth   refusal = "health_room"
	refusedNoRoom   refusal = "no_room"
	refusedBanned   refusal = "banned"
)

var refusals = []refusal{refusedLobby, refusedPassword, refusedFull, refusedNodeFull, refusedNoToken, refusedConflict, refusedQueue, refusedSize, refusedHealth, refusedNoRoom, refusedBanned}

type metrics struct {
	rooms            prometheus.Gauge
	queued           prometheus.Gauge
	byRole           map[role]prometheus.Gauge
	byRefusal        map[refusal]prometheus.Counter
	byEnd            map[endReason]prometheus.Counter
	chatFromVisitors prometheus.Counter
	chatFromMain     prometheus.Counter
	chatFromNodes    prometheus.Counter
	chatRefused      prometheus.Counter
	votes            prometheus.Counter
	focusHeld        prometheus.Counter
	requestsHeld     prometheus.Counter
	requestsRefused  prometheus.Counter
	requestBytes     prometheus.Gauge
	handsHeld        prometheus.Counter
	mainRefused      prometheus.Counter
	roomsBeyond      prometheus.Counter
	heldVisitors     prometheus.Gauge
	heldRooms        prometheus.Gauge
	focusSessions    prometheus.Gauge
	byFate           map[fate]prometheus.Counter
	byWait           map[waited]prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
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
		byFate: make(map[fate]prometheus.Counter), byWait: make(map[waited]prometheus.Counter),
		rooms: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "vnode_muc_rooms", Help: "Rooms on the node.",
		}),
		queued: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "vnode_muc_queued_visitors", Help: "Visitors that wait until the main server has connected their room.",
		}),
		chatRefused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "vnode_muc_chat_messages_refused_total", Help: "Messages of visitors refused because of flood control.",
		}),
		votes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "vnode_muc_votes_total", Help: "Votes of visitors in polls that were taken.",
		}),
		roomsBeyond: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "vnode_muc_rooms_beyond_limit_total", Help: "Rooms that jicofo made although max-rooms were there already.",
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
		requestBytes: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "vnode_muc_focus_request_bytes", Help: "Bytes of visitors' IQs that wait for jicofo to read.",
		}),
		handsHeld: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "vnode_muc_hands_held_total", Help: "Raised and lowered hands that waited before the main server was told of them.",
		}),
		mainRefused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "vnode_muc_main_refused_total", Help: "Messages of visitors that were refused because the visitors of all rooms told the main server too much.",
		}),
		byRole:           make(map[role]prometheus.Gauge),
		byRefusal:        make(map[refusal]prometheus.Counter),
		byEnd:            make(map[endReason]prometheus.Counter),
		chatFromVisitors: chat.WithLabelValues("visitors"),
		chatFromMain:     chat.WithLabelValues("main"),
		chatFromNodes:    chat.WithLabelValues("nodes"),
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
	reg.MustRegister(audience, waits, m.heldVisitors, m.heldRooms, m.focusSessions, m.roomsBeyond, m.chatRefused, m.rooms, m.queued, occupants, refused, ended, chat, m.votes)
	reg.MustRegister(m.focusHeld, m.requestsHeld, m.requestsRefused, m.requestBytes, m.handsHeld, m.mainRefused)
	return m
}

func (m *metrics) occupants(r role) prometheus.Gauge       { return m.byRole[r] }
func (m *metrics) refused(r refusal) prometheus.Counter    { return m.byRefusal[r] }
func (m *metrics) ended(r endReason) prometheus.Counter    { return m.byEnd[r] }
func (m *metrics) audience(f fate) prometheus.Counter      { return m.byFate[f] }
func (m *metrics) joinsWaited(w waited) prometheus.Counter { return m.byWait[w] }
