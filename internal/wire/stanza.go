package wire

import (
	"bytes"
	"iter"
)

// Stanza is a message, presence or IQ as it was read: its bytes, its start tag and
// whom it is from and for. It is parsed once, where it arrives, and carried on.
type Stanza struct {
	Header
	// From and To are the addresses as they were proved or parsed; they may differ
	// from the attributes of the same name, which are Header.From and Header.To.
	// The zero JID is none.
	From, To JID
	Raw      []byte
}

// ParseStanza parses the start tag of raw, which must be an element a [Reader]
// framed or [Check] accepted, and the addresses in it. The stanza shares raw's
// memory.
func ParseStanza(raw []byte) (*Stanza, error) {
	h, err := ParseHeader(raw)
	if err != nil {
		return nil, err
	}
	s := &Stanza{Header: h, Raw: raw}
	if s.From, err = ParseAddress(h.From); err != nil {
		return nil, err
	}
	if s.To, err = ParseAddress(h.To); err != nil {
		return nil, err
	}
	return s, nil
}

// Clone returns a copy that shares no memory with s.
func (s *Stanza) Clone() *Stanza {
	c := *s
	c.Raw = bytes.Clone(s.Raw)
	for _, part := range []*[]byte{&c.Name, &c.Space, &c.Header.To, &c.Header.From, &c.ID, &c.Type, &c.Lang, &c.attrs} {
		*part = moved(*part, s.Raw, c.Raw)
	}
	return &c
}

// moved returns the copy of part, a part of old, in fresh, a copy of old. Parts of
// other memory are copied by themselves.
func moved(part, old, fresh []byte) []byte {
	if part == nil {
		return nil
	}
	// Slices of one array end at the same place if nothing has cut their capacity.
	at := cap(old) - cap(part)
	if len(part) == 0 || at < 0 || at+len(part) > len(old) || &old[at] != &part[0] {
		return append([]byte{}, part...)
	}
	return fresh[at : at+len(part)]
}

// Children is [Children] of the stanza, whose start tag has been parsed.
func (s *Stanza) Children() iter.Seq[Child] { return childrenOf(&s.Header, s.Raw) }

// Child returns the first direct child with that name.
func (s *Stanza) Child(space, local string) (Child, bool) {
	for c := range s.Children() {
		if c.Local == local && c.Space == space {
			return c, true
		}
	}
	return Child{}, false
}

// FirstChild returns the first direct child.
func (s *Stanza) FirstChild() (Child, bool) {
	for c := range s.Children() {
		return c, true
	}
	return Child{}, false
}

// Answerable is [Answerable] of the stanza.
func (s *Stanza) Answerable() bool { return Answerable(&s.Header) }
