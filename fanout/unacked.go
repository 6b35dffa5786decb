package fanout

import "slices"

// unacked is what a resumable session has sent and the client has not
// acknowledged, oldest first: ranges of logs, and what was for this client
// alone. However much a client leaves unacknowledged of what its room has said,
// it costs the place in the log. It is owned by the shard.
type unacked struct {
	runs  []run
	own   []*Message // those of all runs without a log
	first uint32     // number of the oldest, modulo 2^32, counting from 0
	count uint32
	bytes int // of own
	// Of these, what was sent since the client was last asked.
	unasked int
}

// run is n messages: of a log from seq on or, without one, the client's own.
type run struct {
	log *Log
	seq uint64
	n   uint32
}

// add appends a message that is kept here.
func (u *unacked) add(m *Message) {
	u.own = append(u.own, m)
	u.count++
	u.bytes += m.cost(0)
	u.unasked += m.cost(0)
	if last := len(u.runs) - 1; last >= 0 && u.runs[last].log == nil {
		u.runs[last].n++
		return
	}
	u.runs = append(u.runs, run{n: 1})
}

// extend appends the messages [seq, seq+n) of l.
func (u *unacked) extend(l *Log, seq uint64, n uint32) {
	u.count += n
	if len(u.runs) > 0 {
		last := &u.runs[len(u.runs)-1]
		if last.log == l && last.seq+uint64(last.n) == seq {
			last.n += n
			return
		}
	}
	u.runs = append(u.runs, run{log: l, seq: seq, n: n})
}

// trim forgets all before number h.
func (u *unacked) trim(h uint32) {
	left := h - u.first
	gone, own := 0, 0
	for left > 0 && gone < len(u.runs) {
		r := &u.runs[gone]
		n := min(left, r.n)
		if r.log == nil {
			own += int(n)
		}
		r.seq += uint64(n)
		r.n -= n
		left -= n
		u.count -= n
		if r.n == 0 {
			gone++
		}
	}
	u.first = h
	u.runs = slices.Delete(u.runs, 0, gone)
	for _, m := range u.own[:own] {
		u.bytes -= m.cost(0)
	}
	u.own = slices.Delete(u.own, 0, own)
}

// from calls f with the messages from number i on, until it says no. It reports
// false when a log no longer has one of them.
func (u *unacked) from(i uint32, f func(m *Message) bool) bool {
	skip := i - u.first
	own := u.own
	for _, r := range u.runs {
		of := own
		if r.log == nil {
			own = own[r.n:]
		}
		if skip >= r.n {
			skip -= r.n
			continue
		}
		for k := skip; k < r.n; k++ {
			var m *Message
			if r.log == nil {
				m = of[k]
			} else {
				m = r.log.at(r.seq + uint64(k))
			}
			if m == nil {
				return false
			}
			if !f(m) {
				return true
			}
		}
		skip = 0
	}
	return true
}

// has reports whether the messages from number i on are all still to be had.
func (u *unacked) has(i uint32) bool {
	skip := i - u.first
	for _, r := range u.runs {
		if skip >= r.n {
			skip -= r.n
			continue
		}
		if r.log != nil && r.seq+uint64(skip) < r.log.floor.Load() {
			return false
		}
		skip = 0
	}
	return true
}
