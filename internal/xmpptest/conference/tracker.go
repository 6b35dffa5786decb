package conference

// Tally is what became of the stanzas one or many receivers should have got.
// All but Delivered and History are faults.
type Tally struct {
	Delivered    uint64 `json:"delivered"`     // stamped stanzas and leaves, each once
	History      uint64 `json:"history"`       // replayed by the room, not counted as delivered
	Lost         uint64 `json:"lost"`          // published while the receiver was there, never got
	Duplicate    uint64 `json:"duplicate"`     // got again
	OutOfOrder   uint64 `json:"out_of_order"`  // got behind a later one of the same source
	Misaddressed uint64 `json:"misaddressed"`  // to somebody else, or from somebody else than said it
	Unexpected   uint64 `json:"unexpected"`    // what the receiver should not see at all
	Errors       uint64 `json:"stanza_errors"` // stanzas of type error
}

// Add adds o to t.
func (t *Tally) Add(o Tally) {
	t.Delivered += o.Delivered
	t.History += o.History
	t.Lost += o.Lost
	t.Duplicate += o.Duplicate
	t.OutOfOrder += o.OutOfOrder
	t.Misaddressed += o.Misaddressed
	t.Unexpected += o.Unexpected
	t.Errors += o.Errors
}

// Faults adds up everything that must not be.
func (t *Tally) Faults() uint64 {
	return t.Lost + t.Duplicate + t.OutOfOrder + t.Misaddressed + t.Unexpected + t.Errors
}

// Tracker checks what one receiver gets against a [Ledger]. It is not safe for
// concurrent use.
type Tracker struct {
	ledger   *Ledger
	hears    Role
	relayed  bool  // lines of visitors come from the bare room
	joinedAt int64 // 0 before the join
	backAt   int64 // of the last resumption
	left     bool
	views    []view
	tally    Tally
}

// view is one source as the receiver sees it.
type view struct {
	presence, chat stretch
	order          uint64 // highest Order seen
	gone           bool
}

// stretch is the part of a sequence a receiver has got.
type stretch struct {
	first, last uint64              // 0 before anything came
	holes       map[uint64]struct{} // missing between them
}

// NewTracker returns the Tracker of a receiver that must hear the sources of
// those roles; others are none of its business.
func NewTracker(l *Ledger, hears Role) *Tracker { return &Tracker{ledger: l, hears: hears} }

// Joined says that the receiver's join was completed at that time of [Now]:
// everything published later is due.
func (t *Tracker) Joined(at int64) { t.joinedAt = at }

// Resumed says that the receiver had lost its connection and resumed its session
// at that time of [Now]: the age of what was published before is that of the
// outage. Nothing else changes, it is due all the same.
func (t *Tracker) Resumed(at int64) { t.backAt = at }

// Left says that the receiver is leaving: what is still under way may come or
// not. Only holes in what came are lost.
func (t *Tracker) Left() { t.left = true }

// Got takes a stamped stanza from the occupant with that nick, "" for the bare
// room. It reports whether the stanza is new, in order, was published after the
// join and has waited for nobody's connection: only then does its age say
// something about delivery.
func (t *Tracker) Got(st Stamp, nick string) (live bool) {
	src := t.ledger.source(st.Source)
	switch {
	case src == nil || st.Seq > src.published(st.Kind):
		t.tally.Unexpected++
		return false
	case src.role&t.hears == 0:
		return false
	case nick != src.nick && !(t.relayed && nick == "" && src.role == RoleVisitor):
		t.tally.Misaddressed++
		return false
	}
	v := t.view(src.id)
	r := &v.presence
	if st.Kind == Chat {
		r = &v.chat
	}
	switch r.add(st.Seq) {
	case seenBefore:
		t.tally.Duplicate++
		return false
	case late:
		t.tally.Delivered++
		t.tally.OutOfOrder++
		return false
	}
	t.tally.Delivered++
	if st.Order <= v.order || v.gone {
		t.tally.OutOfOrder++
		return false
	}
	v.order = st.Order
	return t.joinedAt != 0 && st.At > max(t.joinedAt, t.backAt, src.waited.Load())
}

// Gone takes the unavailable presence of the occupant with that nick. It
// reports whether that is a source of the receiver's.
func (t *Tracker) Gone(nick string) bool {
	src := t.ledger.byNick(nick)
	if src == nil || src.role&t.hears == 0 {
		return false
	}
	v := t.view(src.id)
	if v.gone {
		t.tally.Duplicate++
		return true
	}
	v.gone = true
	t.tally.Delivered++
	return true
}

// Missing counts what is due and has not come yet; 0 before the join.
func (t *Tracker) Missing() uint64 {
	if t.joinedAt == 0 {
		return 0
	}
	var n uint64
	for _, src := range t.ledger.all() {
		if src.role&t.hears == 0 {
			continue
		}
		v := t.view(src.id)
		if t.left {
			n += uint64(len(v.presence.holes) + len(v.chat.holes))
			continue
		}
		n += v.missing(src.due(t.joinedAt))
	}
	return n
}

// Tally returns the counters; what is missing now counts as lost.
func (t *Tracker) Tally() Tally {
	n := t.tally
	n.Lost = t.Missing()
	return n
}

func (t *Tracker) view(id int) *view {
	for len(t.views) <= id {
		t.views = append(t.views, view{})
	}
	return &t.views[id]
}

func (v *view) missing(d due) uint64 {
	n := v.presence.missing(d.presence) + v.chat.missing(d.chat)
	seen := v.presence.first != 0
	if !v.gone && (d.leave || d.left && seen) {
		n++
	}
	return n
}

type arrival uint8

const (
	next       arrival = iota
	late               // a hole is filled, or before all others
	seenBefore         // twice
)

func (r *stretch) add(seq uint64) arrival {
	switch {
	case r.first == 0:
		r.first, r.last = seq, seq
		return next
	case seq > r.last:
		r.skip(r.last+1, seq)
		r.last = seq
		return next
	case seq < r.first:
		r.skip(seq+1, r.first)
		r.first = seq
		return late
	}
	if _, hole := r.holes[seq]; !hole {
		return seenBefore
	}
	delete(r.holes, seq)
	return late
}

func (r *stretch) skip(from, to uint64) {
	for ; from < to; from++ {
		if r.holes == nil {
			r.holes = make(map[uint64]struct{})
		}
		r.holes[from] = struct{}{}
	}
}

// missing counts the holes, and what of d lies outside of what came.
func (r *stretch) missing(d sequence) uint64 {
	n := uint64(len(r.holes))
	if r.first == 0 {
		return n + span(d.from, d.to)
	}
	return n + span(d.from, min(d.to, r.first-1)) + span(max(d.from, r.last+1), d.to)
}

// span is the count of numbers from..to.
func span(from, to uint64) uint64 {
	if from > to {
		return 0
	}
	return to - from + 1
}
