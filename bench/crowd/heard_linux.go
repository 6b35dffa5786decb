package crowd

import (
	"bytes"

	"vnode/internal/xmpptest/conference"
)

// heard is what the visitors of one loop have got lately. A room says the same
// to all its visitors in the same order, but for the address: what one of them
// has had parsed, the others need only compare, byte for byte. That is
// half of what parsing costs, and proves more: that nobody got anything else.
type heard struct {
	lines [heardLines]line // a ring; number n is in n % heardLines
	next  uint32           // the number that comes next
	index [heardIndex]uint32
}

// line is one stanza.
type line struct {
	stamp conference.Stamp
	text  []byte // as one visitor got it
	// text[to:rest] is that visitor's address, empty if it is not there.
	to, rest int
}

const (
	heardLines = 1 << 12 // some seconds at the ceiling
	heardIndex = 4 * heardLines
	heardText  = 8 << 10 // longer stanzas are parsed for everybody
)

func (h *heard) line(n uint32) *line { return &h.lines[n%heardLines] }

// run takes stanzas from the head of b as long as each is a text frame with
// what the visitor is expected to get next, and returns how many bytes those
// were. It counts as element does.
func (h *heard) run(v *client, b []byte, now int64) int {
	pos, n := 0, uint32(0)
	for {
		elem, size := textFrame(b[pos:])
		// A visitor that has heard no line yet, or lags more than a ring, finds
		// another number's stanza here, and is compared with that all the same.
		l := h.line(v.heard)
		if size == 0 || !l.is(elem, v.jid) {
			break
		}
		pos += size
		n++
		v.heard++
		v.stamped(&l.stamp, elem, now)
	}
	if v.acks {
		v.handled += n
	}
	v.loop.tally.stanzas += uint64(n)
	return pos
}

// textFrame returns the payload of the frame at the head of b and the frame's
// length, 0 unless it is complete, a whole message and of 126 to 65535 bytes,
// as stanzas are.
func textFrame(b []byte) (payload []byte, size int) {
	if len(b) < 4 || b[0] != 0x80|opText || b[1] != 126 {
		return nil, 0
	}
	size = int(b[2])<<8 + int(b[3])
	if size < 126 || size > len(b)-4 {
		return nil, 0
	}
	return b[4 : 4+size], 4 + size
}

// is reports whether b is the stanza as a visitor with that address gets it.
func (l *line) is(b []byte, address string) bool {
	if l.to == l.rest {
		address = ""
	}
	end := l.to + len(address)
	tail := l.text[l.rest:]
	return len(b) == end+len(tail) && string(b[l.to:end]) == address &&
		bytes.Equal(b[end:], tail) && bytes.Equal(b[:l.to], l.text[:l.to])
}

// parsed takes a stanza that had to be parsed, and remembers it for the others.
// It reports false when somebody else has got that stanza, by its source and
// number, with any other difference than the address.
func (h *heard) parsed(v *client, st *conference.Stamp, b []byte) bool {
	if len(b) > heardText {
		return true
	}
	known := &h.index[heardHash(st)]
	if l := h.line(*known); l.stamp.Source == st.Source && l.stamp.Kind == st.Kind && l.stamp.Seq == st.Seq {
		v.heard = *known + 1
		return l.is(b, v.jid)
	}
	l := h.line(h.next)
	l.stamp, l.text = *st, append(l.text[:0], b...)
	l.to, l.rest = addressIn(b, v.jid)
	*known = h.next
	h.next++
	v.heard = h.next
	return true
}

func heardHash(st *conference.Stamp) uint32 {
	return (uint32(viewOf(st.Source, st.Kind))*0x9E3779B1 + uint32(st.Seq)) % heardIndex
}

// addressIn returns where in the first tag of a stanza the address is the value
// of the attribute to.
func addressIn(b []byte, address string) (from, to int) {
	tag := b[:bytes.IndexByte(b, '>')+1]
	if i := bytes.Index(tag, []byte(address)); address != "" && i > 4 && string(tag[i-4:i-1]) == "to=" {
		return i, i + len(address)
	}
	return 0, 0
}
