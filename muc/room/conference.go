package room

import (
	"log/slog"
	"time"

	"vnode/internal/address"
	"vnode/internal/table"
	"vnode/internal/wire"
	"vnode/muc/files"
	"vnode/muc/history"
	"vnode/muc/polls"
	"vnode/muc/rate"
)

// conference is a room that lives, from the join of the focus that makes it to its
// end. It is part of the machine, and owned by the same goroutine.
type conference struct {
	// Static after construction.
	cfg     *Config
	domains *address.Domains
	out     Effects
	metrics *Metrics
	unmet   *slog.Logger  // names no meeting
	newID   func() string // of the seed alone
	node    *Node         // at the event under way
	ids     occupantIDs
	addr    wire.JID // between servers
	pub     wire.JID // to local clients
	pubFrom string   // pub, escaped
	main    wire.JID // the room it mirrors
	made    time.Time

	// State.
	now          time.Time // of the event under way
	who          Who       // sent the stanza under way
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
	subject      *Packet // as the last one was said; nil before the first
	history      *history.Log[*Packet]
	authors      authors
	joins        rate.Bucket
	leaves       rate.Bucket
	chat         rate.Bucket // of all visitors
	dials        rate.Bucket // of transcribers
	held         []*occupant // whose latest presence waits
	outlet       outlet      // to the focus
	hands        hands
	warnings     warnings
	mainShare    rate.Bucket // of what main hears of the room however much it hears of others
	shapes       shapes      // of visitors' presences
	languages    transcription
	polls        *polls.Board
	told         int // news of polls since alarmVotes was set
	files        *files.List
	sharedPolls  cachedPacket
	sharedFiles  cachedPacket
	link         link
	turns        [Alarms]uint64 // of each timer's latest setting; older ones are stale
	armed        [Alarms]bool
	thrown       thrownOut
	parted       time.Time // when the focus left, while main's word is waited for

	// Left behind by the end.
	fault      fault       // what ended the room
	missing    int         // participants that are to come back after it
	stranded   []*occupant // visitors that stay, in the order they came
	sentOff    bool        // and were told that the focus is gone
	unadmitted []*waiting  // those that waited to be let in
	goneFocus  *Packet     // see focusGone
}

// newConference makes the next room that lives.
func (h *Room) newConference(meetingID string) *conference {
	return &conference{
		cfg: h.cfg, domains: h.domains, out: h.out, metrics: h.metrics, newID: h.ids.text,
		node: &h.node, ids: newOccupantIDs(h.salt), meetingID: meetingID, made: h.now,
		addr: h.addr, main: h.main, pub: h.pub, pubFrom: escaped(h.pub.String()),
		nicks:      table.New(func(o *occupant) string { return o.nick }),
		jids:       table.New((*occupant).jid),
		moderators: make(map[string]bool),
		queue:      queue{index: make(map[Session]*waiting)},
		history:    history.New[*Packet](h.cfg.HistoryMessages, h.cfg.HistoryBytes),
		languages:  transcription{wanted: make(map[string]int), told: " 0"},
		link:       link{change: h.change},
		turns:      h.turns,
		polls:      polls.NewBoard(h.pub.String(), h.main.String(), polls.Limits{}),
		files:      files.NewList(files.Limits{}),
		unmet:      h.log,
		log:        h.log,
	}
}

func (r *conference) add(o *occupant) {
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

func (r *conference) remove(o *occupant) {
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
		r.out.Left(o.nick)
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
func (r *conference) occupantOf(s Session) *occupant {
	if o := r.jids.Get(s.JID()); o != nil && o.session == s {
		return o
	}
	return nil
}

// toVisitors sends p to every visitor.
func (r *conference) toVisitors(p *Packet) {
	r.out.Broadcast(p)
}

// toAll sends p to every local occupant.
func (r *conference) toAll(p *Packet) {
	r.toVisitors(p)
	if r.focus != nil {
		r.out.Deliver(r.focus.session, p)
	}
}

// fromClient handles a stanza that a local session sent to the room. It
// reports false when the room ended without having taken the stanza: it is for
// a new room then.
func (r *conference) fromClient(now time.Time, from Session, who Who, st *wire.Stanza) (taken bool) {
	if r.ended != "" {
		return false
	}
	r.now, r.who = now, who
	if st.To.Domain == r.domains.Polls || st.To.Domain == r.domains.Files {
		r.toComponent(from, st)
		return true
	}
	switch string(st.Name) {
	case "presence":
		return r.clientPresence(from, st)
	case "message":
		r.clientMessage(from, st)
	case "iq":
		r.clientIQ(from, st)
	}
	return true
}

// fromRemote handles a stanza of another server that concerns the room: sent
// to the room, or to the node's own addresses in the room's matter.
func (r *conference) fromRemote(now time.Time, st *wire.Stanza) {
	if r.ended != "" {
		return
	}
	r.now = now
	if r.early.holds(r, st) {
		return
	}
	switch string(st.Name) {
	case "presence":
		r.remotePresence(st)
	case "message":
		r.remoteMessage(st)
	case "iq":
		r.remoteIQ(st)
	}
}

// refuse answers a client's stanza with an error.
func (r *conference) refuse(s Session, st *wire.Stanza, e wire.StanzaError) {
	if st.Answerable() {
		r.reply(s, wire.AppendErrorReply(nil, &st.Header, wire.NSClient, s.JID().String(), e))
	}
}

// answer answers a client's IQ; payload is encoded, nil for none.
func (r *conference) answer(s Session, st *wire.Stanza, payload []byte) {
	r.reply(s, wire.AppendResult(nil, &st.Header, wire.NSClient, s.JID().String(), payload))
}

// reply sends a complete stanza to a session that need not be an occupant.
func (r *conference) reply(s Session, stanza []byte) {
	r.out.Deliver(s, &Packet{head: stanza})
}

// refuseRemote answers another server's stanza with an error.
func (r *conference) refuseRemote(st *wire.Stanza, e wire.StanzaError) {
	SendError(r.out, st, e)
}

// answerRemote answers another server's IQ with an empty result.
func (r *conference) answerRemote(st *wire.Stanza) {
	SendResult(r.out, st, nil)
}
