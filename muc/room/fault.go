package room

import (
	"cmp"
	"slices"
	"time"

	"vnode/fanout"
	"vnode/internal/wire"
)

// A room ends because its conference is over, or because something around it
// failed. After a fault the conference goes on: its participants' pages reload and
// come back by themselves. So must the audience, see [hold].

// thrownOut remembers participants that left in error. One that comes back has
// another address, so a join stands for one of them.
type thrownOut struct {
	missing int // of them that have not come back
	at      time.Time
}

// unrecoverable is the status of a participant whose page reloads because of an
// error.
const unrecoverable = "unrecoverable_error"

// stillOut is how long a participant that left in error may take to come back:
// its page reloads after 29 s at the latest. So long main's return is fresh, too.
const stillOut = 40 * time.Second

func (t *thrownOut) left(now time.Time, st *wire.Stanza) {
	if c, ok := st.Child("", "status"); ok && c.Text() == unrecoverable {
		t.missing, t.at = t.missing+1, now
	}
}

func (t *thrownOut) joined() { t.missing = max(0, t.missing-1) }

func (t *thrownOut) any(now time.Time) bool { return t.missing > 0 && now.Sub(t.at) < stillOut }

// fault is what ended a room that its conference outlives; the zero value is none.
type fault struct {
	why     string // in words, for the operator
	t0      time.Time
	resumes bool // browsers try to resume their streams before they see it
}

func (f *fault) is() bool { return f.why != "" }

// judge tells whether a room that ends for that reason ends by a fault.
func (r *conference) judge(reason endReason) fault {
	if !r.cfg.Comeback.on() || r.lastFocus == nil || IsHealthCheck(r.addr.Local) {
		return fault{}
	}
	switch reason {
	case endFocusLost:
		return fault{why: "jicofo's session ended", t0: r.now}
	case endMainLost:
		return fault{why: "the main server, or its room, was lost", t0: r.now, resumes: true}
	case endMain:
		if r.thrown.any(r.now) {
			return r.throwing()
		}
	case endFocusLeft:
		if f := r.suspicion(); f.is() {
			return f
		}
		if len(r.participants) > 0 {
			t0 := r.now
			if r.hasParted() {
				t0 = r.parted
			}
			return fault{why: "jicofo left while participants remain", t0: t0}
		}
	}
	return fault{}
}

func (r *conference) throwing() fault {
	return fault{why: "participants were thrown out", t0: r.thrown.at}
}

// suspicion is the fault that made the focus leave, as far as one is known: a
// jicofo that had no word of main for a while gives up its conferences. Main's own
// word, that the conference is over, is not doubted for that.
func (r *conference) suspicion() fault {
	switch {
	case r.thrown.any(r.now):
		return r.throwing()
	case r.link.change > 0 && r.link.change%2 == 0:
		return fault{why: "the main server is away", t0: r.now, resumes: true}
	case r.link.unsure && r.now.Sub(r.link.back) < stillOut:
		return fault{why: "the main server was restarted", t0: r.link.back.Add(r.cfg.Comeback.Word), resumes: true}
	}
	return fault{}
}

// missed is how many participants are to come back after the fault that ends the
// room: of those that have a browser, which gateways and recorders, in domains of
// their own, have not.
func (r *conference) missed() int {
	n := 0
	if r.thrown.any(r.now) {
		n = r.thrown.missing
	}
	for _, o := range r.participants {
		if d := o.seen.jid.Domain; d == r.domains.Main || d == "guest."+r.domains.Main {
			n++
		}
	}
	return n
}

func (r *conference) hasParted() bool { return !r.parted.IsZero() }

// part handles that the focus has left the room. At a normal end main says so as
// well, a little before or after. Until then visitors are told nothing.
func (r *conference) part() {
	f := r.suspicion()
	if f.is() || len(r.participants) == 0 || !r.cfg.Comeback.on() || r.visitors+r.queue.joins() == 0 {
		r.end(endFocusLeft, "")
		return
	}
	r.parted = r.now
	r.arm(alarmParted, r.cfg.Comeback.Word)
}

// forParted answers a visitor's IQ to a focus that has left: an error would make
// the page reload.
func (r *conference) forParted(from Session, st *wire.Stanza, nick string) bool {
	if !r.hasParted() || r.lastFocus == nil || nick != r.lastFocus.nick {
		return false
	}
	if st.Answerable() {
		r.answer(from, st, nil)
	}
	return true
}

// audience is the room's visitors in the order in which they came.
func (r *conference) audience() []*occupant {
	list := make([]*occupant, 0, r.visitors)
	for o := range r.nicks.All() {
		if o.kind == visitor {
			list = append(list, o)
		}
	}
	byArrival(list)
	return list
}

// byArrival sorts occupants in the order in which they came.
func byArrival(list []*occupant) {
	slices.SortFunc(list, func(a, b *occupant) int {
		return cmp.Or(cmp.Compare(a.joined, b.joined), cmp.Compare(a.nick, b.nick))
	})
}

// focusGone is the presence at which a page reloads.
func (r *conference) focusGone() *Packet {
	if r.goneFocus == nil {
		r.goneFocus = r.presencePacket(fanout.Plain, r.lastFocus, nil, status{gone: true})
	}
	return r.goneFocus
}

// strand lets the visitors stay although the room ends. They get no more of its
// log: the next room of this name has the same.
func (r *conference) strand(visitors []*occupant) {
	for _, o := range visitors {
		r.out.Unfollow(o.session)
	}
	r.stranded = visitors
}

// sendOff tells the focus each visitor's leave, so that its counts are right, and
// each visitor that the focus is gone: it reloads, and is sent elsewhere.
func (r *conference) sendOff(visitors []*occupant) {
	for _, o := range visitors {
		if r.focus != nil {
			r.out.Deliver(r.focus.session, r.presencePacket(fanout.Plain, o, nil, status{gone: true}))
		}
		r.bid(o, r.focusGone())
	}
	r.stranded, r.sentOff = visitors, true
}
