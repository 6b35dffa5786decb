package s2s

import "time"

// item is one stanza waiting to be written. It is not changed any more.
type item struct {
	stanza   []byte
	deadline time.Time
}

// sent is a stanza the connection took.
type sent struct {
	item
	from *pair
}

// Size implements acks.Stanza.
func (s sent) Size() int { return len(s.stanza) }

// queue holds what a pair has to send, oldest first. Deadlines are in order
// because every stanza may wait equally long.
type queue struct {
	items []item // items[head:] wait
	head  int
	bytes int
}

func (q *queue) len() int { return len(q.items) - q.head }

func (q *queue) push(it item) {
	if q.head > 0 && len(q.items) == cap(q.items) {
		q.compact()
	}
	q.items = append(q.items, it)
	q.bytes += len(it.stanza)
}

// pushFront puts back what was popped but not sent.
func (q *queue) pushFront(its []item) {
	if len(its) == 0 {
		return
	}
	q.items = append(its[:len(its):len(its)], q.items[q.head:]...)
	q.head = 0
	for _, it := range its {
		q.bytes += len(it.stanza)
	}
}

func (q *queue) front() item { return q.items[q.head] }

func (q *queue) pop() item {
	it := q.items[q.head]
	q.items[q.head] = item{}
	q.head++
	q.bytes -= len(it.stanza)
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
		if cap(q.items) > keepItems {
			q.items = nil
		}
	}
	return it
}

// keepItems is the largest array an empty queue keeps.
const keepItems = 256

// popUntil removes what may wait no longer than now.
func (q *queue) popUntil(now time.Time) (expired []item) {
	for q.len() > 0 && !q.front().deadline.After(now) {
		expired = append(expired, q.pop())
	}
	return expired
}

func (q *queue) compact() {
	n := copy(q.items, q.items[q.head:])
	clear(q.items[n:])
	q.items, q.head = q.items[:n], 0
}
