package fanout

import (
	"errors"
	"os"
	"slices"
	"sync"
	"time"
)

// shard is one goroutine and the sessions whose write side it owns. Nothing
// else touches them, so a delivery takes no lock.
type shard struct {
	// Static after construction.
	b     *Broadcaster
	index int
	wake  chan struct{} // holds one token when there is something to do

	mu    sync.Mutex // guards inbox
	inbox []command

	// Owned by run.
	spare      []command // the other buffer of inbox
	sessions   []*Session
	groups     map[*Log]*group
	sweep      []*group   // with sessions left to visit
	spareSweep []*group   // the other buffer of sweep
	ready      []*Session // to be visited out of turn
	scratch    []byte
	tally      tally
	stopping   bool
}

// command is a request of another goroutine to the shard.
type command struct {
	op     op
	s      *Session
	log    *Log
	seq    uint64 // head of log at the time of the call
	ms     []*Message
	reason Reason
	err    error
}

type op uint8

const (
	opAttach op = iota
	opDeliver
	opFollow
	opUnfollow
	opEnable
	opClose
	opAbort
	opNews     // a log was appended to
	opWritable // await returned
	opStop
)

// maxBatch ends a batch: a write of 64 KiB carries some 60 stanzas, and a
// larger one no longer gets cheaper for each.
const maxBatch = 64 << 10

func newShard(b *Broadcaster, index int) *shard {
	return &shard{b: b, index: index, wake: make(chan struct{}, 1), groups: make(map[*Log]*group)}
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
	for {
		sh.refresh()
		sh.visitReady()
		more := sh.sweepSome()
		sh.tally.flush(sh.b.metrics)
		if sh.stopping && len(sh.sessions) == 0 {
			return
		}
		if !more && len(sh.ready) == 0 {
			<-sh.wake
		}
	}
}

// commands takes everything in the inbox.
func (sh *shard) commands() {
	sh.mu.Lock()
	todo := sh.inbox
	sh.inbox = sh.spare[:0]
	sh.mu.Unlock()
	for i := range todo {
		sh.do(&todo[i])
	}
	clear(todo)
	if cap(todo) > 4096 {
		todo = nil // a join storm's inbox is not kept
	}
	sh.spare = todo
}

func (sh *shard) do(c *command) {
	switch c.op {
	case opAttach:
		sh.attach(c.s)
		return
	case opNews:
		sh.news(c.log)
		return
	case opStop:
		sh.stop()
		return
	case opWritable:
		sh.writable(c.s, c.err)
		return
	}
	s := c.s
	if s.dead || s.closing && c.op != opAbort {
		return
	}
	switch c.op {
	case opDeliver:
		sh.queue(s, c, justSend)
	case opFollow:
		sh.queue(s, c, startFollowing)
	case opUnfollow:
		sh.queue(s, c, stopFollowing)
	case opEnable:
		sh.queue(s, c, startCounting)
	case opClose:
		sh.close(s, c)
	case opAbort:
		sh.end(s, c.reason)
	}
}

// queue appends the command's messages and its change of state to the
// session's private queue.
func (sh *shard) queue(s *Session, c *command, a action) {
	it := item{log: c.log, after: c.seq}
	if a == startFollowing {
		it.after = 0 // the snapshot waits for nothing
	}
	for _, m := range c.ms {
		it.m = m
		s.enqueue(it)
	}
	if a != justSend {
		s.enqueue(item{action: a, log: c.log, after: c.seq})
	}
	if s.queued > s.maxPrivate && !s.closing {
		sh.overflow(s)
		return
	}
	sh.makeReady(s)
}

func (sh *shard) attach(s *Session) {
	if sh.stopping {
		s.dead, s.reason = true, BroadcasterClosed
		s.letGo()
		return
	}
	s.shardSession = len(sh.sessions)
	sh.sessions = append(sh.sessions, s)
	sh.b.metrics.sessions.Inc()
}

// stop ends all sessions; run returns when the last one has let go of its
// connection.
func (sh *shard) stop() {
	sh.stopping = true
	for _, s := range slices.Clone(sh.sessions) {
		sh.end(s, BroadcasterClosed)
	}
}

func (sh *shard) close(s *Session, c *command) {
	s.closing, s.reason = true, c.reason
	sh.queue(s, c, finish)
	if s.blocked {
		s.out.arm(time.Now().Add(sh.b.cfg.CloseTimeout))
	}
}

// overflow ends a session that cannot follow, telling the client why if the
// connection still takes bytes.
func (sh *shard) overflow(s *Session) {
	sh.b.metrics.overflows.Inc()
	s.queue, s.queued = nil, 0
	sh.leave(s)
	if s.blocked || s.closing {
		sh.end(s, SlowConsumer)
		return
	}
	c := command{reason: SlowConsumer}
	if s.overflow != nil {
		c.ms = []*Message{s.overflow}
	}
	sh.close(s, &c)
}

// end stops a session at once. While a goroutine waits for its connection it
// stays in the shard, so that Done is not closed under that goroutine.
func (sh *shard) end(s *Session, reason Reason) {
	if !s.dead {
		s.dead = true
		if !s.closing { // else the owner's reason stands
			s.reason = reason
		}
		s.queue, s.pending, s.queued = nil, nil, 0
		sh.leave(s)
	}
	if s.blocked {
		s.out.arm(time.Unix(1, 0)) // long past: await returns
		return
	}
	sh.remove(s)
}

// remove forgets a session and lets its owner have the connection.
func (sh *shard) remove(s *Session) {
	last := len(sh.sessions) - 1
	sh.sessions[s.shardSession] = sh.sessions[last]
	sh.sessions[s.shardSession].shardSession = s.shardSession
	sh.sessions[last] = nil
	sh.sessions = sh.sessions[:last]
	sh.b.metrics.sessions.Dec()
	s.letGo()
}

// block waits for the connection of s on another goroutine.
func (sh *shard) block(s *Session) {
	s.blocked = true
	sh.b.metrics.blocked.Inc()
	timeout := sh.b.cfg.StallTimeout
	if s.closing {
		timeout = sh.b.cfg.CloseTimeout
	}
	s.out.arm(time.Now().Add(timeout))
	sh.b.running.Go(func() {
		err := s.out.await()
		sh.post(command{op: opWritable, s: s, err: err})
	})
}

// writable takes up a session whose connection was waited for.
func (sh *shard) writable(s *Session, err error) {
	s.blocked = false
	sh.b.metrics.blocked.Dec()
	switch {
	case s.dead:
		sh.remove(s)
	case errors.Is(err, os.ErrDeadlineExceeded):
		sh.end(s, Stalled)
	case err != nil:
		sh.end(s, WriteFailed)
	default:
		sh.makeReady(s)
	}
}

func (sh *shard) makeReady(s *Session) {
	if s.inReady || s.blocked || s.dead {
		return
	}
	s.inReady = true
	sh.ready = append(sh.ready, s)
}

func (sh *shard) visitReady() {
	for i := 0; i < len(sh.ready); i++ {
		s := sh.ready[i]
		sh.ready[i] = nil
		s.inReady = false
		sh.visit(s)
	}
	sh.ready = sh.ready[:0]
}
