package room

import (
	"strconv"
	"time"

	"vnode/internal/wire"
	"vnode/muc/history"
)

// remember keeps a message just said for those to come, stamped with the time
// (XEP-0203 §4, XEP-0045 §7.2.14). from is escaped.
func (r *conference) remember(from string, by speaking, m *said, content []byte) {
	p := messagePacket(from, groupchat, &m.payload, r.appendDelay(content, r.now))
	r.history.Add(r.line(p, by, m.id, r.now))
}

func (r *conference) line(p *Packet, by speaking, id string, at time.Time) history.Line[*Packet] {
	return history.Line[*Packet]{Packet: share(p), Size: p.size(), Speaker: by.nick, Author: by.author, ID: id, Time: at}
}

// appendDelay returns a copy of content with the mark of what is said late.
func (r *conference) appendDelay(content []byte, at time.Time) []byte {
	b := make([]byte, 0, len(content)+128)
	b = append(append(b, content...), "<delay xmlns='"+wire.NSDelay+"' from='"...)
	b = append(append(b, r.pubFrom...), "' stamp='"...)
	b = at.UTC().AppendFormat(b, "2006-01-02T15:04:05Z")
	return append(b, "'/>"...)
}

// speakerOf returns the occupant of the main room that said m. Where the main
// domain is a suffix of the node's, main's mapping of addresses leaves nothing
// of the sender's but the domain; the room still says its name in the delay.
func speakerOf(from wire.JID, m *said) wire.JID {
	if from.Local != "" {
		return from
	}
	room, err := wire.ParseJID(m.stampedBy)
	if err != nil || room.Domain != from.Domain {
		return wire.JID{}
	}
	return room.Bare()
}

// SpeakerOf returns the occupant of the main room that said a message of its history,
// as far as the main server's mapping of addresses lets it be known.
func SpeakerOf(st *wire.Stanza) wire.JID {
	m := readMessage(st, func(*wire.Child) bool { return false })
	return speakerOf(st.From, &m)
}

// historyMessage handles what was said in the main room before it was
// connected. Visitors that were quicker than main's history are told as well.
func (r *conference) historyMessage(st *wire.Stanza) {
	m := readMessage(st, keepFromMain)
	speaker := speakerOf(st.From, &m)
	if speaker.Bare() != r.main || string(st.Type) != groupchat || m.stamp == "" {
		r.refuseRemote(st, wire.ErrBadRequest)
		return
	}
	stamp, err := time.Parse(time.RFC3339, m.stamp)
	if err != nil || stamp.After(r.now) {
		stamp = r.now
	}
	by := speaking{from: r.pub.WithResource(speaker.Resource), nick: speaker.Resource, moderator: true}
	r.authors.say(m.id, author{by.nick, ""})
	p := messagePacket(escaped(by.from.String()), groupchat, &m.payload, append(m.children, m.delay...))
	if r.keepOld(p, by, &m, stamp) && r.visitors > 0 {
		r.toVisitors(p)
	}
}

// keepOld takes a message of main's history in and reports whether it is news.
// Main's own room vouches for what its history holds.
func (r *conference) keepOld(p *Packet, by speaking, m *said, stamp time.Time) bool {
	if m.about.kind != aboutNothing {
		return r.applyToHistory(m, by, m.children, p)
	}
	l := r.line(p, by, m.id, stamp)
	l.Moderated = m.tombstone
	return r.history.Add(l)
}

// askedHistory is what a joining visitor asks for.
func askedHistory(x *wire.Child) history.Request {
	q := history.All
	c, ok := wire.FindChild(x.Raw, wire.NSMUC, "history")
	if !ok {
		return q
	}
	number := func(name string) int {
		if n, err := strconv.Atoi(c.Attr(name)); err == nil && n >= 0 {
			return n
		}
		return -1
	}
	q.Stanzas, q.Chars, q.Seconds = number("maxstanzas"), number("maxchars"), number("seconds")
	if t, err := time.Parse(time.RFC3339, c.Attr("since")); err == nil {
		q.Since = t
	}
	return q
}
