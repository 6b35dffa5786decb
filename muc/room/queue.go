package room

import (
	"time"

	"vnode/internal/wire"
)

// queue holds, in order, the visitors that wait to be let in: for main's
// connect, or because others came too fast before them. Among them are the
// leaves that the focus is to be told of later, so that it hears of comings and
// goings in the order in which they happened.
type queue struct {
	order []*waiting
	index map[Session]*waiting // of joins
}

// waiting is a visitor with its latest join, or, with a notice, one that left.
// One whose session and notice are nil went while it waited.
type waiting struct {
	session Session
	who     Who
	nick    string
	stanza  *wire.Stanza
	notice  *Packet // to the focus
}

func (w *waiting) void() bool { return w.session == nil && w.notice == nil }

// joins is how many visitors wait to be let in.
func (q *queue) joins() int { return len(q.index) }

// put queues a join, in place of an earlier one of the same session.
func (q *queue) put(s Session, who Who, nick string, st *wire.Stanza) {
	if w := q.index[s]; w != nil {
		w.who, w.nick, w.stanza = who, nick, st
		return
	}
	w := &waiting{session: s, who: who, nick: nick, stanza: st}
	q.index[s] = w
	q.order = append(q.order, w)
}

// leave queues what the focus is to be told of a visitor that left.
func (q *queue) leave(nick string, notice *Packet) {
	q.order = append(q.order, &waiting{nick: nick, notice: notice})
}

// drop takes a session out; nil when it does not wait.
func (q *queue) drop(s Session) *waiting {
	w := q.index[s]
	if w == nil {
		return nil
	}
	gone := *w
	*w = waiting{}
	delete(q.index, s)
	if len(q.order) > 2*len(q.index)+16 {
		q.compact()
	}
	return &gone
}

// compact forgets those that went, so that coming and going costs no memory.
func (q *queue) compact() {
	kept := make([]*waiting, 0, len(q.index))
	for _, w := range q.order {
		if !w.void() {
			kept = append(kept, w)
		}
	}
	q.order = kept
}

// head is who is next, nil for nobody.
func (q *queue) head() *waiting {
	for len(q.order) > 0 && q.order[0].void() {
		q.order = q.order[1:]
	}
	if len(q.order) == 0 {
		q.order = nil
		return nil
	}
	return q.order[0]
}

// pop takes the head out.
func (q *queue) pop() {
	w := q.order[0]
	q.order[0] = nil
	q.order = q.order[1:]
	if w.session != nil {
		delete(q.index, w.session)
	}
}

// notices takes out the notices of those with that nick, of all if it is "".
func (q *queue) notices(nick string) []*Packet {
	var ps []*Packet
	for _, w := range q.order {
		if w.notice != nil && (nick == "" || w.nick == nick) {
			ps = append(ps, w.notice)
			*w = waiting{}
		}
	}
	return ps
}

// take empties the queue and returns the joins.
func (q *queue) take() []*waiting {
	q.notices("")
	q.compact()
	all := q.order
	q.order = nil
	clear(q.index)
	return all
}

// enqueue lets a visitor wait, unless too many do.
func (r *conference) enqueue(from Session, nick string, st *wire.Stanza) bool {
	if r.queue.index[from] == nil {
		if r.queue.joins() >= r.cfg.MaxQueued {
			return false
		}
		r.metrics.queued.Inc()
	}
	r.queue.put(from, r.who, nick, st)
	return true
}

// unqueue takes a session out of the queue, nil when it does not wait.
func (r *conference) unqueue(s Session) *waiting {
	w := r.queue.drop(s)
	if w != nil {
		r.metrics.queued.Dec()
	}
	return w
}

// tellOfLeave tells the focus that a visitor left, now or in its turn.
func (r *conference) tellOfLeave(o *occupant, p *Packet) {
	switch {
	case r.focus == nil:
	case r.connected && r.queue.head() == nil && r.leaves.Take(r.node.Limits.Leaves, r.now):
		r.tellFocusAfter(o.nick, p)
	default:
		r.queue.leave(o.nick, p)
		r.advance()
	}
}

// tellLeaves tells the focus now of those with that nick that came and left and
// that it was to be told of later. With nick "" it is told of all, behind what it
// is to be told before.
func (r *conference) tellLeaves(nick string) {
	if r.focus == nil {
		return
	}
	if nick != "" {
		r.sayComings(nick)
	}
	for _, p := range r.queue.notices(nick) {
		if nick != "" {
			r.sayOutOfTurn(p)
			continue
		}
		r.tellFocusAfter(p.key, p)
	}
}

// advance lets in who waits, and tells the focus who left, in order and as fast
// as the limits allow. Limits change: it looks at them again every second.
func (r *conference) advance() {
	for r.connected && r.ended == "" && !r.hasParted() {
		w := r.queue.head()
		if w == nil {
			return
		}
		limit, bucket := r.node.Limits.Joins, &r.joins
		if w.notice != nil {
			limit, bucket = r.node.Limits.Leaves, &r.leaves
		}
		if !bucket.Take(limit, r.now) {
			if !r.armed[alarmQueue] {
				r.arm(alarmQueue, min(bucket.Wait(limit, r.now), time.Second))
			}
			return
		}
		r.queue.pop()
		if w.notice != nil {
			r.tellFocusAfter(w.nick, w.notice)
			continue
		}
		r.metrics.queued.Dec()
		r.admitWaiting(w)
	}
}
