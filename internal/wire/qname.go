package wire

import (
	"bytes"
	"slices"
)

// QName returns the namespace and the local name of the element, by what its own
// start tag declares (Namespaces in XML 1.0 §6): the namespace is empty without
// an xmlns, or with a prefix that is declared further out. Stream-level elements
// may have any prefix: RFC 6120 §4.8.5 speaks of the content namespace alone.
func (h *Header) QName() (space, local string) {
	colon := indexByte(h.Name, ':')
	if colon < 0 {
		return unescapeShared(h.Space), str(h.Name)
	}
	space, _ = declared(str(h.Name[:colon]), h)
	return space, str(h.Name[colon+1:])
}

// Prefixes are the prefixes that a start tag declares, for elements inside it
// that are to stand alone.
type Prefixes []prefixDeclaration

type prefixDeclaration struct{ prefix, uri []byte } // uri as written

// Prefixes returns what the tag declares, copied. The prefix xml needs no
// declaration.
func (h *Header) Prefixes() (all Prefixes) {
	for name, value := range h.Attrs() {
		if prefix, ok := bytes.CutPrefix(name, []byte("xmlns:")); ok && len(prefix) > 0 {
			all = append(all, prefixDeclaration{bytes.Clone(prefix), bytes.Clone(value)})
		}
	}
	return all
}

// withoutStream leaves out the usual prefix of streams, which everybody knows.
func (p Prefixes) withoutStream() Prefixes {
	return slices.DeleteFunc(p, func(d prefixDeclaration) bool {
		return string(d.prefix) == "stream" && string(d.uri) == NSStream
	})
}

// Declare returns elem with those of the prefixes declared on it that it mentions
// and does not declare itself. The result is elem itself when there are none,
// else a copy.
func (p Prefixes) Declare(elem []byte) []byte {
	if len(p) == 0 {
		return elem
	}
	h, err := ParseHeader(elem)
	if err != nil {
		return elem
	}
	var extra []byte
	for _, d := range p {
		if _, own := declared(str(d.prefix), &h); own || !mentions(elem, d.prefix) {
			continue
		}
		quote := byte('\'')
		if indexByte(d.uri, quote) >= 0 {
			quote = '"'
		}
		extra = append(append(extra, " xmlns:"...), d.prefix...)
		extra = append(append(append(extra, '=', quote), d.uri...), quote)
	}
	if extra == nil {
		return elem
	}
	at := 1 + len(h.Name)
	out := make([]byte, 0, len(elem)+len(extra))
	out = append(append(out, elem[:at]...), extra...)
	return append(out, elem[at:]...)
}

// mentions reports whether the prefix may be used in elem. In text it does no
// harm.
func mentions(elem, prefix []byte) bool {
	for {
		i := bytes.Index(elem, prefix)
		if i < 0 {
			return false
		}
		elem = elem[i+len(prefix):]
		if len(elem) > 0 && elem[0] == ':' {
			return true
		}
	}
}
