package muc

// queue holds, in order of arrival, the visitors that wait for main's connect.
type queue struct {
	order []*waiting
	index map[Session]*waiting
}

// waiting is one of them with its latest join; session is nil once it went.
type waiting struct {
	session Session
	nick    string
	stanza  []byte
}

func (q *queue) len() int { return len(q.index) }

// put queues a join, in place of an earlier one of the same session.
func (q *queue) put(s Session, nick string, stanza []byte) {
	if w := q.index[s]; w != nil {
		w.nick, w.stanza = nick, stanza
		return
	}
	w := &waiting{session: s, nick: nick, stanza: stanza}
	q.index[s] = w
	q.order = append(q.order, w)
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
		if w.session != nil {
			kept = append(kept, w)
		}
	}
	q.order = kept
}

// take empties the queue.
func (q *queue) take() []*waiting {
	q.compact()
	all := q.order
	q.order = nil
	clear(q.index)
	return all
}
