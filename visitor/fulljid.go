package visitor

import "vnode/internal/wire"

// fullJID is a client's address: once, as a string, and where its parts are in
// that. A wire.JID takes twice as much.
type fullJID struct {
	text  string
	local uint16 // length of the localpart
	bare  uint16 // length of the bare JID
}

// newFullJID returns a copy of j, which has all its parts.
func newFullJID(j wire.JID) fullJID {
	return fullJID{text: j.String(), local: uint16(len(j.Local)), bare: uint16(len(j.Local) + 1 + len(j.Domain))}
}

func (f *fullJID) localpart() string { return f.text[:f.local] }

func (f *fullJID) jid() wire.JID {
	return wire.JID{Local: f.localpart(), Domain: f.text[f.local+1 : f.bare], Resource: f.text[f.bare+1:]}
}
