package room

import (
	"vnode/internal/wire"
)

// mucUser marks a private message, XEP-0045 §7.5.
const mucUser = "<x xmlns='" + wire.NSMUCUser + "'/>"

// privateMessage handles a local occupant's message to one occupant. Visitors
// may write to participants, whom main delivers it; not to one another.
func (r *conference) privateMessage(o *occupant, h *wire.Header, nick string, stanza []byte) {
	to := r.nicks.Get(nick)
	switch {
	case to == nil:
		r.refuse(o.session, h, errNoRecipient.From(r.pub.String()))
	case o.kind == focus && to.kind == visitor:
		m := readMessage(h, stanza, keepInPresence)
		r.out.Deliver(to.session, messagePacket(r.from(o), string(h.Type), &m.payload, append(m.children, mucUser...)))
	case o.kind == visitor && to.kind == participant && !r.tellsMain():
		r.refuse(o.session, h, errNotForMain)
	case o.kind == visitor && to.kind == participant:
		if e, ok := r.mayWrite(o, len(stanza)); !ok {
			r.refuseChat(o, h, e)
			return
		}
		m := readMessage(h, stanza, keepInChat)
		if e, ok := r.mayEdit(o, &m.about); !ok {
			r.refuse(o.session, h, e)
			return
		}
		if m.forged {
			r.refuse(o.session, h, errService)
			return
		}
		r.authors.say(m.id, author{o.nick, r.idOf(o)})
		content := appendName(append(m.children, mucUser...), o.shownName())
		r.out.Send(r.addr.Domain, r.main.Domain, remoteMessage(r.addr.WithResource(o.nick).String(),
			r.main.WithResource(nick).String(), string(h.Type), &m.payload, content))
	default:
		r.refuse(o.session, h, errVisitorPM)
	}
}

// remotePrivate handles a participant's message, from its real address, to one
// visitor.
func (r *conference) remotePrivate(from wire.JID, h *wire.Header, nick string, stanza []byte) {
	o, to := r.participantAt(from), r.nicks.Get(nick)
	switch {
	case o == nil:
		r.refuseRemote(from, h, ErrNotJoined)
		return
	case to == nil || to.kind != visitor:
		r.refuseRemote(from, h, errNoRecipient.From(r.addr.String()))
		return
	}
	m := readMessage(h, stanza, keepFromMain)
	by := r.voice(o)
	if !r.mayChange(&m.about, by) {
		r.refuseRemote(from, h, errAuthors)
		return
	}
	r.authors.say(m.id, author{by.nick, by.author})
	content := append(m.children, mucUser+"<occupant-id xmlns='"+NSOccupantID+"' id='"...)
	content = append(r.ids.append(content, o.jid().Bare()), "'/>"...)
	r.out.Deliver(to.session, messagePacket(r.from(o), string(h.Type), &m.payload, content))
}

// returnError brings main's refusal of what a visitor said back to it, from
// the address it wrote to.
func (r *conference) returnError(from wire.JID, h *wire.Header, nick string, stanza []byte) {
	to := r.nicks.Get(nick)
	if from.Bare() != r.main {
		return
	}
	if from == r.main {
		r.noticeGone(h, stanza)
	}
	if to == nil || to.kind != visitor {
		return
	}
	r.reply(to.session, h.AppendStamped(nil, stanza, wire.Stamp{
		Space: wire.NSClient, To: to.jid().String(), From: r.pub.WithResource(from.Resource).String(),
		ID: wire.Unescape(h.ID), Type: "error", Lang: wire.Unescape(h.Lang),
	}))
}
