package muc

import (
	"log/slog"
	"time"

	"vnode/internal/table"
	"vnode/internal/wire"
	"vnode/muc/address"
	"vnode/muc/files"
	"vnode/muc/history"
	"vnode/muc/polls"
	"vnode/muc/rate"
)

// effects is what a room does to the world, in the order it does it. No
// method blocks or calls back into the room.
type effects interface {
	// broadcast sends p to every session that follows.
	broadcast(p *packet)
	// deliver sends ps to one session, behind what was broadcast so far.
	deliver(s Session, ps ...*packet)
	// follow sends ps and then what is broadcast from now on.
	follow(s Session, ps ...*packet)
	// unfollow sends what was broadcast so far, then ps, then no more of it.
	unfollow(s Session, ps ...*packet)
	// send hands a stanza to the stream between two domains.
	send(from, to string, stanza []byte)
	// after calls timeout with a and turn when d has passed, instead of what
	// it was asked to for a before.
	after(a alarm, d time.Duration, turn uint64)
	// watch calls drained when the focus' connection has taken what it was
	// delivered so far.
	watch(focus Session)
	// ask calls turn when it is the room's turn to say to the focus what it
	// holds, and turned ends that turn; used is false if nothing was said.
	ask(focus Session)
	turned(focus Session, used bool)
	// waits counts n more bytes that wait for the focus, fewer if negative.
	waits(n int)
	// pause has a session read no more, or again.
	pause(s Session, on bool)
	// seats counts n more visitors in the rooms of the node, fewer if negative.
	seats(n int)
	// here tells that a visitor came, or has another display name, and left that
	// it is out.
	here(v VisitorName)
	left(id string)
}

// room is the state machine of one room. All of it is owned by the goroutine
// that feeds it events.
type room struct {
	// Static after construction.
	cfg     *Config
	domains *address.Domains
	out     effects
	metrics *metrics
	unmet   *slog.Logger // names no meeting
	newID   func() string
	node    *nodeState // at the event under way
	ids     occupantIDs
	addr    wire.JID // between servers
	pub     wire.JID // to local clients
	pubFrom string   // pub, escaped
	main    wire.JID // the room it mirrors
	made    time.Time

	// State.
	now          time.Time // of the event under way
	who          who       // sent the stanza under way
	ended        endReason // why the room is no more; "" while it lives
	focus        *occupant
	lastFocus    *occupant // the same, also when it has left
	nicks        *table.Table[string, occupant]
	jids         *table.Table[wire.JID, occupant] // by real full JID
	participants []*occupant                      // in the order they came
	visitors     int
	queue        queue // visitors waiting to be let in, and leaves to be told of
	early        early // what overtook its sender's join
	connected    bool  // main has sent connect
	authOnly     bool  // main lets nobody in without a token
	password     string
	lobby        bool
	meetingID    string
	log          *slog.Logger // names the meeting once main has told its id
	created      string       // milliseconds since 1970, as main wrote it
	moderators   map[string]bool
	subject      *packet // as the last one was said; nil before the first
	history      *history.Log[*packet]
	authors      authors
	joins        rate.Bucket
	leaves       rate.Bucket
	chat         rate.Bucket // of all visitors
	dials        rate.Bucket // of transcribers
	held         []*occupant // whose latest presence waits
	outlet       outlet      // to the focus
	hands        hands
	warnings     warnings
	reserve      rate.Bucket // of what main hears of the room however busy the node is
	shapes       shapes      // of visitors' presences
	languages    transcription
	polls        *polls.Board
	told         int // news of polls since alarmVotes was set
	files        *files.List
	sharedPolls  cachedPacket
	sharedFiles  cachedPacket
	link         link
	turns        [alarms]uint64 // of each timer's latest setting; older ones are stale
	armed        [alarms]bool
	thrown       thrownOut
	parted       time.Time // when the focus left, while main's word is waited for

	// Left behind by the end.
	fault      fault       // what ended the room
	stranded   []*occupant // visitors that stay, in the order they came
	sentOff    bool        // and were told that the focus is gone
	unadmitted []*waiting  // those that waited to be let in
	goneFocus  *packet     // see focusGone
}

// roomParams is what a room is made of.
type roomParams struct {
	cfg       *Config
	domains   *address.Domains
	out       effects
	metrics   *metrics
	log       *slog.Logger
	newID     func() string // of the seed alone
	node      *nodeState    // that of each event, in place
	local     string        // localpart between servers
	salt      []byte
	meetingID string
	change    uint64         // of the streams to main, see [Service.MainLink]
	turns     [alarms]uint64 // of the timers of the room before
	now       time.Time
}

func newRoom(p roomParams) *room {
	r := &room{
		cfg: p.cfg, domains: p.domains, out: p.out, metrics: p.metrics, newID: p.newID,
		node: p.node, ids: newOccupantIDs(p.salt), meetingID: p.meetingID,
		addr:       wire.JID{Local: p.local, Domain: p.domains.Rooms},
		main:       wire.JID{Local: p.local, Domain: p.domains.MainRooms},
		made:       p.now,
		pub:        p.domains.Public(p.local),
		nicks:      table.New(func(o *occupant) string { return o.nick }),
		jids:       table.New((*occupant).jid),
		moderators: make(map[string]bool),
		queue:      queue{index: make(map[Session]*waiting)},
		history:    history.New[*packet](p.cfg.HistoryMessages, p.cfg.HistoryBytes),
		languages:  transcription{wanted: make(map[string]int), told: " 0"},
		link:       link{change: p.change},
		turns:      p.turns,
	}
	r.pubFrom = escaped(r.pub.String())
	r.polls = polls.NewBoard(r.pub.String(), r.main.String(), polls.Limits{})
	r.files = files.NewList(files.Limits{})
	r.unmet = p.log.With("room", r.addr.String())
	r.log = r.unmet
	return r
}

func (r *room) add(o *occupant) {
	o.joined = r.now.Sub(r.made)
	r.nicks.Put(o)
	r.jids.Put(o)
	switch o.kind {
	case focus:
		r.focus, r.lastFocus = o, o
	case participant:
		r.participants = append(r.participants, o)
	case visitor:
		r.visitors++
	}
	r.metrics.occupants(o.role).Inc()
	r.tellOf("joined", o)
}

func (r *room) remove(o *occupant) {
	r.nicks.Delete(o.nick)
	r.jids.Delete(o.jid())
	switch o.kind {
	case focus:
		r.focus = nil
		r.closeOutlet()
	case participant:
		r.participants = without(r.participants, o)
	case visitor:
		r.visitors--
		r.out.left(o.nick)
		r.unseat(1)
	}
	r.metrics.occupants(o.role).Dec()
	r.tellOf("left", o)
}

func without(list []*occupant, o *occupant) []*occupant {
	for i, x := range list {
		if x == o {
			copy(list[i:], list[i+1:])
			list[len(list)-1] = nil
			return list[:len(list)-1]
		}
	}
	return list
}

// occupantOf returns the occupant a local session is, nil when it is none.
func (r *room) occupantOf(s Session) *occupant {
	if o := r.jids.Get(s.JID()); o != nil && o.session == s {
		return o
	}
	return nil
}

// toVisitors sends p to every visitor.
func (r *room) toVisitors(p *packet) {
	r.out.broadcast(p)
}

// toAll sends p to every local occupant.
func (r *room) toAll(p *packet) {
	r.toVisitors(p)
	if r.focus != nil {
		r.out.deliver(r.focus.session, p)
	}
}

// fromClient handles a stanza that a local session sent to the room. It
// reports false when the room ended without having taken the stanza: it is for
// a new room then.
func (r *room) fromClient(now time.Time, from Session, who who, stanza []byte) (taken bool) {
	h, to, ok := parse(stanza)
	if !ok {
		return true
	}
	if r.ended != "" {
		return false
	}
	r.now, r.who = now, who
	if to.Domain == r.domains.Polls || to.Domain == r.domains.Files {
		r.toComponent(from, &h, to, stanza)
		return true
	}
	switch string(h.Name) {
	case "presence":
		return r.clientPresence(from, &h, to.Resource, stanza)
	case "message":
		r.clientMessage(from, &h, to.Resource, stanza)
	case "iq":
		r.clientIQ(from, &h, to.Resource, stanza)
	}
	return true
}

// fromRemote handles a stanza of another server that concerns the room: sent
// to the room, or to the node's own addresses in the room's matter.
func (r *room) fromRemote(now time.Time, from wire.JID, stanza []byte) {
	h, to, ok := parse(stanza)
	if !ok || r.ended != "" {
		return
	}
	r.now = now
	if r.early.holds(r, from, &h, stanza) {
		return
	}
	switch string(h.Name) {
	case "presence":
		r.remotePresence(from, &h, to.Resource, stanza)
	case "message":
		r.remoteMessage(from, to, &h, stanza)
	case "iq":
		r.remoteIQ(from, to, &h, stanza)
	}
}

// parse reads the header of a stanza the Service has parsed once before.
func parse(stanza []byte) (h wire.Header, to wire.JID, ok bool) {
	h, err := wire.ParseHeader(stanza)
	if err != nil {
		return h, to, false
	}
	to, err = wire.ParseAddress(h.To)
	return h, to, err == nil
}

// refuse answers a client's stanza with an error.
func (r *room) refuse(s Session, h *wire.Header, e wire.StanzaError) {
	if wire.Answerable(h) {
		r.reply(s, wire.AppendErrorReply(nil, h, wire.NSClient, s.JID().String(), e))
	}
}

// answer answers a client's IQ; payload is encoded, nil for none.
func (r *room) answer(s Session, h *wire.Header, payload []byte) {
	r.reply(s, wire.AppendResult(nil, h, wire.NSClient, s.JID().String(), payload))
}

// reply sends a complete stanza to a session that need not be an occupant.
func (r *room) reply(s Session, stanza []byte) {
	r.out.deliver(s, &packet{head: stanza})
}

// refuseRemote answers another server's stanza with an error.
func (r *room) refuseRemote(from wire.JID, h *wire.Header, e wire.StanzaError) {
	sendError(r.out, from, h, e)
}

// answerRemote answers another server's IQ with an empty result.
func (r *room) answerRemote(from wire.JID, h *wire.Header) {
	sendResult(r.out, from, h, nil)
}
