package muc

import (
	"vnode/internal/guard"
	"vnode/muc/room"
)

// A room that met a panic is not to be trusted any more. It is over: its visitors'
// streams end, at which their pages reload; the focus is told that the room is
// destroyed, and makes it again for the first of them.

// Doing implements [guard.Met].
func (b *box) Doing() (string, int) {
	if b.doing == nil || b.doing.stanza == nil {
		return "", 0
	}
	return string(b.doing.stanza.Name), len(b.doing.stanza.Raw)
}

// Whose implements [guard.Owned].
func (b *box) Whose() string { return "room " + b.local }

// Panicked implements [guard.Met]. What the room had told the service is taken back.
func (b *box) Panicked() {
	b.broken = true
	e := b.doing
	switch {
	case e.call != nil:
		e.call.answer(false)
	case e.joins:
		b.service.joined(b)
	}
	out := outside{b}
	if b.turn != nil {
		b.turn.over()
		b.turn = nil
	}
	out.Seats(-b.seats)
	out.Waits(-b.waits)
	out.Holds(0, "")
	b.abandon()
	if b.lives { // only this goroutine changes it
		out.Ended(room.End{Reason: room.Lost(), Focus: b.focus, Nick: b.nick})
	}
	for _, s := range b.service.sessionsIn(b) {
		if !s.Admin() {
			s.HangUp()
		}
	}
}

// abandon has the room tell the main server that its participants are out, and take
// back its share of the metrics, as far as it can.
func (b *box) abandon() {
	defer b.service.cfg.Guard.Recover(guard.Room, guard.Named(b.Whose()))
	b.room.Abandon()
}

// orphan hands an event on that the room has not handled. A panic costs the event.
func (b *box) orphan(e *event) {
	b.doing = e
	defer b.service.cfg.Guard.Recover(guard.Room, (*orphaned)(b))
	b.service.orphan(b.local, e)
}

// orphaned is a box that is over, with an event for it under way.
type orphaned box

// Doing implements [guard.Met].
func (o *orphaned) Doing() (string, int) { return (*box)(o).Doing() }

// Whose implements [guard.Owned].
func (o *orphaned) Whose() string { return (*box)(o).Whose() }

// Panicked implements [guard.Met]: who waits for an answer gets one.
func (o *orphaned) Panicked() { o.doing.call.answer(false) }
