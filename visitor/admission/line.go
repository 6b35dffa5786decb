package admission

import (
	"container/list"
	"net/netip"
)

// line is who waits. Turns go round among the addresses, and within one to who
// came first: however many come from one address, another's first waits for one
// of each. Who has no address is counted as one that nobody else has. The zero
// value is an empty line.
type line struct {
	rows   map[netip.Addr]*row // of valid addresses
	order  list.List           // of *row, the next first; none is empty
	n      int
	deeper []int // how many rows have more than so many turns
}

// row is the turns of one address.
type row struct {
	addr  netip.Addr
	turns list.List     // of *turn, the oldest first
	place *list.Element // in the order
}

// turn is the place of one who waits.
type turn struct {
	come  chan struct{} // closed when it has come
	line  *line
	row   *row
	place *list.Element // in the row
}

func (l *line) len() int { return l.n }

// ahead is how many turns come before that of somebody who joins the line now,
// when nobody does later; counted up to about most.
func (l *line) ahead(addr netip.Addr, most int) (n int) {
	own := 0
	if r := l.rows[addr]; r != nil {
		own = r.turns.Len()
	}
	for _, rows := range l.deeper[:min(own+1, len(l.deeper))] {
		if n += rows; n > most {
			break
		}
	}
	return n
}

func (l *line) push(addr netip.Addr) *turn {
	r := l.rows[addr]
	if r == nil {
		r = &row{addr: addr}
		r.place = l.order.PushBack(r)
		if addr.IsValid() {
			if l.rows == nil {
				l.rows = make(map[netip.Addr]*row)
			}
			l.rows[addr] = r
		}
	}
	t := &turn{come: make(chan struct{}), line: l, row: r}
	t.place = r.turns.PushBack(t)
	l.n++
	if depth := r.turns.Len(); depth > len(l.deeper) {
		l.deeper = append(l.deeper, 1)
	} else {
		l.deeper[depth-1]++
	}
	return t
}

// pop takes out the next one, whose turn it is. The line is not empty.
func (l *line) pop() {
	r := l.order.Front().Value.(*row)
	t := r.turns.Front().Value.(*turn)
	l.order.MoveToBack(r.place)
	t.remove()
	close(t.come)
}

// remove takes one out of its line.
func (t *turn) remove() {
	l, r := t.line, t.row
	depth := r.turns.Len()
	r.turns.Remove(t.place)
	l.n--
	if l.deeper[depth-1]--; l.deeper[depth-1] == 0 {
		l.deeper = l.deeper[:depth-1] // nor is any row deeper
	}
	if depth == 1 {
		l.order.Remove(r.place)
		delete(l.rows, r.addr)
	}
}
