package room

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"hash"

	"vnode/fanout"
	"vnode/internal/wire"
)

const (
	NSOccupantID  = "urn:xmpp:occupant-id:0"                 // XEP-0421
	nsDisplayName = "http://jitsi.org/protocol/display-name" // who wrote a chat line
	defaultLang   = "en"                                     // of a stanza that names none
)

// packet is an encoded stanza for local clients: the recipient's address goes
// between head and tail. One that is whole, or has no tail, is complete as it is.
// It is immutable but for the message made of it on first use, by the goroutine of
// the room.
type Packet struct {
	class      fanout.Class
	key        string
	head, tail []byte
	whole      bool
	shared     bool // the room keeps it for all who join
	made       *fanout.Message
}

func (p *Packet) size() int { return len(p.head) + len(p.tail) }

func (p *Packet) Message() *fanout.Message {
	if p.made == nil {
		switch {
		case p.whole:
			p.made = fanout.NewSplit(p.head, p.tail)
		case p.tail == nil:
			p.made = fanout.NewPrivate(p.head)
		default:
			p.made = fanout.NewMessage(p.class, p.key, p.head, p.tail)
		}
		if p.shared {
			p.made.Shared()
		}
	}
	return p.made
}

// Unshared returns a copy that is one client's own.
func (p *Packet) Unshared() *Packet {
	own := *p
	own.shared, own.made = false, nil
	return &own
}

// share marks a packet, just made, as one that the room keeps for all who join.
func share(p *Packet) *Packet {
	p.shared = true
	return p
}

// payload is what a stanza says apart from its addressing: the children that
// pass, and the attributes (namespace declarations among them) they may need.
type payload struct {
	id, lang string
	attrs    []byte
	children []byte
}

// readPayload copies the children of stanza that keep accepts.
func readPayload(st *wire.Stanza, keep func(*wire.Child) bool) payload {
	p := payload{id: wire.Unescape(st.ID), lang: wire.Unescape(st.Lang), attrs: st.OtherAttrs()}
	if p.lang == "" {
		p.lang = defaultLang
	}
	for c := range st.Children() {
		if !keep(&c) {
			continue
		}
		if p.children == nil {
			p.children = make([]byte, 0, len(st.Raw))
		}
		p.children = append(p.children, c.Raw...)
	}
	return p
}

// appendOpen appends the start tag of a stanza to local clients up to the
// recipient's address. from is escaped already.
func appendOpen(dst []byte, name, from, typ string, p *payload) []byte {
	return appendAttrs(append(appendBegin(dst, name), from...), typ, p)
}

// appendBegin is the begin of appendOpen, up to the sender's address.
func appendBegin(dst []byte, name string) []byte {
	dst = append(dst, '<')
	dst = append(dst, name...)
	return append(dst, " xmlns='"+wire.NSClient+"' from='"...)
}

// appendAttrs is the rest of it.
func appendAttrs(dst []byte, typ string, p *payload) []byte {
	dst = append(dst, '\'')
	dst = appendOptional(dst, "type", typ)
	dst = appendOptional(dst, "id", p.id)
	dst = appendOptional(dst, "xml:lang", p.lang)
	dst = append(dst, p.attrs...)
	return append(dst, " to='"...)
}

// appendJID appends an address, escaped.
func appendJID(dst []byte, j wire.JID) []byte {
	if j.Local != "" {
		dst = append(wire.AppendText(dst, j.Local), '@')
	}
	dst = wire.AppendText(dst, j.Domain)
	if j.Resource != "" {
		dst = wire.AppendText(append(dst, '/'), j.Resource)
	}
	return dst
}

func appendOptional(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	return wire.AppendAttr(dst, name, value)
}

// status of an occupant as a presence states it, XEP-0045 §7, §8, §10.
type status struct {
	codes   []string // before the item: 100, 201, 307
	self    bool     // 110: the recipient's own presence
	gone    bool     // role none
	actor   string   // nick of who did it
	reason  string   // why it did
	destroy string   // why the room is no more; "" when it is
	venue   string   // where it goes on, XEP-0045 §10.9; "" for nowhere
}

// presencePacket encodes a presence of o; p is nil for one the room makes on
// its own account.
func (r *conference) presencePacket(class fanout.Class, o *occupant, p *payload, s status) *Packet {
	if p == nil {
		p = &payload{}
	}
	typ, role := "", o.role
	if s.gone {
		typ, role = "unavailable", roleNone
	}
	head := appendBegin(make([]byte, 0, 288+len(p.attrs)), "presence")
	head = appendAttrs(appendJID(head, r.pub.WithResource(o.nick)), typ, p)
	tail := append(make([]byte, 0, 400+len(p.children)), "'>"...)
	tail = append(tail, p.children...)
	tail = append(tail, "<occupant-id xmlns='"+NSOccupantID+"' id='"...)
	tail = r.ids.append(tail, o.jid().Bare())
	tail = append(tail, "'/>"...)
	tail = s.append(tail, o.jid(), o.affiliation, role)
	tail = append(tail, "</presence>"...)
	return &Packet{class: class, key: o.nick, head: head, tail: tail}
}

// append appends what a room says in a presence of who, whose affiliation and
// role are given.
func (s *status) append(dst []byte, who wire.JID, a affiliation, r role) []byte {
	dst = append(dst, "<x xmlns='"+wire.NSMUCUser+"'>"...)
	for _, code := range s.codes {
		dst = appendCode(dst, code)
	}
	if s.destroy != "" {
		dst = append(dst, "<destroy"...)
		if s.venue != "" {
			dst = wire.AppendAttr(dst, "jid", s.venue)
		}
		dst = append(dst, "><reason>"...)
		dst = wire.AppendText(dst, s.destroy)
		dst = append(dst, "</reason></destroy>"...)
	}
	dst = append(dst, "<item affiliation='"...)
	dst = append(dst, a.String()...)
	dst = append(dst, "' role='"...)
	dst = append(dst, r.String()...)
	dst = append(appendJID(append(dst, "' jid='"...), who), '\'')
	dst = s.appendItemEnd(dst)
	if s.self {
		dst = appendCode(dst, "110")
	}
	return append(dst, "</x>"...)
}

func (s *status) appendItemEnd(dst []byte) []byte {
	if s.actor == "" && s.reason == "" {
		return append(dst, "/>"...)
	}
	dst = append(dst, '>')
	if s.actor != "" {
		dst = append(dst, "<actor"...)
		dst = wire.AppendAttr(dst, "nick", s.actor)
		dst = append(dst, "/>"...)
	}
	if s.reason != "" {
		dst = append(dst, "<reason>"...)
		dst = wire.AppendText(dst, s.reason)
		dst = append(dst, "</reason>"...)
	}
	return append(dst, "</item>"...)
}

func appendCode(dst []byte, code string) []byte {
	dst = append(dst, "<status code='"...)
	dst = append(dst, code...)
	return append(dst, "'/>"...)
}

// appendName appends the name a visitor speaks under, in the old form and in
// Jitsi's.
func appendName(dst []byte, name string) []byte {
	dst = append(dst, "<nick xmlns='"+wire.NSNick+"'>"...)
	dst = wire.AppendText(dst, name)
	dst = append(dst, "</nick><display-name xmlns='"+nsDisplayName+"' source='visitor'>"...)
	dst = wire.AppendText(dst, name)
	return append(dst, "</display-name>"...)
}

// messagePacket encodes a message from the escaped address from, its content
// already complete.
func messagePacket(from, typ string, p *payload, content []byte) *Packet {
	head := appendOpen(make([]byte, 0, 160+len(from)+len(p.attrs)), "message", from, typ, p)
	tail := make([]byte, 0, len(content)+16)
	tail = append(tail, "'>"...)
	tail = append(tail, content...)
	tail = append(tail, "</message>"...)
	return &Packet{head: head, tail: tail}
}

// messageToServer encodes a message to another server.
func messageToServer(from, to, typ string, p *payload, content []byte) []byte {
	b := append(make([]byte, 0, 160+len(from)+len(to)+len(p.attrs)+len(content)), "<message"...)
	b = wire.AppendAttr(b, "from", from)
	b = wire.AppendAttr(b, "to", to)
	b = appendOptional(b, "type", typ)
	b = appendOptional(b, "id", p.id)
	b = appendOptional(b, "xml:lang", p.lang)
	b = append(b, p.attrs...)
	b = append(b, '>')
	b = append(b, content...)
	return append(b, "</message>"...)
}

// escaped returns s fit for an attribute value.
func escaped(s string) string { return string(wire.AppendText(nil, s)) }

// occupantIDs makes the stable, opaque identifiers of users in a room (XEP-0421
// §3.1): the same for every session of a user, and of no use in another room.
// They are made when they are needed, in 0.7 µs: kept as strings they would be a
// fifth of what a room keeps of a silent visitor.
type occupantIDs struct {
	mac  hash.Hash
	user wire.JID // whose is the latest: a visitor that joins is shown twice
	id   []byte
	sum  [sha256.Size]byte
}

func newOccupantIDs(salt []byte) occupantIDs { return occupantIDs{mac: hmac.New(sha256.New, salt)} }

// append appends the identifier, base64, of the user with that bare JID.
func (i *occupantIDs) append(dst []byte, bare wire.JID) []byte {
	if i.user != bare {
		i.user, i.id = bare, append(append(append(i.id[:0], bare.Local...), '@'), bare.Domain...)
		i.mac.Reset()
		i.mac.Write(i.id)
		i.id = base64.StdEncoding.AppendEncode(i.id[:0], i.mac.Sum(i.sum[:0]))
	}
	return append(dst, i.id...)
}
