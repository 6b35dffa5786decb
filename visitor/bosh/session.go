package bosh

import (
	"slices"
	"strconv"
	"time"

	"vnode/internal/wire"
)

const (
	// grace is how long a request that exceeds the hold keeps: most often the
	// answer to what came with it is ready by then, and saves a round trip.
	grace = 20 * time.Millisecond
	// coalesce is how long output waits for more: the rest of a burst would
	// have to wait for the next request, a round trip later.
	coalesce = 5 * time.Millisecond
	// flushBytes of output wait for no more.
	flushBytes = 16 << 10
)

// held returns the requests that were taken and have no response, in order.
func (c *Conn) held() []*slot {
	from := slices.IndexFunc(c.slots, (*slot).unanswered)
	if from < 0 {
		return nil
	}
	to := from
	for to < len(c.slots) && c.slots[to].unanswered() {
		to++
	}
	return c.slots[from:to]
}

// dropOrphans answers with nothing the requests that nobody waits for any more
// while a newer one is here or on its way: the order of responses stays that of
// the requests, and no element goes where nobody listens.
func (c *Conn) dropOrphans(newer bool) {
	for held := c.held(); len(held) > 0 && held[0].held == nil && (newer || len(held) > 1); held = held[1:] {
		c.respond(held[0], nil)
	}
}

// settle answers the requests whose time has come and sets the timer for the
// rest.
func (c *Conn) settle(now time.Time) {
	if c.told {
		return
	}
	c.dropOrphans(false)
	for held := c.held(); len(held) > 0 && held[0].held != nil && !now.Before(c.due(held)); held = held[1:] {
		if c.wait > 0 && !now.Before(held[0].at.Add(c.wait)) {
			c.vain = false
		}
		c.respond(held[0], c.ready())
	}
	c.arm(now)
}

// withheld reports whether the output waits for the end, to go out with it.
func (c *Conn) withheld() bool { return c.ending || endsWithError(c.out) }

// ready takes the output that may go out now.
func (c *Conn) ready() []byte {
	if c.withheld() || len(c.out) == 0 {
		return nil
	}
	out := c.out
	c.out, c.vain = nil, false
	notify(c.writable)
	return out
}

// due returns when the first of held is to be answered.
func (c *Conn) due(held []*slot) time.Time {
	if c.paused > 0 {
		return held[0].at // XEP-0124 §10: at once
	}
	due := held[0].at.Add(max(c.wait, grace))
	if c.withheld() {
		return due
	}
	if len(c.out) > 0 {
		due = earlier(due, c.since.Add(coalesce))
	}
	if len(c.out) >= flushBytes {
		due = c.since
	}
	if len(held) > c.hold {
		due = earlier(due, c.surplus.Add(grace))
	}
	return due
}

func (c *Conn) respond(s *slot, payload []byte) {
	attrs := wire.AppendAttr(nil, "sid", c.sid)
	if !c.created {
		c.created = true
		attrs = c.creation(attrs)
	}
	s.give(appendBody(nil, attrs, payload))
}

// creation appends what a new session's client must know (XEP-0124 §7.2,
// XEP-0206).
func (c *Conn) creation(dst []byte) []byte {
	cfg := &c.srv.cfg
	secs := func(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }
	for _, a := range [...][2]string{
		{"wait", secs(c.wait)}, {"hold", strconv.Itoa(c.hold)}, {"requests", strconv.Itoa(c.window)},
		{"inactivity", secs(cfg.Inactivity)}, {"polling", secs(cfg.Polling)}, {"maxpause", secs(cfg.MaxPause)},
		{"ver", c.ver}, {"from", c.to}, {"authid", c.sid}, {"secure", "true"},
		{"xmlns:xmpp", nsXBOSH}, {"xmpp:version", "1.0"}, {"xmpp:restartlogic", "true"},
	} {
		dst = wire.AppendAttr(dst, a[0], a[1])
	}
	return dst
}

// arm sets the timer for whatever comes first.
func (c *Conn) arm(now time.Time) {
	due := c.expiry(now)
	if held := c.held(); len(held) > 0 && held[0].held != nil && !c.finished {
		due = earlier(due, c.due(held))
	}
	if !c.gap.IsZero() {
		due = earlier(due, c.gapEnd())
	}
	if due.IsZero() {
		c.timer.Stop()
		return
	}
	c.timer.Reset(due.Sub(now))
}

// expiry returns when a session that no request is connected to ends; zero: one
// is.
func (c *Conn) expiry(now time.Time) time.Time {
	if slices.ContainsFunc(c.slots, func(s *slot) bool { return s.held != nil }) {
		c.idle = time.Time{}
		return c.idle
	}
	if c.idle.IsZero() {
		c.idle = now
	}
	if c.paused > 0 {
		return c.idle.Add(c.paused)
	}
	return c.idle.Add(c.srv.cfg.Inactivity)
}

// gapEnd is how long a missing request is waited for: a client sees only after
// its wait that one was lost, and needs time to send it again.
func (c *Conn) gapEnd() time.Time { return c.gap.Add(c.wait + c.srv.cfg.Inactivity) }

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// ticks runs when the timer fires.
func (c *Conn) ticks() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.change(c.tick)
}

func (c *Conn) tick() {
	now := time.Now()
	end := c.expiry(now)
	switch {
	case c.told:
	case !end.IsZero() && !now.Before(end):
		if c.finished {
			c.over()
			return
		}
		c.fail(ErrInactive, ItemNotFound)
	case !c.gap.IsZero() && !now.Before(c.gapEnd()):
		c.fail(errGap, errGap.Condition)
	default:
		c.settle(now)
	}
}

// breach ends the session for what its client did.
func (c *Conn) breach(e Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.told {
		c.change(func() { c.fail(e, e.Condition) })
	}
}

// fail ends the session by itself. Who waits is told; what was written and not
// taken is lost.
func (c *Conn) fail(err error, cond Condition) {
	c.err = err
	body := terminateBody(cond, nil)
	c.tellAll(body, body)
	c.over()
}

// finish ends the session for its owner.
func (c *Conn) finish(cond Condition) {
	if c.finished || c.told {
		return
	}
	c.finished = true
	c.final = terminateBody(cond, c.out)
	c.out = nil
	notify(c.writable)
	if c.tellAll(c.final, terminateBody("", nil)) {
		c.over()
		return
	}
	c.arm(time.Now())
}

// tellAll answers every waiting request with the end and reports whether there
// was one.
func (c *Conn) tellAll(first, others []byte) (told bool) {
	for _, s := range c.slots {
		if s.held == nil {
			continue
		}
		s.give(first)
		first, told = others, true
	}
	return told
}

// discard ends a session that nobody took.
func (c *Conn) discard() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over()
	c.release()
}

// over forgets the session: its client has been told, or will not come.
func (c *Conn) over() {
	c.told = true
	c.out, c.final, c.slots = nil, nil, nil
	c.timer.Stop()
	c.srv.remove(c.sid)
	notify(c.readable)
	notify(c.writable)
}
