package muc

import (
	"fmt"
	"time"

	"vnode/internal/wire"
)

// mayWrite decides whether a visitor may say something now, to the room or to
// one participant.
func (r *room) mayWrite(o *occupant) (wire.StanzaError, bool) {
	l := &r.limits.Load().Chat
	switch {
	case l.Audience == HeardByNobody:
		return errReadOnly, false
	case l.SlowMode > 0 && !o.wrote.IsZero() && r.now.Sub(o.wrote) < l.SlowMode:
		e := errSlowMode
		e.Text = fmt.Sprintf("Slow mode: wait %s before the next message", roundUp(l.SlowMode-r.now.Sub(o.wrote)))
		return e, false
	case o.writes.Wait(l.Visitor, r.now) > 0:
		return errFlood, false
	case !r.chat.Take(l.Room, r.now):
		return errRoomFlood, false
	}
	o.writes.Take(l.Visitor, r.now)
	o.wrote = r.now
	return wire.StanzaError{}, true
}

// roundUp rounds to whole seconds, as a person waits.
func roundUp(d time.Duration) time.Duration {
	return (d + time.Second - 1).Truncate(time.Second)
}

// tellsMain reports whether main gets what visitors write.
func (r *room) tellsMain() bool {
	return r.limits.Load().Chat.Audience == HeardByAll && !r.cfg.MainWithoutConnect
}
