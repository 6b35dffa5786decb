package fanout

import (
	"sync/atomic"
	"time"
)

// Class says what may happen to a message on its way to a session that lags.
type Class uint8

const (
	// Plain messages reach every follower: chat, joins.
	Plain Class = iota
	// Update is a newer state of its key (an occupant's presence). While a
	// lagging session has not been sent it, a later Update or Final of the
	// same key takes its place.
	Update
	// Final ends its key (the occupant left). It reaches every follower.
	Final
)

// Message is one encoded top-level element. It is immutable once made, may be
// handed to any number of sessions, and shares the memory it was made of.
type Message struct {
	// Static after construction.
	head, tail []byte
	key        string
	class      Class
	spliced    bool // the recipient's address goes between head and tail
	nonza      bool // not a stanza: stream management does not count it
	raw        bool // written without framing
	shared     bool // others hold it as well, see Shared

	// Written by the goroutine that appends it to a log, before the log's
	// head moves past it.
	at time.Time

	// A newer message of the same key is in the log.
	superseded atomic.Bool
}

// NewMessage makes a stanza for many recipients: head ends right before the
// recipient's address, tail starts right behind it. key is the occupant whose
// state an [Update] or [Final] message tells; [Plain] ones have none.
func NewMessage(class Class, key string, head, tail []byte) *Message {
	return &Message{class: class, key: key, head: head, tail: tail, spliced: true}
}

// NewPrivate makes a stanza that is complete as it is.
func NewPrivate(stanza []byte) *Message { return &Message{head: stanza} }

// NewSplit makes a stanza that is complete as it is, in two pieces: so that a
// large body that follows a new start tag need not be copied.
func NewSplit(head, tail []byte) *Message { return &Message{head: head, tail: tail} }

// NewNonza makes a top-level element that is not a stanza, such as stream
// features or <a/>: stream management does not count it (XEP-0198 §4).
func NewNonza(elem []byte) *Message { return &Message{head: elem, nonza: true} }

// NewRaw makes bytes that go out unframed between two elements, such as a
// WebSocket pong (RFC 6455 §5.5.3). It is for Deliver, not for a log.
func NewRaw(b []byte) *Message { return &Message{head: b, nonza: true, raw: true} }

// Shared says that m is held by others anyway, as a room holds what it shows to
// everybody who joins, and returns m. While it waits for a client, or for the
// client's acknowledgement, it costs the place it takes and not its length: what
// the node itself has to say does not make a client slow. It is for right after
// the making.
func (m *Message) Shared() *Message {
	m.shared = true
	return m
}

// place is what a shared message costs of the bytes that may wait for a client:
// a pointer in the queue, then in what is unacknowledged, and their growth.
const place = 64

// cost is what m takes of the bytes that may wait for a recipient whose address
// has n bytes.
func (m *Message) cost(n int) int {
	if m.shared {
		return place
	}
	return m.size(n)
}

// size is the encoded length for a recipient whose address has n bytes,
// framing not included.
func (m *Message) size(n int) int {
	if m.spliced {
		return len(m.head) + n + len(m.tail)
	}
	return len(m.head) + len(m.tail)
}

// append appends the element, addressed to to.
func (m *Message) append(dst []byte, to string) []byte {
	dst = append(dst, m.head...)
	if m.spliced {
		dst = append(dst, to...)
	}
	return append(dst, m.tail...)
}
