package wire

import (
	"bytes"
	"io"
)

// Kind says what a [Token] is.
type Kind uint8

const (
	// StreamStart is a stream header: <stream:stream …>, the XML declaration
	// before it left out.
	StreamStart Kind = iota + 1
	// Element is a complete top-level element: a stanza, features, an error.
	Element
	// StreamEnd is </stream:stream>.
	StreamEnd
)

// Token is one top-level piece of a stream.
type Token struct {
	Kind Kind
	// Data is valid until the next call of Next. Of an element that was
	// TooLarge it is the start tag alone, empty when that is too large itself.
	Data []byte
	// Outside is set by a [Reader] that checks: the rule of the profile that the
	// element breaks, 0 for none. Prefixes of the stream's header, but for the
	// usual one, stream, are declared on an element that uses them.
	Outside Violation
}

// Reader frames an XML stream over a byte stream (RFC 6120 §4). It accepts
// only the restricted XML of §11.1, and buffers at most one element plus one
// read. It is not safe for concurrent use.
type Reader struct {
	src  io.Reader
	lim  Limits
	buf  []byte
	r, w int // buf[r:w] is unread
	scan scanner

	checks  bool // every element, see Check
	maxSkip int  // bytes of an element too large to keep; 0: the stream ends
	skip    skipping

	opened bool   // the stream header was read
	name   []byte // of the stream element, as its end tag must repeat it
	header Prefixes
	apart  bool // the default namespace is that of streams, not of stanzas
	used   int  // bytes of buf behind the token returned last
}

// minRead is the initial buffer. One Jitsi presence is about 1 KB, and a
// segment from main at connect holds several.
const minRead = 4 << 10

// minShared is that of a stream that many share: few stanzas are cut by its end,
// and checked in two passes for it.
const minShared = 32 << 10

// keepBuffer is the largest buffer an idle stream keeps.
const keepBuffer = 64 << 10

// NewReader returns a Reader of src under lim. The first token is the stream
// header.
func NewReader(src io.Reader, lim Limits) *Reader {
	r := &Reader{src: src, lim: lim.withDefaults()}
	r.scan.reset(r.framing())
	return r
}

// Restart makes the Reader expect a new stream header, as after SASL success
// (RFC 6120 §6.4.6). What the peer pipelined behind the last token is kept.
func (r *Reader) Restart() {
	r.opened = false
	r.name, r.header, r.apart = nil, nil, false
}

// Reset makes the Reader read a new stream from src and reports how many
// unread bytes it dropped. After STARTTLS these were sent in clear and must
// not be believed (RFC 6120 §5.4.3.3 forbids them): a caller that gets more
// than 0 closes the connection.
func (r *Reader) Reset(src io.Reader) (dropped int) {
	dropped = len(trimSpace(r.buf[r.r+r.used : r.w]))
	r.src, r.r, r.w, r.used = src, 0, 0, 0
	r.Restart()
	return dropped
}

// Check makes the Reader check every element from the next on, as [Check] does,
// in the same pass. An element outside the profile comes with Token.Outside;
// limits of depth and of attributes are among that then. One that is too large
// is read to its end without being kept, if it is not larger than maxSkip, and
// comes as a Token whose Data is its start tag; with 0 it ends the stream.
func (r *Reader) Check(maxSkip int) { r.checks, r.maxSkip = true, maxSkip }

// SetLimits changes the limits from the next element on, as when a peer has
// authenticated.
func (r *Reader) SetLimits(lim Limits) {
	r.lim = lim.withDefaults()
	r.scan.lim = r.framing()
}

// Next returns the next token. It blocks in the source's Read; a deadline of
// the connection unblocks it. The error is a [StreamError] for what the peer
// did wrong, io.EOF at a clean end between tokens, io.ErrUnexpectedEOF inside
// one, else the source's.
func (r *Reader) Next() (Token, error) {
	r.r += r.used
	r.used = 0
	r.scan.reset(r.framing())
	r.skip = skipping{}
	for {
		t, err := r.token()
		if err != nil || t.Kind != 0 {
			return t, err
		}
		if err := r.fill(); err != nil {
			if err == io.EOF && len(r.buf[r.r:r.w]) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return Token{}, err
		}
	}
}

// token returns the token at the head of the buffer, or one of kind 0 when
// more bytes are needed.
func (r *Reader) token() (Token, error) {
	if r.scan.pos == 0 {
		r.skipSpace()
	}
	if !r.opened && r.scan.pos == 0 && bytes.HasPrefix(r.buf[r.r:r.w], byteOrderMark) {
		r.r += len(byteOrderMark)
	}
	b := r.buf[r.r:r.w]
	if r.skip.under {
		return r.checked(b)
	}
	switch {
	case len(b) == 0, !r.opened && bytes.HasPrefix(byteOrderMark, b):
		return Token{}, nil
	case !r.opened && utf16(b):
		return Token{}, errEncoding
	case !r.opened && len(b) == 1 && b[0] >= 0xFE:
		return Token{}, nil // may become a byte order mark
	case b[0] != '<':
		return Token{}, errNotWellFormed
	case !r.opened:
		return r.streamStart(b)
	case len(b) == 1:
		return Token{}, nil
	case b[1] == '/':
		return r.streamEnd(b)
	case r.scan.pos == 0 && bytes.HasPrefix(r.name, b[1:]):
		return Token{}, nil // may become a stream header
	case r.scan.pos == 0 && r.isStreamStart(b):
		return Token{}, errSecondHeader
	}
	if r.checks {
		return r.checked(b)
	}
	n, err := r.scan.scan(b)
	if err != nil || n == 0 {
		return Token{}, err
	}
	return r.take(Element, n), nil
}

// skipSpace drops whitespace keep-alives (RFC 6120 §4.6.1) between tokens.
func (r *Reader) skipSpace() {
	for r.r < r.w && isSpace(r.buf[r.r]) {
		r.r++
	}
}

func (r *Reader) take(k Kind, n int) Token {
	r.used = n
	return Token{Kind: k, Data: r.buf[r.r : r.r+n]}
}

// Declare returns an element with the prefixes declared on it that it has from the
// stream's header: a Reader that checks does it to those that need it.
func (r *Reader) Declare(elem []byte) []byte { return r.header.Declare(elem) }

const maxStreamHeader = 4 << 10

func (r *Reader) streamStart(b []byte) (Token, error) {
	if len(b) > 1 && b[1] == '?' {
		return r.declaration(b)
	}
	if len(b) > 1 && !isNameStart(b[1]) {
		if b[1] == '!' {
			return Token{}, errRestricted
		}
		return Token{}, errNotWellFormed
	}
	end := tagEnd(b)
	if end < 0 {
		if len(b) > maxStreamHeader {
			return Token{}, errTooLarge
		}
		return Token{}, nil
	}
	h, err := ParseHeader(b)
	if err != nil {
		return Token{}, err
	}
	r.opened = true
	r.name, r.header = bytes.Clone(h.Name), h.Prefixes().withoutStream()
	r.apart = indexByte(h.Name, ':') < 0
	return r.take(StreamStart, end+1), nil
}

// declaration skips <?xml …?>, the one processing instruction allowed (RFC
// 6120 §11.5), and refuses encodings but UTF-8 (§11.6).
func (r *Reader) declaration(b []byte) (Token, error) {
	const head = "<?xml"
	if n := min(len(b), len(head)); string(b[:n]) != head[:n] {
		return Token{}, errRestricted
	}
	end := bytes.Index(b, []byte("?>"))
	if end < 0 {
		if len(b) > 256 {
			return Token{}, errNotWellFormed
		}
		return Token{}, nil
	}
	if !utf8Declared(b[len(head):end]) {
		return Token{}, errEncoding
	}
	r.r += end + 2
	return r.token()
}

func utf8Declared(attrs []byte) bool {
	for {
		name, value, rest, ok := nextAttr(attrs)
		if !ok {
			return true
		}
		if string(name) == "encoding" {
			return bytes.EqualFold(value, []byte("utf-8"))
		}
		attrs = rest
	}
}

// isStreamStart finds a stream header where an element should be. Without this
// it would be taken for an element that never ends.
func (r *Reader) isStreamStart(b []byte) bool {
	rest, ok := bytes.CutPrefix(b[1:], r.name)
	return ok && (isSpace(rest[0]) || rest[0] == '>')
}

func (r *Reader) streamEnd(b []byte) (Token, error) {
	want := len(r.name) + 2
	if n := min(len(b), want); !bytes.Equal(b[2:n], r.name[:n-2]) {
		return Token{}, errNotWellFormed
	}
	end := indexByte(b, '>')
	switch {
	case end < 0 && len(b) > want+64:
		return Token{}, errNotWellFormed
	case end < 0:
		return Token{}, nil
	case end < want || len(trimSpace(b[want:end])) > 0:
		return Token{}, errNotWellFormed
	}
	return r.take(StreamEnd, end+1), nil
}

// fill reads more bytes, making room first.
func (r *Reader) fill() error {
	if r.r == r.w {
		r.r, r.w = 0, 0
		if len(r.buf) > keepBuffer {
			r.buf = nil
		}
	}
	if r.w == len(r.buf) {
		r.grow()
	}
	n, err := r.src.Read(r.buf[r.w:])
	r.w += n
	if n > 0 {
		return nil
	}
	return err
}

func (r *Reader) grow() {
	if r.r > 0 && r.w-r.r <= len(r.buf)/2 {
		copy(r.buf, r.buf[r.r:r.w])
		r.w -= r.r
		r.r = 0
		return
	}
	least := minRead
	if r.maxSkip > 0 {
		least = minShared
	}
	next := make([]byte, max(least, 2*len(r.buf)))
	r.w = copy(next, r.buf[r.r:r.w])
	r.r = 0
	r.buf = next
}
