package room

// authors remembers who said what, for longer than the history: a line is taken
// back or corrected only by its author. It is bounded, and forgets the oldest.
type authors struct {
	by    map[string]author // message id → author
	order []string          // ids, a ring once it is full
	next  int
}

// author is who said a line: the nick, and the occupant-id of a local occupant.
// The zero author is of a line that two have said under the same id: nobody is it.
type author struct{ nick, id string }

// maxAuthors bounds the lines remembered: the chat of some hours, 300 KB.
const maxAuthors = 4096

// say remembers who said the line with that id.
func (a *authors) say(id string, by author) {
	if id == "" {
		return
	}
	if was, ok := a.by[id]; ok {
		if was != by {
			a.by[id] = author{}
		}
		return
	}
	if a.by == nil {
		a.by = make(map[string]author)
	}
	if len(a.order) < maxAuthors {
		a.order = append(a.order, id)
	} else {
		delete(a.by, a.order[a.next])
		a.order[a.next] = id
		a.next = (a.next + 1) % maxAuthors
	}
	a.by[id] = by
}

// said reports whether that author, and nobody else, said the line with that id.
func (a *authors) said(id string, by author) bool {
	was, ok := a.by[id]
	return ok && was == by && by != author{}
}
