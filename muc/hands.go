package muc

import (
	"time"

	"vnode/internal/wire"
)

// All visitors may raise their hands in the same second, and main tells its
// moderators of each. So main is told of a few in each handTick, one visitor after
// the other, and of each visitor what counts then.
const (
	handTick     = 200 * time.Millisecond
	handsPerTick = 10
)

// hands are those that main is to be told of.
type hands struct {
	waiting fifo[*occupant]
	told    int // since alarmHands was set
}

// hand is a visitor's, as main is to know it. Most never raise one.
type hand struct {
	raised  string // when, as the visitor says; "" for not
	known   bool   // main believes that it is raised
	waiting bool   // main is to be told
	left    bool   // with the visitor
}

// showHand tells main of a visitor's hand.
func (r *room) showHand(o *occupant, raised string) {
	o.flowing().who = r.who
	h := &o.flow.hand
	h.raised = raised
	if h.waiting && raised == "" && !h.known { // main never heard of it
		h.waiting = false
		return
	}
	r.queueHand(o)
}

// lowerHand tells main that a visitor that left raises its hand no longer.
func (r *room) lowerHand(o *occupant) {
	if o.flow == nil {
		return
	}
	h := &o.flow.hand
	h.left, h.raised, h.waiting = true, "", false
	if h.known {
		r.queueHand(o)
	}
}

func (r *room) queueHand(o *occupant) {
	h := &o.flow.hand
	if !h.waiting {
		h.waiting = true
		r.hands.waiting.push(o)
	}
	r.tellHands()
	if h.waiting {
		r.metrics.handsHeld.Inc()
	}
}

// tellHands tells main of as many hands as a tick allows.
func (r *room) tellHands() {
	for r.hands.waiting.len() > 0 {
		if r.hands.told >= handsPerTick || r.mainFull() {
			break
		}
		o := r.hands.waiting.pop()
		h := &o.flow.hand
		if !h.waiting {
			continue
		}
		r.hands.told++
		h.waiting, h.known = false, h.raised != ""
		if h.left {
			r.toVisitorsComponent(func(b *wire.Builder) {
				b.Start("promotion-request", "jid", o.jid().String()).End()
			})
			continue
		}
		r.requestPromotion(o, h.raised)
	}
	if (r.hands.told > 0 || r.hands.waiting.len() > 0) && !r.armed[alarmHands] {
		r.arm(alarmHands, handTick)
	}
}
