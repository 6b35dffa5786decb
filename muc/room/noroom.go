package room

import (
	"vnode/internal/address"
	"vnode/internal/wire"
)

// WithoutRoom answers what another server sent about a room that is not
// there. Disconnecting it is done already.
func WithoutRoom(out Sender, d *address.Domains, st *wire.Stanza) {
	if q, ok := ParseVisitorsIQ(st); ok && q.Disconnect != nil && (st.From == wire.JID{Domain: d.Main}) {
		SendResult(out, st, nil)
		return
	}
	SendError(out, st, wire.ErrItemNotFound.From(d.Rooms))
}
