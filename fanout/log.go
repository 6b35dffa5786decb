package fanout

import (
	"sync/atomic"
	"time"
)

// Log is a room's ordered sequence of messages. One goroutine, the room's,
// appends; the shards read it through the cursors of their sessions. It keeps
// the newest messages within budgets of count, bytes and age: memory is bounded
// by the log, not by followers times backlog.
type Log struct {
	// Static after construction.
	b        *Broadcaster
	ring     []atomic.Pointer[Message] // message i is at i & mask
	mask     uint64
	maxBytes int
	maxAge   time.Duration

	// Shared by the appender and the shards.
	head  atomic.Uint64 // messages appended so far
	floor atomic.Uint64 // the oldest message still kept
	marks []mark        // one a shard

	// Owned by the appending goroutine.
	latest map[string]*Message // the newest Update of each key
	bytes  int                 // kept in the ring
}

// mark is how a log and one shard know of each other, padded so that shards do
// not share a cache line.
type mark struct {
	followers atomic.Int32
	queued    atomic.Bool // the shard has been told of news and not looked yet
	_         [56]byte
}

// NewLog returns an empty log. It needs no closing: what no session follows
// and nobody appends to is garbage.
func (b *Broadcaster) NewLog() *Log {
	return &Log{
		b:        b,
		ring:     make([]atomic.Pointer[Message], b.cfg.LogMessages),
		mask:     uint64(b.cfg.LogMessages - 1),
		maxBytes: b.cfg.LogBytes,
		maxAge:   b.cfg.LogAge,
		marks:    make([]mark, len(b.shards)),
		latest:   make(map[string]*Message),
	}
}

// Append adds m behind everything appended before and wakes the shards whose
// sessions follow the log. It never blocks. A message is appended to one log,
// once.
func (l *Log) Append(m *Message) {
	m.at = time.Now()
	l.supersede(m)
	head := l.head.Load()
	l.bytes += m.size(0)
	l.trim(head, m.at.Add(-l.maxAge))
	l.ring[head&l.mask].Store(m)
	l.head.Store(head + 1)
	for i := range l.marks {
		if l.marks[i].followers.Load() > 0 && l.marks[i].queued.CompareAndSwap(false, true) {
			l.b.shards[i].post(command{op: opNews, log: l})
		}
	}
}

// supersede marks the older update that m replaces.
func (l *Log) supersede(m *Message) {
	if m.class == Plain {
		return
	}
	if old := l.latest[m.key]; old != nil {
		old.superseded.Store(true)
		delete(l.latest, m.key)
	}
	if m.class == Update {
		l.latest[m.key] = m
	}
}

// trim drops the oldest messages until one more fits the budgets, and those
// from before oldest. head is where that one will be stored.
func (l *Log) trim(head uint64, oldest time.Time) {
	floor := l.floor.Load()
	for floor < head {
		slot := &l.ring[floor&l.mask]
		if l.bytes <= l.maxBytes && head-floor <= l.mask && !slot.Load().at.Before(oldest) {
			return
		}
		l.bytes -= slot.Load().size(0)
		floor++
		// The floor moves before the slot empties: a shard that finds the
		// slot empty sees why.
		l.floor.Store(floor)
		slot.Store(nil)
	}
}

// at returns message i, or nil when it is kept no longer.
func (l *Log) at(i uint64) *Message {
	m := l.ring[i&l.mask].Load()
	if i < l.floor.Load() {
		return nil
	}
	return m
}

// Head returns how many messages were appended so far.
func (l *Log) Head() uint64 { return l.head.Load() }
