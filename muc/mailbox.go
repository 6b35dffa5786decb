package muc

import (
	"sync"

	"vnode/internal/wire"
	"vnode/muc/room"
)

// event is one thing that happens to a room: one of a client's stanza, a call of
// the operator's, and what is made elsewhere.
type event struct {
	what   room.Event
	source source
	lane   *lane // whose turn it is, of a [room.FocusTurn]

	client Session      // who sent the stanza
	stanza *wire.Stanza // the client's, or that in what; owned by the event
	joins  bool         // the stanza is a join of the focus's, see box.joins

	call *call
}

// fromClient is the event of a client's stanza. What is known of the client is
// looked up when its turn comes.
func fromClient(s Session, st *wire.Stanza) event {
	return event{client: s, stanza: st, source: sourceOf(s)}
}

// fromRemote is the event of a stanza of the main server's.
func fromRemote(st *wire.Stanza) event {
	return event{what: room.FromMain{Stanza: st}, stanza: st, source: fromMain}
}

// size is how many bytes the event holds.
func (e *event) size() int {
	if e.stanza == nil {
		return 0
	}
	return len(e.stanza.Raw)
}

// closed is the event of the end of a client's session.
func closed(s Session) event { return event{what: room.Closed{Session: s}, source: sourceOf(s)} }

// source says for whose sake an event comes. Each may fill a mailbox by itself
// only: whoever waits for room in it must not wait for others.
type source uint8

const (
	fromNode source = iota
	fromVisitors
	fromFocus
	fromMain
	sources
)

func sourceOf(s Session) source {
	if s.Admin() {
		return fromFocus
	}
	return fromVisitors
}

// mailbox is a bounded queue from many goroutines to one. It is not a channel
// because a closed one must hand back exactly what was put and not taken.
type mailbox struct {
	mu     sync.Mutex
	filled sync.Cond // there is something to take
	spaced sync.Cond // there is room to put
	// Guarded by mu.
	events []event
	held   [sources]struct{ events, bytes int } // of the events, and of their stanzas
	closed bool

	// Static after construction.
	maxEvents, maxBytes int
}

func newMailbox(maxEvents, maxBytes int) *mailbox {
	m := &mailbox{maxEvents: maxEvents, maxBytes: maxBytes}
	m.filled.L, m.spaced.L = &m.mu, &m.mu
	return m
}

// put waits while the mailbox is full of events of the same source, or of their
// bytes: the stream of the main server, and the connection of the focus, serve all
// rooms, and do not wait for the visitors of one. It reports false, and keeps
// nothing, once the mailbox is closed.
func (m *mailbox) put(e event) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	held := &m.held[e.source]
	for !m.closed && (held.events >= m.maxEvents || held.bytes >= m.maxBytes) {
		m.spaced.Wait()
	}
	return m.add(e)
}

// push is put without waiting: for what is bounded elsewhere, as the operator's
// requests are.
func (m *mailbox) push(e event) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.add(e)
}

// add puts an event, with mu held.
func (m *mailbox) add(e event) bool {
	if m.closed {
		return false
	}
	m.events = append(m.events, e)
	held := &m.held[e.source]
	held.events++
	held.bytes += e.size()
	m.filled.Signal()
	return true
}

// take waits for events and returns all there are; spare is a slice to reuse.
func (m *mailbox) take(spare []event) []event {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.events) == 0 {
		m.filled.Wait()
	}
	got := m.events
	m.events = spare[:0]
	clear(m.held[:])
	m.spaced.Broadcast()
	return got
}

// close refuses events from now on and returns those nobody took.
func (m *mailbox) close() []event {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.spaced.Broadcast()
	left := m.events
	m.events = nil
	return left
}
