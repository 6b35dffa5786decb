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
}

// taken are the stanzas one pair put into a batch.
type taken struct {
	from *pair
	its  []item
}

// writeLoop writes what the pairs of a ready stream and its reader have to
// say, until the stream ended.
func (st *stream) writeLoop() {
	if err := st.guarded(st.writeAll); err != nil {
		st.end(endingOf(err, "write"))
	}
}

func (st *stream) writeAll() error {
	defer close(st.written)
	var b batch
	silence, written := st.keepAlive(), time.Now()
	t := time.NewTimer(silence)
	defer t.Stop()
	for {
		st.gather(&b)
		if len(b.buf) > 0 && !st.flush(&b) || b.last {
			return nil
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
	b.taken, b.large = b.taken[:0], b.large[:0]
	st.mu.Lock()
	b.buf = append(b.buf[:0], st.control...)
	b.control = len(b.buf)
	st.control = st.control[:0]
	ended := st.ended
	if ended == nil || ended.reason == Shutdown {
		for _, p := range st.carries {
			st.gatherFrom(p, b)
		}
		if now := time.Now(); st.acks.WantsAnswer(now) {
			b.buf = st.appendQuestion(b.buf, now)
		}
	}
	st.mu.Unlock()
	for _, s := range b.large {
		st.srv.undelivered(s.from.log, s.stanza, undeliveredTooLarge)
	}
	if b.last = ended != nil && len(b.taken) == 0; b.last {
		b.buf = append(b.buf, st.farewell(ended)...)
	}
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
	st.acks.Unsent(n)
	st.mu.Unlock()
}
