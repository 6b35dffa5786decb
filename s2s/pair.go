package s2s

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"vnode/internal/guard"
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
	carrier, refused := p.accept(stanza)
	switch {
	case refused != "":
		p.srv.undelivered(p.log, stanza, refused)
	case carrier != nil:
		carrier.wakeWriter()
	}
}

// accept queues a stanza, and returns the stream to be woken for it, or why it was
// not taken.
func (p *pair) accept(stanza []byte) (carrier *stream, refused undeliveredCause) {
	c := p.srv.cfg.Load()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return nil, undeliveredShutdown
	case p.q.len() >= c.QueueStanzas || p.q.bytes+len(stanza) > c.QueueBytes:
		return nil, undeliveredOverflow
	}
	p.q.push(item{stanza: stanza, deadline: time.Now().Add(c.QueueTimeout)})
	if carrier = p.carrier(); carrier == nil {
		p.needStream()
	}
	return carrier, ""
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
	expired, why := p.takeExpired()
	for _, it := range expired {
		p.srv.undelivered(p.log, it.stanza, why)
	}
	if len(expired) > 0 {
		p.log.Warn("no stream in time, answered the stanzas that waited with an error", "stanzas", len(expired))
	}
}

func (p *pair) takeExpired() (expired []item, why undeliveredCause) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expiry = nil
	if len(p.carriers) > 0 || p.closed {
		return nil, ""
	}
	why = undeliveredExpired
	if p.failure.gone() {
		why = undeliveredNotFound
	}
	expired = p.q.popUntil(time.Now())
	p.needStream()
	return expired, why
}

// attach adds a ready stream. It replaces an older one: a peer opens a second
// stream only when it has lost the first, which we may not have noticed yet.
func (p *pair) attach(st *stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.carriers = slices.Insert(p.carriers, 0, st)
	if p.expiry != nil {
		p.expiry.Stop()
		p.expiry = nil
	}
	p.failure = nil
	p.nudge()
	st.wakeWriter()
}

// detach removes a stream that ended; its writer must have returned what it
// did not send. The next carrier goes on, or a new one is sought.
func (p *pair) detach(st *stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.carriers = slices.DeleteFunc(p.carriers, func(c *stream) bool { return c == st })
	if next := p.carrier(); next != nil {
		next.wakeWriter()
		return
	}
	p.needStream()
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
	defer p.mu.Unlock()
	p.q.pushFront(its)
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
	if !p.keepLost(r) {
		p.giveUp(r)
	}
}

func (p *pair) keepLost(r *resumption) bool {
	left := time.Until(r.until)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || left <= 0 {
		return false
	}
	p.lost = r
	r.timer = time.AfterFunc(left, func() {
		if p.forgetLost(r) {
			p.giveUp(r)
		}
	})
	return true
}

// forgetLost reports whether r was still kept.
func (p *pair) forgetLost(r *resumption) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lost != r {
		return false
	}
	p.lost = nil
	return true
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
		st, err := p.open()
		if err != nil {
			p.failed(err)
		} else {
			st.serve()
		}
		c := p.srv.cfg.Load()
		p.pause(r.next(c.RetryMin, c.RetryMax, time.Since(began)))
	}
}

// open opens a stream. A panic before there is one is a failure like others.
func (p *pair) open() (st *stream, err error) {
	defer p.srv.guard.Recover(guard.Stream, &fault{err: &err})
	return p.srv.open(p.srv.ctx, p.domainPair)
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
		var needless bool
		end, needless = p.pauseUntil(end)
		left := time.Until(end)
		if needless || left <= 0 {
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

// pauseUntil is when a pause ends that was to last until end, if it is not
// needless.
func (p *pair) pauseUntil(end time.Time) (until time.Time, needless bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hopeful {
		end = earliest(end, p.encouraged.Add(jitter()))
	}
	if p.busy() {
		end = earliest(end, time.Now().Add(hurry))
	}
	return end, p.closed || len(p.carriers) > 0 || !p.wants()
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
	level := slog.LevelDebug
	if p.isNews(e) {
		level = slog.LevelWarn
	}
	c := p.srv.cfg.Load()
	p.log.Log(context.Background(), level, "cannot open a stream to "+p.remote+" at "+c.target(p.remote).String()+advice(e, c, p.domainPair),
		"reason", e.reason, "error", e)
}

// isNews notes a failure, and reports whether the operator should be told of it.
func (p *pair) isNews(e *ending) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.failure
	p.failure = e
	if before != nil && before.reason == e.reason && before.condition() == e.condition() && time.Since(p.told) <= repeatWarning {
		return false
	}
	p.told = time.Now()
	return true
}
