package room

import "vnode/internal/wire"

// systemMessage handles what main's own room sends to one visitor by its real
// address. The client knows the room by the node's name only.
func (r *conference) systemMessage(from, to wire.JID, h *wire.Header, stanza []byte) {
	o := r.jids.Get(to)
	if from.Bare() != r.main || o == nil || o.kind == participant {
		r.refuseRemote(from, h, wire.ErrServiceUnavailable)
		return
	}
	r.reply(o.session, h.AppendStamped(nil, stanza, wire.Stamp{
		Space: wire.NSClient, To: o.jid().String(), From: r.pub.WithResource(from.Resource).String(),
		ID: wire.Unescape(h.ID), Type: wire.Unescape(h.Type), Lang: wire.Unescape(h.Lang),
	}))
}
