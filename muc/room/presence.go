package room

import (
	"time"

	"vnode/fanout"
	"vnode/internal/wire"
)

// read takes a visitor's presence as its latest, and returns what it says.
func (r *conference) read(o *occupant, st *wire.Stanza) payload {
	parts := r.shapes.parts[:0]
	said := readPayload(st, func(c *wire.Child) bool {
		if !keepInPresence(c) {
			return false
		}
		parts = append(parts, c.Raw)
		return true
	})
	if region := r.missingRegion(o, &said); region != nil {
		said.children, parts = append(said.children, region...), append(parts, region)
	}
	was, name := o.name(), ""
	if c, ok := st.Child(wire.NSNick, "nick"); ok {
		name = wire.Clip(c.Text(), r.cfg.MaxDisplayName)
	}
	o.said = r.shapes.keep(&said, parts, name)
	clear(parts)
	r.shapes.parts = parts
	if !o.listed || name != was {
		o.listed = true
		r.out.Here(VisitorName{ID: o.nick, Name: o.name()})
	}
	return said
}

// regionElement says in a presence where a client is.
const regionElement = "jitsi_participant_region"

// missingRegion says where a visitor is when it does not say so itself, nil when
// it does or that is not known: jicofo picks a bridge near it. Unlike a visitor
// prosody the room says it in every presence, as clients repeat what they say.
func (r *conference) missingRegion(o *occupant, said *payload) []byte {
	region := r.who.Region
	if region == "" {
		return nil
	}
	for c := range wire.Children(enclose(said, said.children)) {
		if c.Space == "" && c.Local == regionElement {
			return nil
		}
	}
	return wire.NewBuilder(nil).Elem(regionElement, region).Bytes()
}

// update handles a local occupant's presence after its join.
func (r *conference) update(o *occupant, st *wire.Stanza) {
	if o.kind == focus {
		r.showFocus(o, st)
		r.toVisitors(o.seen.shown)
		r.out.Deliver(o.session, r.self(o, &o.seen.last))
		return
	}
	if len(st.Raw) > r.cfg.MaxPresence {
		r.refuse(o.session, st, errBigPresence)
		return
	}
	if !r.mayShow(o) {
		r.hold(o, st)
		return
	}
	r.showVisitor(o, st)
}

// showVisitor takes a visitor's presence as its latest, and acts on it.
func (r *conference) showVisitor(o *occupant, st *wire.Stanza) {
	o.unhold()
	said := r.read(o, st)
	r.out.Deliver(o.session, r.self(o, &said))
	r.tellFocus(o, &said)
	r.noticeRequests(o, st)
}

// self is an occupant's own presence as it gets it back.
func (r *conference) self(o *occupant, p *payload) *Packet {
	return r.presencePacket(fanout.Plain, o, p, status{self: true})
}

// showFocus takes the focus' presence as its latest.
func (r *conference) showFocus(o *occupant, st *wire.Stanza) {
	o.seen.last = readPayload(st, keepInPresence)
	o.seen.shown = share(r.presencePacket(fanout.Update, o, &o.seen.last, status{}))
}

// clientLeave handles unavailable presence of a local session; o is nil when
// it is no occupant.
func (r *conference) clientLeave(from Session, o *occupant, st *wire.Stanza) {
	if o == nil {
		if w := r.unqueue(from); w != nil {
			// The client waits for this one before it goes on.
			gone := r.newLocal(visitor, w.nick, from)
			r.out.Deliver(from, r.presencePacket(fanout.Plain, gone, nil, status{gone: true, self: true}))
			return
		}
		r.refuse(from, st, errNotConnected.From(r.pub.String()))
		return
	}
	p := readPayload(st, keepInPresence)
	if o.kind == visitor && len(st.Raw) > maxLeaveBytes {
		p = payload{id: p.id, lang: p.lang} // it would wait for the focus, and nobody looks at it
	}
	if o.kind == focus {
		r.remove(o)
		r.part()
		r.out.Deliver(from, r.presencePacket(fanout.Plain, o, &p, status{gone: true, self: true}))
		return
	}
	r.visitorGone(o, &p, status{gone: true})
}

// sessionClosed handles the end of a local session.
func (r *conference) sessionClosed(now time.Time, s Session) {
	if r.ended != "" {
		return
	}
	r.now = now
	if r.unqueue(s) != nil {
		return
	}
	o := r.occupantOf(s)
	if o == nil {
		return
	}
	if o.kind == focus {
		r.remove(o)
		r.end(endFocusLost, "")
		return
	}
	r.visitorGone(o, nil, status{gone: true})
}

// visitorGone takes a visitor out of the room and tells it, the focus and
// main. p is what it said in leaving, if it did.
func (r *conference) visitorGone(o *occupant, p *payload, s status) {
	r.remove(o)
	if r.silence(o) {
		r.tellOfLeave(o, r.presencePacket(fanout.Plain, o, p, s))
	}
	s.self = true
	r.bid(o, r.presencePacket(fanout.Plain, o, p, s))
	r.forgetRequests(o)
	if r.visitors == 0 {
		r.arm(alarmEmpty, r.cfg.EmptyTimeout)
	}
}

// bid sends the last packet a local occupant gets of the room.
func (r *conference) bid(o *occupant, p *Packet) {
	if o.kind == visitor {
		r.out.Unfollow(o.session, p)
		return
	}
	r.out.Deliver(o.session, p)
}

// remotePresence handles presence that main forwards for a participant.
func (r *conference) remotePresence(st *wire.Stanza) {
	if st.From.Resource == "" || !r.domains.OfParticipants(st.From.Domain) {
		r.log.Debug("presence of a stranger ignored", "peer", st.From.Domain)
		return
	}
	o := r.jids.Get(st.From)
	if o != nil && o.kind != participant {
		return
	}
	switch string(st.Type) {
	case "":
		r.participantPresence(o, st)
	case "unavailable":
		if o != nil {
			p := readPayload(st, keepInPresence)
			r.thrown.left(r.now, st)
			r.participantGone(o, &p)
			r.endWithoutParticipants()
		}
	}
}

func (r *conference) participantPresence(o *occupant, st *wire.Stanza) {
	r.disarm(alarmMain)
	joining := false
	last := readPayload(st, func(c *wire.Child) bool {
		joining = joining || c.Space == wire.NSMUC && c.Local == "x"
		return keepInPresence(c)
	})
	if o != nil && o.nick == st.To.Resource {
		if joining {
			r.confirm(o)
		}
		o.seen.last = last
		o.seen.shown = share(r.presencePacket(fanout.Update, o, &o.seen.last, status{}))
		r.toAll(o.seen.shown)
		return
	}
	if !joining && !r.link.unsure { // the join may be among what was lost
		r.log.Debug("update of a participant that has not joined ignored", "peer", st.From.Domain)
		return
	}
	if st.To.Resource == "" || len(st.To.Resource) > r.cfg.MaxNick {
		r.log.Warn("participant with a bad nick ignored", "peer", st.From.Domain)
		return
	}
	if o != nil {
		r.participantGone(o, nil)
	}
	if !r.vacate(st.To.Resource) {
		r.log.Warn("participant with the nick of the focus ignored", "peer", st.From.Domain)
		return
	}
	if len(r.participants) >= r.cfg.MaxParticipants {
		r.log.Warn("too many participants", "peer", st.From.Domain, "limit", r.cfg.MaxParticipants)
		return
	}
	o = r.newParticipant(st.To.Resource, st.From)
	o.seen.last = last
	r.add(o)
	r.thrown.joined()
	r.confirm(o)
	o.seen.shown = share(r.presencePacket(fanout.Plain, o, &o.seen.last, status{}))
	r.toAll(o.seen.shown)
	switch {
	case r.connected:
	case r.cfg.MainWithoutConnect:
		r.open()
	case len(r.participants) == 1:
		r.arm(alarmConnect, connectExpected)
	}
}

// connectExpected is how long behind the first participant main's connect may
// come before the log says that visitors wait for it.
const connectExpected = 30 * time.Second

// vacate makes a nick free for a participant. Main has given it the nick, so
// whoever bears it here does so by a leave that was lost, or is a visitor who
// must not be able to keep a participant out by guessing its nick. The focus
// stays.
func (r *conference) vacate(nick string) bool {
	r.tellLeaves(nick)
	o := r.nicks.Get(nick)
	switch {
	case o == nil:
	case o.kind == focus:
		return false
	case o.kind == participant:
		r.participantGone(o, nil)
	default:
		r.visitorGone(o, nil, status{gone: true, codes: []string{"307"}, reason: "The nick belongs to a participant"})
		r.tellLeaves(nick)
	}
	return true
}

// participantGone takes a participant out of the room and tells everybody.
func (r *conference) participantGone(o *occupant, p *payload) {
	r.remove(o)
	r.toAll(r.presencePacket(fanout.Final, o, p, status{gone: true}))
}

// grant makes participants moderators that main has named so after they came.
func (r *conference) grant() {
	for _, o := range r.participants {
		if o.role != roleParticipant || !r.moderators[o.nick] {
			continue
		}
		r.metrics.occupants(o.role).Dec()
		o.role, o.affiliation = roleModerator, affiliationOwner
		r.metrics.occupants(o.role).Inc()
		o.seen.shown = share(r.presencePacket(fanout.Update, o, &o.seen.last, status{}))
		r.toAll(o.seen.shown)
	}
}
