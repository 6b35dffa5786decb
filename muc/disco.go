package muc

import (
	"vnode/internal/wire"
	"vnode/muc/room"
)

// componentIQ answers a request to the service itself; an error when it
// cannot. It lists no rooms (XEP-0045 §6.3 lets hidden ones out).
func componentIQ(st *wire.Stanza) (payload []byte, err error) {
	c, ok := st.FirstChild()
	if !ok {
		return nil, wire.ErrBadRequest
	}
	if string(st.Type) != "get" {
		if c.Space == wire.NSVisitors {
			return nil, room.ErrNotFromMain
		}
		return nil, wire.ErrServiceUnavailable
	}
	switch c.Space {
	case wire.NSDisco:
		b := wire.NewBuilder(nil).Start("query", "xmlns", wire.NSDisco)
		b.Elem("identity", "", "category", "conference", "type", "text", "name", "Visitor rooms")
		for _, f := range []string{wire.NSDisco, wire.NSItems, wire.NSMUC, wire.NSPing, room.NSOccupantID} {
			b.Elem("feature", "", "var", f)
		}
		return b.Bytes(), nil
	case wire.NSItems:
		return []byte("<query xmlns='" + wire.NSItems + "'/>"), nil
	case wire.NSPing:
		return nil, nil
	}
	return nil, wire.ErrServiceUnavailable
}
