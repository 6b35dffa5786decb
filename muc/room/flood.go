package room

import (
	"fmt"
	"time"

	"vnode/internal/wire"
	"vnode/muc/rate"
)

// flow is how fast a visitor says things, and what it asks for. Most never do.
type flow struct {
	writes    rate.Bucket
	wrote     time.Time // when it did last
	presences rate.Bucket
	votes     rate.Bucket
	held      *wire.Stanza // its latest presence, which waits
	who       Who          // at its latest presence that waited, or asked for something
	language  string       // it wants transcribed, "" for none

	// What waits for the focus, see [outlet].
	showing      showing
	coming       *coming // its own, while the focus does not know of it
	requests     []*Packet
	requestBytes int
	paused       bool // it is not read

	hand hand
}

func (o *occupant) flowing() *flow {
	if o.flow == nil {
		o.flow = new(flow)
	}
	return o.flow
}

// language is what a visitor wants transcribed, "" for nothing.
func (o *occupant) language() string {
	if o.flow == nil {
		return ""
	}
	return o.flow.language
}

// mayWrite decides whether a visitor may say something now, to the room or to
// one participant. size is the stanza's: a line is multiplied by the room, so a
// long one counts as several.
func (r *conference) mayWrite(o *occupant, size int) (wire.StanzaError, bool) {
	l, f := &r.node.Limits.Chat, o.flowing()
	switch {
	case l.Audience == HeardByNobody:
		return errReadOnly, false
	case l.SlowMode > 0 && !f.wrote.IsZero() && r.now.Sub(f.wrote) < l.SlowMode:
		e := errSlowMode
		e.Text = fmt.Sprintf("Slow mode: wait %s before the next message", roundUp(l.SlowMode-r.now.Sub(f.wrote)))
		return e, false
	case !f.writes.Has(l.Visitor, Units(size), r.now):
		return errFlood, false
	case !r.chat.Has(l.Room, Units(size), r.now):
		r.warn(&r.warnings.chat, "chat refused: the visitors of this room write too much; room-chat-rate and room-chat-burst allow more")
		return errRoomFlood, false
	case r.tellsMain() && r.mainFull():
		r.metrics.mainRefused.Inc()
		return errRoomFlood, false
	}
	f.writes.TakeSome(l.Visitor, Units(size), r.now)
	r.chat.TakeSome(l.Room, Units(size), r.now)
	f.wrote = r.now
	return wire.StanzaError{}, true
}

// roundUp rounds to whole seconds, as a person waits.
func roundUp(d time.Duration) time.Duration {
	return (d + time.Second - 1).Truncate(time.Second)
}

// tellsMain reports whether main gets what visitors write.
func (r *conference) tellsMain() bool {
	return r.node.Limits.Chat.Audience == HeardByAll && !r.cfg.MainWithoutConnect
}

// mayShow decides whether a visitor's presence may be shown now: each goes to
// the focus, and with a raised hand to main.
func (r *conference) mayShow(o *occupant) bool {
	l := r.node.Limits.Presences
	return l == (rate.Limit{}) || o.flowing().presences.Take(l, r.now)
}

// hold keeps a visitor's presence until it may be shown, in place of an earlier
// one: what counts of presences is the latest.
func (r *conference) hold(o *occupant, st *wire.Stanza) {
	f := o.flowing()
	if f.held == nil {
		r.held = append(r.held, o)
	}
	f.held, f.who = st, r.who
	if !r.armed[alarmHeld] {
		r.arm(alarmHeld, min(f.presences.Wait(r.node.Limits.Presences, r.now), time.Second))
	}
}

// unhold forgets a presence that waits: there is a newer one.
func (o *occupant) unhold() {
	if o.flow != nil {
		o.flow.held = nil
	}
}

// showHeld shows what was held, as far as the limit allows, in the order in
// which the visitors began to wait.
func (r *conference) showHeld() {
	wait, kept := time.Second, r.held[:0]
	limit := r.node.Limits.Presences
	for _, o := range r.held {
		stanza := o.flow.held
		switch {
		case stanza == nil || r.jids.Get(o.jid()) != o: // shown by now, or gone
		case r.mayShow(o):
			r.who = o.flow.who
			r.showVisitor(o, stanza)
		default:
			kept = append(kept, o)
			wait = min(wait, o.flow.presences.Wait(limit, r.now))
		}
	}
	clear(r.held[len(kept):])
	if r.held = kept; len(kept) > 0 {
		r.arm(alarmHeld, wait)
	}
}

// mainFull reports whether main is to hear nothing more of this room's visitors
// now. When it is not, one stanza may be sent.
func (r *conference) mainFull() bool {
	if !r.node.MainFull || r.mainShare.Take(r.node.MainShare, r.now) {
		return false
	}
	r.warn(&r.warnings.main, "visitors' stanzas to the main server refused or delayed: those of all rooms are too many; main-rate and main-burst allow more")
	return true
}

// warnings are when the log was told last of a limit that was reached.
type warnings struct{ chat, main, focus time.Time }

// warnEvery is how often a room says in the log that the same limit was reached.
const warnEvery = 30 * time.Second

func (r *conference) warn(last *time.Time, text string, args ...any) {
	if !last.IsZero() && r.now.Sub(*last) < warnEvery {
		return
	}
	*last = r.now
	r.log.Warn(text, args...)
}

// Units is what a stanza of that size counts where its length matters: one for
// each KiB, or part of it.
func Units(size int) int { return max(1, (size+1<<10-1)>>10) }
