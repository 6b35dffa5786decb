package room

import (
	"vnode/internal/wire"
)

// mucUser marks a private message, XEP-0045 §7.5.
const mucUser = "<x xmlns='" + wire.NSMUCUser + "'/>"

// privateMessage handles a local occupant's message to one occupant. Visitors
// may write to participants, whom main delivers it; not to one another.
func (r *conference) privateMessage(o *occupant, st *wire.Stanza) {
	to := r.nicks.Get(st.To.Resource)
	switch {
	case to == nil:
		r.refuse(o.session, st, errNoRecipient.From(r.pub.String()))
	case o.kind == focus && to.kind == visitor:
		m := readMessage(st, keepInPresence)
		r.out.Deliver(to.session, messagePacket(r.from(o), string(st.Type), &m.payload, append(m.children, mucUser...)))
	case o.kind == visitor && to.kind == participant && !r.tellsMain():
		r.refuse(o.session, st, errNotForMain)
	case o.kind == visitor && to.kind == participant:
		if e, ok := r.mayWrite(o, len(st.Raw)); !ok {
			r.refuseChat(o, st, e)
			return
		}
		m := readMessage(st, keepInChat)
		if e, ok := r.mayEdit(o, &m.about); !ok {
			r.refuse(o.session, st, e)
			return
		}
		if m.forged {
			r.refuse(o.session, st, errService)
			return
		}
		r.authors.say(m.id, author{o.nick, r.idOf(o)})
		content := appendName(append(m.children, mucUser...), o.shownName())
		r.out.Tell(r.addr.Domain, r.main.Domain, messageToServer(r.addr.WithResource(o.nick).String(),
			r.main.WithResource(to.nick).String(), string(st.Type), &m.payload, content))
	default:
		r.refuse(o.session, st, errVisitorPM)
	}
}

// remotePrivate handles a participant's message, from its real address, to one
// visitor.
func (r *conference) remotePrivate(st *wire.Stanza) {
	o, to := r.participantAt(st.From), r.nicks.Get(st.To.Resource)
	switch {
	case o == nil:
		r.refuseRemote(st, ErrNotJoined)
		return
	case to == nil || to.kind != visitor:
		r.refuseRemote(st, errNoRecipient.From(r.addr.String()))
		return
	}
	m := readMessage(st, keepFromMain)
	by := r.voice(o)
	if !r.mayChange(&m.about, by) {
		r.refuseRemote(st, errAuthors)
		return
	}
	r.authors.say(m.id, author{by.nick, by.author})
	content := append(m.children, mucUser+"<occupant-id xmlns='"+NSOccupantID+"' id='"...)
	content = append(r.ids.append(content, o.jid().Bare()), "'/>"...)
	r.out.Deliver(to.session, messagePacket(r.from(o), string(st.Type), &m.payload, content))
}

// returnError brings main's refusal of what a visitor said back to it, from
// the address it wrote to.
func (r *conference) returnError(st *wire.Stanza) {
	to := r.nicks.Get(st.To.Resource)
	if st.From.Bare() != r.main {
		return
	}
	if st.From == r.main {
		r.noticeGone(st)
	}
	if to == nil || to.kind != visitor {
		return
	}
	r.reply(to.session, st.AppendStamped(nil, st.Raw, wire.Stamp{
		Space: wire.NSClient, To: to.jid().String(), From: r.pub.WithResource(st.From.Resource).String(),
		ID: wire.Unescape(st.ID), Type: "error", Lang: wire.Unescape(st.Lang),
	}))
}
