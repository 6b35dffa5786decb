package bosh

import (
	"crypto/sha1"
	"encoding/hex"
	"slices"
	"time"

	"vnode/internal/wire"
)

// maxHold is how many requests a session may have waiting. One more is let in,
// to carry elements up.
const maxHold = 1

// eventSize is counted for an event besides its data.
const eventSize = 64

func (e *Event) size() int { return len(e.Data) + eventSize }

// slot is what is known of one rid. A response belongs to its rid for ever:
// whoever asks again gets the same (XEP-0124 §14.3).
type slot struct {
	rid  uint64
	key  string    // it came with
	req  *request  // until it is taken, in its turn
	at   time.Time // when it was
	held *waiter   // nil: nobody is connected
	body []byte    // the response; nil: none yet
}

// waiter is an HTTP request that waits for a response. Its owner is the
// session, until ready is closed.
type waiter struct {
	ready chan struct{} // closed when body is what it will be
	body  []byte        // nil: another request with the same rid waits instead
}

func newWaiter() *waiter { return &waiter{ready: make(chan struct{})} }

func (w *waiter) give(body []byte) {
	w.body = body
	close(w.ready)
}

// giveOnce is give, unless there is a body already.
func (w *waiter) giveOnce(body []byte) {
	select {
	case <-w.ready:
	default:
		w.give(body)
	}
}

func (s *slot) give(body []byte) {
	s.body = body
	if s.held != nil {
		s.held.give(body)
		s.held = nil
	}
}

// unanswered reports whether the slot was taken and has no response.
func (s *slot) unanswered() bool { return s.req == nil && s.body == nil }

// begin takes the request that asked for the session.
func (c *Conn) begin(r *request) *waiter {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := newWaiter()
	c.last = r.rid - 1
	c.slots = []*slot{{rid: r.rid, req: r, held: w}}
	c.change(func() {
		c.advance(time.Now())
		c.settle(time.Now())
	})
	return w
}

func (c *Conn) header(r *request) Event {
	h := wire.StreamHeader{To: r.to, Lang: r.lang, Version: r.version, Content: wire.NSClient}
	if h.To == "" {
		h.To = c.to
	}
	if h.Version == "" {
		h.Version = "1.0"
	}
	return Event{Kind: Open, Header: h}
}

// receive takes a further request in and returns what to wait for.
func (c *Conn) receive(r *request) *waiter {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := newWaiter()
	c.change(func() { c.handle(r, w) })
	if c.err == ErrBroken {
		w.giveOnce(brokenBody)
	}
	return w
}

func (c *Conn) handle(r *request, w *waiter) {
	now := time.Now()
	s := c.slot(r.rid)
	switch {
	case c.told:
		w.give(terminateBody(errNoSession.Condition, nil))
	case s != nil && s.key != r.key:
		w.give(terminateBody(errKey.Condition, nil))
		c.fail(errKey, errKey.Condition)
	case s != nil && s.body != nil:
		w.give(s.body)
	case c.finished:
		w.give(c.final)
		c.over()
	case s != nil:
		if s.held != nil {
			s.held.give(nil)
		}
		s.held = w
		c.settle(now)
	default:
		c.admit(r, w, now)
	}
}

// admit lets a new request in.
func (c *Conn) admit(r *request, w *waiter, now time.Time) {
	c.dropOrphans(true)
	err := c.admissible(r)
	if err == nil {
		i, _ := slices.BinarySearchFunc(c.slots, r.rid, byRID)
		c.slots = slices.Insert(c.slots, i, &slot{rid: r.rid, key: r.key, req: r, held: w})
		c.advance(now)
		c.settle(now)
		return
	}
	w.give(terminateBody(err.Condition, nil))
	c.fail(*err, err.Condition)
}

// admissible checks the rid against the window (XEP-0124 §14.2) and the number
// of requests under way (§11). One more may come to end the session or to
// announce a pause: a page that is left cannot wait for an answer.
func (c *Conn) admissible(r *request) *Error {
	if r.rid <= c.last || r.rid > c.last+uint64(c.window) {
		return &errWindow
	}
	open := 0
	for _, s := range c.slots {
		if s.body == nil {
			open++
		}
	}
	if open >= c.window && !r.terminate && r.pause == 0 {
		return &errTooMany
	}
	return nil
}

func byRID(s *slot, rid uint64) int {
	switch {
	case s.rid < rid:
		return -1
	case s.rid > rid:
		return 1
	}
	return 0
}

func (c *Conn) slot(rid uint64) *slot {
	i, found := slices.BinarySearchFunc(c.slots, rid, byRID)
	if !found {
		return nil
	}
	return c.slots[i]
}

// left is told that the client has gone from a waiting request. The rid keeps
// its place: the client will ask again.
func (c *Conn) left(rid uint64, w *waiter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.change(func() {
		if s := c.slot(rid); s != nil && s.held == w {
			s.held = nil
			c.settle(time.Now())
		}
	})
}

// advance takes the requests whose turn it is, as long as their elements are
// read fast enough.
func (c *Conn) advance(now time.Time) {
	for !c.told && c.input <= c.srv.cfg.InputBytes {
		s := c.slot(c.last + 1)
		if s == nil {
			break
		}
		if err := c.takeRequest(s, now); err != nil {
			c.fail(*err, err.Condition)
			return
		}
	}
	c.forget()
	c.noteGap(now)
}

// takeRequest does what a request asks for.
func (c *Conn) takeRequest(s *slot, now time.Time) *Error {
	r := s.req
	s.req, s.at = nil, now
	c.last = s.rid
	switch {
	case r.sid != "" && !c.unlock(r):
		return &errKey
	case r.pause > c.srv.cfg.MaxPause:
		return &errTooLong
	case c.tooFast(r, now):
		return &errTooFast
	}
	c.paused = r.pause
	if len(c.held()) > c.hold {
		c.surplus = now
	}
	if r.sid == "" || r.restart {
		c.push(c.header(r))
	}
	for _, e := range r.elements {
		c.push(Event{Kind: Element, Data: e})
	}
	if r.terminate {
		c.push(Event{Kind: End})
		c.ending = true
	}
	if r.poll() {
		c.push(Event{Kind: Poll})
	}
	return nil
}

// push queues an event for the reader. Polls in a row are one sign of life.
func (c *Conn) push(ev Event) {
	n := len(c.events)
	if c.ending || c.closed || ev.Kind == Poll && n > 0 && c.events[n-1].Kind == Poll {
		return
	}
	c.events = append(c.events, ev)
	c.input += ev.size()
	notify(c.readable)
}

// unlock checks the key that shows that the request comes from whom the
// session is of (XEP-0124 §15). It is the client's choice to use keys.
func (c *Conn) unlock(r *request) bool {
	if c.key == "" {
		return true
	}
	sum := sha1.Sum([]byte(r.key))
	if hex.EncodeToString(sum[:]) != c.key {
		return false
	}
	c.key = r.key
	if r.newKey != "" {
		c.key = r.newKey
	}
	return true
}

// tooFast reports whether the client asks again and again in vain (XEP-0124
// §12). A session that holds requests may do so once more: its client polls
// when it has sent something, too.
func (c *Conn) tooFast(r *request, now time.Time) bool {
	if !r.poll() {
		c.vain = false
		return false
	}
	if c.vain && now.Sub(c.polled) < c.srv.cfg.Polling {
		c.polls++
	} else {
		c.polls = 0
	}
	c.polled, c.vain = now, true
	return c.polls >= c.window
}

// forget drops the responses that the client must have: it has sent a request
// that it could send only then.
func (c *Conn) forget() {
	for len(c.slots) > 0 && c.slots[0].body != nil && c.slots[0].rid+uint64(c.window) <= c.last {
		c.slots = slices.Delete(c.slots, 0, 1)
	}
}

// noteGap keeps the time since when a request is overdue.
func (c *Conn) noteGap(now time.Time) {
	n := len(c.slots)
	switch {
	case n == 0 || c.slots[n-1].req == nil || c.slot(c.last+1) != nil:
		c.gap = time.Time{}
	case c.gap.IsZero():
		c.gap = now
	}
}
