package muc

import (
	"slices"
	"time"

	"vnode/fanout"
	"vnode/internal/wire"
)

// box runs one room: its goroutine takes events from the mailbox, feeds the
// room and carries out what it decides.
type box struct {
	// Static after construction.
	service *Service
	local   string // of the room's address between servers
	mail    *mailbox
	log     *fanout.Log

	// Owned by the goroutine.
	room   *room
	timers [alarms]*time.Timer

	// Guarded by Service.mu; its changes are the goroutine's.
	meeting string // id

	// Guarded by Service.mu.
	focus wire.JID // bare, of who made the room
	nick  string   // of the focus
}

// run ends when the room has.
func (b *box) run() {
	defer b.service.running.Done()
	var batch []event
	for {
		clear(batch)
		batch = b.mail.take(batch)
		for i := range batch {
			taken := b.handle(&batch[i])
			if b.room.ended == "" {
				if b.room.meetingID != b.meeting {
					b.service.meets(b, b.room.meetingID)
				}
				continue
			}
			if taken {
				i++
			}
			b.finish(batch[i:])
			return
		}
	}
}

// handle reports false when the room ended without having taken the event.
func (b *box) handle(e *event) (taken bool) {
	now := time.Now()
	switch e.kind {
	case evClient:
		return b.room.fromClient(now, e.session, e.stanza)
	case evRemote:
		b.room.fromRemote(now, e.from, e.stanza)
	case evClosed:
		b.room.sessionClosed(now, e.session)
	case evTimeout:
		b.room.timeout(now, e.alarm, e.turn)
	case evMain:
		b.room.mainLink(now, e.turn)
	case evShutdown:
		b.room.end(endShutdown, "")
	case evCall:
		e.call.do(now, b.room)
		e.call.done <- true
	}
	return true
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
	b.service.noteLost(b, left)
	for i := range left {
		b.service.orphan(b.local, &left[i])
	}
}

// The effects of the room.

func (b *box) broadcast(p *packet) { b.log.Append(p.message()) }

func (b *box) deliver(s Session, ps ...*packet) { s.Deliver(b.log, messages(ps)...) }

func (b *box) follow(s Session, ps ...*packet) bool { return s.Follow(b.log, messages(ps)...) }

func (b *box) unfollow(s Session, ps ...*packet) { s.Unfollow(b.log, messages(ps)...) }

func (b *box) send(from, to string, stanza []byte) { b.service.remote.Send(from, to, stanza) }

func (b *box) after(a alarm, d time.Duration, turn uint64) {
	if t := b.timers[a]; t != nil {
		t.Stop()
	}
	b.timers[a] = time.AfterFunc(d, func() { b.mail.put(event{kind: evTimeout, alarm: a, turn: turn}) })
}

func messages(ps []*packet) []*fanout.Message {
	ms := make([]*fanout.Message, len(ps))
	for i, p := range ps {
		ms[i] = p.message()
	}
	return ms
}
