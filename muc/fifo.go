package muc

// fifo is a queue. The zero value is an empty one.
type fifo[T any] struct {
	items []T // items[head:] wait
	head  int
}

func (q *fifo[T]) len() int { return len(q.items) - q.head }

func (q *fifo[T]) push(v T) { q.items = append(q.items, v) }

// pop takes the oldest out; there must be one. What was popped costs no more
// memory than what waits.
func (q *fifo[T]) pop() T {
	var none T
	v := q.items[q.head]
	q.items[q.head] = none
	q.head++
	if q.head == len(q.items) {
		*q = fifo[T]{}
	} else if q.head > 64 && q.head > len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	return v
}

// waiting returns what waits, oldest first.
func (q *fifo[T]) waiting() []T { return q.items[q.head:] }
