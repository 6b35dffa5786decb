package muc

import (
	"sync"

	"vnode/internal/wire"
)

// event is one thing that happens to a room.
type event struct {
	kind    eventKind
	session Session  // of fromClient and sessionClosed
	from    wire.JID // of a remote stanza
	stanza  []byte   // owned by the event
	alarm   alarm    // of a timeout
	turn    uint64   // of a timeout, or the change of the streams to main
	call    *call
	joins   bool      // the stanza is a join of the focus's, see box.joins
	focus   focusLink // of evFocus
	node    string    // of evJicofo: which it chose
	trouble string    // of evJicofo: why it chose none
}

type eventKind uint8

const (
	evClient eventKind = iota
	evRemote
	evClosed
	evTimeout
	evMain
	evShutdown
	evCall
	evFocus
	evJicofo
	evClose // evShutdown for good
)

// mailbox is a bounded queue from many goroutines to one. It is not a channel
// because a closed one must hand back exactly what was put and not taken.
type mailbox struct {
	mu     sync.Mutex
	filled sync.Cond // there is something to take
	spaced sync.Cond // there is room to put
	// Guarded by mu.
	events []event
	bytes  int // of the events' stanzas
	closed bool

	// Static after construction.
	maxEvents, maxBytes int
}

func newMailbox(maxEvents, maxBytes int) *mailbox {
	m := &mailbox{maxEvents: maxEvents, maxBytes: maxBytes}
	m.filled.L, m.spaced.L = &m.mu, &m.mu
	return m
}

// put waits while the mailbox is full: of events or of their bytes. It reports
// false, and keeps nothing, once the mailbox is closed.
func (m *mailbox) put(e event) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for !m.closed && (len(m.events) >= m.maxEvents || m.bytes >= m.maxBytes) {
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
	m.bytes += len(e.stanza)
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
	m.events, m.bytes = spare[:0], 0
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
