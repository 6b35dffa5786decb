package room

import (
	"vnode/fanout"
	"vnode/internal/wire"
)

// endReason says why a room ended; it is a metric label.
type endReason string

const (
	endMain      endReason = "main_ended"  // disconnect, or the last participant left
	endMainLost  endReason = "main_lost"   // it, or its room, for MainGrace
	endEmpty     endReason = "no_visitors" // for EmptyTimeout
	endFocusLeft endReason = "focus_left"
	endFocusLost endReason = "focus_lost" // its session ended, or a new one came
	endDestroyed endReason = "destroyed"  // by the focus
	endShutdown  endReason = "service_closed"
	endOperator  endReason = "operator"
	endPanic     endReason = "panic" // a fault of the program
)

var endReasons = []endReason{endMain, endMainLost, endEmpty, endFocusLeft, endFocusLost, endDestroyed, endShutdown, endOperator, endPanic}

// text is what clients show. jitsi-meet opens its dialog with it.
func (e endReason) text() string {
	if e == endEmpty {
		return "No visitors."
	}
	return "Conference ended."
}

// end destroys the room, XEP-0045 §10.9: everybody still in it, and everybody
// waiting, is told so with a reason; text replaces the usual one when not
// empty. Not so after a fault, which the conference outlives: visitors are told
// nothing then, and stay, see [hold]; nor when the node takes no more conferences:
// visitors see the focus leave, at which their pages reload.
// The main server is told that its participants are out, so that it sends
// them all again should the room come back.
func (r *conference) end(reason endReason, text string) {
	if r.ended != "" {
		return
	}
	r.ended, r.fault = reason, r.judge(reason)
	r.missing = r.missed()
	r.closeOutlet()
	if text == "" {
		text = reason.text()
	}
	s := status{gone: true, self: true, destroy: text}
	r.unseat(r.visitors)
	for o := range r.nicks.All() {
		r.metrics.occupants(o.role).Dec()
	}
	visitors := r.audience()
	switch {
	case r.fault.is():
		r.strand(visitors)
	case reason == endShutdown && r.cfg.Comeback.on() && r.lastFocus != nil:
		r.sendOff(visitors)
	default:
		for _, o := range visitors {
			r.bid(o, r.presencePacket(fanout.Plain, o, nil, s))
		}
	}
	if r.focus != nil {
		r.bid(r.focus, r.presencePacket(fanout.Plain, r.focus, nil, s))
	}
	for _, o := range r.participants {
		r.out.Send(r.addr.Domain, o.jid().Domain, r.leaveOnMain(o, s))
	}
	for _, w := range r.queue.take() {
		r.metrics.queued.Dec()
		if r.fault.is() || r.sentOff {
			r.unadmitted = append(r.unadmitted, w)
			continue
		}
		o := r.newLocal(visitor, w.nick, w.session)
		r.out.Deliver(w.session, r.presencePacket(fanout.Plain, o, nil, s))
	}
	r.logEnd(reason)
	r.metrics.ended(reason).Inc()
}

// logEnd tells why the room ended and what became of its visitors.
func (r *conference) logEnd(reason endReason) {
	became, why := "told that the conference ended", "the conference is over"
	switch {
	case r.fault.is():
		became, why = "held until they can come back", r.fault.why
	case r.sentOff:
		became, why = "sent to other nodes", "the node takes no more conferences"
	case reason == endOperator:
		why = "an operator ended it"
	}
	r.log.Info("room ended", "reason", string(reason), "why", why, "participants", len(r.participants), "visitors", r.visitors, "visitors_are", became)
}

// leaveOnMain is the presence by which main counts a participant out of this
// node. It bears the room's address between servers.
func (r *conference) leaveOnMain(o *occupant, s status) []byte {
	b := append(make([]byte, 0, 512), "<presence"...)
	b = wire.AppendAttr(b, "from", r.addr.WithResource(o.nick).String())
	b = wire.AppendAttr(b, "to", o.jid().String())
	b = append(b, " type='unavailable'>"...)
	b = s.append(b, o.jid(), o.affiliation, roleNone)
	return append(b, "</presence>"...)
}

// endWithoutParticipants ends a room whose last participant left: main's room
// is over.
func (r *conference) endWithoutParticipants() {
	if len(r.participants) == 0 {
		r.end(endMain, "")
	}
}

// obituary is the end as others are told of it.
func (r *conference) obituary() End {
	e := End{Reason: r.ended.text(), Told: r.ended != endFocusLost}
	if r.lastFocus != nil {
		e.Focus, e.Nick = r.lastFocus.jid().Bare(), r.lastFocus.nick
	}
	e.Known = r.ended == endFocusLeft || r.ended == endDestroyed || r.ended == endShutdown
	return e
}

// Lost is the reason of the end of a room that was lost with its process.
func Lost() string { return endFocusLost.text() }

// Destroyed is the stanza that tells focus, whose nick is given, that a room is
// destroyed (XEP-0045 §10.9).
func Destroyed(room wire.JID, nick, reason string, focus wire.JID) []byte {
	from := escaped(room.WithResource(nick).String())
	s := status{gone: true, self: true, destroy: reason}
	b := append(appendOpen(nil, "presence", from, "unavailable", &payload{}), escaped(focus.String())...)
	b = s.append(append(b, "'>"...), focus, affiliationOwner, roleNone)
	return append(b, "</presence>"...)
}
