package room

import (
	"bytes"

	"vnode/internal/wire"
)

// Clients find what a stanza says with CSS selectors, which know an element by its
// local name whatever its namespace, or by the xmlns attribute it bears whatever
// its name. So what only the room may say is left out by both. CONFORMANCE lists
// the selectors.

const nsOldDelay = "jabber:x:delay" // XEP-0091

// roomsWords are the local names of what the room, or a server, says in a message.
var roomsWords = map[string]bool{
	"nick": true, "display-name": true, "delay": true, "addresses": true, "stanza-id": true, "occupant-id": true,
	"x": true, "query": true, "services": true, "settings-error": true, "error": true,
}

// mistakable reports whether a child could be taken for another: with a prefix its
// name is read in one way by some clients and in another by others, and a client
// that looks for old delays asks for the declaration alone.
func mistakable(c *wire.Child) bool {
	return bytes.IndexByte(c.Name, ':') >= 0 || c.Space == nsOldDelay
}

// keepInPresence leaves out what the room itself says in a presence, so that
// nobody can say it in the room's place. Clients look for the first <x/> at any
// depth.
func keepInPresence(c *wire.Child) bool {
	switch {
	case mistakable(c), c.Local == "x", c.Local == "occupant-id", c.Local == "delay", c.Local == "stanza-id":
		return false
	}
	return !hides(c.Raw, "x")
}

// hides reports whether an element may hold one with that local name. Text that
// looks like one counts: a child that is left out by mistake is no loss.
func hides(raw []byte, local string) bool {
	inner := raw[1:]
	for {
		i := bytes.Index(inner, []byte(local))
		if i < 0 {
			return false
		}
		before, after := byte(0), byte('>')
		if i > 0 {
			before = inner[i-1]
		}
		if end := i + len(local); end < len(inner) {
			after = inner[end]
		}
		if (before == '<' || before == ':') && bytes.IndexByte([]byte(" \t\r\n/>"), after) >= 0 {
			return true
		}
		inner = inner[i+len(local):]
	}
}

// keepInChat leaves out of a visitor's message who speaks, when and to whom: that
// is the room's to say.
func keepInChat(c *wire.Child) bool { return !mistakable(c) && !roomsWords[c.Local] }

// keepFromMain is keepInChat for what is said in the main room. Who speaks under
// which name the main server says itself.
func keepFromMain(c *wire.Child) bool {
	switch {
	case mistakable(c):
		return false
	case c.Local == "nick":
		return c.Space == wire.NSNick
	case c.Local == "display-name":
		return c.Space == nsDisplayName
	}
	return !roomsWords[c.Local]
}

// withoutSubject is keep without a subject, which beside a body would change the
// subject as well.
func withoutSubject(keep func(*wire.Child) bool) func(*wire.Child) bool {
	return func(c *wire.Child) bool { return c.Local != "subject" && keep(c) }
}
