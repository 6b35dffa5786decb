// Package acks keeps what a stream has sent until its peer has handled it, and
// knows when to ask. What the kernel took may still be lost with the connection;
// a stream learns what its peer has handled by stream management (XEP-0198), which
// Prosody has on its virtual hosts but not on components, and without it by pings
// (XEP-0199): a server handles a stream in its order, so the answer to a ping, be
// it an error, says that everything before it was handled.
//
// It is a pure state machine: it writes nothing and has no clock and no locks.
package acks

import "time"

// Method is how a stream learns what its peer has handled.
type Method uint8

const (
	None       Method = iota // it does not
	Management               // by stream management
	Pings
)

// What may be under way to a peer that acknowledges. A stream that does not
// take so much within LossTimeout (35 KB/s by default) stands still.
const (
	MaxBytes   = 1 << 20
	MaxStanzas = 4096
)

// PingEvery is the shortest time between two pings while stanzas are sent: a
// main of one core answers 20 a second without noticing. A request of stream
// management is cheaper and goes with every write, one at a time.
const PingEvery = 50 * time.Millisecond

// keep is the largest array that is kept with nothing in it.
const keep = 256

// Stanza is what was sent.
type Stanza interface {
	Size() int // in bytes
}

// State is what a stream knows of what its peer has handled. Counts are of
// stanzas since the stream began; that of stream management starts at base. The
// zero value is that of a stream that learns nothing. One goroutine at a time may
// use it.
type State[S Stanza] struct {
	how    Method
	asks   bool // questions may be put: false while stream management is not enabled
	sure   bool // the peer answers, as far as we know
	proven bool // it has done so on this stream
	due    bool // a question is to be put although nothing is unacknowledged

	total, base uint64
	unacked     []S // the last of total
	bytes       int // of their stanzas

	question question
	asked    time.Time // when the last one was put
}

// question is an <r/> or a ping under way.
type question struct {
	at    time.Time // zero: there is none
	id    string    // of a ping
	upTo  uint64    // how many stanzas went before it
	heard uint64    // how far the reader was at since
	since time.Time
}

// first is the count of what is handled for sure.
func (a *State[S]) first() uint64 { return a.total - uint64(len(a.unacked)) }

// Room is how many bytes may be sent now; unsure is the answer for a peer that
// may never acknowledge anything.
func (a *State[S]) Room(unsure int) int {
	switch {
	case !a.sure:
		return unsure
	case len(a.unacked) >= MaxStanzas:
		return 0
	}
	return max(0, MaxBytes-a.bytes)
}

// Sending notes a stanza about to be written.
func (a *State[S]) Sending(s S) {
	a.total++
	if a.how == None {
		return
	}
	a.unacked = append(a.unacked, s)
	a.bytes += s.Size()
	if !a.sure && (len(a.unacked) > MaxStanzas || a.bytes > MaxBytes) {
		a.drop(1) // the peer may never answer
	}
}

// Unsent takes back the last n, which were not written whole.
func (a *State[S]) Unsent(n int) {
	var zero S
	a.total -= uint64(n)
	for ; n > 0 && len(a.unacked) > 0; n-- {
		last := len(a.unacked) - 1
		a.bytes -= a.unacked[last].Size()
		a.unacked[last] = zero
		a.unacked = a.unacked[:last]
	}
}

// drop forgets the oldest n.
func (a *State[S]) drop(n int) {
	var zero S
	for i := range a.unacked[:n] {
		a.bytes -= a.unacked[i].Size()
		a.unacked[i] = zero
	}
	if a.unacked = a.unacked[n:]; len(a.unacked) == 0 && cap(a.unacked) > keep {
		a.unacked = nil
	}
}

// handled takes the peer's word that it has handled all up to a count.
func (a *State[S]) handled(upTo uint64) {
	if first := a.first(); upTo > first {
		a.drop(int(min(upTo-first, uint64(len(a.unacked)))))
	}
}

// Count takes the peer's word by the counter of stream management, which wraps
// around (XEP-0198 §4). It reports false when so much was never sent.
func (a *State[S]) Count(h uint32) bool {
	first := a.first()
	more := uint64(h - uint32(first-a.base))
	if more > uint64(len(a.unacked)) {
		return false
	}
	a.handled(first + more)
	return true
}

// WantsAnswer reports whether a question should go with what is written now.
func (a *State[S]) WantsAnswer(now time.Time) bool {
	switch {
	case !a.asks || !a.question.at.IsZero():
		return false
	case a.due:
		return true
	case len(a.unacked) == 0:
		return false
	}
	return a.how == Management || now.Sub(a.asked) >= PingEvery ||
		a.bytes > MaxBytes/2 || len(a.unacked) > MaxStanzas/2
}

// Pong takes the answer to a ping, and reports false when it is to none that is
// under way. [State.Answered] is to follow.
func (a *State[S]) Pong(id string) bool {
	if a.how != Pings || a.question.at.IsZero() || a.question.id != id {
		return false
	}
	a.handled(a.question.upTo)
	return true
}

// Ask notes a question: <r/>, or a ping with that id. heard is how far the reader
// is: a number that grows with each element, and is odd while one is handled.
func (a *State[S]) Ask(now time.Time, id string, heard uint64) {
	a.question = question{at: now, id: id, upTo: a.total, heard: heard, since: now}
	a.asked, a.due = now, false
}

// Answered notes the answer and returns how long it took; ok is false when
// nothing was asked.
func (a *State[S]) Answered(now time.Time) (took time.Duration, ok bool) {
	if a.question.at.IsZero() {
		return 0, false
	}
	took = now.Sub(a.question.at)
	a.question = question{}
	a.sure, a.proven = true, true
	return took, true
}

// Overdue reports whether the question should have been answered, and if not
// yet, when it should. Who says something else is not gone; nor is the peer to
// blame while the reader is busy (heard is odd).
func (a *State[S]) Overdue(now time.Time, heard uint64, patience time.Duration) (until time.Time, late bool) {
	q := &a.question
	if heard != q.heard || heard%2 == 1 {
		q.heard, q.since = heard, now
	}
	until = q.since.Add(patience)
	return until, !now.Before(until)
}

// Manage begins to count for stream management. All stanzas so far go before
// the element that says so. Who offers it will enable it.
func (a *State[S]) Manage() {
	a.how, a.base, a.question = Management, a.total, question{}
	a.asks, a.sure, a.due = false, true, false
}

// Enabled notes that the peer counts too.
func (a *State[S]) Enabled() { a.asks, a.proven = true, true }

// Ping makes do with pings.
func (a *State[S]) Ping(sure bool) { a.how, a.asks, a.sure, a.due = Pings, true, sure, true }

// GiveUp is the end of learning anything.
func (a *State[S]) GiveUp() { *a = State[S]{total: a.total} }

// Lost returns what was not acknowledged by a peer that would have done so.
func (a *State[S]) Lost() []S {
	if !a.sure {
		return nil
	}
	return a.unacked
}

// Method returns how the stream learns what its peer has handled.
func (a *State[S]) Method() Method { return a.how }

// Enabling reports whether stream management was asked for and not enabled yet.
func (a *State[S]) Enabling() bool { return a.how == Management && !a.asks }

// Unacked returns what is not known to be handled, oldest first. It is the
// state's own.
func (a *State[S]) Unacked() []S { return a.unacked }

// Proven reports whether the peer has answered on this stream.
func (a *State[S]) Proven() bool { return a.proven }

// Asking reports whether a question is under way; Forget forgets it.
func (a *State[S]) Asking() bool { return !a.question.at.IsZero() }

// Forget forgets the question under way, which nobody will answer.
func (a *State[S]) Forget() { a.question = question{} }

// Prompt has a question put with the next write, though nothing is
// unacknowledged. It reports false when none can be put now.
func (a *State[S]) Prompt() bool {
	if !a.asks || a.Asking() {
		return false
	}
	a.due = true
	return true
}

// NextPing is when to ask again; ok is false when there is nothing to ask about.
func (a *State[S]) NextPing() (at time.Time, ok bool) {
	return a.asked.Add(PingEvery), len(a.unacked) > 0 && a.asks
}
