package fanout

// unacked is what a resumable session has sent and the client has not
// acknowledged, oldest first: ranges of logs, and what was for this client
// alone. However much a client leaves unacknowledged of what its room has said,
// it costs the place in the log. It is owned by the shard.
type unacked struct {
	runs  []run
	first uint32 // number of the oldest, modulo 2^32, counting from 0
	count uint32
}

// run is n messages of a log from seq on, or a message of its own.
type run struct {
	m   *Message // nil: of the log
	log *Log
	seq uint64
	n   uint32
}

// add appends a message that is kept here.
func (u *unacked) add(m *Message) {
	u.runs = append(u.runs, run{m: m, n: 1})
	u.count++
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
	gone := 0
	for ; gone < len(u.runs) && left > 0; gone++ {
		r := &u.runs[gone]
		if left < r.n { // of a log: a single message goes whole
			r.seq += uint64(left)
			r.n -= left
			u.count -= left
			break
		}
		left -= r.n
		u.count -= r.n
	}
	u.first = h
	if gone == 0 {
		return
	}
	n := copy(u.runs, u.runs[gone:])
	clear(u.runs[n:])
	u.runs = u.runs[:n]
	if n == 0 && cap(u.runs) > keepRuns {
		u.runs = nil // of a burst
	}
}

// keepRuns is how many runs a session that has everything acknowledged keeps
// room for: those of a quiet room and an answer or two.
const keepRuns = 2

// from calls f with the messages from number i on, until it says no. It reports
// false when a log no longer has one of them.
func (u *unacked) from(i uint32, f func(m *Message) bool) bool {
	skip := i - u.first
	for _, r := range u.runs {
		if skip >= r.n {
			skip -= r.n
			continue
		}
		for k := skip; k < r.n; k++ {
			m := r.m
			if m == nil {
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
		if r.m == nil && r.seq+uint64(skip) < r.log.floor.Load() {
			return false
		}
		skip = 0
	}
	return true
}
