package muc

import (
	"slices"
	"strconv"
	"time"

	"vnode/internal/wire"
)

// history is what was said in a room, oldest first, bounded in number and
// bytes. Main's part comes on another stream than its presences and connect
// (and may come twice), so that entries are ordered by their time and told
// apart by speaker and id.
type history struct {
	// Static after construction.
	maxMessages, maxBytes int

	entries []historyEntry
	bytes   int
}

type historyEntry struct {
	*packet
	nick string // who said it; "" for a visitor of another node
	id   string
	time time.Time
}

func (e *historyEntry) size() int { return len(e.head) + len(e.tail) }

func (h *history) len() int { return len(h.entries) }

// add keeps e and reports whether it did: not when it is here already, or when
// newer ones leave it no room.
func (h *history) add(e historyEntry) bool {
	if e.size() > h.maxBytes || h.maxMessages <= 0 || h.has(&e) {
		return false
	}
	at := len(h.entries)
	for at > 0 && h.entries[at-1].time.After(e.time) {
		at--
	}
	h.entries = slices.Insert(h.entries, at, e)
	h.bytes += e.size()
	for len(h.entries) > h.maxMessages || h.bytes > h.maxBytes {
		h.bytes -= h.entries[0].size()
		h.entries = slices.Delete(h.entries, 0, 1)
		at--
	}
	return at >= 0
}

// has reports whether e is here already. Main's history calls every visitor by
// the room's name, those of this node too.
func (h *history) has(e *historyEntry) bool {
	return e.id != "" && slices.ContainsFunc(h.entries, func(x historyEntry) bool {
		return x.id == e.id && (x.nick == e.nick || x.nick == "" || e.nick == "")
	})
}

// remember keeps a message just said for those to come, stamped with the time
// (XEP-0203 §4, XEP-0045 §7.2.14).
func (r *room) remember(from, nick string, m *said, content []byte) {
	b := make([]byte, 0, len(content)+128)
	b = append(append(b, content...), "<delay xmlns='"+wire.NSDelay+"' from='"...)
	b = append(append(b, r.pubFrom...), "' stamp='"...)
	b = r.now.UTC().AppendFormat(b, "2006-01-02T15:04:05Z")
	b = append(b, "'/>"...)
	r.history.add(historyEntry{
		packet: messagePacket(from, groupchat, &m.payload, b),
		nick:   nick, id: m.id, time: r.now,
	})
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

// historyMessage handles what was said in the main room before it was
// connected. Visitors that were quicker than main's history are told as well.
func (r *room) historyMessage(from wire.JID, h *wire.Header, stanza []byte) {
	m := readMessage(h, stanza, func(*wire.Child) bool { return true })
	speaker := speakerOf(from, &m)
	if speaker.Bare() != r.main || string(h.Type) != groupchat || m.stamp == "" {
		r.refuseRemote(from, h, wire.ErrBadRequest)
		return
	}
	stamp, err := time.Parse(time.RFC3339, m.stamp)
	if err != nil || stamp.After(r.now) {
		stamp = r.now
	}
	at := escaped(r.pub.WithResource(speaker.Resource).String())
	e := historyEntry{
		packet: messagePacket(at, groupchat, &m.payload, m.children),
		nick:   speaker.Resource, id: m.id, time: stamp,
	}
	if r.history.add(e) && r.visitors > 0 {
		r.toVisitors(e.packet)
	}
}

// historyRequest is what a joining visitor asks for, XEP-0045 §7.2.13.
type historyRequest struct {
	messages, chars int // at most; -1 for any number
	since           time.Time
	seconds         int // -1 for any time
}

func askedHistory(x *wire.Child) historyRequest {
	q := historyRequest{messages: -1, chars: -1, seconds: -1}
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
	q.messages, q.chars, q.seconds = number("maxstanzas"), number("maxchars"), number("seconds")
	if t, err := time.Parse(time.RFC3339, c.Attr("since")); err == nil {
		q.since = t
	}
	return q
}

// since returns the newest messages that satisfy q, oldest first.
func (h *history) since(q historyRequest, now time.Time) []*packet {
	first, chars := len(h.entries), 0
	for first > 0 {
		e := &h.entries[first-1]
		chars += e.size()
		if q.messages >= 0 && len(h.entries)-first >= q.messages ||
			q.chars >= 0 && chars > q.chars ||
			q.seconds >= 0 && int(now.Sub(e.time)/time.Second) > q.seconds ||
			e.time.Before(q.since) {
			break
		}
		first--
	}
	ps := make([]*packet, 0, len(h.entries)-first)
	for _, e := range h.entries[first:] {
		ps = append(ps, e.packet)
	}
	return ps
}
