package muc

import (
	"vnode/internal/wire"
)

const (
	groupchat     = "groupchat"
	anonymousName = "anonymous" // shown for a visitor that gave no name
)

// said is a message as it was read: its payload, and which of the children
// that matter to a room it has.
type said struct {
	payload
	body, subject    bool
	stamp, stampedBy string // of a <delay/>, XEP-0203
}

func readMessage(h *wire.Header, stanza []byte, keep func(*wire.Child) bool) said {
	var m said
	m.payload = readPayload(h, stanza, func(c *wire.Child) bool {
		switch {
		case c.Space == "" && c.Local == "body":
			m.body = true
		case c.Space == "" && c.Local == "subject":
			m.subject = true
		case c.Space == wire.NSDelay && c.Local == "delay":
			m.stamp, m.stampedBy = c.Attr("stamp"), c.Attr("from")
		}
		return keep(c)
	})
	return m
}

// clientMessage handles a local session's message.
func (r *room) clientMessage(from Session, h *wire.Header, nick string, stanza []byte) {
	typ := string(h.Type)
	if typ == "error" {
		return // nobody waits for it
	}
	o := r.occupantOf(from)
	switch {
	case o == nil:
		r.refuse(from, h, by(errNotJoined, r.pub.String()))
	case o.kind == visitor && len(stanza) > r.cfg.MaxMessage:
		// It would be multiplied by the room.
		r.refuse(from, h, errBigMessage)
	case nick == "" && typ == groupchat:
		r.clientChat(o, h, stanza)
	case nick != "" && isPrivate(typ):
		r.privateMessage(o, h, nick, stanza)
	default:
		r.refuse(from, h, wire.ErrBadRequest)
	}
}

// isPrivate reports whether a message of that type may go to one occupant,
// XEP-0045 §7.5.
func isPrivate(typ string) bool { return typ == "chat" || typ == "normal" || typ == "" }

// clientChat lets a local occupant speak: to all visitors here, itself among
// them, and to the main room, which knows the others. Visitors may speak
// although their role is visitor.
func (r *room) clientChat(o *occupant, h *wire.Header, stanza []byte) {
	m := readMessage(h, stanza, keepInChat)
	if m.id == "" {
		m.id = r.newID()
	}
	if o.kind == focus {
		r.say(o.from, o.nick, &m, m.children)
		return
	}
	// A body does not make a subject harmless: clients take it either way.
	if m.subject {
		r.refuse(o.session, h, errSubject)
		return
	}
	content := appendName(m.children, o.shownName())
	r.say(o.from, o.nick, &m, content)
	r.metrics.chatFromVisitors.Inc()
	r.out.send(r.addr.Domain, r.main.Domain,
		remoteMessage(r.addr.WithResource(o.nick).String(), r.main.String(), groupchat, &m.payload, content))
}

// shownName is the display name a visitor speaks under.
func (o *occupant) shownName() string {
	if o.name == "" {
		return anonymousName
	}
	return o.name
}

// say sends a message to all visitors and keeps it for those to come. from is
// escaped; nick is "" for the room itself.
func (r *room) say(from, nick string, m *said, content []byte) {
	p := messagePacket(from, groupchat, &m.payload, content)
	r.toVisitors(p)
	switch {
	case m.body:
		r.remember(from, nick, m, content)
	case m.subject:
		r.subject = p
	}
}

// remoteMessage handles another server's message.
func (r *room) remoteMessage(from, to wire.JID, h *wire.Header, stanza []byte) {
	typ := string(h.Type)
	switch {
	case to.Domain == r.domains.host:
		r.systemMessage(from, to, h, stanza)
	case to.Local == "":
		r.historyMessage(from, h, stanza)
	case to.Resource == "" && typ == groupchat:
		r.remoteChat(from, h, stanza)
	case to.Resource != "" && typ == "error":
		r.returnError(from, h, to.Resource, stanza)
	case to.Resource != "" && isPrivate(typ):
		r.remotePrivate(from, h, to.Resource, stanza)
	default:
		r.refuseRemote(from, h, wire.ErrBadRequest)
	}
}

// remoteChat handles what is said in the main room: by a participant from its
// real address, by visitors of other nodes (and the room itself) from the main
// room's.
func (r *room) remoteChat(from wire.JID, h *wire.Header, stanza []byte) {
	m := readMessage(h, stanza, keepInPresence)
	switch {
	case from == r.main:
		if m.subject {
			// The main room's own subject comes from a participant; this
			// one is a visitor's of a node that let it through.
			r.refuseRemote(from, h, errSubject)
			return
		}
		r.say(r.pubFrom, "", &m, m.children)
		r.metrics.chatFromNodes.Inc()
	case r.participantAt(from) != nil:
		o := r.participantAt(from)
		r.say(o.from, o.nick, &m, m.children)
		r.metrics.chatFromMain.Inc()
	default:
		r.refuseRemote(from, h, errNotJoined)
	}
}

// participantAt returns the participant with that real address, or nil.
func (r *room) participantAt(j wire.JID) *occupant {
	if o := r.jids[j]; o != nil && o.kind == participant {
		return o
	}
	return nil
}

// systemMessage handles what main's own room sends to one visitor by its real
// address. The client knows the room by the node's name only.
func (r *room) systemMessage(from, to wire.JID, h *wire.Header, stanza []byte) {
	o := r.jids[to]
	if from.Bare() != r.main || o == nil || o.kind == participant {
		r.refuseRemote(from, h, wire.ErrServiceUnavailable)
		return
	}
	r.reply(o.session, h.AppendStamped(nil, stanza, wire.Stamp{
		Space: wire.NSClient, To: o.jidText, From: r.pub.WithResource(from.Resource).String(),
		ID: wire.Unescape(h.ID), Type: wire.Unescape(h.Type), Lang: wire.Unescape(h.Lang),
	}))
}

// subjectPacket is the message that ends a join, XEP-0045 §7.2.15.
func (r *room) subjectPacket() *packet {
	if r.subject == nil {
		r.subject = messagePacket(r.pubFrom, groupchat, &payload{}, []byte("<subject/>"))
	}
	return r.subject
}
