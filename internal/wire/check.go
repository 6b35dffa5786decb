package wire

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"sync"
	"unicode/utf8"
)

// Check verifies completely that b is exactly one element, with nothing but
// white space behind it: well-formed (XML 1.0), namespace-well-formed
// (Namespaces in XML 1.0 §7), within RFC 6120 §11.1's restrictions and under
// lim. Prefixes declared outside b do not count: b must be able to stand in a
// WebSocket frame of its own.
//
// It exists because encoding/xml accepts what browsers refuse (an attribute
// given twice, an undeclared prefix): forwarded to a room, such a stanza would
// end the session of every visitor at once.
//
// The error is a [StreamError]. Check does not allocate for usual stanzas.
func Check(b []byte, lim Limits) error {
	lim = lim.withDefaults()
	if len(b) > lim.MaxBytes {
		return errTooLarge
	}
	c := checkers.Get().(*checker)
	c.b, c.i, c.lim = b, 0, lim
	err := c.document()
	c.release()
	return err
}

// checkers keeps the three stacks of a check, about 1.5 KB, for the next one.
var checkers = sync.Pool{New: func() any { return new(checker) }}

// release forgets the checked bytes and gives c back.
func (c *checker) release() {
	clear(c.open[:cap(c.open)])
	clear(c.scope[:cap(c.scope)])
	clear(c.attrs[:cap(c.attrs)])
	*c = checker{open: c.open[:0], scope: c.scope[:0], attrs: c.attrs[:0]}
	checkers.Put(c)
}

type checker struct {
	b   []byte
	i   int
	lim Limits

	open  [][]byte  // names of the open elements
	scope []binding // prefixes they declared
	attrs []attr    // of the tag under way
}

type binding struct {
	prefix, uri []byte
	depth       int // of the element that declared it
}

type attr struct{ name, value []byte }

func (c *checker) document() error {
	if len(c.b) == 0 || c.b[0] != '<' {
		return errNotWellFormed
	}
	for {
		if err := c.markup(); err != nil {
			return err
		}
		if len(c.open) == 0 {
			break
		}
		if err := c.text(); err != nil {
			return err
		}
	}
	if len(trimSpace(c.b[c.i:])) > 0 {
		return errNotWellFormed
	}
	return nil
}

// markup consumes what starts with '<'.
func (c *checker) markup() error {
	c.i++
	if c.i >= len(c.b) {
		return errNotWellFormed
	}
	switch c.b[c.i] {
	case '/':
		c.i++
		return c.endTag()
	case '!':
		return c.cdata()
	case '?':
		return errRestricted
	}
	return c.startTag()
}

// text consumes character data up to the next '<'.
func (c *checker) text() error {
	n := indexByte(c.b[c.i:], '<')
	if n < 0 {
		return errNotWellFormed
	}
	data := c.b[c.i : c.i+n]
	c.i += n
	if bytes.Contains(data, []byte("]]>")) { // XML 1.0 §2.4
		return errNotWellFormed
	}
	return checkData(data, true)
}

func (c *checker) cdata() error {
	rest, ok := bytes.CutPrefix(c.b[c.i:], []byte(cdataStart))
	if !ok || len(c.open) == 0 {
		return errRestricted
	}
	n := bytes.Index(rest, []byte("]]>"))
	if n < 0 {
		return errNotWellFormed
	}
	c.i += len(cdataStart) + n + 3
	return checkData(rest[:n], false)
}

// checkData verifies that every character is allowed and, where references
// are recognised, that each is one XML defines without a DTD.
func checkData(data []byte, references bool) error {
	for i := plain(data); i < len(data); i += plain(data[i:]) {
		switch b := data[i]; {
		case b == '&' && references:
			_, n := reference(data[i:])
			if n == 0 {
				return errNotWellFormed
			}
			i += n
		case b < 0x20:
			if !isSpace(b) {
				return errNotWellFormed
			}
			i++
		case b < utf8.RuneSelf:
			i++
		default:
			r, n := utf8.DecodeRune(data[i:])
			if r == utf8.RuneError && n == 1 || !isChar(r) {
				return errNotWellFormed
			}
			i += n
		}
	}
	return nil
}

// plain returns how many bytes at the beginning of data are printable ASCII and
// no '&'. It looks at eight at a time: byte by byte, a third of what an IQ of 20 KB
// cost the node went by here. It may stop short of the end.
func plain(data []byte) (n int) {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	for ; len(data)-n >= 8; n += 8 {
		w := binary.LittleEndian.Uint64(data[n:])
		amp := w ^ ones*'&'
		// The highest bit of each byte that is beyond ASCII, below 0x20 or 0 in
		// amp. A borrow can only add bytes behind the first that is found.
		if odd := (w | (w-ones*0x20)&^w | (amp-ones)&^amp) & high; odd != 0 {
			return n + bits.TrailingZeros64(odd)/8
		}
	}
	return n
}

func (c *checker) startTag() error {
	name, err := c.name()
	if err != nil {
		return err
	}
	if len(c.open) >= c.lim.MaxDepth {
		return errTooDeep
	}
	c.open = append(c.open, name)
	empty, err := c.attributes()
	if err != nil {
		return err
	}
	if err := c.namespaces(name); err != nil {
		return err
	}
	if empty {
		c.pop()
	}
	return nil
}

// attributes consumes the rest of a start tag.
func (c *checker) attributes() (empty bool, err error) {
	c.attrs = c.attrs[:0]
	for {
		spaced := c.space()
		if c.i >= len(c.b) {
			return false, errNotWellFormed
		}
		switch c.b[c.i] {
		case '>':
			c.i++
			return false, nil
		case '/':
			if c.i+1 >= len(c.b) || c.b[c.i+1] != '>' {
				return false, errNotWellFormed
			}
			c.i += 2
			return true, nil
		}
		if !spaced {
			return false, errNotWellFormed
		}
		if err := c.attribute(); err != nil {
			return false, err
		}
	}
}

func (c *checker) attribute() error {
	if len(c.attrs) >= c.lim.MaxAttrs {
		return errTooManyAttrs
	}
	name, err := c.name()
	if err != nil {
		return err
	}
	c.space()
	if c.i >= len(c.b) || c.b[c.i] != '=' {
		return errNotWellFormed
	}
	c.i++
	c.space()
	if c.i >= len(c.b) || c.b[c.i] != '\'' && c.b[c.i] != '"' {
		return errNotWellFormed
	}
	n := indexByte(c.b[c.i+1:], c.b[c.i])
	if n < 0 {
		return errNotWellFormed
	}
	value := c.b[c.i+1 : c.i+1+n]
	c.i += n + 2
	if indexByte(value, '<') >= 0 {
		return errNotWellFormed
	}
	if err := checkData(value, true); err != nil {
		return err
	}
	for _, a := range c.attrs {
		if bytes.Equal(a.name, name) { // XML 1.0 §3.1: unique
			return errNotWellFormed
		}
	}
	c.attrs = append(c.attrs, attr{name, value})
	return nil
}

func (c *checker) endTag() error {
	name, err := c.name()
	if err != nil {
		return err
	}
	c.space()
	if c.i >= len(c.b) || c.b[c.i] != '>' {
		return errNotWellFormed
	}
	c.i++
	if len(c.open) == 0 || !bytes.Equal(c.open[len(c.open)-1], name) {
		return errNotWellFormed
	}
	c.pop()
	return nil
}

// pop closes the innermost element and forgets the prefixes it declared.
func (c *checker) pop() {
	depth := len(c.open)
	c.open = c.open[:depth-1]
	for n := len(c.scope); n > 0 && c.scope[n-1].depth == depth; n-- {
		c.scope = c.scope[:n-1]
	}
}

func (c *checker) space() bool {
	start := c.i
	for c.i < len(c.b) && isSpace(c.b[c.i]) {
		c.i++
	}
	return c.i > start
}

// name consumes a QName: at most one colon, a part on either side of it.
func (c *checker) name() ([]byte, error) {
	start, colon := c.i, -1
	for c.i < len(c.b) {
		b := c.b[c.i]
		switch {
		case b == ':':
			if colon >= 0 || c.i == start {
				return nil, errNotWellFormed
			}
			colon = c.i
			c.i++
		case b < utf8.RuneSelf:
			if !isASCIINameByte(b, c.i == start || c.i == colon+1) {
				return c.endName(start, colon)
			}
			c.i++
		default:
			r, n := utf8.DecodeRune(c.b[c.i:])
			if r == utf8.RuneError && n == 1 || !isNameRune(r, c.i == start || c.i == colon+1) {
				return nil, errNotWellFormed
			}
			c.i += n
		}
	}
	return c.endName(start, colon)
}

func (c *checker) endName(start, colon int) ([]byte, error) {
	if c.i == start || colon == c.i-1 && colon >= 0 {
		return nil, errNotWellFormed
	}
	return c.b[start:c.i], nil
}

func isASCIINameByte(b byte, first bool) bool {
	if b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b == '_' {
		return true
	}
	return !first && (b >= '0' && b <= '9' || b == '-' || b == '.')
}

// isNameRune is the part of NameStartChar and NameChar beyond ASCII, XML 1.0
// (fifth edition) §2.3.
func isNameRune(r rune, first bool) bool {
	in := func(lo, hi rune) bool { return r >= lo && r <= hi }
	if in(0xC0, 0xD6) || in(0xD8, 0xF6) || in(0xF8, 0x2FF) || in(0x370, 0x37D) || in(0x37F, 0x1FFF) ||
		in(0x200C, 0x200D) || in(0x2070, 0x218F) || in(0x2C00, 0x2FEF) || in(0x3001, 0xD7FF) ||
		in(0xF900, 0xFDCF) || in(0xFDF0, 0xFFFD) || in(0x10000, 0xEFFFF) {
		return true
	}
	return !first && (r == 0xB7 || in(0x300, 0x36F) || in(0x203F, 0x2040))
}
