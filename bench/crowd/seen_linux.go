package crowd

import (
	"bytes"

	"vnode/internal/wire"
	"vnode/internal/xmpptest/conference"
)

// seen is what one client has got of every source, of which each has two
// sequences, called views here. What every stanza needs is apart from the rest:
// with thousands of clients it comes from main memory, 12 bytes a source.
type seen struct {
	newest []newest // by source
	first  []uint32 // by view; 0: nothing came
	gaps   []gap    // what was jumped over, rarely any
}

// newest is the newest that came of one source.
type newest struct {
	last  [2]uint32 // of each view; 0: nothing came
	order uint32    // counts over both
}

// gap is numbers that did not come when later ones did.
type gap struct {
	view     int
	from, to uint32
}

// maxSources bounds what a number in a stamp can make a client allocate.
const maxSources = 1 << 16

// arrival is what a stamp is to a client.
type arrival uint8

const (
	fresh arrival = iota
	late          // behind a later one
	twice
)

func viewOf(source int, k conference.Kind) int {
	if k == conference.Chat {
		return 2*source + 1
	}
	return 2 * source
}

// add takes the next stamp. A line of the room's history is in no order with
// what the room looks like now.
func (s *seen) add(st *conference.Stamp, history bool) arrival {
	if n := st.Source + 1 - len(s.newest); n > 0 {
		s.newest = append(s.newest, make([]newest, n)...)
		s.first = append(s.first, make([]uint32, 2*n)...)
	}
	i := viewOf(st.Source, st.Kind)
	v, seq := &s.newest[st.Source], uint32(st.Seq)
	last := &v.last[i&1]
	switch {
	case *last == 0:
		s.first[i], *last = seq, seq
	case seq == *last+1:
		*last = seq
	case seq > *last:
		s.gaps = append(s.gaps, gap{i, *last + 1, seq - 1})
		*last = seq
	case seq < s.first[i]:
		if seq+1 < s.first[i] {
			s.gaps = append(s.gaps, gap{i, seq + 1, s.first[i] - 1})
		}
		s.first[i] = seq
		return late
	default:
		return s.fill(i, seq)
	}
	order := uint32(st.Order)
	if history {
		return fresh
	}
	if order <= v.order {
		return late
	}
	v.order = order
	return fresh
}

// fill takes a number below the newest.
func (s *seen) fill(view int, seq uint32) arrival {
	for i, g := range s.gaps {
		if g.view != view || seq < g.from || seq > g.to {
			continue
		}
		s.gaps[i].to = seq - 1
		if seq < g.to {
			s.gaps = append(s.gaps, gap{view, seq + 1, g.to})
		}
		return late
	}
	return twice
}

// last returns the highest number that came of a view, 0 for none.
func (s *seen) last(view int) uint32 {
	if view/2 >= len(s.newest) {
		return 0
	}
	return s.newest[view/2].last[view&1]
}

// missing counts, of the numbers from..to of one sequence, those that never
// came, and those of them that a later one followed.
func (s *seen) missing(i int, from, to uint64) (never, superseded uint64) {
	if from > to {
		return 0, 0
	}
	last := uint64(s.last(i))
	if last == 0 {
		return to - from + 1, 0
	}
	if first := min(uint64(s.first[i]), to+1); from < first {
		superseded += first - from
	}
	for _, g := range s.gaps {
		if lo, hi := max(uint64(g.from), from), min(uint64(g.to), to); g.view == i && lo <= hi {
			superseded += hi - lo + 1
		}
	}
	never = superseded
	if last < to {
		never += to - max(last, from-1)
	}
	return never, superseded
}

// newest returns the highest number of every sequence so far.
func (c *Crowd) newest() []uint32 {
	sources := c.opt.Ledger.Sources()
	want := make([]uint32, 2*len(sources))
	for i, s := range sources {
		want[2*i], want[2*i+1] = uint32(s.Published(conference.Presence)), uint32(s.Published(conference.Chat))
	}
	return want
}

// has reports whether the client has got the newest of every sequence.
func (v *client) has(want []uint32) bool {
	for i, n := range want {
		if n == 0 || v.seen.last(i) >= n {
			continue
		}
		// Chat from before the join is not due.
		src := v.crowd.opt.Ledger.Sources()[i/2]
		if from, to := src.Due(kindOf(i), v.joinedAt); from <= to {
			return false
		}
	}
	return true
}

func kindOf(view int) conference.Kind {
	if view%2 == 1 {
		return conference.Chat
	}
	return conference.Presence
}

// valid reports whether a client can count what has that stamp.
func valid(st *conference.Stamp) bool {
	return st.Source >= 0 && st.Source < maxSources && st.Seq <= 1<<32-1
}

// stamped takes a stanza with a stamp.
func (v *client) stamped(st *conference.Stamp, b []byte, now int64) {
	t := &v.loop.tally
	if !valid(st) {
		t.unexpected++
		return
	}
	history := st.Kind == conference.Chat && st.At < v.joinedAt && bytes.Contains(b, delayed)
	switch v.seen.add(st, history) {
	case late:
		t.late++
	case twice:
		t.twice++
		return
	}
	if history || st.At < v.crowd.since.Load() {
		return
	}
	t.delivered++
	t.deliveredBytes += uint64(len(b))
	if v.joinedAt != 0 && st.At > max(v.joinedAt, v.backAt) {
		t.delay[v.group].recordNano(now - st.At)
	}
}

// hints remember where stamps were in earlier stanzas, counted from their end:
// there the same few elements follow them, so that most are found without a
// search.
type hints struct{ last [2]int }

var (
	mark    = []byte("vnode-bench:")
	delayed = []byte(wire.NSDelay)
)

// find returns the stamp of a stanza.
func (h *hints) find(b []byte) (conference.Stamp, bool) {
	hint := &h.last[0]
	if b[1] == 'm' {
		hint = &h.last[1]
	}
	// Numbers grow by a digit now and then and differ between sources.
	const slack = 3
	for i := len(b) - *hint - slack; i <= len(b)-*hint+slack; i++ {
		if i > 0 && i+len(mark) < len(b) && b[i] == mark[0] && bytes.HasPrefix(b[i:], mark) {
			*hint = len(b) - i
			return conference.ParseStamp(b[i:])
		}
	}
	i := bytes.Index(b, mark)
	if i < 0 {
		return conference.Stamp{}, false
	}
	*hint = len(b) - i
	return conference.ParseStamp(b[i:])
}
