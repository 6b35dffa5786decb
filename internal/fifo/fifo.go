// Package fifo is a queue whose memory follows what waits in it.
package fifo

// Queue hands out values in the order in which they came. The zero value is an
// empty queue. It is not safe for concurrent use.
type Queue[T any] struct {
	items []T // items[head:] wait
	head  int
}

// Len returns how many values wait.
func (q *Queue[T]) Len() int { return len(q.items) - q.head }

// Push adds a value behind all others.
func (q *Queue[T]) Push(v T) { q.items = append(q.items, v) }

// Pop takes the oldest value out; there must be one.
func (q *Queue[T]) Pop() T {
	var none T
	v := q.items[q.head]
	q.items[q.head] = none
	q.head++
	if q.head == len(q.items) {
		*q = Queue[T]{}
	} else if q.head > 64 && q.head > len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	return v
}

// Waiting returns the values that wait, oldest first. The slice is the queue's,
// and good until the next Push or Pop.
func (q *Queue[T]) Waiting() []T { return q.items[q.head:] }
