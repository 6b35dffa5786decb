package fanout

import (
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	"vnode/internal/guard"
)

// shard is one goroutine and the sessions whose write side it owns. Nothing
// else touches them, so a delivery takes no lock.
type shard struct {
	// Static after construction.
	b     *Broadcaster
	index int
	wake  chan struct{} // holds one token when there is something to do
	began time.Time

	stopped chan struct{} // closed when run has returned

	mu    sync.Mutex // guards inbox
	inbox []command

	// Owned by run.
	spare      []command // the other buffer of inbox
	sessions   []*Session
	groups     map[*Log]*group
	sweep      []*group   // with sessions left to visit
	spareSweep []*group   // the other buffer of sweep
	held       []*group   // with news, waiting for the end of their gap; inSweep is set
	ready      []*Session // to be visited out of turn
	scratch    []byte
	tally      tally
	now        time.Time // looked at once for several visits: a clock costs a hundredth of one
	waiting    int       // connections waited for
	taken      []command // out of the inbox, of which those before done are carried out
	done       int
	round      []*group // under sweep; nil for those that were swept
	at         *Session // whose turn it is
	untidy     bool     // it is time to tidy
	keeping    int      // sessions with something unacknowledged
	stopping   bool
}

// command is a request of another goroutine to the shard.
type command struct {
	op     op
	s      *Session
	link   *Link
	log    *Log
	seq    uint64 // head of log at the time of the call
	ms     []*Message
	reason Reason
	err    error

	resumable bool       // of opEnable
	h         uint32     // of opResume
	answer    chan error // of opResume and opProbe

	laggards chan<- laggards // of opLaggards
	tell     func()          // of opDrained
}

type op uint8

const (
	opAttach op = iota
	opDeliver
	opFollow
	opUnfollow
	opEnable
	opSuspend
	opResume
	opClose
	opAbort
	opNews     // a log was appended to
	opWritable // await returned
	opProbe
	opStop
	opLaggards
	opDrained
)

// maxBatch ends a batch: a write of 64 KiB carries some 60 stanzas, and a
// larger one no longer gets cheaper for each.
const maxBatch = 64 << 10

func newShard(b *Broadcaster, index int) *shard {
	return &shard{
		b: b, index: index, wake: make(chan struct{}, 1), began: time.Now(),
		stopped: make(chan struct{}), groups: make(map[*Log]*group),
	}
}

// post hands a command to the shard. It never blocks.
func (sh *shard) post(c command) {
	sh.mu.Lock()
	sh.inbox = append(sh.inbox, c)
	first := len(sh.inbox) == 1
	sh.mu.Unlock()
	if first {
		select {
		case sh.wake <- struct{}{}:
		default:
		}
	}
}

func (sh *shard) run() {
	defer close(sh.stopped)
	tidy, gap := time.NewTimer(tidyEvery), time.NewTimer(time.Hour)
	defer tidy.Stop()
	defer gap.Stop()
	for {
		more := sh.step()
		sh.tally.flush(sh.b.metrics)
		if sh.stopping && len(sh.sessions) == 0 && sh.waiting == 0 {
			return
		}
		if !more && len(sh.ready) == 0 {
			sh.wait(tidy, gap)
		}
	}
}

// step does what there is to do, and reports whether something is left. A panic
// in the turn of a session ends that session, and the next step goes on behind it.
func (sh *shard) step() (more bool) {
	more = true
	defer sh.b.cfg.Guard.Recover(guard.Output, sh)
	if sh.untidy {
		sh.untidy = false
		sh.tidy()
	}
	sh.refresh()
	sh.visitReady()
	return sh.sweepSome()
}

// Doing implements [guard.Met]: here stanzas are bytes.
func (sh *shard) Doing() (string, int) { return "", 0 }

// Whose implements [guard.Owned]: the owner of the connection may know.
func (sh *shard) Whose() string {
	if sh.at == nil || sh.at.link == nil {
		return ""
	}
	if o, ok := sh.at.link.owner.(guard.Owned); ok {
		return o.Whose()
	}
	return ""
}

// Panicked implements [guard.Met].
func (sh *shard) Panicked() {
	s := sh.at
	if s == nil {
		panic("fanout: a panic in what sessions share")
	}
	if sh.done > 0 && sh.taken[sh.done-1].answer != nil {
		select {
		case sh.taken[sh.done-1].answer <- errPanicked:
		default: // it has been answered
		}
	}
	if sh.round != nil {
		for _, g := range sh.round {
			if g != nil {
				g.inSweep = false
			}
		}
		clear(sh.round)
		sh.spareSweep, sh.round = sh.round, nil
	}
	if !s.dead {
		sh.end(s, Panicked)
	}
	for _, g := range sh.groups { // it may be any of them whose sweep was left
		g.tpl = template{}
		sh.toSweep(g)
	}
}

// wait blocks until there is something to do.
func (sh *shard) wait(tidy, gap *time.Timer) {
	var due, over <-chan time.Time
	if sh.keeping > 0 {
		due = tidy.C
	}
	if len(sh.held) > 0 {
		gap.Reset(sh.gap())
		over = gap.C
	}
	select {
	case <-sh.wake:
	case <-over:
	case <-due:
		sh.untidy = true
		tidy.Reset(tidyEvery)
	}
}

// commands takes everything in the inbox.
func (sh *shard) commands() {
	if sh.taken != nil {
		sh.doTaken() // what a panic has left
	}
	sh.mu.Lock()
	sh.taken = sh.inbox
	sh.inbox, sh.spare = sh.spare[:0], nil
	sh.mu.Unlock()
	sh.doTaken()
}

func (sh *shard) doTaken() {
	for sh.done < len(sh.taken) {
		c := &sh.taken[sh.done]
		sh.done++
		sh.at = c.s // nil where it is about many
		sh.do(c)
	}
	clear(sh.taken)
	if cap(sh.taken) > 4096 {
		sh.taken = nil // a join storm's inbox is not kept
	}
	sh.spare, sh.taken, sh.done, sh.at = sh.taken, nil, 0, nil
}

func (sh *shard) do(c *command) {
	switch c.op {
	case opAttach:
		sh.attach(c.s, c.link)
	case opNews:
		sh.news(c.log)
	case opStop:
		sh.stop()
	case opWritable:
		sh.writable(c.s, c.link, c.err)
	case opProbe:
		c.answer <- nil
	case opResume:
		c.answer <- sh.resume(c)
	case opLaggards:
		c.laggards <- sh.laggards()
	case opAbort:
		if !c.s.dead {
			sh.end(c.s, c.reason)
		}
	default:
		if !c.s.dead && !c.s.closing {
			sh.doForSession(c)
		}
	}
}

// doForSession carries out what makes sense only while the session goes on.
func (sh *shard) doForSession(c *command) {
	switch c.op {
	case opDeliver:
		sh.queue(c.s, c, justSend)
	case opDrained:
		sh.queue(c.s, c, tellDrained)
	case opFollow:
		sh.queue(c.s, c, startFollowing)
	case opUnfollow:
		sh.queue(c.s, c, stopFollowing)
	case opEnable:
		a := startCounting
		if c.resumable {
			a = startKeeping
		}
		sh.queue(c.s, c, a)
	case opSuspend:
		if c.link == c.s.link {
			sh.broken(c.s, c.reason)
		}
	case opClose:
		sh.close(c.s, c)
	}
}

// queue appends the command's messages and its change of state to the
// session's private queue.
func (sh *shard) queue(s *Session, c *command, a action) {
	if len(c.ms) > 0 || a != justSend {
		s.enqueue(item{ms: c.ms, action: a, log: c.log, after: c.seq, tell: c.tell})
	}
	if s.queued > s.terms.MaxPrivate && !s.closing {
		sh.overflow(s)
		return
	}
	sh.makeReady(s)
}

func (sh *shard) attach(s *Session, l *Link) {
	if sh.stopping {
		s.dead, s.reason = true, BroadcasterClosed
		l.release()
		s.done.fire()
		return
	}
	s.link = l
	s.shardSession = int32(len(sh.sessions))
	sh.sessions = append(sh.sessions, s)
	sh.b.metrics.sessions.Inc()
}

// stop ends all sessions; run returns when the last link is released.
func (sh *shard) stop() {
	sh.stopping = true
	for _, s := range slices.Clone(sh.sessions) {
		if !s.dead {
			sh.end(s, BroadcasterClosed)
		}
	}
}

func (sh *shard) close(s *Session, c *command) {
	if s.link == nil { // there is nobody to say good-bye to
		sh.end(s, c.reason)
		return
	}
	s.closing, s.reason = true, c.reason
	sh.queue(s, c, finish)
	if s.link.blocked {
		s.link.out.arm(time.Now().Add(sh.b.cfg.CloseTimeout))
	}
}

// overflow ends a session that cannot follow, telling the client why if the
// connection still takes bytes.
func (sh *shard) overflow(s *Session) {
	sh.b.metrics.overflows.Inc()
	s.queue, s.queued = nil, 0
	sh.leave(s)
	if s.link == nil || s.link.blocked || s.closing {
		sh.end(s, SlowConsumer)
		return
	}
	c := command{reason: SlowConsumer}
	if s.terms.Overflow != nil {
		c.ms = []*Message{s.terms.Overflow}
	}
	sh.close(s, &c)
}

// broken deals with a connection that is of no more use: a resumable session
// goes on without it.
func (sh *shard) broken(s *Session, reason Reason) {
	if !s.resumable || s.closing || sh.stopping {
		sh.end(s, reason)
		return
	}
	sh.b.metrics.suspended.Inc()
	sh.unlink(s, reason)
}

// end stops a session at once.
func (sh *shard) end(s *Session, reason Reason) {
	s.dead = true
	if !s.closing { // else the owner's reason stands
		s.reason = reason
	}
	s.queue, s.queued = nil, 0
	sh.forgetAll(s)
	sh.leave(s)
	l := s.link
	if l == nil {
		sh.b.metrics.suspended.Dec()
	}
	sh.unlink(s, s.reason)
	if l != nil && l.blocked {
		l.last = true // Done is not closed under who waits
		return
	}
	sh.remove(s)
}

// unlink lets go of the session's connection, at once or when it is waited for
// no more.
func (sh *shard) unlink(s *Session, reason Reason) {
	l := s.link
	if l == nil {
		return
	}
	s.link = nil
	l.pending, l.reason = nil, reason
	if l.blocked {
		l.left = true
		l.out.arm(time.Unix(1, 0)) // long past: await tells
		return
	}
	l.release()
}

// remove forgets a session that is over.
func (sh *shard) remove(s *Session) {
	last := len(sh.sessions) - 1
	sh.sessions[s.shardSession] = sh.sessions[last]
	sh.sessions[s.shardSession].shardSession = s.shardSession
	sh.sessions[last] = nil
	sh.sessions = sh.sessions[:last]
	sh.b.metrics.sessions.Dec()
	s.done.fire()
}

// block has the shard told when the connection of s takes bytes again.
func (sh *shard) block(s *Session) {
	l := s.link
	l.blocked = true
	sh.waiting++
	sh.b.metrics.blocked.Inc()
	switch {
	case s.closing:
		l.out.arm(time.Now().Add(sh.b.cfg.CloseTimeout))
	case l.patient:
		l.out.arm(time.Time{})
	default:
		l.out.arm(time.Now().Add(sh.b.cfg.StallTimeout))
	}
	l.out.await(sh.b.running.Go, func(err error) {
		sh.post(command{op: opWritable, s: s, link: l, err: err})
	})
}

// writable takes up a connection that was waited for.
func (sh *shard) writable(s *Session, l *Link, err error) {
	l.blocked = false
	sh.waiting--
	sh.b.metrics.blocked.Dec()
	switch {
	case l.left:
		l.release()
		if l.last {
			sh.remove(s)
		}
	case errors.Is(err, os.ErrDeadlineExceeded):
		sh.broken(s, Stalled)
	case err != nil:
		sh.broken(s, WriteFailed)
	default:
		sh.makeReady(s)
	}
}

func (sh *shard) makeReady(s *Session) {
	if s.inReady || s.dead || s.link == nil || s.link.blocked {
		return
	}
	s.inReady = true
	sh.ready = append(sh.ready, s)
}

func (sh *shard) visitReady() {
	for i := 0; i < len(sh.ready); i++ {
		if i%sweepBudget == 0 {
			sh.now = time.Now()
		}
		s := sh.ready[i]
		if s == nil { // visited before a panic
			continue
		}
		sh.ready[i] = nil
		s.inReady = false
		sh.visit(s)
	}
	sh.at = nil
	sh.ready = sh.ready[:0]
}
