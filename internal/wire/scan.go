package wire

import "bytes"

func indexByte(b []byte, c byte) int { return bytes.IndexByte(b, c) }

// scanner finds the end of one element. It can stop anywhere in it and go on
// when more bytes have come, so a stanza that arrives in many segments is
// walked once.
//
// It counts tags instead of comparing their names: <a></b> passes here and is
// found by [Check], or harms only the trusted peer server that sent it.
type scanner struct {
	lim   Limits
	pos   int // bytes before it are consumed
	depth int
	attrs int // of the start tag under way
	mode  mode
	quote byte // that ends the attribute value under way
}

type mode uint8

const (
	inContent mode = iota // between tags
	afterLess             // a '<' was consumed
	inTag                 // inside a start tag
	inValue               // inside a quoted attribute value
	inEndTag
	inCDATA
)

func (s *scanner) reset(lim Limits) { *s = scanner{lim: lim} }

// scan walks b, which must hold the bytes of earlier calls plus new ones and
// start with '<'. It returns the length of the element once its end was seen,
// else 0.
func (s *scanner) scan(b []byte) (int, error) {
	for s.pos < len(b) {
		var err error
		var more bool
		switch s.mode {
		case inContent:
			more = s.content(b)
		case afterLess:
			more, err = s.less(b)
		case inTag:
			more, err = s.tag(b)
		case inValue:
			more, err = s.value(b)
		case inEndTag:
			more, err = s.endTag(b)
		case inCDATA:
			more = s.cdata(b)
		}
		if err != nil {
			return 0, err
		}
		if s.pos > s.lim.MaxBytes {
			return 0, errTooLarge
		}
		if s.depth == 0 && s.mode == inContent {
			return s.pos, nil
		}
		if more {
			break
		}
	}
	if len(b) > s.lim.MaxBytes {
		return 0, errTooLarge
	}
	return 0, nil
}

// Each step consumes one construct; more means the rest of it has not arrived.

func (s *scanner) content(b []byte) (more bool) {
	i := indexByte(b[s.pos:], '<')
	if i < 0 {
		s.pos = len(b)
		return true
	}
	s.pos += i + 1
	s.mode = afterLess
	return false
}

const cdataStart = "![CDATA["

func (s *scanner) less(b []byte) (more bool, err error) {
	switch b[s.pos] {
	case '/':
		if s.depth == 0 {
			return false, errNotWellFormed
		}
		s.mode = inEndTag
		s.pos++
	case '!':
		rest := b[s.pos:]
		if n := min(len(rest), len(cdataStart)); string(rest[:n]) != cdataStart[:n] || s.depth == 0 {
			return false, errRestricted
		} else if n < len(cdataStart) {
			return true, nil
		}
		s.pos += len(cdataStart)
		s.mode = inCDATA
	case '?':
		return false, errRestricted
	default:
		if !isNameStart(b[s.pos]) {
			return false, errNotWellFormed
		}
		s.depth++
		if s.depth > s.lim.MaxDepth {
			return false, errTooDeep
		}
		s.attrs = 0
		s.mode = inTag
		s.pos++
	}
	return false, nil
}

func (s *scanner) tag(b []byte) (more bool, err error) {
	for i := s.pos; i < len(b); i++ {
		switch c := b[i]; c {
		case '>':
			s.pos = i + 1
			s.mode = inContent
			if b[i-1] == '/' {
				s.depth--
			}
			return false, nil
		case '\'', '"':
			s.attrs++
			if s.attrs > s.lim.MaxAttrs {
				return false, errTooManyAttrs
			}
			s.pos = i + 1
			s.quote = c
			s.mode = inValue
			return false, nil
		case '<':
			return false, errNotWellFormed
		}
	}
	s.pos = len(b)
	return true, nil
}

func (s *scanner) value(b []byte) (more bool, err error) {
	rest := b[s.pos:]
	end := indexByte(rest, s.quote)
	if end >= 0 {
		rest = rest[:end]
	}
	if indexByte(rest, '<') >= 0 {
		return false, errNotWellFormed
	}
	s.pos += len(rest)
	if end < 0 {
		return true, nil
	}
	s.pos++
	s.mode = inTag
	return false, nil
}

func (s *scanner) endTag(b []byte) (more bool, err error) {
	for i := s.pos; i < len(b); i++ {
		switch b[i] {
		case '>':
			s.pos = i + 1
			s.depth--
			s.mode = inContent
			return false, nil
		case '<', '\'', '"', '=':
			return false, errNotWellFormed
		}
	}
	s.pos = len(b)
	return true, nil
}

func (s *scanner) cdata(b []byte) (more bool) {
	i := bytes.Index(b[s.pos:], []byte("]]>"))
	if i < 0 {
		// Two of the three closing bytes may be here already.
		s.pos = max(s.pos, len(b)-2)
		return true
	}
	s.pos += i + 3
	s.mode = inContent
	return false
}

// isNameStart is the ASCII part of XML's NameStartChar plus every byte of a
// multi-byte character, which [Check] looks at more closely.
func isNameStart(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == ':' || c >= 0x80
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

func trimSpace(b []byte) []byte {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	return b
}
