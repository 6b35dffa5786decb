package fanout

import "time"

// resume carries out [Session.Resume].
func (sh *shard) resume(c *command) error {
	s := c.s
	acked := s.acked.Load()
	switch {
	case s.dead || s.closing || !s.resumable || sh.stopping:
		return ErrOverrun
	case c.h-acked > s.sent.Load()-acked:
		return ErrBadAck
	case s.log != nil && s.cursor < s.log.floor.Load(), !s.unacked.has(c.h):
		return ErrOverrun
	}
	s.acked.Store(c.h)
	sh.forget(s, c.h)
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
		if it.m != nil {
			s.queued += it.m.size(len(s.to))
		}
	}
	sh.makeReady(s)
	return nil
}

// greeting is the queue of a resumed session: ms, what is to be sent again, and
// what has waited. Of that the elements that are no stanzas are left out, for
// they spoke of the old connection: an <a/> from before would tell the client
// less than <resumed/> did.
func greeting(ms []*Message, waiting []item) []item {
	q := make([]item, 0, len(ms)+1+len(waiting))
	for _, m := range ms {
		q = append(q, item{m: m, ofLink: true})
	}
	q = append(q, item{action: replay, ofLink: true})
	for _, it := range waiting {
		stale := it.ofLink || it.action == justSend && it.m != nil && it.m.nonza
		if !stale {
			q = append(q, it)
		}
	}
	return q
}

// replay sends again what the client has not acknowledged, as much as fits
// into one batch, and reports whether that was all. Nothing is counted twice.
func (sh *shard) replay(s *Session, out []byte) ([]byte, bool) {
	sh.trim(s)
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
	}
	return out, done
}

// keep remembers a stanza of the session's own until it is acknowledged.
func (sh *shard) keep(s *Session, m *Message) {
	if sh.mayKeep(s, 1) {
		s.unacked.add(m)
	}
}

// keepRange remembers n stanzas of the session's log from seq on.
func (sh *shard) keepRange(s *Session, seq uint64, n uint32) {
	if sh.mayKeep(s, n) {
		s.unacked.extend(s.log, seq, n)
	}
}

// mayKeep makes room for n more stanzas to be remembered.
func (sh *shard) mayKeep(s *Session, n uint32) bool {
	if !s.resumable {
		return false
	}
	sh.trim(s)
	if s.unacked.count+n > uint32(s.maxUnacked) {
		sh.overflow(s)
		return false
	}
	if s.unacked.count == 0 {
		sh.keeping++
	}
	return true
}

// trim forgets what the client has acknowledged since.
func (sh *shard) trim(s *Session) {
	h := s.acked.Load()
	if h == s.unacked.first {
		return
	}
	sh.forget(s, h)
	if s.replayed-h > s.sent.Load()-h { // acknowledged beyond what was sent again: it came the first time
		s.replayed = h
	}
}

// forget trims what is unacknowledged to h.
func (sh *shard) forget(s *Session, h uint32) {
	before := s.unacked.count
	s.unacked.trim(h)
	if before > 0 && s.unacked.count == 0 {
		sh.keeping--
	}
}

// tidyEvery is how often a quiet shard forgets what clients have acknowledged.
// A busy one does so as it sends.
const tidyEvery = 5 * time.Second

func (sh *shard) tidy() {
	for _, s := range sh.sessions {
		if s.unacked.count > 0 {
			sh.trim(s)
		}
		if s.unacked.count == 0 {
			s.unacked.runs = nil
		}
	}
}
