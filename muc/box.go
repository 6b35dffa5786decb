package muc

import (
	"context"
	"slices"
	"time"

	"vnode/fanout"
	"vnode/internal/guard"
	"vnode/internal/wire"
	"vnode/muc/room"
)

// box runs one room: its goroutine takes events from the mailbox, feeds the room
// and carries out what it decides.
type box struct {
	// Static after construction.
	service *Service
	local   string // of the room's address between servers
	mail    *mailbox
	log     *fanout.Log // of all conferences of the name, one after the other

	// Owned by the goroutine.
	room     *room.Room
	timers   [room.Alarms]*time.Timer
	direct   []Session // they are in the room and follow another's log
	watchers []Watcher // of the conference that lives
	held     int       // visitors, as the service counts them
	turn     *lane     // whose turn is under way
	lane     *lane     // to the session of the focus that was told something last; nil before
	seats    int       // of the node's, taken
	waits    int       // bytes of IQs that wait for the focus
	doing    *event    // under way
	broken   bool      // it met a panic

	// Guarded by Service.mu; its changes are the goroutine's.
	meeting string // id of the conference that lives
	lives   bool   // a conference does
	holding int    // visitors that are held and have not been told to come back

	// Guarded by Service.mu.
	focus wire.JID // bare, of who made the conference
	nick  string   // of the focus
	joins int      // of the focus that the room has yet to take
}

// run ends when the room has nothing left to do.
func (b *box) run() {
	defer b.service.running.Done()
	var batch []event
	for {
		clear(batch)
		batch = b.mail.take(batch)
		for i := range batch {
			b.handle(&batch[i])
			if b.broken || b.room.Over() {
				b.finish(batch[i+1:])
				return
			}
		}
	}
}

func (b *box) handle(e *event) {
	defer b.service.cfg.Guard.Recover(guard.Room, b)
	b.doing = e
	now := time.Now()
	switch {
	case e.call != nil:
		e.call.done <- e.call.do(now, b)
		return
	case e.client != nil:
		b.happens(now, room.FromClient{From: e.client, Who: b.who(now, e.client), Stanza: e.stanza})
	default:
		b.turn = e.lane
		b.happens(now, e.what)
	}
	if e.joins {
		b.service.joined(b)
	}
}

// happens lets something happen to the room.
func (b *box) happens(now time.Time, e room.Event) {
	n := b.service.state(now)
	n.FocusFull = b.lane != nil && b.lane.full.Load()
	b.room.Handle(n, e)
}

// who is what is known of a session when it says something.
func (b *box) who(now time.Time, s Session) room.Who {
	return room.Who{Identity: s.Identity(), Region: s.Region(), Banned: b.service.bans.hold(now, b.room.Address(), s)}
}

// finish takes the room out of the service and hands back what it has not
// handled.
func (b *box) finish(rest []event) {
	for _, t := range b.timers {
		if t != nil {
			t.Stop()
		}
	}
	b.service.forget(b)
	left := slices.Concat(rest, b.mail.close())
	for i := range left {
		b.orphan(&left[i])
	}
}

// outside is what a box does to the world for its room.
type outside struct{ *box }

var _ room.Effects = outside{}

func (b outside) Broadcast(p *room.Packet) {
	b.log.Append(p.Message())
	for _, s := range b.direct {
		// A client that does not follow the log holds what it is slow to take.
		s.Deliver(b.log, p.Unshared().Message())
	}
}

func (b outside) Deliver(to room.Session, ps ...*room.Packet) {
	to.(Session).Deliver(b.log, messages(ps)...)
}

// Follow has a session follow the log. One that follows another room's is given
// each message.
func (b outside) Follow(s room.Session, ps ...*room.Packet) {
	if client := s.(Session); !client.Follow(b.log, messages(ps)...) {
		b.direct = append(b.direct, client)
		b.Deliver(s, ps...)
	}
}

func (b outside) Unfollow(s room.Session, ps ...*room.Packet) {
	client := s.(Session)
	if i := slices.Index(b.direct, client); i >= 0 {
		b.direct = slices.Delete(b.direct, i, i+1)
		b.Deliver(s, ps...)
		return
	}
	client.Unfollow(b.log, messages(ps)...)
}

func (b outside) HangUp(s room.Session) { s.(Session).HangUp() }

func (b outside) Pause(s room.Session, on bool) { s.(Session).Pause(on) }

func (b outside) Send(from, to string, stanza []byte) { b.service.remote.Send(from, to, stanza) }

func (b outside) Tell(from, to string, stanza []byte) {
	b.service.tellsMain(time.Now(), len(stanza))
	b.Send(from, to, stanza)
}

func (b outside) After(a room.Alarm, d time.Duration, setting uint64) {
	if t := b.timers[a]; t != nil {
		t.Stop()
	}
	b.timers[a] = time.AfterFunc(d, func() { b.mail.put(event{what: room.Timeout{Alarm: a, Setting: setting}}) })
}

func (b outside) AwaitDrained(focus room.Session) {
	focus.(Session).Drained(func() { b.mail.push(event{source: fromFocus, what: room.FocusDrained{Focus: focus}}) })
}

func (b outside) Ahead(focus room.Session, n int) {
	if l := b.laneTo(focus); l != nil {
		l.says(n)
	}
}

func (b outside) AskTurn(focus room.Session, again bool) {
	if l := b.laneTo(focus); l != nil {
		l.ask(turnOf{b.box, l.focus}, again)
	}
}

// laneTo returns the way to the focus; nil when the room is about to end.
func (b outside) laneTo(focus room.Session) *lane {
	if b.lane == nil || b.lane.focus != focus {
		b.lane = b.service.laneOf(focus.(Session))
	}
	return b.lane
}

func (b outside) EndTurn(focus room.Session, used bool) {
	l := b.turn
	b.turn = nil
	if !used {
		l.over()
		return
	}
	focus.(Session).Drained(l.over)
}

func (b outside) AskJicofo(address string) {
	b.service.askJicofo(address, func(node, trouble string) {
		b.mail.push(event{what: room.JicofoChose{Node: node, Trouble: trouble}})
	})
}

func (b outside) CountParticipants(address string) {
	b.service.countParticipants(address, func(n int, known bool) {
		b.mail.push(event{what: room.Participants{N: n, Known: known}})
	})
}

func (b outside) Began(meeting string) { b.service.began(b.box, meeting) }

func (b outside) Meets(meeting string) { b.service.meets(b.box, meeting) }

func (b outside) Ended(e room.End) {
	b.service.ended(b.box, e)
	for _, w := range b.watchers {
		w.Ended()
	}
	b.watchers = nil
}

func (b outside) Holds(visitors int, why string) {
	if visitors != b.held {
		b.service.holds(b.box, visitors)
		b.held = visitors
	}
}

func (b outside) Here(v room.VisitorName) {
	for _, w := range b.watchers {
		w.Here(v)
	}
}

func (b outside) Left(id string) {
	for _, w := range b.watchers {
		w.Gone(id)
	}
}

func (b outside) Seats(n int) {
	b.seats += n
	b.service.visitors.Add(int64(n))
}

func (b outside) Waits(n int) {
	b.waits += n
	b.service.waits(n)
}

// jicofoTimeout is how long jicofo may take to answer: it joins the room here
// first.
const jicofoTimeout = 15 * time.Second

// askJicofo asks on a goroutine of its own, which ends with the service.
func (s *Service) askJicofo(room string, answer func(node, trouble string)) {
	if s.cfg.AskJicofo == nil {
		answer("", "jicofo-url is not set")
		return
	}
	s.running.Go(func() {
		ctx, cancel := context.WithTimeout(s.lifetime, jicofoTimeout)
		defer cancel()
		answer(s.jicofoSays(ctx, room))
	})
}

func (s *Service) jicofoSays(ctx context.Context, room string) (node, trouble string) {
	trouble = "a fault of the program" // if there is a panic
	defer s.cfg.Guard.Recover(guard.Task, guard.Named("what jicofo answers"))
	node, err := s.cfg.AskJicofo(ctx, room)
	if err != nil {
		return "", err.Error()
	}
	return node, ""
}

// countTimeout is how long jicofo may take to say who is there.
const countTimeout = 3 * time.Second

// countParticipants asks on a goroutine of its own, which ends with the service.
func (s *Service) countParticipants(room string, answer func(n int, known bool)) {
	if s.cfg.CountParticipants == nil {
		answer(0, false)
		return
	}
	s.running.Go(func() {
		ctx, cancel := context.WithTimeout(s.lifetime, countTimeout)
		defer cancel()
		n, err := s.cfg.CountParticipants(ctx, room)
		if err != nil {
			s.log.Debug("jicofo does not say who is in a room whose audience is held", "room", room, "error", err)
		}
		answer(n, err == nil)
	})
}

func messages(ps []*room.Packet) []*fanout.Message {
	ms := make([]*fanout.Message, len(ps))
	for i, p := range ps {
		ms[i] = p.Message()
	}
	return ms
}
