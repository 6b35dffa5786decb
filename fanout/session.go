package fanout

import (
	"errors"
	"net"
	"sync/atomic"
)

// Options describe a session to [Broadcaster.Attach].
type Options struct {
	// Conn is the client's connection. Its write side belongs to the
	// session until Done; the caller keeps the read side, and closes the
	// connection after Done and not before.
	Conn    net.Conn
	Framing Framing
	// To is the client's address, put into spliced messages as it stands:
	// the caller has escaped it.
	To []byte
	// AckRequest is the <r/> sent after every AckEvery stanzas once acks are
	// enabled (XEP-0198 §4); default 10.
	AckRequest *Message
	AckEvery   int
	// MaxPrivate is how many bytes of private stanzas may wait; default the
	// broadcaster's.
	MaxPrivate int
	// Overflow is sent, when it still can be, to a client that is ended as a
	// slow consumer: a stream error.
	Overflow *Message
	// Trailer is written last of all, unframed: a WebSocket close frame.
	Trailer []byte
	// OnEnd is called once, by the shard, right before Done is closed. It
	// must not block; it can make who reads the connection look up.
	OnEnd func()
}

// Session is the output side of one client. Its methods never block and may be
// called from any goroutine; calls from one goroutine take effect in order.
type Session struct {
	// Static after construction.
	shard      *shard
	out        sender
	to         []byte
	framing    Framing
	ackRequest *Message
	ackEvery   uint32
	maxPrivate int
	overflow   *Message
	trailer    []byte
	onEnd      func() // may be nil
	done       chan struct{}

	following atomic.Pointer[Log] // set by Follow, cleared by Unfollow
	sent      atomic.Uint32       // stanzas written since acks were enabled
	acked     uint32              // owned by the caller of Acked

	// Owned by the shard.
	log          *Log // followed now; lags behind following
	group        *group
	index        int    // in group.sessions
	cursor       uint64 // the next message of log
	queue        []item // private messages and changes of state, in order
	queued       int    // bytes of messages in queue
	pending      []byte // rest of a short write
	unrequested  uint32 // stanzas sent since the last <r/>
	counting     bool   // acks are enabled
	blocked      bool   // a goroutine waits for the connection
	closing      bool   // Close was called
	finishing    bool   // all is encoded; the write side ends with the last byte
	dead         bool   // nothing more will be sent
	inReady      bool   // is in shard.ready
	reason       Reason // why it ended
	shardSession int    // index in shard.sessions
}

// item is one entry of a session's private queue.
type item struct {
	m      *Message
	action action
	log    *Log
	// after is how far the session must have come in log before the item's
	// turn.
	after uint64
}

type action uint8

const (
	justSend action = iota
	startFollowing
	stopFollowing
	startCounting
	finish
)

// ErrBadAck is returned by [Session.Acked] for an acknowledgement that cannot
// be true.
var ErrBadAck = errors.New("acknowledged more stanzas than were sent, or fewer than before")

// Attach gives the write side of o.Conn to the broadcaster.
func (b *Broadcaster) Attach(o Options) *Session {
	sh := b.shards[b.next.Add(1)%uint64(len(b.shards))]
	s := &Session{
		shard: sh, out: newSender(o.Conn, b.cfg.SendBuffer),
		to: o.To, framing: o.Framing,
		ackRequest: o.AckRequest, ackEvery: uint32(o.AckEvery), maxPrivate: o.MaxPrivate,
		overflow: o.Overflow, trailer: o.Trailer, onEnd: o.OnEnd,
		done: make(chan struct{}),
	}
	if s.ackEvery == 0 {
		s.ackEvery = 10
	}
	if s.maxPrivate <= 0 {
		s.maxPrivate = b.cfg.MaxPrivate
	}
	sh.post(command{op: opAttach, s: s})
	return s
}

// Deliver sends ms to this client alone: behind everything appended so far to
// after if the session follows it, as soon as possible if after is nil.
func (s *Session) Deliver(after *Log, ms ...*Message) {
	c := command{op: opDeliver, s: s, log: after, ms: ms}
	if after != nil {
		c.seq = after.Head()
	}
	s.shard.post(c)
}

// Follow sends ms, the snapshot of a room, and from then on everything
// appended to l after the call. The goroutine that appends to l calls it, so
// that nothing falls between. A session follows one log at a time: false means
// it follows another, and nothing was done.
func (s *Session) Follow(l *Log, ms ...*Message) bool {
	if !s.following.CompareAndSwap(nil, l) {
		return false
	}
	s.shard.post(command{op: opFollow, s: s, log: l, seq: l.Head(), ms: ms})
	return true
}

// Unfollow sends what was appended to l so far, then ms, then nothing of l any
// more. It does nothing when the session does not follow l. The goroutine that
// appends to l calls it.
func (s *Session) Unfollow(l *Log, ms ...*Message) {
	if s.following.Load() != l {
		return
	}
	s.shard.post(command{op: opUnfollow, s: s, log: l, seq: l.Head(), ms: ms})
	// Cleared behind the post: another room's Follow, which can succeed only
	// now, is posted behind it.
	s.following.Store(nil)
}

// EnableAcks sends enabled and counts the stanzas sent from there on (XEP-0198
// §4), asking for an acknowledgement every AckEvery of them.
func (s *Session) EnableAcks(enabled *Message) {
	s.shard.post(command{op: opEnable, s: s, ms: []*Message{enabled}})
}

// Acked takes the h of the client's <a/>, modulo 2^32 (XEP-0198 §4). It returns
// [ErrBadAck] when h is beyond what was sent or behind what was acknowledged
// before. Only the goroutine that reads the client calls it.
func (s *Session) Acked(h uint32) error {
	if h-s.acked > s.sent.Load()-s.acked {
		return ErrBadAck
	}
	s.acked = h
	return nil
}

// Close sends what is queued and what was appended so far to the followed log,
// then ms, then ends the write side of the
// connection. What cannot be sent within the broadcaster's CloseTimeout is
// dropped.
func (s *Session) Close(reason Reason, ms ...*Message) {
	c := command{op: opClose, s: s, reason: reason, ms: ms}
	if l := s.following.Load(); l != nil {
		c.log, c.seq = l, l.Head()
	}
	s.shard.post(c)
}

// Abort ends the session at once, whatever is queued.
func (s *Session) Abort(reason Reason) {
	s.shard.post(command{op: opAbort, s: s, reason: reason})
}

// Done is closed when the session is over and will not touch the connection
// any more.
func (s *Session) Done() <-chan struct{} { return s.done }

// Reason says why the session ended. It is valid after Done.
func (s *Session) Reason() Reason { return s.reason }

// letGo leaves the connection to its owner. Only the shard calls it.
func (s *Session) letGo() {
	if s.onEnd != nil {
		s.onEnd()
	}
	close(s.done)
}

// enqueue adds to the private queue. Only the shard calls it.
func (s *Session) enqueue(it item) {
	if it.m != nil {
		s.queued += it.m.size(len(s.to))
	}
	s.queue = append(s.queue, it)
}

// dequeue removes the first item. Only the shard calls it.
func (s *Session) dequeue() {
	if m := s.queue[0].m; m != nil {
		s.queued -= m.size(len(s.to))
	}
	if len(s.queue) == 1 {
		s.queue = nil // an idle session holds no queue
		return
	}
	s.queue[0] = item{}
	s.queue = s.queue[1:]
}

// due reports whether the first item of the queue has its turn now.
func (s *Session) due() bool {
	it := &s.queue[0]
	return s.log == nil || it.log != s.log || s.cursor >= it.after
}
