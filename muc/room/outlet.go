package room

import (
	"time"

	"vnode/fanout"
	"vnode/internal/fifo"
	"vnode/internal/wire"
)

// The focus has one connection for all rooms, and reads it as fast as it can.
// What visitors make it hear is therefore given to that connection no faster
// than it takes it. A room may have focusWindow bytes under way. When they are
// used up, the room holds what its visitors want to tell, and waits for its turn
// among the rooms that hold something: see [lane].
//
// What waits is small. Of presences nothing is kept: the room remembers the
// latest of each visitor anyway, and shows that one when its turn comes.
// Requests are kept, within the bounds below.
const (
	// focusWindow is how many bytes a room gives the focus' connection out of
	// turn, beyond what that has taken; one stanza more.
	focusWindow = 64 << 10
	// markEvery is after how many bytes the room asks to be told that the
	// connection has taken them: a usual join does not pay for the asking.
	markEvery = 16 << 10
	// turnBytes is how much a room says in its turn, one stanza beyond, and
	// shortTurnBytes how much in a short one.
	turnBytes      = 64 << 10
	shortTurnBytes = 8 << 10
	// maxUntold bounds those who came and left before the focus was told of
	// either. It is not told of more of them.
	maxUntold = 4096
	// maxLeaveBytes is the longest leave whose content the focus is told.
	maxLeaveBytes = 1 << 10

	// MaxRequestBytes bounds the IQs of all rooms that wait for the focus.
	// maxVisitorRequests and maxVisitorRequestBytes bound the IQs of one
	// visitor that wait for the focus, maxRoomRequestBytes those of a room,
	// MaxRequestBytes those of all rooms. A visitor may always have its
	// equal part of a room's waiting, up to requestShare.
	maxVisitorRequests     = 64
	maxVisitorRequestBytes = 512 << 10
	maxRoomRequestBytes    = 32 << 20
	MaxRequestBytes        = 128 << 20
	requestShare           = 32 << 10
	// pauseBytes is how many bytes of a visitor's IQs wait when the node
	// ceases to read it until they are sent.
	pauseBytes = 64 << 10
)

// showing is what the focus does not know yet of a visitor's presence.
type showing uint8

const (
	shown   showing = iota
	changed         // the latest presence
	unknown         // that the visitor is here
	gone            // that the visitor was here and has left
)

// The kinds of what waits. Each gets an equal part of the bytes.
const (
	ofComings  = iota // joins and leaves, in the order in which they happened
	ofUpdates         // of the others' presences
	ofRequests        // IQs, one of each visitor in turn
	kindsHeld
)

// outlet holds what visitors say to the focus until the focus can hear it.
type outlet struct {
	fresh  int // bytes given out of turn, and not marked
	marked int // bytes the room will be told of; 0: it has not asked
	asked  bool

	comings  fifo.Queue[*coming]
	updates  fifo.Queue[*occupant]
	requests fifo.Queue[*occupant]
	spent    [kindsHeld]int // bytes sent of each kind since something waits

	waiting int // bytes of requests
	untold  int // visitors that are gone before the focus knew of them
}

// coming is a visitor that came, or packets that go behind all comings before:
// a leave, or the end of an answer. The zero value is none any more.
type coming struct {
	o    *occupant
	nick string // whom the packets are about
	ps   []*Packet
}

func (o *outlet) holds() bool {
	return o.comings.Len() > 0 || o.updates.Len() > 0 || o.requests.Len() > 0
}

// mayInterrupt reports whether something may be said to the focus out of turn.
func (r *conference) mayInterrupt() bool {
	o := &r.outlet
	return !r.node.FocusFull && !o.holds() && o.fresh+o.marked < focusWindow
}

// opens prepares a kind of which nothing waited: it has no claim to what the
// others were sent meanwhile.
func (o *outlet) opens(kind int) {
	lens := [kindsHeld]int{o.comings.Len(), o.updates.Len(), o.requests.Len()}
	if lens[kind] > 0 {
		return
	}
	least := -1
	for k, n := range lens {
		if n > 0 && (least < 0 || o.spent[k] < least) {
			least = o.spent[k]
		}
	}
	o.spent[kind] = max(o.spent[kind], least)
	if least < 0 {
		o.spent = [kindsHeld]int{}
	}
}

// next is the kind whose turn it is; there is something to be sent.
func (o *outlet) next() int {
	best := -1
	for k, n := range [kindsHeld]int{o.comings.Len(), o.updates.Len(), o.requests.Len()} {
		if n > 0 && (best < 0 || o.spent[k] < o.spent[best]) {
			best = k
		}
	}
	return best
}

// handFocus gives packets to the focus at once.
func (r *conference) handFocus(ps ...*Packet) (n int) {
	r.out.Deliver(r.focus.session, ps...)
	for _, p := range ps {
		n += p.size()
	}
	return n
}

// sayOutOfTurn gives packets to the focus at once, and counts them.
func (r *conference) sayOutOfTurn(ps ...*Packet) {
	r.ahead(r.handFocus(ps...))
}

// ahead counts bytes that were said out of turn.
func (r *conference) ahead(n int) {
	r.outlet.fresh += n
	r.out.Ahead(r.focus.session, n)
	r.mark()
}

func (r *conference) mark() {
	if o := &r.outlet; o.marked == 0 && o.fresh >= markEvery {
		o.marked, o.fresh = o.fresh, 0
		r.out.AwaitDrained(r.focus.session)
	}
}

// drained takes notice that the focus' connection has taken what was marked.
func (r *conference) drained(focus Session) {
	if r.ended != "" || r.focus == nil || r.focus.session != focus {
		return // it is of an earlier room
	}
	r.outlet.marked = 0
	r.mark()
}

// wait has the room get a turn.
func (r *conference) wait() { r.ask(false) }

func (r *conference) ask(again bool) {
	if !r.outlet.asked {
		r.outlet.asked = true
		r.out.AskTurn(r.focus.session, again)
	}
}

// turn says what is held, as much as a turn allows, and ends the turn. It reports
// false, and does nothing, if the turn is of an earlier room.
func (r *conference) turn(now time.Time, focus Session, short bool) bool {
	if r.ended != "" || r.focus == nil || r.focus.session != focus {
		return false
	}
	r.now, r.outlet.asked = now, false
	sent := 0
	for r.outlet.holds() && sent < turnBytes {
		kind := r.outlet.next()
		if short && sent+r.sizeOfHeld(kind) > shortTurnBytes {
			break
		}
		n := r.sayHeld(kind)
		sent += n
		r.outlet.spent[kind] += n
	}
	r.out.EndTurn(r.focus.session, sent > 0)
	if r.outlet.holds() {
		r.ask(true)
	}
	return true
}

// sizeOfHeld is about how many bytes [conference.sayHeld] says.
func (r *conference) sizeOfHeld(kind int) (n int) {
	switch kind {
	case ofComings:
		c := r.outlet.comings.Waiting()[0]
		if c.o != nil {
			return c.o.said.size()
		}
		for _, p := range c.ps {
			n += p.size()
		}
		return n
	case ofUpdates:
		return r.outlet.updates.Waiting()[0].said.size()
	}
	if waiting := r.outlet.requests.Waiting()[0].flow.requests; len(waiting) > 0 {
		return waiting[0].size()
	}
	return 0
}

// sayHeld says the first of a kind, or drops it if it is moot.
func (r *conference) sayHeld(kind int) (n int) {
	switch kind {
	case ofComings:
		return r.sayComing(r.outlet.comings.Pop())
	case ofUpdates:
		o := r.outlet.updates.Pop()
		if o.flow.showing != changed {
			return 0
		}
		o.flow.showing = shown
		return r.handFocus(r.latestPresence(o))
	default:
		return r.sayRequest(r.outlet.requests.Pop())
	}
}

func (r *conference) sayComing(c *coming) (n int) {
	switch {
	case c.o == nil && c.ps == nil: // moot
		return 0
	case c.o == nil:
		return r.handFocus(c.ps...)
	}
	f := c.o.flow
	if f.showing == gone {
		r.outlet.untold--
	} else if len(f.requests) > 0 {
		r.outlet.opens(ofRequests)
		r.outlet.requests.Push(c.o)
	}
	f.showing, f.coming = shown, nil
	return r.handFocus(r.latestPresence(c.o))
}

func (r *conference) sayRequest(o *occupant) (n int) {
	f := o.flow
	if len(f.requests) == 0 { // it has left
		return 0
	}
	p := f.requests[0]
	f.requests[0] = nil
	f.requests = f.requests[1:]
	r.waits(o, -p.size())
	switch {
	case len(f.requests) > 0:
		r.outlet.requests.Push(o)
	default:
		f.requests = nil
		r.pause(o, false)
	}
	return r.handFocus(p)
}

// latestPresence is a visitor's presence as the room remembers it.
func (r *conference) latestPresence(o *occupant) *Packet {
	if o.said.shape == nil {
		return r.presencePacket(fanout.Plain, o, nil, status{})
	}
	said := o.said.payload()
	return r.presencePacket(fanout.Plain, o, &said, status{})
}

// introduce tells the focus, who alone sees visitors, of one that came.
func (r *conference) introduce(o *occupant, p *payload) {
	switch {
	case r.focus == nil:
	case r.mayInterrupt():
		r.sayOutOfTurn(r.presencePacket(fanout.Plain, o, p, status{}))
	default:
		r.holdComing(o)
	}
}

// introduceAgain tells the focus of a visitor as if it had just come.
func (r *conference) introduceAgain(o *occupant) {
	if o.flow != nil && o.flow.showing == changed {
		o.flow.showing = shown
	}
	if r.mayInterrupt() {
		r.sayOutOfTurn(r.latestPresence(o))
		return
	}
	r.holdComing(o)
}

func (r *conference) holdComing(o *occupant) {
	f := o.flowing()
	if f.showing == unknown {
		return
	}
	r.metrics.focusHeld.Inc()
	f.showing, f.coming = unknown, &coming{o: o, nick: o.nick}
	r.outlet.opens(ofComings)
	r.outlet.comings.Push(f.coming)
	r.wait()
}

// tellFocus shows a visitor's latest presence to the focus.
func (r *conference) tellFocus(o *occupant, p *payload) {
	switch {
	case r.focus == nil:
	case r.mayInterrupt():
		r.sayOutOfTurn(r.presencePacket(fanout.Plain, o, p, status{}))
	case o.flowing().showing == shown:
		r.metrics.focusHeld.Inc()
		o.flow.showing = changed
		r.outlet.opens(ofUpdates)
		r.outlet.updates.Push(o)
		r.wait()
	default: // the latest is shown in its turn
		r.metrics.focusHeld.Inc()
	}
}

// tellFocusAfter tells the focus something behind all comings and leaves.
func (r *conference) tellFocusAfter(nick string, ps ...*Packet) {
	switch {
	case r.focus == nil:
	case r.mayInterrupt():
		r.sayOutOfTurn(ps...)
	default:
		r.outlet.opens(ofComings)
		r.outlet.comings.Push(&coming{nick: nick, ps: ps})
		r.wait()
	}
}

// silence forgets what a visitor that left wanted to tell the focus. It reports
// whether the focus is to be told that the visitor left.
func (r *conference) silence(o *occupant) (tell bool) {
	f := o.flow
	if f == nil {
		return true
	}
	r.waits(o, -f.requestBytes)
	f.requests = nil
	r.pause(o, false)
	switch f.showing {
	case changed:
		f.showing, o.said = shown, kept{}
	case unknown:
		o.said = kept{}
		if r.outlet.untold >= maxUntold {
			*f.coming = coming{}
			f.showing = shown
			return false
		}
		r.outlet.untold++
		f.showing = gone
	}
	return true
}

// sayComings tells the focus at once of the comings and leaves of those with
// that nick that wait.
func (r *conference) sayComings(nick string) {
	for _, c := range r.outlet.comings.Waiting() {
		if c.nick == nick && (c.o != nil || c.ps != nil) {
			said := *c
			*c = coming{}
			r.ahead(r.sayComing(&said))
		}
	}
}

// request passes a visitor's IQ to the focus, in its turn.
func (r *conference) request(o *occupant, st *wire.Stanza, p *Packet) {
	if r.mayInterrupt() {
		r.sayOutOfTurn(p)
		return
	}
	if !r.mayRequest(o, p.size()) {
		r.metrics.requestsRefused.Inc()
		r.warn(&r.warnings.focus, "visitors' requests to jicofo refused: jicofo reads more slowly than visitors ask; look at jicofo's load, or let fewer visitors in with max-visitors-per-room",
			"waiting_bytes", r.outlet.waiting, "room_limit", maxRoomRequestBytes, "node_limit", MaxRequestBytes)
		r.refuse(o.session, st, errFocusBusy)
		return
	}
	f := o.flowing()
	r.metrics.requestsHeld.Inc()
	f.requests = append(f.requests, p)
	r.waits(o, p.size())
	if len(f.requests) == 1 && f.showing != unknown {
		r.outlet.opens(ofRequests)
		r.outlet.requests.Push(o)
	}
	if f.requestBytes >= pauseBytes {
		r.pause(o, true)
	}
	r.wait()
}

// mayRequest decides whether one more IQ of a visitor may wait for the focus.
func (r *conference) mayRequest(o *occupant, size int) bool {
	f := o.flowing()
	own := f.requestBytes + size
	switch {
	case len(f.requests) >= maxVisitorRequests || own > maxVisitorRequestBytes:
		return false
	case own <= min(requestShare, maxRoomRequestBytes/max(1, r.visitors)):
		return true
	}
	return !r.node.RequestsFull && r.outlet.waiting+size <= maxRoomRequestBytes
}

// waits counts bytes of requests that wait.
func (r *conference) waits(o *occupant, n int) {
	if n == 0 {
		return
	}
	o.flow.requestBytes += n
	r.outlet.waiting += n
	r.out.Waits(n)
}

// pause has the node read a visitor no more, or again.
func (r *conference) pause(o *occupant, on bool) {
	if o.flow.paused != on {
		o.flow.paused = on
		r.out.Pause(o.session, on)
	}
}

// closeOutlet forgets what is held: the room has ended.
func (r *conference) closeOutlet() {
	for _, o := range r.outlet.requests.Waiting() {
		r.pause(o, false)
	}
	for _, c := range r.outlet.comings.Waiting() {
		if c.o != nil {
			r.pause(c.o, false)
		}
	}
	if r.outlet.waiting > 0 {
		r.out.Waits(-r.outlet.waiting)
	}
	r.outlet = outlet{}
}
