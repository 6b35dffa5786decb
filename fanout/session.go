package fanout

import (
	"errors"
	"net"
	"sync/atomic"
)

// Conn is one connection of a session.
type Conn struct {
	// Conn is the client's. Its write side belongs to the session until the
	// link is done; the caller keeps the read side, and closes the
	// connection then and not before.
	Conn    net.Conn
	Framing Framing
	// Trailer is written last of all: a WebSocket close frame, see [NewRaw].
	Trailer *Message
	// Patient says that the connection itself ends a client that is away: it
	// may take no byte for any time, as one of BOSH between two requests.
	Patient bool
	// Owner is told when the connection is its again; nil for nobody.
	Owner Owner
}

// Owner of a connection.
type Owner interface {
	// Released is called once, by the shard, right before the link's Done is
	// closed. It must not block; it can make who reads the connection look
	// up.
	Released()
}

// Options describe a session to [Broadcaster.Attach].
type Options struct {
	Conn Conn
	// To is the client's address, put into spliced messages as it stands:
	// the caller has escaped it.
	To string
	// Terms of [Broadcaster.Terms]; the defaults if nil.
	Terms *Terms
}

// Terms are what many sessions have in common. They are not to be changed once a
// session has them.
type Terms struct {
	// AckRequest is the <r/> sent after every AckEvery stanzas once acks are
	// enabled (XEP-0198 §4); default 10.
	AckRequest *Message
	AckEvery   int
	// MaxPrivate is how many bytes of private stanzas may wait, and half of
	// what a resumable session may leave unacknowledged of them; default the
	// broadcaster's.
	MaxPrivate int
	// MaxUnacked is how many stanzas a resumable session may leave
	// unacknowledged; default 8192, more than a log keeps. A client that answers no <r/> for so
	// long is ended as a slow consumer.
	MaxUnacked int
	// Overflow is sent, when it still can be, to a client that is ended as a
	// slow consumer: a stream error.
	Overflow *Message
}

// Session is the output side of one client. Its methods may be called from any
// goroutine and, but for Resume, never block; calls from one goroutine take
// effect in order. Slices of messages are the session's from the call on.
type Session struct {
	// Static after construction.
	shard *shard
	to    string
	terms *Terms
	done  signal

	following atomic.Pointer[Log]  // set by Follow, cleared by Unfollow
	current   atomic.Pointer[Link] // the latest connection
	sent      atomic.Uint32        // stanzas written since acks were enabled
	acked     atomic.Uint32        // of these, what the client has acknowledged

	// Owned by the shard.
	link         *Link // nil while suspended
	log          *Log  // followed now; lags behind following
	group        *group
	cursor       uint64   // the next message of log
	queue        []item   // private messages and changes of state, in order
	queued       int      // bytes of messages in queue
	unacked      *unacked // nil: nothing
	requested    int64    // when the last <r/> was sent, in ns since shard.began; 0: never
	unrequested  uint32   // stanzas sent since then
	replayed     uint32   // number of the next message to send again
	index        int32    // in group.sessions
	shardSession int32    // index in shard.sessions
	reason       Reason   // why it ended
	counting     bool     // acks are enabled
	resumable    bool     // it outlives its connection
	closing      bool     // Close was called
	finishing    bool     // all is encoded; the write side ends with the last byte
	dead         bool     // nothing more will be sent
	inReady      bool     // is in shard.ready
}

// item is one entry of a session's private queue: messages, then a change of
// state.
type item struct {
	ms     []*Message
	action action
	log    *Log
	// after is how far the session must have come in log before the item's
	// turn.
	after uint64
	tell  func() // of tellDrained
	// ofLink: it belongs to a connection and is dropped with it.
	ofLink bool
}

type action uint8

const (
	justSend action = iota
	startFollowing
	stopFollowing
	startCounting
	startKeeping // startCounting, and keep what is not acknowledged
	replay       // send again what is not acknowledged
	tellDrained  // call tell: what was before is encoded
	finish
)

// ErrBadAck is returned for an acknowledgement that cannot be true.
var ErrBadAck = errors.New("acknowledged more stanzas than were sent, or fewer than before")

// ErrOverrun is returned by [Session.Resume] when what the client has missed is
// no longer kept, or the session has ended.
var ErrOverrun = errors.New("nothing to resume")

// errPanicked is the answer to a request in whose turn there was a panic.
var errPanicked = errors.New("a fault of the program")

const (
	defaultAckEvery   = 10
	defaultMaxUnacked = 8192
)

// Terms returns t with the defaults for what it does not say.
func (b *Broadcaster) Terms(t Terms) *Terms {
	if t.AckEvery <= 0 {
		t.AckEvery = defaultAckEvery
	}
	if t.MaxPrivate <= 0 {
		t.MaxPrivate = b.cfg.MaxPrivate
	}
	if t.MaxUnacked <= 0 {
		t.MaxUnacked = defaultMaxUnacked
	}
	return &t
}

// Attach gives the write side of a connection to the broadcaster.
func (b *Broadcaster) Attach(o Options) *Session {
	sh := b.shards[b.next.Add(1)%uint64(len(b.shards))]
	s := &Session{shard: sh, to: o.To, terms: o.Terms}
	if s.terms == nil {
		s.terms = b.terms
	}
	l := newLink(o.Conn, b.cfg.SendBuffer)
	s.current.Store(l)
	sh.post(command{op: opAttach, s: s, link: l})
	return s
}

// Link returns the session's latest connection.
func (s *Session) Link() *Link { return s.current.Load() }

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

// Drained calls tell once everything delivered so far, by the same goroutine, has
// been handed to the connection, up to the batch of 64 KiB that is being written.
// The shard calls it: tell must not block. It waits while the session has no
// connection, and is never called when the session ends before.
func (s *Session) Drained(tell func()) {
	s.shard.post(command{op: opDrained, s: s, tell: tell})
}

// EnableAcks sends enabled and counts the stanzas sent from there on (XEP-0198
// §4), asking for an acknowledgement every AckEvery of them. A resumable
// session keeps what is not acknowledged and outlives its connection: see
// Suspend and Resume.
func (s *Session) EnableAcks(enabled *Message, resumable bool) {
	s.shard.post(command{op: opEnable, s: s, ms: []*Message{enabled}, resumable: resumable})
}

// Acked takes the h of the client's <a/>, modulo 2^32 (XEP-0198 §4). It returns
// [ErrBadAck] when h is beyond what was sent or behind what was acknowledged
// before. Only the goroutine that reads the client calls it.
func (s *Session) Acked(h uint32) error {
	acked := s.acked.Load()
	if h-acked > s.sent.Load()-acked {
		return ErrBadAck
	}
	s.acked.Store(h)
	return nil
}

// Suspend lets go of the connection l, which is broken, and keeps the session:
// what is sent waits for Resume. It does nothing when l is not the current one
// any more. A session that is not resumable ends, as with Abort.
func (s *Session) Suspend(l *Link) {
	s.shard.post(command{op: opSuspend, s: s, link: l, reason: WriteFailed})
}

// Resume continues the session on a new connection (XEP-0198 §5): it takes the
// client's h, sends ms, then again what h leaves unacknowledged, in order, and
// goes on. A connection that is still there is let go of. It blocks until the
// shard has looked at it. The error is [ErrBadAck] or [ErrOverrun]; then the
// new connection was not touched, and the session stands as it stood.
func (s *Session) Resume(c Conn, h uint32, ms ...*Message) (*Link, error) {
	l := newLink(c, s.shard.b.cfg.SendBuffer)
	answer := make(chan error, 1)
	s.shard.post(command{op: opResume, s: s, link: l, h: h, ms: ms, answer: answer})
	select {
	case err := <-answer:
		if err != nil {
			return nil, err
		}
		return l, nil
	case <-s.shard.stopped:
		return nil, ErrOverrun
	}
}

// Close sends what is queued and what was appended so far to the followed log,
// then ms, then ends the write side of the connection, and the session. What
// cannot be sent within the broadcaster's CloseTimeout is dropped; so is all of
// it while the session is suspended.
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

// Done is closed when the session is over, its last link with it.
func (s *Session) Done() <-chan struct{} { return s.done.wait() }

// Reason says why the session ended. It is valid after Done.
func (s *Session) Reason() Reason { return s.reason }

// enqueue adds to the private queue. Only the shard calls it.
func (s *Session) enqueue(it item) {
	s.queued += s.sizeOf(it.ms)
	s.queue = append(s.queue, it)
}

func (s *Session) sizeOf(ms []*Message) (n int) {
	for _, m := range ms {
		n += m.cost(len(s.to))
	}
	return n
}

// nextPrivate removes the next message of the first item, which has one. Only
// the shard calls it.
func (s *Session) nextPrivate() *Message {
	it := &s.queue[0]
	m := it.ms[0]
	it.ms = it.ms[1:]
	s.queued -= m.cost(len(s.to))
	if len(it.ms) == 0 && it.action == justSend {
		s.dequeue()
	}
	return m
}

// dequeue removes the first item, whose messages are sent. Only the shard calls
// it.
func (s *Session) dequeue() {
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
