package wire

import (
	"bytes"
	"iter"
)

// Header is the start tag of an element, read without copying: every field is
// a part of the element's bytes, still escaped, and nil where the attribute is
// absent. Use [Unescape] or [ParseAddress] before comparing values that may
// hold references.
type Header struct {
	Name []byte // as written, e.g. presence or stream:features
	// Space is the value of xmlns; absent means inherited.
	Space, To, From, ID, Type, Lang []byte

	attrs []byte // everything between the name and the tag's end
	open  int    // length of the start tag, '>' inclusive
	empty bool   // <name/>
}

// ParseHeader reads the start tag at the beginning of elem, which must be an
// element a [Reader] framed or [Check] accepted (or a stream header). It does
// not allocate.
func ParseHeader(elem []byte) (Header, error) {
	var h Header
	end := tagEnd(elem)
	if end < 0 || elem[0] != '<' {
		return h, errNotWellFormed
	}
	h.open = end + 1
	body := elem[1:end]
	if n := len(body); n > 0 && body[n-1] == '/' {
		h.empty = true
		body = body[:n-1]
	}
	n := 0
	for n < len(body) && !isSpace(body[n]) {
		n++
	}
	if n == 0 || !isNameStart(body[0]) {
		return h, errNotWellFormed
	}
	h.Name, h.attrs = body[:n], body[n:]
	for rest := h.attrs; ; {
		name, value, next, ok := nextAttr(rest)
		if !ok {
			if len(trimSpace(rest)) > 0 {
				return h, errNotWellFormed
			}
			return h, nil
		}
		h.set(name, value)
		rest = next
	}
}

// IsStanza reports whether the element is a message, presence or IQ of one of the
// content namespaces. One that declares no namespace inherits that of its stream.
func (h *Header) IsStanza(content ...string) bool {
	switch string(h.Name) {
	default:
		return false
	case "message", "presence", "iq":
	}
	for _, space := range content {
		if string(h.Space) == space {
			return true
		}
	}
	return h.Space == nil
}

func (h *Header) set(name, value []byte) {
	switch string(name) {
	case "to":
		h.To = value
	case "from":
		h.From = value
	case "id":
		h.ID = value
	case "type":
		h.Type = value
	case "xmlns":
		h.Space = value
	case "xml:lang":
		h.Lang = value
	}
}

// Attrs iterates over names and raw values of all attributes in order,
// namespace declarations included.
func (h *Header) Attrs() iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for rest := h.attrs; ; {
			name, value, next, ok := nextAttr(rest)
			if !ok || !yield(name, value) {
				return
			}
			rest = next
		}
	}
}

// Attr returns the unescaped value of the named attribute, "" when absent.
func (h *Header) Attr(name string) string {
	for n, v := range h.Attrs() {
		if string(n) == name {
			return Unescape(v)
		}
	}
	return ""
}

// Inner returns the bytes between elem's start and end tag, nil for <name/>.
// elem must be the element h was parsed from.
func (h *Header) Inner(elem []byte) []byte {
	if h.empty {
		return nil
	}
	end := bytes.LastIndexByte(elem, '<')
	if end < h.open {
		return nil
	}
	return elem[h.open:end]
}

// Stamp says which attributes a forwarded stanza gets instead of its own. An
// empty field leaves the attribute out; values are given unescaped.
type Stamp struct {
	Space, To, From, ID, Type, Lang string
}

// AppendStamped appends elem, which h was parsed from, with its namespace and
// addressing replaced by s. Other attributes and the content are copied as
// they are: a body is neither parsed nor re-encoded, whatever its size.
func (h *Header) AppendStamped(dst, elem []byte, s Stamp) []byte {
	dst, rest := h.AppendStart(dst, elem, s)
	return append(dst, rest...)
}

// AppendStart is AppendStamped without the content: it appends the start tag but
// for its last byte, and returns what follows in elem's memory.
func (h *Header) AppendStart(dst, elem []byte, s Stamp) (start, rest []byte) {
	dst = append(dst, '<')
	dst = append(dst, h.Name...)
	dst = s.append(dst)
	dst = h.appendOtherAttrs(dst)
	if h.empty {
		dst = append(dst, '/')
	}
	return dst, elem[h.open-1:]
}

func (s *Stamp) append(dst []byte) []byte {
	for _, a := range [...]struct{ name, value string }{
		{"xmlns", s.Space}, {"to", s.To}, {"from", s.From}, {"id", s.ID}, {"type", s.Type}, {"xml:lang", s.Lang},
	} {
		if a.value != "" {
			dst = AppendAttr(dst, a.name, a.value)
		}
	}
	return dst
}

// appendOtherAttrs copies the attributes a Stamp does not own; prefixes
// declared on the stanza are among them and its children may use them.
func (h *Header) appendOtherAttrs(dst []byte) []byte {
	for name, value := range h.Attrs() {
		switch string(name) {
		case "xmlns", "to", "from", "id", "type", "xml:lang":
			continue
		}
		dst = append(dst, ' ')
		dst = append(dst, name...)
		quote := byte('\'')
		if indexByte(value, '\'') >= 0 {
			quote = '"'
		}
		dst = append(dst, '=', quote)
		dst = append(dst, value...)
		dst = append(dst, quote)
	}
	return dst
}

// OtherAttrs returns, encoded with a leading space each, the attributes of the
// stanza that are not its namespace, addressing or language: for a stanza
// rebuilt around the children of h's element.
func (h *Header) OtherAttrs() []byte { return h.appendOtherAttrs(nil) }

// tagEnd returns the index of the '>' that ends the start tag at the beginning
// of b, or -1.
func tagEnd(b []byte) int {
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '>':
			return i
		case '\'', '"':
			n := indexByte(b[i+1:], b[i])
			if n < 0 {
				return -1
			}
			i += n + 1
		}
	}
	return -1
}

// nextAttr splits the first attribute off b. ok is false when b holds none or
// it is malformed.
func nextAttr(b []byte) (name, value, rest []byte, ok bool) {
	i := 0
	for i < len(b) && isSpace(b[i]) {
		i++
	}
	start := i
	for i < len(b) && b[i] != '=' && !isSpace(b[i]) {
		i++
	}
	if i == start {
		return nil, nil, b, false
	}
	name = b[start:i]
	for i < len(b) && isSpace(b[i]) {
		i++
	}
	if i >= len(b) || b[i] != '=' {
		return nil, nil, b, false
	}
	i++
	for i < len(b) && isSpace(b[i]) {
		i++
	}
	if i >= len(b) || b[i] != '\'' && b[i] != '"' {
		return nil, nil, b, false
	}
	n := indexByte(b[i+1:], b[i])
	if n < 0 {
		return nil, nil, b, false
	}
	return name, b[i+1 : i+1+n], b[i+n+2:], true
}
