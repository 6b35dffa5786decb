package muc

import (
	"context"
	"slices"
	"time"

	"vnode/fanout"
	"vnode/internal/wire"
)

// box runs one hall: its goroutine takes events from the mailbox, feeds the hall
// and carries out what it decides.
type box struct {
	// Static after construction.
	service *Service
	local   string // of the room's address between servers
	mail    *mailbox
	log     *fanout.Log // of all rooms of the name, one after the other

	// Owned by the goroutine.
	hall     *hall
	timers   [alarms]*time.Timer
	direct   []Session // they are in the room and follow another's log
	watchers []Watcher // of the room that lives
	held     int       // visitors, as the service counts them
	turn     *lane     // whose turn is under way

	// Guarded by Service.mu; its changes are the goroutine's.
	meeting string // id of the room that lives
	lives   bool   // a room does
	holding int    // visitors that are held and have not been told to come back

	// Guarded by Service.mu.
	focus wire.JID // bare, of who made the room
	nick  string   // of the focus
	joins int      // of the focus that the hall has yet to take
}

// run ends when the hall has nothing left to do.
func (b *box) run() {
	defer b.service.running.Done()
	var batch []event
	for {
		clear(batch)
		batch = b.mail.take(batch)
		for i := range batch {
			b.handle(&batch[i])
			if b.hall.over() {
				b.finish(batch[i+1:])
				return
			}
			if r := b.hall.life; r != nil && r.meetingID != b.meeting {
				b.service.meets(b, r.meetingID)
			}
		}
	}
}

// who is what is known of a session when it says something.
func (b *box) who(now time.Time, s Session) who {
	return who{identity: s.Identity(), region: s.Region(), banned: b.service.bans.hold(now, b.hall.addr, s)}
}

func (b *box) handle(e *event) {
	now := time.Now()
	b.hall.node = b.service.state(now)
	switch e.kind {
	case evClient:
		b.hall.fromClient(now, e.session, b.who(now, e.session), e.stanza)
		if e.joins {
			b.service.joined(b)
		}
	case evRemote:
		b.hall.fromRemote(now, e.from, e.stanza)
	case evClosed:
		b.hall.sessionClosed(now, e.session)
	case evTimeout:
		b.hall.timeout(now, e.alarm, e.turn)
	case evMain:
		b.hall.mainLink(now, e.turn)
	case evFocus:
		b.hall.focusLink(now, e.focus)
	case evJicofo:
		b.hall.jicofoSaid(now, e.node, e.trouble)
	case evShutdown:
		b.hall.shutdown(now, false)
	case evClose:
		b.hall.shutdown(now, true)
	case evDrained:
		b.hall.drained(now, e.session)
	case evTurn:
		b.turn = e.lane
		if !b.hall.turnComes(now, e.session) {
			e.lane.over()
		}
	case evCall:
		e.call.done <- e.call.do(now, b)
	}
}

// finish takes the hall out of the service and hands back what it has not
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
		b.service.orphan(b.local, &left[i])
	}
}

// The effects of the hall and of its rooms.

func (b *box) broadcast(p *packet) {
	b.log.Append(p.message())
	for _, s := range b.direct {
		// A client that does not follow the log holds what it is slow to take.
		s.Deliver(b.log, p.unshared().message())
	}
}

func (b *box) deliver(s Session, ps ...*packet) { s.Deliver(b.log, messages(ps)...) }

// follow has a session follow the log. One that follows another room's is given
// each message.
func (b *box) follow(s Session, ps ...*packet) {
	if !s.Follow(b.log, messages(ps)...) {
		b.direct = append(b.direct, s)
		b.deliver(s, ps...)
	}
}

func (b *box) unfollow(s Session, ps ...*packet) {
	if i := slices.Index(b.direct, s); i >= 0 {
		b.direct = slices.Delete(b.direct, i, i+1)
		b.deliver(s, ps...)
		return
	}
	s.Unfollow(b.log, messages(ps)...)
}

func (b *box) send(from, to string, stanza []byte) {
	b.service.tellsMain(time.Now(), len(stanza))
	b.service.remote.Send(from, to, stanza)
}

func (b *box) watch(focus Session) {
	focus.Drained(func() { b.mail.push(event{kind: evDrained, session: focus}) })
}

func (b *box) ask(focus Session) {
	if l := b.service.laneOf(focus); l != nil { // else the room is about to end
		l.ask(turnOf{b, focus})
	}
}

func (b *box) turned(focus Session, used bool) {
	l := b.turn
	if !used {
		l.over()
		return
	}
	focus.Drained(l.over)
}

func (b *box) waits(n int) { b.service.waits(n) }

func (b *box) pause(s Session, on bool) { s.Pause(on) }

func (b *box) seats(n int) { b.service.visitors.Add(int64(n)) }

func (b *box) here(v VisitorName) {
	for _, w := range b.watchers {
		w.Here(v)
	}
}

func (b *box) left(id string) {
	for _, w := range b.watchers {
		w.Gone(id)
	}
}

func (b *box) after(a alarm, d time.Duration, turn uint64) {
	if t := b.timers[a]; t != nil {
		t.Stop()
	}
	b.timers[a] = time.AfterFunc(d, func() { b.mail.put(event{kind: evTimeout, alarm: a, turn: turn}) })
}

func (b *box) began(r *room) { b.service.began(b, r) }

func (b *box) ended(r *room) {
	b.service.ended(b, r)
	for _, w := range b.watchers {
		w.Ended()
	}
	b.watchers = nil
}

func (b *box) holds(visitors int, why string) {
	if visitors != b.held {
		b.service.holds(b, visitors)
		b.held = visitors
	}
}

func (b *box) hangUp(s Session) { s.HangUp() }

func (b *box) askJicofo(room string) {
	b.service.askJicofo(room, func(node, trouble string) {
		b.mail.push(event{kind: evJicofo, node: node, trouble: trouble})
	})
}

// jicofoTimeout is how long jicofo may take to answer: it joins the room here
// first.
const jicofoTimeout = 15 * time.Second

// askJicofo asks on a goroutine of its own, which ends with the service.
func (s *Service) askJicofo(room string, answer func(node, trouble string)) {
	if s.cfg.Comeback.AskJicofo == nil {
		answer("", "jicofo-url is not set")
		return
	}
	s.running.Go(func() {
		ctx, cancel := context.WithTimeout(s.lifetime, jicofoTimeout)
		defer cancel()
		node, err := s.cfg.Comeback.AskJicofo(ctx, room)
		if err != nil {
			answer("", err.Error())
			return
		}
		answer(node, "")
	})
}

func messages(ps []*packet) []*fanout.Message {
	ms := make([]*fanout.Message, len(ps))
	for i, p := range ps {
		ms[i] = p.message()
	}
	return ms
}
