package muc

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"mellium.im/xmpp/stanza"

	"vnode/fanout"
	"vnode/internal/address"
	"vnode/internal/table"
	"vnode/internal/wire"
	"vnode/muc/room"
)

// Service is the node's rooms. Its methods are safe for concurrent use.
//
// Stanzas of one caller reach a room in the order of the calls. Rooms do not
// wait for each other: each has a goroutine and a bounded mailbox.
type Service struct {
	// Static after construction.
	cfg     Config
	domains *address.Domains
	remote  Remote
	logs    Logs
	log     *slog.Logger
	metrics *metrics
	counts  *room.Metrics // of rooms
	bans    bans

	limits   atomic.Pointer[room.Limits]
	visitors atomic.Int64    // in all rooms
	held     atomic.Int64    // visitors that wait to come back, of earlier conferences
	changed  chan struct{}   // of capacity 1, see RecordsChanged
	lifetime context.Context // ends when Close begins
	end      context.CancelFunc
	load     nodeLoad // of all rooms on the focus and on main

	running sync.WaitGroup // rooms' goroutines

	mu sync.RWMutex
	// Guarded by mu.
	rooms    map[string]*box // by localpart between servers; in some no room lives
	lives    int             // in how many one does
	guests   *table.Table[wire.JID, guest]
	meetings map[string]*box // by the meeting's id
	closed   bool
	warned   time.Time              // when the log was told of too many rooms
	change   uint64                 // of the streams to main, the latest
	focuses  map[wire.JID][]Session // open sessions of the focus, the latest last, by bare address
	focusIn  room.FocusLink
	lost     lostRooms
	lanes    map[Session]*lane // to open sessions of the focus that rooms have waited for
}

// New returns a Service for cfg, which must be valid.
func New(cfg Config, remote Remote, logs Logs, log *slog.Logger, reg prometheus.Registerer) *Service {
	cfg = cfg.withDefaults()
	s := &Service{
		cfg: cfg, domains: cfg.domains(), remote: remote, logs: logs, log: log, metrics: newMetrics(reg), counts: room.NewMetrics(reg),
		rooms: make(map[string]*box), guests: table.New((*guest).jid), meetings: make(map[string]*box),
		focuses: make(map[wire.JID][]Session), lost: make(lostRooms), lanes: make(map[Session]*lane), changed: make(chan struct{}, 1),
	}
	s.limits.Store(&cfg.Limits)
	s.lifetime, s.end = context.WithCancel(context.Background())
	return s
}

// FromClient takes a stanza of a local session, addressed to a room or to the
// rooms' domain, that [wire.Check] has accepted. It blocks only while that
// room's mailbox is full. The stanza is the caller's again on return.
func (s *Service) FromClient(from Session, st *wire.Stanza) {
	local, ok := s.domains.Real(st.To.Local, st.To.Domain)
	switch {
	case st.To.Domain == s.domains.Polls || st.To.Domain == s.domains.Files:
		s.clientToShared(from, st)
	case !ok:
		s.refuse(from, st, wire.ErrServiceUnavailable)
	case local == "":
		s.clientToComponent(from, st)
	default:
		s.clientToRoom(from, local, fromClient(from, st.Clone()), false)
	}
}

// clientToRoom hands an event to a room, which a join of the focus makes. An
// orphan was meant for an earlier room of that name; its session may be closed
// by now.
func (s *Service) clientToRoom(from Session, local string, e event, orphan bool) {
	for {
		b, joins, err := s.enter(from, local, e.stanza, orphan)
		if err != nil {
			s.turnAway(from, local, e.stanza, err)
			return
		}
		e.joins = joins
		switch {
		case b == nil:
			return
		case !b.mail.put(e):
			continue // the room ended since; there may be another
		case orphan && s.hasClosed(from):
			// The session's end may have got into the mailbox first.
			b.mail.put(closed(from))
		}
		return
	}
}

func (s *Service) hasClosed(from Session) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.guest(from) == nil
}

// turnAway answers a stanza to a room that is not there.
func (s *Service) turnAway(from Session, local string, st *wire.Stanza, err error) {
	if nick, gone := err.(goneRoom); gone {
		s.tellGone(from, local, string(nick))
		return
	}
	if err == errCrowded {
		s.counts.Refused(room.RefusedNoRoom).Inc()
		from.HangUp()
		return
	}
	s.refuse(from, st, room.AsStanzaError(err))
}

// enter finds the box for a client's stanza, and makes one for a join; counted
// says that it is a join of the focus's, to be taken back by joined. box and error
// are nil for what needs no answer: an orphan of a closed session, or the leave of a
// page whose room has ended.
func (s *Service) enter(from Session, local string, st *wire.Stanza, orphan bool) (b *box, counted bool, err error) {
	if string(st.Name) != "presence" || len(st.Type) > 0 {
		s.mu.RLock()
		defer s.mu.RUnlock()
		if b := s.rooms[local]; b != nil {
			return b, false, nil
		}
		if string(st.Name) == "presence" && string(st.Type) == "unavailable" && !from.Admin() { // jicofo waits for an answer
			return nil, false, nil
		}
		return nil, false, wire.ErrItemNotFound.From(s.domains.Rooms)
	}
	_, joins := st.Child(wire.NSMUC, "x")
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.guest(from)
	if orphan && g == nil {
		return nil, false, nil
	}
	if b = s.rooms[local]; b == nil {
		if err := s.mayCreate(from, local, st, joins); err != nil {
			return nil, false, err
		}
		b = s.create(local)
	}
	if counted = joins && from.Admin(); counted {
		s.noteFocus(b, from, st)
		b.joins++
	}
	if g == nil {
		g = &guest{session: from}
		s.guests.Put(g)
	}
	g.enter(b, joins)
	return b, counted, nil
}

// joined notes that the room has taken a join of the focus's.
func (s *Service) joined(b *box) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.joins--
}

// mayCreate decides, with mu held, about a presence to a room that is not
// there: only the focus makes rooms, and while it is logged in it may make as
// many as it likes. Jicofo takes a node for a conference's before it has joined
// the room there, and goes on sending visitors when the join was refused. The
// joins of visitors wait for a room, see [waitlist].
func (s *Service) mayCreate(from Session, local string, st *wire.Stanza, joins bool) error {
	to := st.To
	switch {
	case !joins && from.Admin() && to.Resource != "":
		return goneRoom(to.Resource)
	case !joins:
		return wire.ErrItemNotFound.From(s.domains.Rooms)
	case !from.Admin() && room.IsHealthCheck(to.Local):
		s.counts.Refused(room.RefusedHealth).Inc()
		return wire.ErrServiceUnavailable
	case to.Resource == "":
		return room.ErrNoNick
	case len(to.Resource) > s.cfg.Room.MaxNick:
		return room.ErrLongNick
	case !from.Admin() && (s.closed || len(s.rooms)-s.lives >= maxUnmade):
		return errCrowded
	case s.closed:
		s.lost.add(local, lostRoom{focus: from.JID().Bare(), nick: to.Resource, ended: time.Now(), reason: room.Lost()})
		s.recordsChange()
		return errShuttingDown
	}
	return nil
}

// maxUnmade bounds the rooms in which no conference lives: those in which visitors are
// held, and those in which joins wait.
const maxUnmade = 256

// errShuttingDown is that the node makes no more rooms.
var errShuttingDown = wire.StanzaError{Type: stanza.Cancel, Condition: stanza.ServiceUnavailable, Text: "The server shuts down"}

// errCrowded is that a visitor's join may not wait for its room.
var errCrowded = errors.New("too many wait for a room")

// goneRoom is that the focus, under that nick, takes a room for alive that is
// not there.
type goneRoom string

// Error implements error.
func (goneRoom) Error() string { return "the room is not here" }

// noticeMany tells the log, with mu held, that there are more rooms than the
// node was meant for.
func (s *Service) noticeMany() {
	most := s.limits.Load().MaxRooms
	if s.lives <= most {
		return
	}
	s.metrics.roomsBeyond.Inc()
	if now := time.Now(); now.Sub(s.warned) >= time.Minute {
		s.warned = now
		s.log.Warn("more rooms than max-rooms: jicofo would send visitors to a room that was refused, so none is; add nodes", "rooms", s.lives, "max_rooms", most)
	}
}

// noteFocus notes, with mu held, who makes a room: it is told when the room is
// lost.
func (s *Service) noteFocus(b *box, from Session, st *wire.Stanza) {
	if st.To.Resource != "" {
		b.focus, b.nick = from.JID().Bare(), st.To.Resource
		s.recordsChange()
	}
}

// create makes a room, with mu held.
func (s *Service) create(local string) *box {
	b := &box{
		service: s, local: local, mail: newMailbox(s.cfg.MaxMailbox, s.cfg.MaxMailboxBytes), log: s.logs.NewLog(),
	}
	p := room.Params{
		Config: &s.cfg.Room, Domains: s.domains, Local: local, Metrics: s.counts, Log: s.log,
		MainLink: room.MainLink{Change: s.change}, FocusLink: s.focusIn,
	}
	_, _ = rand.Read(p.Seed[:]) // never fails
	b.room = room.New(p, outside{b})
	s.rooms[local] = b
	s.running.Add(1)
	go b.run()
	return b
}

// began takes notice of a conference that lives from now on.
func (s *Service) began(b *box, meeting string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.lives, b.meeting = true, meeting
	s.meetings[b.meeting] = b
	delete(s.lost, b.local)
	s.lives++
	s.metrics.rooms.Inc()
	s.noticeMany()
	s.recordsChange()
}

// ended takes notice of a conference's end, which its focus may have to be told of.
func (s *Service) ended(b *box, e room.End) {
	gone, again := s.endedLocked(b, e)
	for _, session := range again {
		reply(session, room.Destroyed(s.domains.Public(b.local), gone.nick, gone.reason, session.JID()))
	}
}

func (s *Service) endedLocked(b *box, e room.End) (gone lostRoom, again []Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.lives = false
	if s.meetings[b.meeting] == b {
		delete(s.meetings, b.meeting)
	}
	s.lives--
	s.metrics.rooms.Dec()
	s.recordsChange()
	return s.noteLost(b, e)
}

// holds takes notice of how many visitors a room holds.
func (s *Service) holds(b *box, visitors int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held.Add(int64(visitors - b.holding))
	s.metrics.heldVisitors.Add(float64(visitors - b.holding))
	switch {
	case b.holding == 0 && visitors > 0:
		s.metrics.heldRooms.Inc()
	case b.holding > 0 && visitors == 0:
		s.metrics.heldRooms.Dec()
	}
	b.holding = visitors
}

// forget takes a room out in which there is nothing left to do.
func (s *Service) forget(b *box) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.rooms, b.local)
	for g := range s.guests.All() { // 0.2 ms for ten thousand: rooms end seldom
		g.leave(b)
	}
}

// orphan handles an event that a room did not take before it was over. Joins may
// be for a new room of that name; the rest is answered as if sent later.
func (s *Service) orphan(local string, e *event) {
	switch what := e.what.(type) {
	case room.FromMain:
		room.WithoutRoom(s, s.domains, what.Stanza)
	case room.FocusTurn:
		e.lane.over()
	}
	if e.client != nil {
		s.clientToRoom(e.client, local, *e, true)
	}
	if e.call != nil {
		e.call.done <- false
	}
}

// clientToComponent handles a stanza to the rooms' domain itself.
func (s *Service) clientToComponent(from Session, st *wire.Stanza) {
	if string(st.Name) != "iq" {
		s.refuse(from, st, wire.ErrServiceUnavailable)
		return
	}
	s.answerIQ(from, st, func() ([]byte, error) { return componentIQ(st) })
}

// answerIQ answers a request, if it is one, with what answer says.
func (s *Service) answerIQ(from Session, st *wire.Stanza, answer func() ([]byte, error)) {
	if !st.Answerable() {
		return
	}
	payload, err := answer()
	if err != nil {
		s.refuse(from, st, room.AsStanzaError(err))
		return
	}
	reply(from, wire.AppendResult(nil, &st.Header, wire.NSClient, from.JID().String(), payload))
}

// SessionClosed takes a session out of every room it is in. It must come after
// the session's last FromClient, and blocks like it.
func (s *Service) SessionClosed(from Session) {
	boxes, n := s.leaves(from)
	s.tellLost(n.locals, n.rooms, n.others)
	tellFocusLink(n.boxes, n.link)
	for _, b := range boxes {
		b.mail.put(closed(from))
	}
}

// leaves forgets a session, and returns the boxes it was in.
func (s *Service) leaves(from Session) (boxes []*box, n focusNews) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.guest(from); g != nil {
		boxes = g.boxes()
		s.guests.Delete(g.jid())
	}
	delete(s.lanes, from)
	n.locals, n.rooms, n.others = s.focusClosed(from)
	n.link, n.boxes = s.noteFocuses()
	return boxes, n
}

// MainLink tells the rooms that the first stream with the main server came up,
// or that the last one was lost. change counts these events from 1, so that odd
// ones are ups; one that another goroutine has overtaken does no harm. An up must
// come before what main sends on the stream, a loss behind it. MainLink blocks
// like FromRemote.
func (s *Service) MainLink(change uint64) {
	s.mu.Lock()
	s.change = max(s.change, change)
	boxes := slices.Collect(maps.Values(s.rooms))
	s.mu.Unlock()
	for _, b := range boxes {
		b.mail.put(event{what: room.MainLink{Change: change}})
	}
}

// Close ends every room with a reason and refuses new ones. It returns when
// all have ended, or with ctx's error.
func (s *Service) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	boxes := slices.Collect(maps.Values(s.rooms))
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, b := range boxes {
			b.mail.put(event{what: room.Shutdown{ForGood: true}})
		}
		s.end()
		s.running.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("muc: closing rooms: %w", ctx.Err())
	}
}

func (s *Service) refuse(from Session, st *wire.Stanza, e wire.StanzaError) {
	if st.Answerable() {
		reply(from, wire.AppendErrorReply(nil, &st.Header, wire.NSClient, from.JID().String(), e))
	}
}

// reply sends a complete stanza to a session.
func reply(to Session, stanza []byte) { to.Deliver(nil, fanout.NewPrivate(stanza)) }
