package fanout

import "time"

// template is one encoded batch of a log. Sessions at the same cursor whose
// addresses have the same length differ in the address alone, so it is patched
// in place for each: 0.25 µs for a 36 KB batch where encoding takes 1 µs and
// more.
type template struct {
	from, to uint64 // messages [from, to) of the log
	framing  Framing
	addrLen  int
	buf      []byte
	addrs    []int     // where in buf the address goes
	at       time.Time // when the first message was appended to the log
}

func (t *template) fits(s *Session, head uint64) bool {
	return t.to > t.from && t.from == s.cursor && t.to <= head && t.framing == s.link.framing && t.addrLen == len(s.to) &&
		(t.to == head || len(t.buf) >= maxBatch)
}

// build encodes the log from the cursor of s to head, or to a full batch. It
// reports false when the log no longer has the first of them.
func (t *template) build(s *Session, head uint64) bool {
	t.from, t.to, t.framing, t.addrLen = s.cursor, s.cursor, s.link.framing, len(s.to)
	t.buf, t.addrs = t.buf[:0], t.addrs[:0]
	for t.to < head && len(t.buf) < maxBatch {
		m := s.log.at(t.to)
		if m == nil {
			break
		}
		t.buf = t.framing.appendHeader(t.buf, m.size(t.addrLen))
		if m.spliced {
			t.addrs = append(t.addrs, len(t.buf)+len(m.head))
		}
		t.buf = m.append(t.buf, s.to)
		if t.to == t.from {
			t.at = m.at
		}
		t.to++
	}
	return t.to > t.from
}

// fromTemplate returns the next batch of the log for s and moves its cursor.
func (sh *shard) fromTemplate(s *Session, head uint64) []byte {
	t := &s.group.tpl
	sh.b.metrics.lag.Observe(float64(head - s.cursor))
	if !t.fits(s, head) && !t.build(s, head) {
		return sh.merge(s) // which ends the session as a slow consumer
	}
	for _, at := range t.addrs {
		copy(t.buf[at:], s.to)
	}
	s.cursor = t.to
	n := int(t.to - t.from)
	sh.tally.deliveries += n
	sh.b.metrics.batch.Observe(float64(n))
	sh.b.metrics.delay.Observe(sh.now.Sub(t.at).Seconds())
	sh.count(s, uint32(n))
	size := len(t.buf)
	out := sh.requestAck(s, t.buf)
	if cap(out) != cap(t.buf) {
		t.buf = out[:size] // grown: keep the larger buffer
	}
	return out
}
