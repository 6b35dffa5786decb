package wire

import (
	"bytes"
	"math"
)

// skipping is what a Reader knows of an element that is too large to keep.
type skipping struct {
	under bool
	head  []byte // its start tag
	total int    // bytes dropped
}

// maxHead is the largest start tag that is kept of a stanza too large to keep.
const maxHead = 16 << 10

// framing returns the limits that the scanner holds.
func (r *Reader) framing() Limits {
	lim := r.lim
	if r.checks {
		lim.MaxDepth, lim.MaxAttrs = math.MaxInt, math.MaxInt
		lim.MaxBytes = max(lim.MaxBytes, r.maxSkip)
	}
	return lim
}

// checked returns the element at the head of the buffer, checked, or a token of
// kind 0. An element that is there completely, the usual case, is walked once:
// the check finds its end. Only one that arrives in pieces is framed first.
func (r *Reader) checked(b []byte) (Token, error) {
	if r.scan.pos == 0 {
		if f, err := checkFirst(b, r.lim); err == nil && f.n <= r.lim.MaxBytes {
			return r.judged(f)
		}
	}
	n, err := r.scan.scan(b)
	switch {
	case err != nil:
		return Token{}, err
	case r.skip.under || max(n, r.scan.pos) > r.lim.MaxBytes || n == 0 && len(b) > r.lim.MaxBytes:
		return r.skipped(b, n)
	case n == 0:
		return Token{}, nil
	}
	f, err := checkFirst(b[:n], r.lim)
	if err != nil {
		return Token{}, err
	}
	return r.judged(f)
}

func (r *Reader) judged(f first) (Token, error) {
	t := r.take(Element, f.n)
	t.Outside = f.outside
	if f.outside == UndeclaredPrefix && len(r.header) > 0 {
		t = r.redeclared(t)
		f.prefixed = true
	}
	if r.apart && t.Outside == 0 && inherits(t.Data) {
		t.Outside = StreamsElement
	}
	if !f.prefixed || t.Outside != 0 {
		return t, nil
	}
	var err error
	t.Data, t.Outside, err = withoutPrefixes(t.Data, r.lim)
	return t, err
}

// redeclared is a token whose element uses prefixes of the stream's header: it is
// checked anew with these declared on it.
func (r *Reader) redeclared(t Token) Token {
	data := r.header.Declare(t.Data)
	f, err := checkFirst(data, r.lim)
	if err != nil || f.n != len(data) || f.n > r.lim.MaxBytes {
		return t
	}
	t.Data, t.Outside = data, f.outside
	return t
}

// inherits reports whether an element is in the stream's default namespace.
func inherits(elem []byte) bool {
	h, err := ParseHeader(elem)
	return err == nil && h.Space == nil && indexByte(h.Name, ':') < 0
}

// skipped drops what has come of an element that is too large, and returns its
// token once its end was found, n bytes into b.
func (r *Reader) skipped(b []byte, n int) (Token, error) {
	if r.maxSkip <= r.lim.MaxBytes {
		return Token{}, errTooLarge
	}
	if !r.skip.under {
		r.skip.under = true
		if end := tagEnd(b[:min(len(b), maxHead)]); end >= 0 {
			r.skip.head = bytes.Clone(b[:end+1])
		}
	}
	if n > 0 {
		r.used = n
		return Token{Kind: Element, Data: r.skip.head, Outside: TooLarge}, nil
	}
	drop := r.scan.pos - 1 // the scanner looks at one byte behind it
	r.skip.total += drop
	r.r += drop
	r.scan.pos = 1
	if r.skip.total > r.maxSkip {
		return Token{}, errTooLarge
	}
	return Token{}, nil
}
