package s2s

import (
	"time"
)

// What the kernel took may still be lost with the connection. A stream that
// learns what its peer has handled keeps the rest until then. It learns that by
// stream management (XEP-0198), which Prosody has on its virtual hosts but not
// on components, and without it by pings (XEP-0199): a server handles a stream
// in its order, so the answer to a ping, be it an error, says that everything
// before it was handled.

// ackMethod is how a stream learns what its peer has handled.
type ackMethod uint8

const (
	ackNone ackMethod = iota
	ackSM
	ackPing
)

// What may be under way to a peer that acknowledges. A stream that does not
// take so much within LossTimeout (35 KB/s by default) stands still.
const (
	maxUnackedBytes   = 1 << 20
	maxUnackedStanzas = 4096
)

// pingEvery is the shortest time between two pings while stanzas are sent: a
// main of one core answers 20 a second without noticing. A request of stream
// management is cheaper and goes with every write, one at a time.
const pingEvery = 50 * time.Millisecond

// sent is a stanza the connection took.
type sent struct {
	item
	from *pair
}

// acks is what a stream knows of what its peer has handled. Counts are of
// stanzas since the stream began; that of stream management starts at base.
type acks struct {
	how    ackMethod
	asks   bool // questions may be put: false while stream management is not enabled
	sure   bool // the peer answers, as far as we know
	proven bool // it has done so on this stream
	due    bool // a question is to be put although nothing is unacknowledged

	total, base uint64
	unacked     []sent // the last of total
	bytes       int    // of their stanzas

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
func (a *acks) first() uint64 { return a.total - uint64(len(a.unacked)) }

// room is how many bytes may be sent now.
func (a *acks) room() int {
	switch {
	case !a.sure:
		return batchBytes
	case len(a.unacked) >= maxUnackedStanzas:
		return 0
	}
	return max(0, maxUnackedBytes-a.bytes)
}

// sending notes a stanza about to be written.
func (a *acks) sending(s sent) {
	a.total++
	if a.how == ackNone {
		return
	}
	a.unacked = append(a.unacked, s)
	a.bytes += len(s.stanza)
	if !a.sure && (len(a.unacked) > maxUnackedStanzas || a.bytes > maxUnackedBytes) {
		a.drop(1) // the peer may never answer
	}
}

// unsent takes back the last n, which were not written whole.
func (a *acks) unsent(n int) {
	a.total -= uint64(n)
	for ; n > 0 && len(a.unacked) > 0; n-- {
		last := len(a.unacked) - 1
		a.bytes -= len(a.unacked[last].stanza)
		a.unacked[last] = sent{}
		a.unacked = a.unacked[:last]
	}
}

// drop forgets the oldest n.
func (a *acks) drop(n int) {
	for i := range a.unacked[:n] {
		a.bytes -= len(a.unacked[i].stanza)
		a.unacked[i] = sent{}
	}
	if a.unacked = a.unacked[n:]; len(a.unacked) == 0 && cap(a.unacked) > keepItems {
		a.unacked = nil
	}
}

// handled takes the peer's word that it has handled all up to a count.
func (a *acks) handled(upTo uint64) {
	if first := a.first(); upTo > first {
		a.drop(int(min(upTo-first, uint64(len(a.unacked)))))
	}
}

// handledCount is handled for the counter of stream management, which wraps
// around (XEP-0198 §4). It reports false when so much was never sent.
func (a *acks) handledCount(h uint32) bool {
	first := a.first()
	more := uint64(h - uint32(first-a.base))
	if more > uint64(len(a.unacked)) {
		return false
	}
	a.handled(first + more)
	return true
}

// wantsAnswer reports whether a question should go with what is written now.
func (a *acks) wantsAnswer(now time.Time) bool {
	switch {
	case !a.asks || !a.question.at.IsZero():
		return false
	case a.due:
		return true
	case len(a.unacked) == 0:
		return false
	}
	return a.how == ackSM || now.Sub(a.asked) >= pingEvery ||
		a.bytes > maxUnackedBytes/2 || len(a.unacked) > maxUnackedStanzas/2
}

// ask notes a question.
func (a *acks) ask(now time.Time, id string, heard uint64) {
	a.question = question{at: now, id: id, upTo: a.total, heard: heard, since: now}
	a.asked, a.due = now, false
}

// answered notes the answer and returns how long it took; ok is false when
// nothing was asked.
func (a *acks) answered(now time.Time) (took time.Duration, ok bool) {
	if a.question.at.IsZero() {
		return 0, false
	}
	took = now.Sub(a.question.at)
	a.question = question{}
	a.sure, a.proven = true, true
	return took, true
}

// overdue reports whether the question should have been answered, and if not
// yet, when it should. Who says something else is not gone; nor is the peer to
// blame while the reader is busy (heard is odd).
func (a *acks) overdue(now time.Time, heard uint64, patience time.Duration) (until time.Time, late bool) {
	q := &a.question
	if heard != q.heard || heard%2 == 1 {
		q.heard, q.since = heard, now
	}
	until = q.since.Add(patience)
	return until, !now.Before(until)
}

// manage begins to count for stream management. All stanzas so far go before
// the element that says so. Who offers it will enable it.
func (a *acks) manage() {
	a.how, a.base, a.question = ackSM, a.total, question{}
	a.asks, a.sure, a.due = false, true, false
}

// managed notes that the peer counts too.
func (a *acks) managed() { a.asks, a.proven = true, true }

// ping makes do with pings.
func (a *acks) ping(sure bool) { a.how, a.asks, a.sure, a.due = ackPing, true, sure, true }

// giveUp is the end of learning anything.
func (a *acks) giveUp() { *a = acks{total: a.total} }

// lost returns what was not acknowledged by a peer that would have done so.
func (a *acks) lost() []sent {
	if !a.sure {
		return nil
	}
	return a.unacked
}
