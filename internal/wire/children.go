package wire

import (
	"bytes"
	"iter"
	"strings"
)

// Child is one element inside another.
type Child struct {
	Header
	// Space is the namespace name the element is in, with prefixes resolved
	// against its own start tag and its parent's. It is "" for the content
	// namespace of the stream (jabber:client, jabber:server): a stanza keeps
	// its meaning when it crosses from one to the other. A prefix declared
	// further out yields [UnknownSpace].
	Space string
	Local string // name without prefix
	Raw   []byte // the whole element
}

// UnknownSpace is the namespace of a child whose prefix is declared neither on
// it nor on its parent.
const UnknownSpace = "\x00unknown"

// Prefixed reports whether the element is written with a prefix. Clients that
// look for an element by its qualified name do not find such a one, those that
// look by its local name do.
func (c *Child) Prefixed() bool { return indexByte(c.Name, ':') >= 0 }

// Children iterates over the direct child elements of elem, which must be an
// element a [Reader] framed or [Check] accepted. Text between them is skipped.
// The children share elem's memory.
func Children(elem []byte) iter.Seq[Child] {
	return func(yield func(Child) bool) {
		parent, err := ParseHeader(elem)
		if err != nil {
			return
		}
		childrenOf(&parent, elem)(yield)
	}
}

// childrenOf is Children of an element whose start tag has been parsed.
func childrenOf(parent *Header, elem []byte) iter.Seq[Child] {
	return func(yield func(Child) bool) {
		inner := parent.Inner(elem)
		var s scanner
		for {
			i := nextElement(inner)
			if i < 0 {
				return
			}
			inner = inner[i:]
			s.reset(Limits{MaxBytes: len(inner) + 1, MaxDepth: len(inner), MaxAttrs: len(inner)})
			n, err := s.scan(inner)
			if err != nil || n == 0 {
				return
			}
			c, ok := newChild(parent, inner[:n])
			if !ok || !yield(c) {
				return
			}
			inner = inner[n:]
		}
	}
}

// nextElement finds the '<' of the next start tag in content, stepping over
// CDATA sections.
func nextElement(content []byte) int {
	at := 0
	for {
		i := indexByte(content[at:], '<')
		if i < 0 {
			return -1
		}
		at += i
		if !bytes.HasPrefix(content[at:], []byte("<"+cdataStart)) {
			return at
		}
		end := bytes.Index(content[at:], []byte("]]>"))
		if end < 0 {
			return -1
		}
		at += end + 3
	}
}

func newChild(parent *Header, raw []byte) (Child, bool) {
	h, err := ParseHeader(raw)
	if err != nil {
		return Child{}, false
	}
	c := Child{Header: h, Raw: raw}
	name := str(h.Name)
	prefix, local, found := strings.Cut(name, ":")
	if !found {
		prefix, local = "", name
	}
	c.Local = local
	c.Space = resolve(prefix, &h, parent)
	return c, true
}

func resolve(prefix string, own, parent *Header) string {
	space, found := declared(prefix, own)
	if !found {
		space, found = declared(prefix, parent)
	}
	switch {
	case !found && prefix == "stream":
		return NSStream // declared by the stream header
	case !found && prefix != "":
		return UnknownSpace
	case space == NSClient || space == NSServer:
		return ""
	}
	return space
}

func declared(prefix string, h *Header) (string, bool) {
	if prefix == "" {
		return unescapeShared(h.Space), h.Space != nil
	}
	for name, value := range h.Attrs() {
		if p, ok := bytes.CutPrefix(name, []byte("xmlns:")); ok && string(p) == prefix {
			return unescapeShared(value), true
		}
	}
	return "", false
}

// unescapeShared avoids the copy [Unescape] makes in the usual case without
// references; the result lives as long as raw.
func unescapeShared(raw []byte) string {
	if indexByte(raw, '&') < 0 {
		return str(raw)
	}
	return Unescape(raw)
}

// FindChild returns the first direct child of elem with that name.
func FindChild(elem []byte, space, local string) (Child, bool) {
	for c := range Children(elem) {
		if c.Local == local && c.Space == space {
			return c, true
		}
	}
	return Child{}, false
}

// FirstChild returns the first direct child element of elem: the payload of an
// IQ.
func FirstChild(elem []byte) (Child, bool) {
	for c := range Children(elem) {
		return c, true
	}
	return Child{}, false
}

// Text returns the character data directly inside the element, unescaped,
// CDATA sections included; child elements are skipped. The result is a copy.
func (c *Child) Text() string {
	var b strings.Builder
	inner := c.Inner(c.Raw)
	depth := 0
	for len(inner) > 0 {
		i := indexByte(inner, '<')
		if i < 0 {
			i = len(inner)
		}
		if depth == 0 {
			b.WriteString(Unescape(inner[:i]))
		}
		inner = inner[i:]
		if len(inner) == 0 {
			break
		}
		if cd, ok := bytes.CutPrefix(inner, []byte("<"+cdataStart)); ok {
			text, rest, _ := bytes.Cut(cd, []byte("]]>"))
			if depth == 0 {
				b.Write(text)
			}
			inner = rest
			continue
		}
		end := tagEnd(inner)
		if end < 0 {
			break
		}
		switch {
		case inner[1] == '/':
			depth--
		case inner[end-1] != '/':
			depth++
		}
		inner = inner[end+1:]
	}
	return b.String()
}
