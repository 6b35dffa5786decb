package room

import (
	"vnode/internal/wire"
	"vnode/muc/address"
)

// WithoutRoom answers what another server sent about a room that is not
// there. Disconnecting it is done already.
func WithoutRoom(out Sender, d *address.Domains, from wire.JID, stanza []byte) {
	h, err := wire.ParseHeader(stanza)
	if err != nil {
		return
	}
	if q, ok := ParseVisitorsIQ(stanza); ok && q.Disconnect != nil && (from == wire.JID{Domain: d.Main}) {
		SendResult(out, from, &h, nil)
		return
	}
	SendError(out, from, &h, wire.ErrItemNotFound.From(d.Rooms))
}
