package room

import (
	"log/slog"
	"time"

	"vnode/internal/address"
	"vnode/internal/wire"
)

// Room is the state machine of one room's name: the conference that lives there, the
// audience that faults of earlier ones have left behind, and the visitors that wait
// for the next one. Events go in, effects come out. The same events, in the same
// order, have the same effects: a room reads no clock, no random number and nothing
// that another goroutine changes. All of it is owned by the goroutine that feeds it
// events.
type Room struct {
	// Static after construction.
	cfg     *Config
	domains *address.Domains
	out     Effects
	metrics *Metrics
	log     *slog.Logger
	ids     identifiers
	salt    []byte   // of occupant-ids
	addr    wire.JID // between servers
	pub     wire.JID // to local clients
	main    wire.JID // the room on main

	// State.
	now     time.Time   // of the event under way
	node    Node        // at that event
	life    *conference // nil while none lives
	held    *hold       // the audience of earlier ones; nil for none
	waiting waitlist    // for a conference
	focusIn FocusLink
	change  uint64         // of the streams to main, the latest
	turns   [Alarms]uint64 // of the latest conference's timers
	turn    uint64         // of alarmRoom
	ticking bool           // it is set
	closing bool
}

// Params is what a room is made of.
type Params struct {
	Config  *Config
	Domains *address.Domains
	Local   string   // localpart between servers
	Seed    [32]byte // random: of all that the room makes up
	Metrics *Metrics
	Log     *slog.Logger

	MainLink  MainLink  // the latest change of the streams to the main server
	FocusLink FocusLink // the latest
}

// New returns a room in which nothing has happened yet. Its effects go to out.
func New(p Params, out Effects) *Room {
	addr := wire.JID{Local: p.Local, Domain: p.Domains.Rooms}
	r := &Room{
		cfg: p.Config, domains: p.Domains, out: out, metrics: p.Metrics, log: p.Log.With("room", addr.String()),
		ids: newIdentifiers(p.Seed), addr: addr, pub: p.Domains.Public(p.Local),
		main:   wire.JID{Local: p.Local, Domain: p.Domains.MainRooms},
		change: p.MainLink.Change, focusIn: p.FocusLink,
		waiting: waitlist{index: make(map[Session]*joiner)},
	}
	r.salt = r.ids.bytes(32)
	return r
}

// Address is the room's address between servers.
func (h *Room) Address() wire.JID { return h.addr }

// Over reports whether there is nothing left to do: no conference lives, nobody is
// held and nobody waits.
func (h *Room) Over() bool {
	return h.life == nil && h.held == nil && h.waiting.len() == 0
}

// fromClient handles a stanza that a local session sent to the room's name.
func (h *Room) fromClient(from Session, who Who, st *wire.Stanza) {
	if h.held != nil && h.held.has(from) && h.fromAudience(from, st) {
		h.afterwards()
		return
	}
	if h.life != nil {
		taken := h.life.fromClient(h.now, from, who, st)
		h.afterwards()
		if taken {
			return
		}
	}
	h.withoutRoom(from, who, st)
	h.afterwards()
}

// withoutRoom handles a client's stanza while no room lives: a join of the focus
// makes one, a visitor's waits for that.
func (h *Room) withoutRoom(from Session, who Who, st *wire.Stanza) {
	presence := string(st.Name) == "presence"
	_, joins := st.Child(wire.NSMUC, "x")
	switch {
	case st.To.Domain == h.domains.Polls || st.To.Domain == h.domains.Files:
		h.refuse(from, st, ErrNotJoined)
	case !presence:
		h.refuse(from, st, wire.ErrItemNotFound.From(h.domains.Rooms))
	case string(st.Type) == "unavailable" && h.waiting.index[from] != nil:
		w := h.waiting.drop(from)
		h.out.Deliver(from, h.selfGone(from, w.nick))
	case string(st.Type) == "unavailable" && !from.Admin(): // its page leaves; jicofo waits for an answer
	case len(st.Type) > 0:
		h.refuse(from, st, wire.ErrItemNotFound.From(h.domains.Rooms))
	case st.To.Resource == "":
		h.refuse(from, st, ErrNoNick)
	case len(st.To.Resource) > h.cfg.MaxNick:
		h.refuse(from, st, ErrLongNick)
	case !joins && from.Admin(): // see [Service.tellGone]
		h.reply(from, Destroyed(h.pub, st.To.Resource, Lost(), from.JID()))
	case !joins:
		h.refuse(from, st, wire.ErrItemNotFound.From(h.domains.Rooms))
	case from.Admin():
		h.begin(from, who, st)
	default:
		h.wait(from, who, st)
	}
}

// begin makes a room for the focus that joins, and lets those in who wait for it.
func (h *Room) begin(focus Session, who Who, st *wire.Stanza) {
	h.life = h.newConference(h.ids.uuid())
	h.out.Began(h.life.meetingID)
	h.life.fromClient(h.now, focus, who, st)
	for _, w := range h.waiting.take() {
		h.metrics.joinsWaited(waitedForRoom).Inc()
		h.life.fromClient(h.now, w.session, w.who, w.stanza)
	}
}

// fromRemote handles a stanza of another server that concerns the room.
func (h *Room) fromRemote(st *wire.Stanza) {
	switch {
	case h.held != nil && h.held.answered(h, st):
	case h.life != nil:
		h.life.fromRemote(h.now, st)
	default:
		WithoutRoom(h.out, h.domains, st)
	}
}

// sessionClosed handles the end of a local session.
func (h *Room) sessionClosed(s Session) {
	if h.held != nil {
		h.held.gone(h, s)
	}
	if h.waiting.drop(s) != nil {
		h.metrics.joinsWaited(waitedAndLeft).Inc()
	}
	if h.life != nil {
		h.life.sessionClosed(h.now, s)
	}
}

// timeout handles an alarm.
func (h *Room) timeout(a Alarm, turn uint64) {
	switch {
	case a != alarmRoom:
		if h.life != nil {
			h.life.timeout(h.now, a, turn)
		}
	case h.ticking && turn == h.turn:
		h.ticking = false
		h.lookAtWaiting()
		if h.held != nil {
			h.held.step(h)
		}
	}
}

// mainLink takes a change of the streams to main, see [conference.mainLink].
func (h *Room) mainLink(change uint64) {
	if change > h.change {
		before := h.change
		h.change = change
		if h.held != nil {
			h.held.mainLink(h, before, change)
		}
	}
	if h.life != nil {
		h.life.mainLink(h.now, change)
	}
}

// mainIsUp reports whether there are streams to main, as far as is known.
func (h *Room) mainIsUp() bool { return h.change == 0 || h.change%2 == 1 }

// focusLink takes notice of whether a focus is logged in at the node.
func (h *Room) focusLink(l FocusLink) {
	if l.Change <= h.focusIn.Change {
		return
	}
	h.focusIn = l
	if h.held != nil && !l.In {
		h.held.again(h, fault{why: "jicofo's session ended again", t0: h.now})
	}
}

// shutdown ends the room because the node takes no more conferences; for good:
// nobody is held any more.
func (h *Room) shutdown(forGood bool) {
	h.closing = h.closing || forGood
	if h.life != nil {
		h.life.now = h.now
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
		h.out.Holds(0, "")
	}
}

// afterwards does what an event may have made due: it buries a room that has
// ended, and sets the room's alarm.
func (h *Room) afterwards() {
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
	h.out.After(alarmRoom, d, h.turn)
}

// bury takes the room that has ended out, and those over whom it leaves behind.
func (h *Room) bury() {
	r := h.life
	h.life, h.turns = nil, r.turns
	h.out.Ended(r.obituary())
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
func (h *Room) refuse(s Session, st *wire.Stanza, e wire.StanzaError) {
	if st.Answerable() {
		h.reply(s, wire.AppendErrorReply(nil, &st.Header, wire.NSClient, s.JID().String(), e))
	}
}

func (h *Room) reply(s Session, stanza []byte) { h.out.Deliver(s, &Packet{head: stanza}) }

// selfGone is the presence that tells a client that it is out.
func (h *Room) selfGone(s Session, nick string) *Packet {
	from := escaped(h.pub.WithResource(nick).String())
	b := append(appendOpen(nil, "presence", from, "unavailable", &payload{}), escaped(s.JID().String())...)
	st := status{gone: true, self: true}
	b = st.append(append(b, "'>"...), s.JID(), affiliationNone, roleNone)
	return &Packet{head: append(b, "</presence>"...)}
}
