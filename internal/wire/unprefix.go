package wire

import "bytes"

// Prefixes of elements. A client may write <c:message xmlns:c='jabber:client'>
// (RFC 6120 §4.8.5 forbids servers to send it, and lets them take it), and Prosody
// takes prefixes everywhere. But the clients of a room find elements by selectors,
// which differ in what a prefixed name is to them. So an element that has a prefix
// in it anywhere is written again without, as Prosody writes it, before anybody
// looks at it. Its sender could have written it so: nothing can be smuggled in.

// Accept is [Judge] for an element that is to be read or passed on: it returns the
// element without prefixes in the names of elements. That is b itself in the usual
// case, else a copy. An element with an error or a violation keeps its prefixes.
func Accept(b []byte, lim Limits) (elem []byte, v Violation, err error) {
	v, prefixed, err := judge(b, lim)
	if err != nil || v != 0 || !prefixed {
		return b, v, err
	}
	return withoutPrefixes(b, lim)
}

// withoutPrefixes returns an element that is in the profile without prefixes. It is
// longer then, but not more so than the profile allows Prosody to make it.
func withoutPrefixes(b []byte, lim Limits) (elem []byte, v Violation, err error) {
	lim.MaxBytes = lim.withDefaults().MaxRewritten
	elem = unprefixed(b)
	v, err = Judge(elem, lim)
	return elem, v, err
}

// Unprefix takes the prefix, if it is declared there, off the name in h: for the
// header of an element that is outside the profile, and so keeps its prefixes.
func (h *Header) Unprefix() {
	if space, local := h.QName(); space != "" && len(local) < len(h.Name) {
		h.Name, h.Space = h.Name[len(h.Name)-len(local):], []byte(space)
	}
}

// isContent reports whether a namespace name, nil where none is declared, is that
// of stanzas.
func isContent(uri []byte) bool {
	return uri == nil || string(uri) == NSClient || string(uri) == NSServer
}

// unprefixer writes an element again without prefixes.
type unprefixer struct {
	out   []byte
	open  []plainElement
	scope []binding // as in checker, but for their uri, which is as written
}

// plainElement is an open element as it is written.
type plainElement struct{ local, space []byte }

// unprefixed returns elem, which is in the profile, without prefixes in the names
// of elements. Attributes keep theirs, and the declarations that they need.
func unprefixed(elem []byte) []byte {
	u := unprefixer{out: make([]byte, 0, len(elem)+len(elem)/2)}
	for len(elem) > 0 {
		text := max(indexByte(elem, '<'), 0)
		u.out = append(u.out, elem[:text]...)
		elem = elem[text:]
		switch {
		case bytes.HasPrefix(elem, []byte("<"+cdataStart)):
			end := bytes.Index(elem, []byte("]]>")) + 3
			u.out = append(u.out, elem[:end]...)
			elem = elem[end:]
		case elem[1] == '/':
			elem = elem[indexByte(elem, '>')+1:]
			u.end()
		default:
			h, err := ParseHeader(elem)
			if err != nil {
				return u.out // not in the profile
			}
			u.start(&h)
			elem = elem[h.open:]
		}
		if len(u.open) == 0 {
			break
		}
	}
	return u.out
}

func (u *unprefixer) start(h *Header) {
	depth := len(u.open) + 1
	for name, value := range h.Attrs() {
		if prefix, ok := bytes.CutPrefix(name, []byte("xmlns")); ok && (len(prefix) == 0 || prefix[0] == ':') {
			u.scope = append(u.scope, binding{prefix: bytes.TrimPrefix(prefix, []byte(":")), uri: value, depth: depth})
		}
	}
	prefix, local, found := bytes.Cut(h.Name, []byte(":"))
	if !found {
		prefix, local = nil, h.Name
	}
	e := plainElement{local: local, space: u.lookup(prefix)}
	u.out = append(append(u.out, '<'), local...)
	if u.declares(&e, found) {
		u.out = append(u.out, " xmlns="...)
		u.out = appendQuoted(u.out, e.space)
	}
	for name, value := range h.Attrs() {
		if string(name) != "xmlns" {
			u.out = append(append(append(u.out, ' '), name...), '=')
			u.out = appendQuoted(u.out, value)
		}
	}
	u.open = append(u.open, e)
	if h.empty {
		u.out = append(u.out, '/')
		u.close()
	}
	u.out = append(u.out, '>')
}

// declares reports whether an element says its namespace: if it is not that of the
// element around it, and on the outermost one if it has said it before.
func (u *unprefixer) declares(e *plainElement, prefixed bool) bool {
	if len(u.open) == 0 {
		return prefixed || e.space != nil
	}
	outer := u.open[len(u.open)-1].space
	if isContent(e.space) {
		if e.space == nil && !isContent(outer) {
			e.space = []byte(NSClient) // that of the stream
		}
		return !isContent(outer)
	}
	return !bytes.Equal(e.space, outer)
}

func (u *unprefixer) end() {
	u.out = append(append(append(u.out, "</"...), u.open[len(u.open)-1].local...), '>')
	u.close()
}

func (u *unprefixer) close() {
	depth := len(u.open)
	u.open = u.open[:depth-1]
	for n := len(u.scope); n > 0 && u.scope[n-1].depth == depth; n-- {
		u.scope = u.scope[:n-1]
	}
}

// lookup returns the name, as written, of the namespace that a prefix stands for,
// nil for a default namespace that is the stream's.
func (u *unprefixer) lookup(prefix []byte) []byte {
	for n := len(u.scope) - 1; n >= 0; n-- {
		if bytes.Equal(u.scope[n].prefix, prefix) {
			return u.scope[n].uri
		}
	}
	return nil
}

func appendQuoted(dst, raw []byte) []byte {
	quote := byte('\'')
	if indexByte(raw, quote) >= 0 {
		quote = '"'
	}
	return append(append(append(dst, quote), raw...), quote)
}
