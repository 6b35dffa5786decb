package fanout

// resume carries out [Session.Resume].
func (sh *shard) resume(c *command) error {
	s := c.s
	acked := s.acked.Load()
	switch {
	case s.dead || s.closing || !s.resumable || sh.stopping:
		return ErrOverrun
	case c.h-acked > s.sent.Load()-acked:
		return ErrBadAck
	case s.log != nil && s.cursor < s.log.floor.Load():
		return ErrOverrun
	}
	s.acked.Store(c.h)
	s.unacked.trim(c.h)
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
	for i := s.replayed - s.unacked.first; i < s.unacked.count; i++ {
		if len(out) >= maxBatch {
			return out, false
		}
		out = sh.frame(s, s.unacked.at(i), out)
		s.replayed++
		s.unrequested++
	}
	return out, true
}

// keep remembers a stanza until it is acknowledged.
func (sh *shard) keep(s *Session, m *Message) {
	if !s.resumable {
		return
	}
	sh.trim(s)
	if int(s.unacked.count) >= s.maxUnacked {
		sh.overflow(s)
		return
	}
	s.unacked.push(m)
}

// trim forgets what the client has acknowledged since.
func (sh *shard) trim(s *Session) {
	h := s.acked.Load()
	if h == s.unacked.first {
		return
	}
	s.unacked.trim(h)
	if s.replayed-h > s.sent.Load()-h { // acknowledged beyond what was sent again: it came the first time
		s.replayed = h
	}
}
