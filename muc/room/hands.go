package room

import (
	"time"

	"vnode/internal/fifo"
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
	waiting fifo.Queue[*occupant]
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
func (r *conference) showHand(o *occupant, raised string) {
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
func (r *conference) lowerHand(o *occupant) {
	if o.flow == nil {
		return
	}
	h := &o.flow.hand
	h.left, h.raised, h.waiting = true, "", false
	if h.known {
		r.queueHand(o)
	}
}

func (r *conference) queueHand(o *occupant) {
	h := &o.flow.hand
	if !h.waiting {
		h.waiting = true
		r.hands.waiting.Push(o)
	}
	r.tellHands()
	if h.waiting {
		r.metrics.handsHeld.Inc()
	}
}

// tellHands tells main of as many hands as a tick allows.
func (r *conference) tellHands() {
	for r.hands.waiting.Len() > 0 {
		if r.hands.told >= handsPerTick || r.mainFull() {
			break
		}
		o := r.hands.waiting.Pop()
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
	if (r.hands.told > 0 || r.hands.waiting.Len() > 0) && !r.armed[alarmHands] {
		r.arm(alarmHands, handTick)
	}
}
