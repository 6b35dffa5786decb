package conference

import (
	"errors"
	"io"

	"vnode/internal/wire"
)

// mucUser is what matters of a presence's muc#user extension (XEP-0045).
type mucUser struct {
	role      string
	self      bool // status 110
	destroyed bool
	reason    string // of the destruction
}

func parseMUC(presence []byte) mucUser {
	var u mucUser
	x, ok := wire.FindChild(presence, wire.NSMUCUser, "x")
	if !ok {
		return u
	}
	for c := range wire.Children(x.Raw) {
		switch c.Local {
		case "item":
			u.role = c.Attr("role")
		case "status":
			u.self = u.self || c.Attr("code") == "110"
		case "destroy":
			u.destroyed = true
			for r := range wire.Children(c.Raw) {
				if r.Local == "reason" {
					u.reason = r.Text()
				}
			}
		}
	}
	return u
}

// errorOf returns condition and text of a stanza of type error.
func errorOf(stanza []byte) string {
	e, ok := wire.FindChild(stanza, "", "error")
	if !ok {
		return "no error element"
	}
	text := e.Attr("type")
	for c := range wire.Children(e.Raw) {
		if c.Space != wire.NSStanzas {
			continue
		}
		if c.Local == "text" {
			text += ": " + c.Text()
			continue
		}
		text += "/" + c.Local
	}
	return text
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }
