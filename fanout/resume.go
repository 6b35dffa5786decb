package fanout

import (
	"slices"
	"time"
)

// resume carries out [Session.Resume].
func (sh *shard) resume(c *command) error {
	s := c.s
	acked := s.acked.Load()
	switch {
	case s.dead || s.closing || !s.resumable || sh.stopping:
		return ErrOverrun
	case c.h-acked > s.sent.Load()-acked:
		return ErrBadAck
	case s.log != nil && s.cursor < s.log.floor.Load(), s.unacked != nil && !s.unacked.has(c.h):
		return ErrOverrun
	}
	s.acked.Store(c.h)
	sh.trim(s)
	s.replayed = c.h
	if s.link == nil {
		sh.b.metrics.suspended.Dec()
	}
	sh.unlink(s, "")
	s.link = c.link
	s.current.Store(c.link)
	s.queue = greeting(c.ms, s.queue)
	s.queued = 0
	for _, it := range s.queue {
		s.queued += s.sizeOf(it.ms)
	}
	sh.makeReady(s)
	return nil
}

// greeting is the queue of a resumed session: ms, what is to be sent again, and
// what has waited. Of that the elements that are no stanzas are left out, for
// they spoke of the old connection: an <a/> from before would tell the client
// less than <resumed/> did.
func greeting(ms []*Message, waiting []item) []item {
	q := make([]item, 0, 2+len(waiting))
	q = append(q, item{ms: ms, ofLink: true}, item{action: replay, ofLink: true})
	for _, it := range waiting {
		if it.ofLink {
			continue
		}
		it.ms = slices.DeleteFunc(slices.Clone(it.ms), func(m *Message) bool { return m.nonza })
		if len(it.ms) > 0 || it.action != justSend {
			q = append(q, it)
		}
	}
	return q
}

// replay sends again what the client has not acknowledged, as much as fits
// into one batch, and reports whether that was all. Nothing is counted twice.
func (sh *shard) replay(s *Session, out []byte) ([]byte, bool) {
	sh.trim(s)
	if s.unacked == nil {
		return out, true
	}
	done := true
	kept := s.unacked.from(s.replayed, func(m *Message) bool {
		if len(out) >= maxBatch {
			done = false
			return false
		}
		out = sh.frame(s, m, out)
		s.replayed++
		s.unrequested++
		return true
	})
	if !kept { // the room went on too far while the connection took its time
		sh.overflow(s)
		return out, false // the queue is another one now
	}
	return out, done
}

// keep remembers a stanza of the session's own until it is acknowledged.
func (sh *shard) keep(s *Session, m *Message) {
	if sh.mayKeep(s, 1, m.cost(0)) {
		s.unacked.add(m)
	}
}

// keepRange remembers n stanzas of the session's log from seq on.
func (sh *shard) keepRange(s *Session, seq uint64, n uint32) {
	if sh.mayKeep(s, n, 0) {
		s.unacked.extend(s.log, seq, n)
	}
}

// mayKeep makes room for n more stanzas to be remembered, with that many bytes of
// the session's own. A session that is closing cannot be resumed.
func (sh *shard) mayKeep(s *Session, n uint32, bytes int) bool {
	if !s.resumable || s.closing {
		return false
	}
	sh.trim(s)
	if s.unacked == nil {
		s.unacked = &unacked{first: s.sent.Load() - n}
		sh.keeping++
	}
	if s.unacked.count+n > uint32(s.terms.MaxUnacked) || s.unacked.bytes+bytes > 2*s.terms.MaxPrivate {
		sh.overflow(s)
		return false
	}
	return true
}

// trim forgets what the client has acknowledged since.
func (sh *shard) trim(s *Session) {
	h := s.acked.Load()
	if s.unacked == nil || h == s.unacked.first {
		return
	}
	s.unacked.trim(h)
	if s.replayed-h > s.sent.Load()-h { // acknowledged beyond what was sent again: it came the first time
		s.replayed = h
	}
}

// forgetAll frees what was kept for the session.
func (sh *shard) forgetAll(s *Session) {
	if s.unacked != nil {
		s.unacked = nil
		sh.keeping--
	}
}

// tidyEvery is how often a quiet shard forgets what clients have acknowledged.
// A busy one does so as it sends.
const tidyEvery = 5 * time.Second

func (sh *shard) tidy() {
	for _, s := range sh.sessions {
		sh.at = s
		sh.trim(s)
		switch u := s.unacked; {
		case u == nil:
		case u.count == 0:
			sh.forgetAll(s)
		case len(u.own) == 0:
			u.own = nil // room for the snapshot of a join
		}
	}
	sh.at = nil
}
