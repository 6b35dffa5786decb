package room

import "vnode/internal/wire"

// systemMessage handles what main's own room sends to one visitor by its real
// address. The client knows the room by the node's name only.
func (r *conference) systemMessage(st *wire.Stanza) {
	o := r.jids.Get(st.To)
	if st.From.Bare() != r.main || o == nil || o.kind == participant {
		r.refuseRemote(st, wire.ErrServiceUnavailable)
		return
	}
	r.reply(o.session, st.AppendStamped(nil, st.Raw, wire.Stamp{
		Space: wire.NSClient, To: o.jid().String(), From: r.pub.WithResource(st.From.Resource).String(),
		ID: wire.Unescape(st.ID), Type: wire.Unescape(st.Type), Lang: wire.Unescape(st.Lang),
	}))
}
