package s2s

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// domains of a stream or a pair: local is one of Hosts, remote one of Peers.
type domainPair struct{ local, remote string }

func (d domainPair) String() string { return d.local + " -> " + d.remote }

// pair is what goes from one local domain to one remote domain.
type pair struct {
	// Static after construction.
	srv *Server
	domainPair
	log  *slog.Logger
	wake chan struct{} // of capacity 1: a pausing dial loop should look again

	answers atomic.Bool // the peer has answered pings

	// Guarded by mu.
	mu         sync.Mutex
	q          queue
	carriers   []*stream // ready streams, newest first; that one is in use
	keep       bool
	dialing    bool // the dial loop runs
	closed     bool // no more stanzas, no more dialing
	failure    *ending
	told       time.Time   // when failure was last logged as a warning
	hopeful    bool        // main was seen elsewhere: dial soon
	encouraged time.Time   // when hopeful was last set
	expiry     *time.Timer // fires at the deadline of the oldest stanza; only without carriers
	lost       *resumption // of a stream of ours
}

func newPair(s *Server, d domainPair) *pair {
	return &pair{srv: s, domainPair: d, log: s.log.With("peer", d.remote, "stream", d.String()), wake: make(chan struct{}, 1)}
}

// push queues one stanza and sees to it that something will send it. It takes
// stanza over and never blocks.
func (p *pair) push(stanza []byte) {
	c := p.srv.cfg.Load()
	p.mu.Lock()
	switch {
	case p.closed:
		p.mu.Unlock()
		p.srv.undelivered(p.log, stanza, undeliveredShutdown)
		return
	case p.q.len() >= c.QueueStanzas || p.q.bytes+len(stanza) > c.QueueBytes:
		p.mu.Unlock()
		p.srv.undelivered(p.log, stanza, undeliveredOverflow)
		return
	}
	p.q.push(item{stanza: stanza, deadline: time.Now().Add(c.QueueTimeout)})
	carrier := p.carrier()
	if carrier == nil {
		p.needStream()
	}
	p.mu.Unlock()
	if carrier != nil {
		carrier.wakeWriter()
	}
}

// carrier returns the stream in use, nil when there is none. p.mu is held.
func (p *pair) carrier() *stream {
	if len(p.carriers) == 0 {
		return nil
	}
	return p.carriers[0]
}

// needStream starts what a pair without carriers needs: the dial loop, and the
// timer when something waits. p.mu is held.
func (p *pair) needStream() {
	if p.closed {
		return
	}
	if p.q.len() > 0 && p.expiry == nil {
		p.expiry = time.AfterFunc(time.Until(p.q.front().deadline), p.expire)
	}
	if !p.wants() {
		return
	}
	if p.dialing {
		p.nudge()
		return
	}
	p.dialing = true
	p.srv.wg.Go(p.dialLoop)
}

// wants reports whether the pair has a use for a stream. p.mu is held.
func (p *pair) wants() bool { return p.keep || p.busy() }

// busy reports whether stanzas wait for a stream. p.mu is held.
func (p *pair) busy() bool {
	return p.q.len() > 0 || p.lost != nil && len(p.lost.acks.Unacked()) > 0
}

func (p *pair) nudge() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// expire answers what waited too long for a stream.
func (p *pair) expire() {
	p.mu.Lock()
	p.expiry = nil
	if len(p.carriers) > 0 || p.closed {
		p.mu.Unlock()
		return
	}
	expired := p.q.popUntil(time.Now())
	why := undeliveredExpired
	if p.failure.gone() {
		why = undeliveredNotFound
	}
	p.needStream()
	p.mu.Unlock()
	for _, it := range expired {
		p.srv.undelivered(p.log, it.stanza, why)
	}
	if len(expired) > 0 {
		p.log.Warn("no stream in time, answered the stanzas that waited with an error", "stanzas", len(expired))
	}
}

// attach adds a ready stream. It replaces an older one: a peer opens a second
// stream only when it has lost the first, which we may not have noticed yet.
func (p *pair) attach(st *stream) {
	p.mu.Lock()
	p.carriers = slices.Insert(p.carriers, 0, st)
	if p.expiry != nil {
		p.expiry.Stop()
		p.expiry = nil
	}
	p.failure = nil
	p.nudge()
	p.mu.Unlock()
	st.wakeWriter()
}

// detach removes a stream that ended; its writer must have returned what it
// did not send. The next carrier goes on, or a new one is sought.
func (p *pair) detach(st *stream) {
	p.mu.Lock()
	p.carriers = slices.DeleteFunc(p.carriers, func(c *stream) bool { return c == st })
	next := p.carrier()
	if next == nil {
		p.needStream()
	}
	p.mu.Unlock()
	if next != nil {
		next.wakeWriter()
	}
}

// take pops stanzas for st to write, up to about budget bytes but at least
// one. It returns none when another stream is in use.
func (p *pair) take(st *stream, budget int) (its []item) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.carrier() != st {
		return nil
	}
	for p.q.len() > 0 && budget > 0 {
		it := p.q.pop()
		budget -= len(it.stanza)
		its = append(its, it)
	}
	return its
}

// giveBack returns what st took but could not send.
func (p *pair) giveBack(its []item) {
	p.mu.Lock()
	p.q.pushFront(its)
	p.mu.Unlock()
}

// setKeep makes the pair hold a stream open for good.
func (p *pair) setKeep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keep = true
	if len(p.carriers) == 0 {
		p.needStream()
	}
}

// close ends dialing and refuses what comes from now on. What waits is still
// sent if a stream is up.
func (p *pair) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.expiry != nil {
		p.expiry.Stop()
		p.expiry = nil
	}
}

// drop empties a closed pair and counts what it held.
func (p *pair) drop() int {
	r := p.takeResumption()
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.q.len()
	p.q = queue{}
	if r != nil {
		n += len(r.acks.Unacked())
	}
	return n
}

// hold keeps a lost stream until it is resumed, or for as long as that makes
// sense.
func (p *pair) hold(r *resumption) {
	left := time.Until(r.until)
	p.mu.Lock()
	if p.closed || left <= 0 {
		p.mu.Unlock()
		p.giveUp(r)
		return
	}
	p.lost = r
	r.timer = time.AfterFunc(left, func() {
		p.mu.Lock()
		current := p.lost == r
		if current {
			p.lost = nil
		}
		p.mu.Unlock()
		if current {
			p.giveUp(r)
		}
	})
	p.mu.Unlock()
}

func (p *pair) giveUp(r *resumption) {
	p.srv.m.resumptions[resumeFailed].Inc()
	p.srv.unacknowledged(p.log, r.acks.Lost())
}

// takeResumption returns the stream to resume, nil when there is none.
func (p *pair) takeResumption() *resumption {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.lost
	if p.lost = nil; r != nil {
		r.timer.Stop()
	}
	return r
}

// waiting reports what the metrics show.
func (p *pair) waiting() (stanzas, bytes int, oldest time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.q.len() > 0 {
		oldest = p.q.front().deadline.Add(-p.srv.cfg.Load().QueueTimeout)
	}
	return p.q.len(), p.q.bytes, oldest
}

func (p *pair) up() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.carriers) > 0
}

// dialLoop opens streams for the pair, and reads them, as long as the pair has
// a use for one.
func (p *pair) dialLoop() {
	var r retry
	for p.wanted() {
		if p.takeHope() {
			r = retry{}
		}
		began := time.Now()
		st, err := p.srv.open(p.srv.ctx, p.domainPair)
		if err != nil {
			p.failed(err)
		} else {
			st.serve()
		}
		c := p.srv.cfg.Load()
		p.pause(r.next(c.RetryMin, c.RetryMax, time.Since(began)))
	}
}

// wanted reports whether the dial loop should go on. When not, the loop ends
// and the next need starts a new one.
func (p *pair) wanted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dialing = !p.closed && len(p.carriers) == 0 && p.wants()
	return p.dialing
}

// hurry bounds the pause of a pair in which a stanza waits: RetryMax may be
// longer than the stanza can wait.
const hurry = 5 * time.Second

// pause waits for d before the next attempt: less when a stanza waits, no
// longer than until a stream came from the peer or the server closes.
func (p *pair) pause(d time.Duration) {
	end := time.Now().Add(d)
	for {
		p.mu.Lock()
		if p.hopeful {
			end = earliest(end, p.encouraged.Add(jitter()))
		}
		busy, done := p.busy(), p.closed || len(p.carriers) > 0 || !p.wants()
		p.mu.Unlock()
		left := time.Until(end)
		if busy {
			left = min(left, hurry)
			end = time.Now().Add(left)
		}
		if done || left <= 0 {
			return
		}
		t := time.NewTimer(left)
		select {
		case <-t.C:
		case <-p.wake:
		case <-p.srv.ctx.Done():
		}
		t.Stop()
		if p.srv.ctx.Err() != nil {
			return
		}
	}
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// retry is the doubling, jittered pause between attempts.
type retry struct{ pause time.Duration }

// aWhile is how long a stream lives that was wanted at the other end.
const aWhile = 10 * time.Second

// next returns the pause after an attempt that, with the stream it may have
// opened, lasted that long. A stream that lived for a while starts the
// doubling anew; one that is refused soon after authentication does not, or it
// would be tried every second.
func (r *retry) next(least, most, lasted time.Duration) time.Duration {
	if r.pause == 0 || lasted > min(most, aWhile) {
		r.pause = least
	} else {
		r.pause = min(2*r.pause, most)
	}
	return r.pause/2 + rand.N(r.pause/2+1)
}

// repeatWarning is how often an unchanged failure is logged as a warning.
const repeatWarning = 10 * time.Minute

// failed notes why no stream could be opened and tells the operator, once per
// change.
func (p *pair) failed(err error) {
	e := endingOf(err, "answer")
	if p.srv.ctx.Err() != nil {
		return
	}
	p.srv.m.connectFailures[e.reason].Inc()
	p.mu.Lock()
	level := slog.LevelDebug
	if p.failure == nil || p.failure.reason != e.reason || p.failure.condition() != e.condition() || time.Since(p.told) > repeatWarning {
		level, p.told = slog.LevelWarn, time.Now()
	}
	p.failure = e
	p.mu.Unlock()
	c := p.srv.cfg.Load()
	p.log.Log(context.Background(), level, "cannot open a stream to "+p.remote+" at "+c.target(p.remote).String()+advice(e, c, p.domainPair),
		"reason", e.reason, "error", e)
}
