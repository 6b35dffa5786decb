package conference

import (
	"math"
	"sort"
	"sync"
	"sync/atomic"
)

// Role says who a [Source] is; a receiver need not hear everybody.
type Role uint8

// The roles of sources; a set of them is their union.
const (
	RoleParticipant Role = 1 << iota // of the main room
	RoleVisitor                      // of the node
	RoleFocus                        // the focus, in the node's room
)

// Ledger remembers everything that was published: what receivers should have
// got is computed from it. Its methods are safe for concurrent use.
type Ledger struct {
	mu      sync.RWMutex
	sources []*Source
	nicks   map[string]*Source
	closed  bool
}

// NewLedger returns an empty Ledger.
func NewLedger() *Ledger { return &Ledger{nicks: make(map[string]*Source)} }

// Source is one publisher, known in the room by its nick. Its methods are safe
// for concurrent use, but stamps must be sent in the order they were taken.
type Source struct {
	// Static after construction.
	ledger *Ledger
	id     int
	role   Role
	nick   string

	waited atomic.Int64 // what was published up to then may have waited for a connection

	mu sync.Mutex
	// Guarded by mu.
	order     uint64
	presences []int64 // times of publication, by Seq-1
	chats     []int64
	leftAt    int64 // 0 while present
}

// Add registers a publisher. A nick belongs to one source for ever: who comes
// back comes back under another.
func (l *Ledger) Add(role Role, nick string) *Source {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &Source{ledger: l, id: len(l.sources), role: role, nick: nick}
	l.sources = append(l.sources, s)
	l.nicks[nick] = s
	return s
}

// Sources returns the sources so far, in order of their numbers.
func (l *Ledger) Sources() []*Source { return l.all() }

// Close ends the record: what is published from here on (the leaves of a room
// that has ended) is expected of nobody.
func (l *Ledger) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
}

func (l *Ledger) isClosed() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.closed
}

func (l *Ledger) source(id int) *Source {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if id < 0 || id >= len(l.sources) {
		return nil
	}
	return l.sources[id]
}

func (l *Ledger) byNick(nick string) *Source {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.nicks[nick]
}

// all returns the sources so far, in order of their numbers.
func (l *Ledger) all() []*Source {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.sources[:len(l.sources):len(l.sources)]
}

// Published counts the presences (leaves included) and chat lines of the
// sources in roles.
func (l *Ledger) Published(roles Role) (presences, chats uint64) {
	for _, s := range l.all() {
		if s.role&roles == 0 {
			continue
		}
		s.mu.Lock()
		presences += uint64(len(s.presences))
		chats += uint64(len(s.chats))
		if s.leftAt != 0 {
			presences++
		}
		s.mu.Unlock()
	}
	return presences, chats
}

// Publish takes the next stamp of that kind, to be sent at once.
func (s *Source) Publish(k Kind) Stamp { return s.PublishDue(k, Now()) }

// PublishDue is Publish for what should have been sent at the given time of
// [Now]: a load that is late itself must not look like a fast server. Times of
// one source must not fall.
func (s *Source) PublishDue(k Kind, at int64) Stamp {
	record := !s.ledger.isClosed()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.order++
	times := &s.presences
	if k == Chat {
		times = &s.chats
	}
	st := Stamp{Source: s.id, Kind: k, Seq: uint64(len(*times)) + 1, Order: s.order, At: at}
	if record {
		*times = append(*times, at)
	}
	return st
}

// Leave records that the source's unavailable presence is about to be sent.
// It carries no stamp: servers are free to drop what is inside.
func (s *Source) Leave() {
	if s.ledger.isClosed() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leftAt == 0 {
		s.leftAt = Now()
	}
}

// waits says that what is published from here on waits for a connection, and
// resumed that it does not any more.
func (s *Source) waits()   { s.waited.Store(math.MaxInt64) }
func (s *Source) resumed() { s.waited.Store(Now()) }

// Nick returns the source's nick.
func (s *Source) Nick() string { return s.nick }

func (s *Source) published(k Kind) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k == Chat {
		return uint64(len(s.chats))
	}
	return uint64(len(s.presences))
}

// Published counts what the source has published of that kind: the highest
// number of its stamps.
func (s *Source) Published(k Kind) uint64 { return s.published(k) }

// Due returns the numbers a receiver that joined at the given time must have
// got, from > to when none: every chat line since, and of the presences the
// newest before its join and every one since.
func (s *Source) Due(k Kind, joinedAt int64) (from, to uint64) {
	d := s.due(joinedAt)
	if k == Chat {
		return d.chat.from, d.chat.to
	}
	return d.presence.from, d.presence.to
}

// due says what a receiver that joined at the given time must have got.
type due struct {
	presence, chat sequence
	leave          bool // must have been told of the leave, having seen the source or not
	left           bool // must not believe the source is still there
}

// sequence is the numbers from..to, empty when from > to.
type sequence struct{ from, to uint64 }

func (s *Source) due(joinedAt int64) due {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := due{
		presence: sequence{1, uint64(len(s.presences))},
		chat:     sequence{upTo(s.chats, joinedAt) + 1, uint64(len(s.chats))},
		leave:    s.leftAt > joinedAt,
		left:     s.leftAt != 0,
	}
	// Of the presences before its join a receiver gets the last one, as part of
	// the room it finds or as an update right behind; none of a source that has
	// gone by then.
	before := upTo(s.presences, joinedAt)
	d.presence.from = max(before, 1)
	if d.left && !d.leave {
		d.presence.from = d.presence.to + 1
	}
	return d
}

// upTo counts the times that are not after t.
func upTo(times []int64, t int64) uint64 {
	return uint64(sort.Search(len(times), func(i int) bool { return times[i] > t }))
}
