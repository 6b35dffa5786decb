package muc

import (
	"slices"
	"time"
)

// What the operator wants of a room.

// visitorRef is a visitor of the room that lives.
type visitorRef struct {
	VisitorName
	session Session
}

// visitorNamed returns the visitor with that nick; false when there is none.
func (h *hall) visitorNamed(nick string) (v visitorRef, ok bool) {
	if h.life == nil {
		return v, false
	}
	o := h.life.nicks.Get(nick)
	if o == nil || o.kind != visitor {
		return v, false
	}
	return visitorRef{VisitorName{ID: o.nick, Name: o.name()}, o.session}, true
}

// visitorNames lists the visitors of the room that lives, in the order they came.
func (h *hall) visitorNames() []VisitorName {
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
func (h *hall) expel(now time.Time, who []Session, reason string) {
	h.now = now
	for _, w := range slices.Clone(h.waiting.order) {
		if slices.Contains(who, w.session) {
			h.waiting.drop(w.session)
			h.refuseWaiting(w.session, w.stanza)
		}
	}
	if h.life != nil {
		h.life.expel(now, who, reason)
	}
	h.afterwards()
}

// refuseWaiting refuses a join that has waited: its sender has been banned.
func (h *hall) refuseWaiting(s Session, stanza []byte) {
	if hd, _, ok := parse(stanza); ok {
		h.metrics.refused(refusedBanned).Inc()
		h.refuse(s, &hd, errBanned(h.pub))
	}
}

// announce tells all visitors what a component says, and returns how many there
// are.
func (h *hall) announce(now time.Time, said []byte) (visitors int) {
	if h.life == nil {
		return 0
	}
	h.now, h.life.now = now, now
	h.life.toVisitors(componentPacket(h.life.pubFrom, said))
	return h.life.visitors
}

// dismiss ends the room that lives, and a hold with the quiet end. It reports
// whether there was anything to end.
func (h *hall) dismiss(now time.Time, reason string) (ended bool) {
	h.now = now
	if h.life != nil {
		h.life.now = now
		h.life.end(endOperator, reason)
		h.afterwards()
		ended = true
	}
	if h.held != nil {
		h.held.giveUp(h, "an operator ended the room")
		ended = true
	}
	h.afterwards()
	return ended
}

func (r *room) expel(now time.Time, who []Session, reason string) {
	r.now = now
	for _, w := range slices.Clone(r.queue.order) {
		if w.session == nil || !slices.Contains(who, w.session) {
			continue
		}
		gone := *r.unqueue(w.session)
		if hd, _, ok := parse(gone.stanza); ok {
			r.refuseJoin(gone.session, &hd, refusedBanned, errBanned(r.pub))
		}
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
