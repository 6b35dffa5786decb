package muc

import (
	"log/slog"
	"time"

	"vnode/internal/wire"
	"vnode/muc/address"
)

// hall is the state machine of one room's name: the room that lives there, the
// audience that faults of earlier ones have left behind, and the visitors that
// wait for the next one. Events go in, effects come out; it has no clock of its
// own. All of it is owned by the goroutine that feeds it events.
type hall struct {
	// Static after construction.
	cfg     *Config
	domains *address.Domains
	out     hallEffects
	metrics *metrics
	log     *slog.Logger
	fresh   func() string // a new meeting's id
	params  roomParams    // of every room
	addr    wire.JID      // between servers
	pub     wire.JID      // to local clients
	main    wire.JID      // the room on main

	// State.
	now     time.Time // of the event under way
	node    nodeState // at that event
	life    *room     // the room that lives; nil while none does
	held    *hold     // the audience of earlier ones; nil for none
	waiting waitlist  // for a room
	focusIn focusLink
	change  uint64         // of the streams to main, the latest
	turns   [alarms]uint64 // of the latest room's timers
	turn    uint64         // of alarmHall
	ticking bool           // it is set
	closing bool
}

// hallEffects is what a hall does to the world beside what its rooms do.
type hallEffects interface {
	effects
	// began and ended tell of the room that lives.
	began(r *room)
	ended(r *room)
	// holds tells how many are held and have not been told to come back, and why.
	holds(visitors int, why string)
	// askJicofo sends jicofo a conference request for a visitor. The answer comes
	// as an event.
	askJicofo(room string)
	// hangUp ends a client's stream, at which its page reloads.
	hangUp(s Session)
}

// focusLink is whether a focus is logged in at the node.
type focusLink struct {
	in     bool
	change uint64 // events with an older one are late
}

func newHall(p roomParams, out hallEffects, fresh func() string, focusIn focusLink) *hall {
	p.out = out
	h := &hall{
		cfg: p.cfg, domains: p.domains, out: out, metrics: p.metrics, fresh: fresh, params: p,
		addr: wire.JID{Local: p.local, Domain: p.domains.Rooms}, main: wire.JID{Local: p.local, Domain: p.domains.MainRooms},
		pub: p.domains.Public(p.local), change: p.change, focusIn: focusIn,
		waiting: waitlist{index: make(map[Session]*joiner)},
	}
	h.params.node = &h.node
	h.log = p.log.With("room", h.addr.String())
	return h
}

// over reports whether there is nothing left to do.
func (h *hall) over() bool {
	return h.life == nil && h.held == nil && h.waiting.len() == 0
}

// fromClient handles a stanza that a local session sent to the room's name.
func (h *hall) fromClient(now time.Time, from Session, who who, stanza []byte) {
	h.now = now
	if h.held != nil && h.held.has(from) && h.fromAudience(from, stanza) {
		h.afterwards()
		return
	}
	if h.life != nil {
		taken := h.life.fromClient(now, from, who, stanza)
		h.afterwards()
		if taken {
			return
		}
	}
	if hd, to, ok := parse(stanza); ok {
		h.withoutRoom(from, who, &hd, to, stanza)
	}
	h.afterwards()
}

// withoutRoom handles a client's stanza while no room lives: a join of the focus
// makes one, a visitor's waits for that.
func (h *hall) withoutRoom(from Session, who who, hd *wire.Header, to wire.JID, stanza []byte) {
	presence := string(hd.Name) == "presence"
	_, joins := wire.FindChild(stanza, wire.NSMUC, "x")
	switch {
	case to.Domain == h.domains.Polls || to.Domain == h.domains.Files:
		h.refuse(from, hd, errNotJoined)
	case !presence:
		h.refuse(from, hd, by(wire.ErrItemNotFound, h.domains.Rooms))
	case string(hd.Type) == "unavailable" && h.waiting.index[from] != nil:
		w := h.waiting.drop(from)
		h.out.deliver(from, h.selfGone(from, w.nick))
	case len(hd.Type) > 0:
		h.refuse(from, hd, by(wire.ErrItemNotFound, h.domains.Rooms))
	case to.Resource == "":
		h.refuse(from, hd, errNoNick)
	case len(to.Resource) > h.cfg.MaxNick:
		h.refuse(from, hd, errLongNick)
	case !joins && from.Admin(): // see [Service.tellGone]
		h.reply(from, destroyed(h.pub, lostRoom{nick: to.Resource, reason: endFocusLost.text()}, from.JID()))
	case !joins:
		h.refuse(from, hd, by(wire.ErrItemNotFound, h.domains.Rooms))
	case from.Admin():
		h.begin(from, who, stanza)
	default:
		h.wait(from, who, hd, to.Resource, stanza)
	}
}

// begin makes a room for the focus that joins, and lets those in who wait for it.
func (h *hall) begin(focus Session, who who, stanza []byte) {
	p := h.params
	p.meetingID, p.change, p.turns, p.now = h.fresh(), h.change, h.turns, h.now
	h.life = newRoom(p)
	h.out.began(h.life)
	h.life.fromClient(h.now, focus, who, stanza)
	for _, w := range h.waiting.take() {
		h.metrics.joinsWaited(waitedForRoom).Inc()
		h.life.fromClient(h.now, w.session, w.who, w.stanza)
	}
}

// fromRemote handles a stanza of another server that concerns the room.
func (h *hall) fromRemote(now time.Time, from wire.JID, stanza []byte) {
	h.now = now
	switch {
	case h.held != nil && h.held.answered(h, from, stanza):
	case h.life != nil:
		h.life.fromRemote(now, from, stanza)
	default:
		remoteWithoutRoom(h.out, h.domains, from, stanza)
	}
	h.afterwards()
}

// sessionClosed handles the end of a local session.
func (h *hall) sessionClosed(now time.Time, s Session) {
	h.now = now
	if h.held != nil {
		h.held.gone(h, s)
	}
	if h.waiting.drop(s) != nil {
		h.metrics.joinsWaited(waitedAndLeft).Inc()
	}
	if h.life != nil {
		h.life.sessionClosed(now, s)
	}
	h.afterwards()
}

// timeout handles an alarm.
func (h *hall) timeout(now time.Time, a alarm, turn uint64) {
	h.now = now
	switch {
	case a != alarmHall:
		if h.life != nil {
			h.life.timeout(now, a, turn)
		}
	case h.ticking && turn == h.turn:
		h.ticking = false
		h.lookAtWaiting()
		if h.held != nil {
			h.held.step(h)
		}
	}
	h.afterwards()
}

// mainLink takes a change of the streams to main, see [room.mainLink].
func (h *hall) mainLink(now time.Time, change uint64) {
	h.now = now
	if change > h.change {
		before := h.change
		h.change = change
		if h.held != nil {
			h.held.mainLink(h, before, change)
		}
	}
	if h.life != nil {
		h.life.mainLink(now, change)
	}
	h.afterwards()
}

// mainIsUp reports whether there are streams to main, as far as is known.
func (h *hall) mainIsUp() bool { return h.change == 0 || h.change%2 == 1 }

// focusLink takes notice of whether a focus is logged in at the node.
func (h *hall) focusLink(now time.Time, l focusLink) {
	h.now = now
	if l.change <= h.focusIn.change {
		return
	}
	h.focusIn = l
	if h.held != nil && !l.in {
		h.held.again(h, now, "jicofo's session ended again")
	}
	h.afterwards()
}

// shutdown ends the room because the node takes no more conferences; for good:
// nobody is held any more.
func (h *hall) shutdown(now time.Time, forGood bool) {
	h.now = now
	h.closing = h.closing || forGood
	if h.life != nil {
		h.life.now = now
		h.life.end(endShutdown, "")
	}
	h.afterwards()
	if h.held != nil {
		h.held.sendOff(h)
	}
	for _, w := range h.waiting.take() {
		h.hangUp(w.session)
	}
	if forGood && h.held != nil {
		h.held = nil
		h.out.holds(0, "")
	}
}

// drained takes notice that a session of the focus has taken what the room asked to
// be told of.
func (h *hall) drained(now time.Time, focus Session) {
	h.now = now
	if h.life != nil {
		h.life.drained(focus)
	}
}

// turnComes gives the room its turn with a session of the focus, and reports
// whether the room has a use for it; then it ends the turn.
func (h *hall) turnComes(now time.Time, focus Session) bool {
	h.now = now
	return h.life != nil && h.life.turn(now, focus)
}

// afterwards does what an event may have made due: it buries a room that has
// ended, and sets the hall's alarm.
func (h *hall) afterwards() {
	if h.life != nil && h.life.ended != "" {
		h.bury()
	}
	if h.held != nil && h.held.empty() && h.waiting.len() == 0 && !h.held.owes(h) {
		h.held.close(h)
		h.held = nil
	}
	if h.ticking || h.held == nil && h.waiting.len() == 0 {
		return
	}
	h.turn++
	h.ticking = true
	d := h.cfg.Comeback.tick()
	if h.held != nil {
		d = h.held.nextLook(h, d)
	}
	h.out.after(alarmHall, d, h.turn)
}

// bury takes the room that has ended out, and those over whom it leaves behind.
func (h *hall) bury() {
	r := h.life
	h.life, h.turns = nil, r.turns
	h.out.ended(r)
	for _, w := range r.unadmitted {
		h.waiting.put(&joiner{session: w.session, who: w.who, nick: w.nick, stanza: w.stanza, since: h.now})
	}
	if h.closing {
		return
	}
	if h.held != nil && !r.fault.is() && (r.ended == endMain || r.ended == endFocusLeft || r.ended == endOperator) {
		h.held.giveUp(h, "the conference is over")
	}
	if len(r.stranded) > 0 || r.fault.is() && len(r.unadmitted) > 0 {
		h.hold(r)
	}
}

// refuse answers a client's stanza with an error.
func (h *hall) refuse(s Session, hd *wire.Header, e wire.StanzaError) {
	if wire.Answerable(hd) {
		h.reply(s, wire.AppendErrorReply(nil, hd, wire.NSClient, s.JID().String(), e))
	}
}

func (h *hall) reply(s Session, stanza []byte) { h.out.deliver(s, &packet{head: stanza}) }

// selfGone is the presence that tells a client that it is out.
func (h *hall) selfGone(s Session, nick string) *packet {
	from := escaped(h.pub.WithResource(nick).String())
	b := append(appendOpen(nil, "presence", from, "unavailable", &payload{}), escaped(s.JID().String())...)
	st := status{gone: true, self: true}
	b = st.append(append(b, "'>"...), s.JID(), affiliationNone, roleNone)
	return &packet{head: append(b, "</presence>"...)}
}
