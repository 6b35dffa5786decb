package s2s

import "time"

const (
	// batchBytes is what one write may carry before the next begins: four TLS
	// records, or one segment of generic segmentation offload.
	batchBytes = 64 << 10
	// keepBatch is the largest buffer a quiet stream keeps.
	keepBatch = 4 << 10
)

// batch is one write: elements that are not stanzas, then stanzas.
type batch struct {
	buf     []byte
	control int // bytes before the first stanza
	taken   []taken
	large   []sent // beyond what the peer accepts
	last    bool   // ends with the closing tag: nothing may follow
	tried   bool   // the connection was given it: nobody knows how much it took
}

// taken are the stanzas one pair put into a batch.
type taken struct {
	from *pair
	its  []item
}

// writeLoop writes what the pairs of a ready stream and its reader have to
// say, until the stream ended.
func (st *stream) writeLoop() {
	defer close(st.written)
	var b batch
	if err := st.guarded(func() error { st.writeAll(&b); return nil }); err != nil {
		st.end(endingOf(err, "write"))
		st.stop(&b)
	}
}

// stop is the end of a writer that met a panic while it had b in hand. Stanzas that
// the connection was not given go out on the next stream; others may have arrived,
// and are answered as any that were not acknowledged.
func (st *stream) stop(b *batch) {
	if b.tried {
		return
	}
	for _, t := range b.taken {
		st.unsent(len(t.its))
		t.from.giveBack(t.its)
	}
	st.write(st.farewell(st.ending()), st.cfg.WriteTimeout)
}

func (st *stream) writeAll(b *batch) {
	silence, written := st.keepAlive(), time.Now()
	t := time.NewTimer(silence)
	defer t.Stop()
	for {
		st.gather(b)
		if len(b.buf) > 0 && !st.flush(b) || b.last {
			return
		}
		if len(b.buf) > 0 {
			written = time.Now()
			continue
		}
		if cap(b.buf) > keepBatch {
			b.buf = nil
		}
		t.Reset(time.Until(st.look(written, silence)))
		select {
		case <-st.wake:
		case <-t.C:
		}
	}
}

// keepAlive is the silence after which whitespace is sent, or a question.
func (st *stream) keepAlive() time.Duration {
	if st.peerIdle > 0 {
		return min(st.cfg.KeepAlive, st.peerIdle/2)
	}
	return st.cfg.KeepAlive
}

// gather fills b. A stream that ends in order still sends what waits; one that
// ends with an error leaves it to the next stream.
func (st *stream) gather(b *batch) {
	b.taken, b.large, b.tried = b.taken[:0], b.large[:0], false
	ended := st.collect(b)
	for _, s := range b.large {
		st.srv.undelivered(s.from.log, s.stanza, undeliveredTooLarge)
	}
	if b.last = ended != nil && len(b.taken) == 0; b.last {
		b.buf = append(b.buf, st.farewell(ended)...)
	}
}

// collect fills b with what waits, and returns how the stream ended if it has.
func (st *stream) collect(b *batch) (ended *ending) {
	st.mu.Lock()
	defer st.mu.Unlock()
	b.buf = append(b.buf[:0], st.control...)
	b.control = len(b.buf)
	st.control = st.control[:0]
	if st.ended != nil && st.ended.reason != Shutdown {
		return st.ended
	}
	for _, p := range st.carries {
		st.gatherFrom(p, b)
	}
	if now := time.Now(); st.acks.WantsAnswer(now) {
		b.buf = st.appendQuestion(b.buf, now)
	}
	return st.ended
}

// gatherFrom takes what p has to send, as much as the peer may leave
// unacknowledged; the last of it anyway. st.mu is held.
func (st *stream) gatherFrom(p *pair, b *batch) {
	budget := batchBytes - len(b.buf)
	if st.ended == nil {
		budget = min(budget, st.acks.Room(batchBytes))
	}
	its := p.take(st, budget)
	if len(its) == 0 {
		return
	}
	fit := its[:0]
	for _, it := range its {
		if st.peerMax > 0 && len(it.stanza) > st.peerMax {
			b.large = append(b.large, sent{it, p})
			continue
		}
		st.acks.Sending(sent{it, p})
		b.buf = append(b.buf, it.stanza...)
		fit = append(fit, it)
	}
	b.taken = append(b.taken, taken{p, fit})
}

// flush writes b. When that fails, stanzas the connection did not take whole
// go back to their pairs: a peer cannot have read them. It reports whether the
// stream is still good.
func (st *stream) flush(b *batch) bool {
	b.tried = true
	n, err := st.write(b.buf, st.cfg.WriteTimeout)
	sent, bytes := 0, 0
	end := b.control
	for _, t := range b.taken {
		for i, it := range t.its {
			end += len(it.stanza)
			if end > n {
				st.unsent(len(t.its) - i)
				t.from.giveBack(t.its[i:])
				break
			}
			sent, bytes = sent+1, bytes+len(it.stanza)
		}
	}
	m := st.srv.m
	m.stanzas[outbound].Add(float64(sent))
	m.bytes[outbound].Add(float64(bytes))
	if err != nil {
		st.end(endingOf(err, "write"))
		return false
	}
	return true
}

func (st *stream) unsent(n int) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.acks.Unsent(n)
}
