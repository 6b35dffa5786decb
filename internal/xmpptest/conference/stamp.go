package conference

import (
	"bytes"
	"strconv"
)

// Kind says which of a source's two sequences a stamp counts in.
type Kind byte

// The kinds of stamped stanzas.
const (
	Presence Kind = 'p'
	Chat     Kind = 'c'
)

// Stamp marks one published stanza. It travels as text, inside a child element
// of a presence and in the body of a message: servers re-order attributes and
// re-quote them, but character data comes out as it went in.
type Stamp struct {
	Source int    // the source's number in the [Ledger]
	Kind   Kind   // which sequence Seq counts in
	Seq    uint64 // from 1, one sequence per source and kind
	Order  uint64 // from 1, one sequence per source over both kinds
	At     int64  // time of publication, see [Now]
}

const stampMark = "vnode-bench:"

// stampSpace is the namespace of the element that carries a presence's stamp.
const stampSpace = "urn:vnode:bench"

// String returns the stamp's text.
func (s Stamp) String() string { return string(s.append(nil)) }

func (s Stamp) append(b []byte) []byte {
	b = append(b, stampMark...)
	b = strconv.AppendInt(b, int64(s.Source), 10)
	b = append(b, ':', byte(s.Kind), ':')
	b = strconv.AppendUint(b, s.Seq, 10)
	b = append(b, ':')
	b = strconv.AppendUint(b, s.Order, 10)
	b = append(b, ':')
	b = strconv.AppendInt(b, s.At, 10)
	return append(b, ';')
}

// ParseStamp finds the first stamp anywhere in b, usually a whole stanza. It
// does not allocate.
func ParseStamp(b []byte) (Stamp, bool) {
	i := bytes.Index(b, []byte(stampMark))
	if i < 0 {
		return Stamp{}, false
	}
	p := stampParser{rest: b[i+len(stampMark):]}
	s := Stamp{Source: int(p.number(':', 1<<31-1))}
	s.Kind = p.kind()
	s.Seq = p.number(':', 1<<63-1)
	s.Order = p.number(':', 1<<63-1)
	s.At = int64(p.number(';', 1<<63-1))
	if p.bad || s.Seq == 0 || s.Order == 0 {
		return Stamp{}, false
	}
	return s, true
}

type stampParser struct {
	rest []byte
	bad  bool
}

func (p *stampParser) number(end byte, limit uint64) uint64 {
	var n uint64
	for i, c := range p.rest {
		switch {
		case c == end && i > 0:
			p.rest = p.rest[i+1:]
			return n
		case c < '0' || c > '9' || n > (limit-uint64(c-'0'))/10:
			p.bad = true
			return 0
		}
		n = n*10 + uint64(c-'0')
	}
	p.bad = true
	return 0
}

func (p *stampParser) kind() Kind {
	if len(p.rest) < 2 || p.rest[1] != ':' || Kind(p.rest[0]) != Presence && Kind(p.rest[0]) != Chat {
		p.bad = true
		return 0
	}
	k := Kind(p.rest[0])
	p.rest = p.rest[2:]
	return k
}
