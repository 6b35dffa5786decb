package room

import (
	"slices"
	"time"

	"vnode/internal/wire"
)

// What the operator wants of a room.

// Visitor is a visitor of the room that lives.
type Visitor struct {
	VisitorName
	Session Session
}

// VisitorNamed returns the visitor with that nick; false when there is none.
func (h *Room) VisitorNamed(nick string) (v Visitor, ok bool) {
	if h.life == nil {
		return v, false
	}
	o := h.life.nicks.Get(nick)
	if o == nil || o.kind != visitor {
		return v, false
	}
	return Visitor{VisitorName{ID: o.nick, Name: o.name()}, o.session}, true
}

// VisitorNames lists the visitors of the room that lives, in the order they came.
func (h *Room) VisitorNames() []VisitorName {
	if h.life == nil {
		return nil
	}
	visitors := h.life.audience()
	names := make([]VisitorName, len(visitors))
	for i, o := range visitors {
		names[i] = VisitorName{ID: o.nick, Name: o.name()}
	}
	return names
}

// expel puts visitors out (XEP-0045 §8.2), in the order in which they came, and
// lets none of them wait.
func (h *Room) expel(who []Session, reason string) {
	for _, w := range slices.Clone(h.waiting.order) {
		if slices.Contains(who, w.session) {
			h.waiting.drop(w.session)
			h.refuseWaiting(w.session, w.stanza)
		}
	}
	if h.life != nil {
		h.life.expel(h.now, who, reason)
	}
}

// refuseWaiting refuses a join that has waited: its sender has been banned.
func (h *Room) refuseWaiting(s Session, st *wire.Stanza) {
	h.metrics.Refused(refusedBanned).Inc()
	h.refuse(s, st, errBanned(h.pub))
}

// announce tells all visitors what a component says.
func (h *Room) announce(said []byte) {
	if h.life != nil {
		h.life.toVisitors(componentPacket(h.life.pubFrom, said))
	}
}

// Lives reports whether a room lives.
func (h *Room) Lives() bool { return h.life != nil }

// Visitors is how many visitors are in the room that lives.
func (h *Room) Visitors() int {
	if h.life == nil {
		return 0
	}
	return h.life.visitors
}

// dismiss ends the room that lives, and a hold with the quiet end.
func (h *Room) dismiss(reason string) {
	if h.life != nil {
		h.life.now = h.now
		h.life.end(endOperator, reason)
		h.afterwards()
	}
	if h.held != nil {
		h.held.giveUp(h, "an operator ended the room")
	}
}

// Holds reports whether visitors of an earlier room are held.
func (h *Room) Holds() bool { return h.held != nil }

func (r *conference) expel(now time.Time, who []Session, reason string) {
	r.now = now
	for _, w := range slices.Clone(r.queue.order) {
		if w.session == nil || !slices.Contains(who, w.session) {
			continue
		}
		gone := *r.unqueue(w.session)
		r.refuseJoin(gone.session, gone.stanza, refusedBanned, errBanned(r.pub))
	}
	var out []*occupant
	for _, s := range who {
		if o := r.occupantOf(s); o != nil && o.kind == visitor {
			out = append(out, o)
		}
	}
	byArrival(out)
	for _, o := range out {
		r.log.Info("visitor kicked", "session", o.jid().String())
		r.visitorGone(o, nil, status{gone: true, codes: []string{"307"}, reason: reason})
	}
}

// VisitorName is a visitor as others know it.
type VisitorName struct {
	ID   string // nick in the room
	Name string // display name, "" for none
}
