package room

import (
	"encoding/binary"
)

// kept is a visitor's latest presence as a room remembers it: for a focus that
// comes back or wants to know who is here, which is rare. Visitors with the same
// client say the same but for their names, so that is kept once.
type kept struct {
	shape *shape // nil before the first presence
	// own is, each behind its length: the stanza's id, the display name, the
	// children that the shape leaves open.
	own string
}

// shape is what the presences of several visitors have in common. It is never
// changed.
type shape struct {
	lang  string
	attrs string
	parts []string // children; "" for one that is each visitor's own
}

// name returns the display name, "" if there is none.
func (k *kept) name() string {
	if k.shape == nil {
		return ""
	}
	_, rest := cutField(k.own)
	name, _ := cutField(rest)
	return name
}

// size is about how long a presence with it is.
func (k *kept) size() int {
	n := 300 + len(k.own) // what the room says of whom
	if k.shape != nil {
		n += len(k.shape.attrs)
		for _, part := range k.shape.parts {
			n += len(part)
		}
	}
	return n
}

// payload makes the presence again.
func (k *kept) payload() payload {
	id, rest := cutField(k.own)
	_, rest = cutField(rest)
	p := payload{id: id, lang: k.shape.lang, attrs: []byte(k.shape.attrs)}
	for _, part := range k.shape.parts {
		if part == "" {
			part, rest = cutField(rest)
		}
		p.children = append(p.children, part...)
	}
	return p
}

// cutField takes the first field off s.
func cutField(s string) (field, rest string) {
	n, length := binary.Uvarint([]byte(s[:min(len(s), binary.MaxVarintLen32)]))
	return s[length : length+int(n)], s[length+int(n):]
}

func appendField[T string | []byte](dst []byte, field T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(field))), field...)
}

// shapes finds what visitors' presences have in common. It learns that from
// those that come: two in a row whose children are partly the same make a shape.
type shapes struct {
	known  [8]*shape // the latest ones; clients differ by browser and release
	next   int       // in known, to be replaced
	latest *shape    // the latest presence that fitted none; nothing is left open
	open   []byte    // memory for kept.own
	parts  [][]byte  // memory for the children of a presence
}

// shapeWorth is how many bytes presences must have in common to be kept by
// their shape: with less the shape costs more than it saves.
const shapeWorth = 64

// keep returns p, whose children are parts, and the display name in it as they
// are kept.
func (t *shapes) keep(p *payload, parts [][]byte, name string) kept {
	s := t.shapeOf(p, parts)
	own := appendField(appendField(t.open[:0], p.id), name)
	for i, part := range s.parts {
		if part == "" {
			own = appendField(own, parts[i])
		}
	}
	t.open = own[:0]
	if cap(own) > wholeStanza {
		t.open = nil
	}
	return kept{s, string(own)}
}

// wholeStanza is room for an ordinary presence.
const wholeStanza = 4 << 10

// shapeOf returns a shape that fits.
func (t *shapes) shapeOf(p *payload, parts [][]byte) *shape {
	for _, s := range t.known {
		if s != nil && s.fits(p, parts) {
			return s
		}
	}
	s := t.common(p, parts)
	t.latest = &shape{lang: p.lang, attrs: string(p.attrs), parts: make([]string, len(parts))}
	for i, part := range parts {
		t.latest.parts[i] = string(part)
	}
	if s == nil {
		return &shape{lang: p.lang, attrs: string(p.attrs), parts: make([]string, len(parts))}
	}
	t.known[t.next] = s
	t.next = (t.next + 1) % len(t.known)
	return s
}

// like reports whether a shape is of presences with these attributes, and as
// many children.
func (s *shape) like(p *payload, parts [][]byte) bool {
	return s.lang == p.lang && s.attrs == string(p.attrs) && len(s.parts) == len(parts)
}

func (s *shape) fits(p *payload, parts [][]byte) bool {
	if !s.like(p, parts) {
		return false
	}
	for i, part := range s.parts {
		if part != "" && part != string(parts[i]) {
			return false
		}
	}
	return true
}

// common returns the shape of the latest presence and p, nil if it is not worth
// it.
func (t *shapes) common(p *payload, parts [][]byte) *shape {
	if t.latest == nil || !t.latest.like(p, parts) {
		return nil
	}
	s := &shape{lang: t.latest.lang, attrs: t.latest.attrs, parts: make([]string, len(parts))}
	gain := 0
	for i, part := range t.latest.parts {
		if part == string(parts[i]) {
			s.parts[i] = part
			gain += len(part)
		}
	}
	if gain < shapeWorth {
		return nil
	}
	return s
}
