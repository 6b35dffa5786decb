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
// (Namespaces in XML 1.0 §7), within RFC 6120 §11.1's restrictions, and in the
// profile: what every parser that it may be shown to can read, see [Violation].
// Prefixes declared outside b do not count: b must be able to stand in a
// WebSocket frame of its own.
//
// It exists because parsers differ: encoding/xml accepts what browsers refuse,
// browsers what Prosody refuses. Forwarded to a room, one such stanza would end
// the session of everybody at once.
//
// The error is a [StreamError] for bytes that end a stream, and a [Violation]
// for a well-formed stanza outside the profile: that one is dropped, and the
// stream goes on. Check does not allocate for usual stanzas.
func Check(b []byte, lim Limits) error {
	v, err := Judge(b, lim)
	if err == nil && v != 0 {
		return v
	}
	return err
}

// Judge is [Check] for who tells the two kinds of errors apart.
func Judge(b []byte, lim Limits) (Violation, error) {
	v, _, err := judge(b, lim)
	return v, err
}

// judge also tells whether an element in b has a prefix.
func judge(b []byte, lim Limits) (v Violation, prefixed bool, err error) {
	lim = lim.withDefaults()
	if len(b) > lim.MaxBytes {
		return 0, false, errTooLarge
	}
	c := newChecker(b, lim)
	err = c.document()
	v, prefixed = c.outside, c.prefixed
	c.release()
	switch {
	case err != nil:
		return 0, false, err
	case v == UndeclaredPrefix:
		return 0, false, errPrefix
	case v == SameAttribute:
		return 0, false, errNotWellFormed
	}
	return v, prefixed, nil
}

// CheckWellFormed is [Check] without the profile, for what holds stanzas and is
// none itself: its elements are checked one by one. Its error is a
// [StreamError].
func CheckWellFormed(b []byte, lim Limits) error {
	_, err := Judge(b, lim)
	return err
}

// first is what checkFirst finds.
type first struct {
	n        int       // bytes of the element
	outside  Violation // the rule of the profile that it breaks, or 0
	prefixed bool      // an element in it has a prefix
}

// checkFirst verifies the element at the beginning of b. Its error may mean only
// that the rest has not arrived.
func checkFirst(b []byte, lim Limits) (first, error) {
	c := newChecker(b, lim)
	err := c.element()
	f := first{c.i, c.outside, c.prefixed}
	c.release()
	return f, err
}

// checkers keeps the three stacks of a check, about 2 KB, for the next one.
var checkers = sync.Pool{New: func() any { return new(checker) }}

func newChecker(b []byte, lim Limits) *checker {
	c := checkers.Get().(*checker)
	c.b, c.lim = b, lim
	c.large = len(b) > lim.MaxRewritten/6 // the longest escape, &apos;, has six bytes
	return c
}

// keptStack is how long a stack is kept for the next check: attackers nest
// deeper than anybody else.
const keptStack = 4 * DefaultMaxDepth

// release forgets the checked bytes and gives c back.
func (c *checker) release() {
	if cap(c.open) > keptStack {
		c.open = nil
	}
	clear(c.scope[:cap(c.scope)])
	clear(c.attrs[:cap(c.attrs)])
	*c = checker{open: c.open[:0], scope: c.scope[:0], attrs: c.attrs[:0]}
	checkers.Put(c)
}

type checker struct {
	b   []byte
	i   int
	lim Limits

	outside  Violation // the first rule of the profile that was broken
	prefixed bool      // an element had a prefix
	large    bool      // escapes count
	growth   int       // see grows

	open  []element // the open elements
	scope []binding // what they declared, the default namespace with prefix ""
	attrs []attr    // of the tag under way
	tag   tag
	bound int // prefixes in scope as Prosody writes them
}

// element is an open one, named b[at:at+n].
type element struct {
	at, n    int32
	bound    int16 // its share of checker.bound
	prefixed bool
}

type binding struct {
	prefix, uri []byte // uri with references replaced
	depth       int    // of the element that declared it
	used        bool   // on its own tag
}

type attr struct {
	name, value []byte
	colon       int    // negative without prefix
	uri         []byte // of a prefix that was looked up
}

// tag is what is known of the start tag under way.
type tag struct {
	declared int    // prefixes
	prefixed int    // attributes in a namespace, but for xml:lang
	stamped  int    // attributes that a Stamp sets, but for xmlns
	plain    int    // the other attributes
	names    uint64 // a bit for what was seen in attributes' names
	space    bool   // it has an xmlns
}

func (c *checker) document() error {
	if err := c.element(); err != nil {
		return err
	}
	if len(trimSpace(c.b[c.i:])) > 0 {
		return errNotWellFormed
	}
	return nil
}

// element consumes an element.
func (c *checker) element() error {
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
	if c.i+c.growth > c.lim.MaxRewritten {
		c.violate(TooLargeRewritten)
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
	c.growsEscaped(data, true)
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
	c.growsEscaped(rest[:n], false)
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
	at := c.i
	name, colon, err := c.name()
	if err != nil {
		return err
	}
	if len(c.open) >= c.lim.MaxDepth {
		c.violate(TooDeep)
	}
	c.checkName(name, colon)
	c.prefixed = c.prefixed || colon >= 0
	c.open = append(c.open, element{at: int32(at), n: int32(len(name)), prefixed: colon >= 0})
	empty, err := c.attributes()
	if err != nil {
		return err
	}
	if c.outside == 0 {
		c.namespaces(name, colon)
	}
	if empty {
		c.pop()
	}
	return nil
}

// attributes consumes the rest of a start tag.
func (c *checker) attributes() (empty bool, err error) {
	c.attrs, c.tag = c.attrs[:0], tag{}
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
	name, colon, err := c.name()
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
	c.growsEscaped(value, true)
	return c.addAttr(attr{name: name, value: value, colon: colon})
}

// addAttr notes an attribute, whose name must be unique (XML 1.0 §3.1). Where
// there are too many of them, and the stanza is dropped for it, nobody looks
// any more.
func (c *checker) addAttr(a attr) error {
	if len(c.attrs) >= c.lim.MaxAttrs {
		c.violate(TooManyAttributes)
		return nil
	}
	name := a.name
	bit := uint64(1) << ((name[0] ^ name[len(name)-1]<<3 ^ byte(len(name))) & 63)
	if c.tag.names&bit != 0 {
		for _, other := range c.attrs {
			if bytes.Equal(other.name, name) {
				return errNotWellFormed
			}
		}
	}
	c.tag.names |= bit
	c.attrs = append(c.attrs, a)
	c.classify(&a)
	return nil
}

func (c *checker) endTag() error {
	if len(c.open) == 0 {
		return errNotWellFormed
	}
	e := c.open[len(c.open)-1]
	rest, ok := bytes.CutPrefix(c.b[c.i:], c.b[e.at:e.at+e.n])
	if !ok {
		return errNotWellFormed
	}
	c.i = len(c.b) - len(rest)
	c.space()
	if c.i >= len(c.b) || c.b[c.i] != '>' {
		return errNotWellFormed
	}
	c.i++
	c.pop()
	return nil
}

// pop closes the innermost element and forgets the prefixes it declared.
func (c *checker) pop() {
	depth := len(c.open)
	c.bound -= int(c.open[depth-1].bound)
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

// name consumes a QName: at most one colon, a part on either side of it. colon
// is the place of it in the name, negative when there is none.
func (c *checker) name() (name []byte, colon int, err error) {
	start, part := c.i, c.i // part: where the one under way begins
	colon = -1
	for ; c.i < len(c.b); c.i++ {
		b := c.b[c.i]
		class := nameBytes[b]
		switch {
		case class == nameFirst, class == nameLater && c.i > part:
		case b == ':' && colon < 0 && c.i > part:
			colon, part = c.i-start, c.i+1
		case b >= utf8.RuneSelf:
			n := c.nameRune(c.i == part)
			if n == 0 {
				return nil, 0, errNotWellFormed
			}
			c.i += n - 1
		default:
			if c.i == part || b == ':' {
				return nil, 0, errNotWellFormed
			}
			return c.b[start:c.i], colon, nil
		}
	}
	return nil, 0, errNotWellFormed // nothing ends with a name
}

// nameRune returns the length of the character at c.i, 0 when no edition of XML
// allows it in a name.
func (c *checker) nameRune(first bool) int {
	r, n := utf8.DecodeRune(c.b[c.i:])
	if r == utf8.RuneError && n == 1 || !isNameRune(r, first) {
		return 0
	}
	if !isNameRune4(r, first) {
		c.violate(NewName)
	}
	return n
}

const (
	nameFirst = iota + 1
	nameLater // not as the first byte
)

var nameBytes = func() (t [256]byte) {
	for b := byte('a'); b <= 'z'; b++ {
		t[b], t[b-'a'+'A'] = nameFirst, nameFirst
	}
	for b := byte('0'); b <= '9'; b++ {
		t[b] = nameLater
	}
	t['_'], t['-'], t['.'] = nameFirst, nameLater, nameLater
	return t
}()

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
