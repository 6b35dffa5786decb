package room

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
	store, noStore   bool   // hints, XEP-0334
	tombstone        bool   // of a moderated line, XEP-0425 §5
	stamp, stampedBy string // of a <delay/>, XEP-0203: the last, which the server adds
	delay            []byte // that element, in the stanza
	about            about
	forged           bool // JSON that only a service may say
}

// historic reports whether those who join later are told of it.
func (m *said) historic() bool { return !m.noStore && (m.body || m.store) }

func readMessage(st *wire.Stanza, keep func(*wire.Child) bool) said {
	var m said
	m.payload = readPayload(st, func(c *wire.Child) bool {
		switch {
		case saysJSON(c):
			m.forged = m.forged || !harmlessJSON(c.Text())
		case c.Space == "" && c.Local == "body":
			m.body = true
		case c.Local == "subject":
			m.subject = true
		case c.Space == wire.NSDelay && c.Local == "delay":
			m.stamp, m.stampedBy, m.delay = c.Attr("stamp"), c.Attr("from"), c.Raw
		case c.Space == nsHints:
			m.store = m.store || c.Local == "store"
			m.noStore = m.noStore || c.Local == "no-store" || c.Local == "no-permanent-store"
		case c.Space == nsModerate && c.Local == "moderated":
			m.tombstone = true
		default:
			m.about.read(c)
		}
		return keep(c)
	})
	return m
}

// clientMessage handles a local session's message.
func (r *conference) clientMessage(from Session, st *wire.Stanza) {
	typ := string(st.Type)
	if typ == "error" {
		return // nobody waits for it
	}
	o := r.occupantOf(from)
	switch {
	case o == nil:
		r.refuse(from, st, ErrNotJoined.From(r.pub.String()))
	case o.kind == visitor && len(st.Raw) > r.cfg.MaxMessage:
		// It would be multiplied by the room.
		r.refuse(from, st, errBigMessage)
	case st.To.Resource == "" && typ == groupchat:
		r.clientChat(o, st)
	case st.To.Resource != "" && isPrivate(typ):
		r.privateMessage(o, st)
	case isPrivate(typ) && invites(st):
		r.refuse(from, st, wire.ErrForbidden)
	default:
		r.refuse(from, st, wire.ErrBadRequest)
	}
}

// isPrivate reports whether a message of that type may go to one occupant,
// XEP-0045 §7.5.
func isPrivate(typ string) bool { return typ == "chat" || typ == "normal" || typ == "" }

// invites reports whether a message to a room is a mediated invitation, XEP-0045
// §7.8.2. Jicofo alone decides who comes to a visitor node.
func invites(st *wire.Stanza) bool {
	x, ok := st.Child(wire.NSMUCUser, "x")
	if !ok {
		return false
	}
	_, ok = wire.FindChild(x.Raw, wire.NSMUCUser, "invite")
	return ok
}

// clientChat lets a local occupant speak: to all visitors here, itself among
// them, and to the main room, which knows the others. Visitors may speak
// although their role is visitor.
func (r *conference) clientChat(o *occupant, st *wire.Stanza) {
	m := readMessage(st, keepInChat)
	if m.id == "" {
		m.id = r.newID()
	}
	if o.kind == focus {
		r.say(r.voice(o), &m, m.children)
		return
	}
	// A body does not make a subject harmless: clients take it either way.
	if m.subject {
		r.refuse(o.session, st, errSubject)
		return
	}
	if m.forged {
		r.refuse(o.session, st, errService)
		return
	}
	if e, ok := r.mayEdit(o, &m.about); !ok {
		r.refuse(o.session, st, e)
		return
	}
	if e, ok := r.mayWrite(o, len(st.Raw)); !ok {
		r.refuseChat(o, st, e)
		return
	}
	content := appendName(m.children, o.shownName())
	by := r.voice(o)
	by.author = r.idOf(o)
	r.say(by, &m, content)
	r.metrics.chatFromVisitors.Inc()
	if !r.tellsMain() {
		return
	}
	r.out.Tell(r.addr.Domain, r.main.Domain,
		messageToServer(r.addr.WithResource(o.nick).String(), r.main.String(), groupchat, &m.payload, content))
}

// shownName is the display name a visitor speaks under: its own, if that is not a
// service's.
func (o *occupant) shownName() string {
	if name := o.name(); name != "" && !ofService(name) {
		return name
	}
	return anonymousName
}

func (r *conference) refuseChat(o *occupant, st *wire.Stanza, e wire.StanzaError) {
	r.metrics.chatRefused.Inc()
	r.refuse(o.session, st, e)
}

// voice is who speaks when o does.
func (r *conference) voice(o *occupant) speaking {
	return speaking{from: r.pub.WithResource(o.nick), nick: o.nick, moderator: o.role == roleModerator}
}

// say sends a message to all visitors and keeps it, or what it says of an
// earlier one, for those to come.
func (r *conference) say(by speaking, m *said, content []byte) {
	if m.about.kind == aboutNothing || m.about.kind == aboutReaction || m.about.kind == aboutCorrection {
		r.authors.say(m.id, author{by.nick, by.author})
	}
	from := escaped(by.from.String())
	p := messagePacket(from, groupchat, &m.payload, content)
	r.toVisitors(p)
	switch {
	case m.about.kind != aboutNothing:
		r.applyToHistory(m, by, content, p)
	case m.historic():
		r.remember(from, by, m, content)
	case m.subject:
		r.subject = share(messagePacket(from, groupchat, &m.payload, content))
	}
}

// remoteMessage handles another server's message.
func (r *conference) remoteMessage(st *wire.Stanza) {
	typ := string(st.Type)
	switch {
	case st.From.Domain == r.domains.MainPolls:
		r.voteReturned(st)
	case st.To.Domain == r.domains.Host:
		r.systemMessage(st)
	case st.To.Local == "":
		r.historyMessage(st)
	case st.To.Resource == "" && typ == groupchat:
		r.remoteChat(st)
	case st.To.Resource != "" && typ == "error":
		r.returnError(st)
	case st.To.Resource != "" && isPrivate(typ):
		r.remotePrivate(st)
	default:
		r.refuseRemote(st, wire.ErrBadRequest)
	}
}

// remoteChat handles what is said in the main room: by a participant from its
// real address, by visitors of other nodes (and the room itself) from the main
// room's.
func (r *conference) remoteChat(st *wire.Stanza) {
	m := readMessage(st, keepFromMain)
	switch {
	case st.From == r.main:
		if m.subject {
			// The main room's own subject comes from a participant; this
			// one is a visitor's of a node that let it through.
			r.refuseRemote(st, errSubject)
			return
		}
		r.sayAsRoom(&m)
	case r.participantAt(st.From) != nil:
		r.participantSays(r.participantAt(st.From), st, &m)
	default:
		r.refuseRemote(st, ErrNotJoined)
	}
}

// participantSays passes on what a participant said. The main server is trusted, its
// participants are not: the main server does not look at who said an earlier line.
func (r *conference) participantSays(o *occupant, st *wire.Stanza, m *said) {
	by := r.voice(o)
	if !r.mayChange(&m.about, by) {
		r.refuseRemote(st, errAuthors)
		return
	}
	if m.subject && m.body {
		*m = readMessage(st, withoutSubject(keepFromMain))
		m.subject = false
	}
	r.say(by, m, m.children)
	r.metrics.chatFromMain.Inc()
}

// sayAsRoom passes on what the main room says in its own name: what a visitor
// of another node wrote, or that a message was moderated.
func (r *conference) sayAsRoom(m *said) {
	if m.about.kind == aboutModeration {
		r.toVisitors(r.announce(m))
		r.entomb(&m.about)
		return
	}
	if m.forged || m.about.kind == aboutCorrection || m.about.kind == aboutRetraction {
		return // it is some visitor's of another node; nobody knows whose the line was
	}
	r.say(speaking{from: r.pub}, m, m.children)
	r.metrics.chatFromNodes.Inc()
}

// participantAt returns the participant with that real address, or nil.
func (r *conference) participantAt(j wire.JID) *occupant {
	if o := r.jids.Get(j); o != nil && o.kind == participant {
		return o
	}
	return nil
}

// subjectPacket is the message that ends a join, XEP-0045 §7.2.15.
func (r *conference) subjectPacket() *Packet {
	if r.subject == nil {
		r.subject = share(messagePacket(r.pubFrom, groupchat, &payload{}, []byte("<subject/>")))
	}
	return r.subject
}
