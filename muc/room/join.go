package room

import (
	"strings"

	"vnode/fanout"
	"vnode/internal/wire"
)

// IsHealthCheck reports whether a room is one of those jicofo makes to test
// itself. Nobody else has business there.
func IsHealthCheck(local string) bool { return strings.HasPrefix(local, "__jicofo-health-check") }

// clientPresence handles a local session's presence; false as in
// [conference.fromClient].
func (r *conference) clientPresence(from Session, st *wire.Stanza) (taken bool) {
	o := r.occupantOf(from)
	switch string(st.Type) {
	case "":
	case "unavailable":
		r.clientLeave(from, o, st)
		return true
	default: // subscriptions and probes mean nothing to a room
		r.refuse(from, st, wire.ErrServiceUnavailable)
		return true
	}
	x, joining := st.Child(wire.NSMUC, "x")
	switch {
	case o != nil && o.nick != st.To.Resource:
		r.refuse(from, st, errNickChange.From(r.pub.String()))
	case o != nil && joining:
		r.resync(o, st, &x)
	case o != nil:
		r.update(o, st)
	case !joining:
		r.refuse(from, st, errNotConnected.From(r.pub.String()))
	case st.To.Resource == "":
		r.refuse(from, st, ErrNoNick)
	case len(st.To.Resource) > r.cfg.MaxNick:
		r.refuse(from, st, ErrLongNick)
	case !from.Admin() && ofService(st.To.Resource):
		r.refuse(from, st, errConflict.From(r.pub.String()))
	case from.Admin():
		return r.focusJoin(from, st)
	default:
		r.visitorJoin(from, st, &x)
	}
	return true
}

// focusJoin admits the focus, which makes the room. When the room has a focus
// already that one is lost, and its visitors are about to be given up: jicofo
// invites nobody from before a new session. The room ends, and the join is for
// a new one.
func (r *conference) focusJoin(from Session, st *wire.Stanza) (taken bool) {
	if last := r.lastFocus; last != nil {
		if last.jid().Bare() != from.JID().Bare() {
			r.refuse(from, st, errConflict.From(r.pub.String()))
			return true
		}
		reason := endFocusLost
		if r.hasParted() {
			reason = endFocusLeft
		}
		r.end(reason, "")
		return false
	}
	o := r.newLocal(focus, st.To.Resource, from)
	r.add(o)
	r.showFocus(o, st)
	r.out.Deliver(from, r.presencePacket(fanout.Plain, o, &o.seen.last, status{codes: []string{"201", "100"}, self: true}), r.subjectPacket())
	r.log.Info("room created", "session", o.jid().String())
	return true
}

// visitorJoin admits a visitor, or lets it wait until main has connected the
// room.
func (r *conference) visitorJoin(from Session, st *wire.Stanza, x *wire.Child) {
	if len(st.Raw) > r.cfg.MaxPresence {
		r.refuseJoin(from, st, refusedSize, errBigPresence)
		return
	}
	if IsHealthCheck(r.addr.Local) {
		r.refuseJoin(from, st, RefusedHealth, wire.ErrServiceUnavailable)
		return
	}
	if r.connected && !r.hasParted() && r.queue.head() == nil && r.joins.Take(r.node.Limits.Joins, r.now) {
		r.admit(from, st, x)
		return
	}
	if !r.enqueue(from, st.To.Resource, st) {
		r.refuseJoin(from, st, refusedQueue, errQueueFull)
		return
	}
	r.advance()
}

// admitWaiting lets in a visitor that has waited.
func (r *conference) admitWaiting(w *waiting) {
	x, _ := w.stanza.Child(wire.NSMUC, "x")
	r.who = w.who
	r.admit(w.session, w.stanza, &x)
}

// admit lets a visitor in if the room's rules allow it.
func (r *conference) admit(from Session, st *wire.Stanza, x *wire.Child) {
	switch {
	case r.who.Banned:
		r.refuseJoin(from, st, refusedBanned, errBanned(r.pub))
		return
	case r.lobby:
		r.refuseJoin(from, st, refusedLobby, errLobby)
		return
	case r.password != "" && passwordOf(x) != r.password:
		r.refuseJoin(from, st, refusedPassword, errPassword.From(r.pub.String()))
		return
	case r.authOnly && r.anonymous(from):
		r.refuseJoin(from, st, refusedNoToken, errNoToken)
		return
	case r.visitors >= r.node.Limits.MaxVisitors:
		r.refuseJoin(from, st, refusedFull, wire.ErrServiceUnavailable)
		return
	case r.nicks.Get(st.To.Resource) != nil || r.jids.Get(from.JID()) != nil:
		r.refuseJoin(from, st, refusedConflict, errConflict.From(r.pub.String()))
		return
	}
	if !r.seat() {
		r.refuseJoin(from, st, refusedNodeFull, wire.ErrServiceUnavailable)
		return
	}
	o := r.newLocal(visitor, st.To.Resource, from)
	r.add(o)
	r.disarm(alarmEmpty)
	said := r.read(o, st)
	snapshot := r.snapshot(o, &said, x)
	r.out.Follow(from, snapshot...)
	r.introduce(o, &said)
	r.noticeRequests(o, st)
}

// anonymous reports whether nothing is known of who a visitor is although the
// node could know: no token, nor an account, which are of domains of their own.
func (r *conference) anonymous(s Session) bool {
	return r.cfg.Tokens && r.who.Identity == nil && s.JID().Domain == r.domains.Host
}

// seat takes one of the node's places for visitors. [conference.remove], or the
// room's end, gives it back. Rooms that admit visitors in the same moment do not
// see each other's: each may exceed the limit by one.
func (r *conference) seat() bool {
	if r.node.Visitors >= r.node.Limits.MaxVisitorsOnNode {
		return false
	}
	r.node.Visitors++
	r.out.Seats(1)
	return true
}

func (r *conference) unseat(n int) {
	r.node.Visitors -= n
	r.out.Seats(-n)
}

func (r *conference) refuseJoin(from Session, st *wire.Stanza, why Refusal, e wire.StanzaError) {
	r.metrics.Refused(why).Inc()
	r.refuse(from, st, e)
}

func passwordOf(x *wire.Child) string {
	c, ok := wire.FindChild(x.Raw, wire.NSMUC, "password")
	if !ok {
		return ""
	}
	return c.Text()
}

// snapshot is what a visitor gets on joining, XEP-0045 §7.1 and §7.2: who is
// here, its own presence as it has just said it, polls and files, what was said,
// the subject.
func (r *conference) snapshot(o *occupant, said *payload, x *wire.Child) []*Packet {
	ps := make([]*Packet, 0, len(r.participants)+r.history.Len()+6)
	if r.focus != nil {
		ps = append(ps, r.focus.seen.shown)
	}
	for _, p := range r.participants {
		ps = append(ps, p.seen.shown)
	}
	ps = append(ps, r.presencePacket(fanout.Plain, o, said, status{codes: []string{"100"}, self: true}))
	ps = append(ps, r.shared()...)
	ps = append(ps, r.history.Since(askedHistory(x), r.now)...)
	return append(ps, r.subjectPacket())
}

// resync answers a join of a session that is in the room already: it has lost
// track and is told everything again.
func (r *conference) resync(o *occupant, st *wire.Stanza, x *wire.Child) {
	if o.kind == focus {
		r.resyncFocus(o, st)
		return
	}
	if len(st.Raw) > r.cfg.MaxPresence {
		r.refuse(o.session, st, errBigPresence)
		return
	}
	if !r.mayShow(o) { // the answer is many times as large
		r.refuse(o.session, st, errFlood)
		return
	}
	o.unhold()
	said := r.read(o, st)
	r.out.Deliver(o.session, r.snapshot(o, &said, x)...)
	r.tellFocus(o, &said)
	r.noticeRequests(o, st)
}

func (r *conference) resyncFocus(o *occupant, st *wire.Stanza) {
	r.tellLeaves("")
	r.showFocus(o, st)
	r.toVisitors(o.seen.shown)
	for _, p := range r.participants {
		r.handFocus(p.seen.shown)
	}
	for _, v := range r.audience() {
		r.introduceAgain(v)
	}
	self := r.presencePacket(fanout.Plain, o, &o.seen.last, status{codes: []string{"100"}, self: true})
	r.tellFocusAfter("", self, r.subjectPacket())
}
