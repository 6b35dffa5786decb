// Package history keeps what was said in a room for those who come later, with
// what was done to it since: corrections (XEP-0308), retractions (XEP-0424),
// moderation (XEP-0425) and reactions (XEP-0444) are applied to the line they
// are about. How a line looks on the wire is not its business: it keeps
// encoded stanzas as they are handed in.
package history

import (
	"slices"
	"time"
)

// Line is something that was said. P is its encoded form.
type Line[P any] struct {
	Packet P
	Size   int // in bytes, of Packet
	// Speaker is the nick of who said it; "" for a visitor of another node,
	// of whom main says no more than that.
	Speaker string
	// Author tells people apart who bear the same nick one after the other;
	// "" where that is main's to know.
	Author string
	ID     string // the stanza's
	Time   time.Time
	// Moderated lines are tombstones: nothing but their place is left.
	Moderated bool

	edit      string    // id of the latest correction
	reactions []Line[P] // the latest of each speaker, oldest first
}

func (l *Line[P]) total() int {
	n := l.Size
	for i := range l.reactions {
		n += l.reactions[i].Size
	}
	return n
}

// Log is what was said, oldest first, bounded in number and bytes. Main's part
// comes on another stream than its presences and connect (and may come twice),
// so that lines are ordered by their time and told apart by speaker and id.
// It is not safe for concurrent use.
type Log[P any] struct {
	// Static after construction.
	maxLines, maxBytes int

	lines []Line[P]
	bytes int
}

// maxReactions bounds the reactions kept with one line.
const maxReactions = 64

// New returns an empty log of at most maxLines lines, of maxBytes together with
// their reactions. maxLines below 1 keeps nothing.
func New[P any](maxLines, maxBytes int) *Log[P] {
	return &Log[P]{maxLines: maxLines, maxBytes: maxBytes}
}

// Len is the number of lines.
func (h *Log[P]) Len() int { return len(h.lines) }

// Add keeps l and reports whether it did: not when it is here already, or when
// newer ones leave it no room.
func (h *Log[P]) Add(l Line[P]) bool {
	if l.Size > h.maxBytes || h.maxLines <= 0 || h.has(&l) {
		return false
	}
	at := len(h.lines)
	for at > 0 && h.lines[at-1].Time.After(l.Time) {
		at--
	}
	h.lines = slices.Insert(h.lines, at, l)
	h.bytes += l.Size
	return at >= h.trim()
}

// trim drops the oldest lines that are too many and returns how many.
func (h *Log[P]) trim() int {
	n := 0
	for len(h.lines)-n > h.maxLines || h.bytes > h.maxBytes {
		h.bytes -= h.lines[n].total()
		n++
	}
	h.lines = slices.Delete(h.lines, 0, n)
	return n
}

// has reports whether l is here already. Main's history calls every visitor by
// the room's name, those of this node too.
func (h *Log[P]) has(l *Line[P]) bool {
	return l.ID != "" && slices.ContainsFunc(h.lines, func(x Line[P]) bool {
		return x.ID == l.ID && (x.Speaker == l.Speaker || x.Speaker == "" || l.Speaker == "")
	})
}

// Find returns the newest line that satisfies which (nil: any) and has that id,
// its own or that of its latest correction; nil when there is none. Ids are the
// clients': two lines may have the same. The line is the log's, for reading,
// until the next call of one of its methods.
func (h *Log[P]) Find(id string, which func(*Line[P]) bool) *Line[P] {
	if id == "" {
		return nil
	}
	for i := len(h.lines) - 1; i >= 0; i-- {
		if l := &h.lines[i]; (l.ID == id || l.edit == id) && (which == nil || which(l)) {
			return l
		}
	}
	return nil
}

// Correct puts p, of that size, in the place of the line, which keeps its id,
// time and reactions. edit is the correction's own id. A tombstone stays what
// it is.
func (h *Log[P]) Correct(l *Line[P], p P, size int, edit string) {
	if l.Moderated {
		return
	}
	l.edit = edit
	h.replace(l, p, size)
}

// Moderate makes the line a tombstone, encoded as p, without reactions.
func (h *Log[P]) Moderate(l *Line[P], p P, size int) {
	h.bytes -= l.total() - l.Size
	l.Moderated, l.reactions = true, nil
	h.replace(l, p, size)
}

func (h *Log[P]) replace(l *Line[P], p P, size int) {
	h.bytes += size - l.Size
	l.Packet, l.Size = p, size
	h.trim()
}

// Retract removes the line with its reactions.
func (h *Log[P]) Retract(l *Line[P]) {
	i := slices.IndexFunc(h.lines, func(x Line[P]) bool { return x.ID == l.ID && x.Speaker == l.Speaker && x.Time.Equal(l.Time) })
	if i < 0 {
		return
	}
	h.bytes -= h.lines[i].total()
	h.lines = slices.Delete(h.lines, i, i+1)
}

// React keeps what r.Speaker feels about the line, in place of what it felt
// before. Of the visitors of other nodes, whom nothing tells apart, each
// reaction stands for itself. A line keeps the newest 64.
func (h *Log[P]) React(l *Line[P], r Line[P]) {
	if l.Moderated {
		return
	}
	drop := func(i int) {
		h.bytes -= l.reactions[i].Size
		l.reactions = slices.Delete(l.reactions, i, i+1)
	}
	if i := slices.IndexFunc(l.reactions, func(x Line[P]) bool {
		return r.Speaker != "" && x.Speaker == r.Speaker || r.ID != "" && x.ID == r.ID && (x.Speaker == "" || r.Speaker == "")
	}); i >= 0 {
		drop(i)
	}
	if len(l.reactions) >= maxReactions {
		drop(0)
	}
	l.reactions = append(l.reactions, r)
	h.bytes += r.Size
	h.trim()
}

// Request is what somebody who joins asks for, XEP-0045 §7.2.13.
type Request struct {
	Stanzas, Chars int // at most; -1 for any number
	Since          time.Time
	Seconds        int // -1 for any time
}

// All asks for everything.
var All = Request{Stanzas: -1, Chars: -1, Seconds: -1}

// Since returns the newest stanzas that satisfy q, oldest first, each line's
// reactions behind it.
func (h *Log[P]) Since(q Request, now time.Time) []P {
	first, stanzas, chars := len(h.lines), 0, 0
	for first > 0 {
		l := &h.lines[first-1]
		chars += l.total()
		stanzas += 1 + len(l.reactions)
		if q.Stanzas >= 0 && stanzas > q.Stanzas ||
			q.Chars >= 0 && chars > q.Chars ||
			q.Seconds >= 0 && int(now.Sub(l.Time)/time.Second) > q.Seconds ||
			l.Time.Before(q.Since) {
			break
		}
		first--
	}
	ps := make([]P, 0, len(h.lines)-first)
	for i := range h.lines[first:] {
		l := &h.lines[first+i]
		ps = append(ps, l.Packet)
		for j := range l.reactions {
			ps = append(ps, l.reactions[j].Packet)
		}
	}
	return ps
}
