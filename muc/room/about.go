package room

import (
	"time"

	"vnode/internal/wire"
	"vnode/muc/history"
)

// Namespaces of messages about earlier ones. Jitsi's moderation is that of
// XEP-0425 before it was merged with retractions: <moderated/> in <apply-to/>;
// today's form is read as well.
const (
	nsCorrect   = "urn:xmpp:message-correct:0"  // XEP-0308
	nsRetract   = "urn:xmpp:message-retract:1"  // XEP-0424
	nsModerate  = "urn:xmpp:message-moderate:1" // XEP-0425
	nsFasten    = "urn:xmpp:fasten:0"           // XEP-0422
	nsReactions = "urn:xmpp:reactions:0"        // XEP-0444
	nsHints     = "urn:xmpp:hints"              // XEP-0334
)

// about says what a message does to an earlier one.
type about struct {
	kind   aboutKind
	id     string // of the earlier message
	reason string // of a moderation
	by     string // who moderated, as the room on main says
	many   bool   // it would change more lines than one
}

type aboutKind uint8

const (
	aboutNothing aboutKind = iota
	aboutCorrection
	aboutRetraction
	aboutModeration
	aboutReaction
)

// read takes in a child of the message.
func (a *about) read(c *wire.Child) {
	switch {
	case c.Space == nsCorrect && c.Local == "replace":
		a.is(aboutCorrection, c.Attr("id"))
	case c.Space == nsReactions && c.Local == "reactions":
		a.is(aboutReaction, c.Attr("id"))
	case c.Space == nsRetract && c.Local == "retract", c.Space == nsFasten && c.Local == "apply-to":
		if m, ok := wire.FindChild(c.Raw, nsModerate, "moderated"); ok {
			a.is(aboutModeration, c.Attr("id"))
			a.by, a.reason = m.Attr("by"), reasonOf(c, &m)
		} else if c.Space == nsRetract {
			a.is(aboutRetraction, c.Attr("id"))
		}
	}
}

// is notes the kind; the gravest counts when a message claims several.
func (a *about) is(k aboutKind, id string) {
	if id == "" {
		return
	}
	if k != aboutReaction && a.kind > aboutNothing && a.kind != aboutReaction && a.id != id {
		a.many = true
	}
	severity := [...]int{aboutNothing: 0, aboutReaction: 1, aboutCorrection: 2, aboutRetraction: 3, aboutModeration: 4}
	if severity[k] > severity[a.kind] {
		a.kind, a.id = k, id
	}
}

// reasonOf returns the reason of a moderation: inside <moderated/>, or beside
// it in today's form.
func reasonOf(outer, moderated *wire.Child) string {
	for _, in := range [][]byte{moderated.Raw, outer.Raw} {
		for c := range wire.Children(in) {
			if c.Local == "reason" {
				return wire.Clip(c.Text(), MaxReason)
			}
		}
	}
	return ""
}

// speaking is who says something: the address visitors see it from, and who
// that is to the history, see [history.Line].
type speaking struct {
	from         wire.JID
	nick, author string
	moderator    bool
}

// mayEdit decides about a visitor's message about an earlier one. Main has not
// seen it yet. What the room has not heard, it cannot prove.
func (r *conference) mayEdit(o *occupant, a *about) (wire.StanzaError, bool) {
	switch {
	case a.kind == aboutModeration:
		return errModerators, false
	case a.many: // which of them a client heeds is its own affair
		return wire.ErrBadRequest, false
	}
	if a.kind != aboutCorrection && a.kind != aboutRetraction {
		return wire.StanzaError{}, true
	}
	self := author{o.nick, r.idOf(o)}
	own := r.history.Find(a.id, func(l *history.Line[*Packet]) bool { return l.Author == self.id })
	switch {
	case own == nil && (r.history.Find(a.id, nil) != nil || !r.authors.said(a.id, self)):
		return errAuthors, false
	case own != nil && own.Moderated:
		return errModerated, false
	}
	return wire.StanzaError{}, true
}

// mayChange decides about a participant's message about an earlier one: only the
// author of a line corrects or retracts it, and only a moderator moderates it.
// What the room has not heard, it cannot prove.
func (r *conference) mayChange(a *about, by speaking) bool {
	switch a.kind {
	case aboutModeration:
		return by.moderator
	case aboutCorrection, aboutRetraction:
	default:
		return !a.many
	}
	if a.many {
		return false
	}
	own := r.history.Find(a.id, func(l *history.Line[*Packet]) bool {
		return l.Speaker == by.nick && l.Author == by.author && !l.Moderated
	})
	if own != nil {
		return true
	}
	return r.history.Find(a.id, nil) == nil && r.authors.said(a.id, author{by.nick, by.author})
}

// applyToHistory does to the history what m says, and reports whether it did.
// content is what visitors are shown of m, p the same encoded. Only the author
// of a line corrects or retracts it, and only a moderator, or the room on main,
// moderates it. A tombstone stays one.
func (r *conference) applyToHistory(m *said, by speaking, content []byte, p *Packet) bool {
	a := &m.about
	authors := func(l *history.Line[*Packet]) bool {
		return l.Speaker == by.nick && (by.author == "" || l.Author == by.author) && !l.Moderated
	}
	switch a.kind {
	case aboutReaction:
		l := r.history.Find(a.id, nil)
		if l == nil {
			return false
		}
		if m.stamp == "" {
			p = messagePacket(escaped(by.from.String()), groupchat, &m.payload, r.appendDelay(content, r.now))
		}
		r.history.React(l, r.line(p, by, m.id, r.now))
	case aboutCorrection:
		l := r.history.Find(a.id, authors)
		if l == nil || !m.body {
			return false
		}
		c := r.corrected(m, l, by.from, content)
		r.history.Correct(l, share(c), c.size(), m.id)
	case aboutRetraction:
		l := r.history.Find(a.id, authors)
		if l == nil {
			return false
		}
		r.history.Retract(l)
	case aboutModeration:
		return by.moderator && r.entomb(a)
	}
	return true
}

// corrected is the line as the correction m leaves it, under its own id and
// time: whoever joins later reads the last wording and no other.
func (r *conference) corrected(m *said, l *history.Line[*Packet], from wire.JID, content []byte) *Packet {
	kept := make([]byte, 0, len(content))
	for c := range wire.Children(enclose(&m.payload, content)) {
		if c.Space == nsCorrect || c.Space == wire.NSDelay || c.Space == nsHints {
			continue
		}
		kept = append(kept, c.Raw...)
	}
	line := m.payload
	line.id = l.ID
	return messagePacket(escaped(from.String()), groupchat, &line, r.appendDelay(kept, l.Time))
}

// enclose makes content one element with the declarations it may need.
func enclose(p *payload, content []byte) []byte {
	b := append(append(make([]byte, 0, len(content)+len(p.attrs)+16), "<m"...), p.attrs...)
	b = append(append(b, '>'), content...)
	return append(b, "</m>"...)
}

// entomb leaves a tombstone (XEP-0425 §5) where the moderated line was. Ids are
// the clients': whatever bears this one goes.
func (r *conference) entomb(a *about) bool {
	found := false
	for {
		l := r.history.Find(a.id, func(l *history.Line[*Packet]) bool { return !l.Moderated })
		if l == nil {
			return found
		}
		found = true
		from := r.pub.WithResource(l.Speaker)
		p := messagePacket(escaped(from.String()), groupchat, &payload{id: l.ID, lang: defaultLang}, r.appendDelay(r.tombstone(a), l.Time))
		r.history.Moderate(l, share(p), p.size())
	}
}

func (r *conference) tombstone(a *about) []byte {
	b := wire.NewBuilder(nil).Start("moderated", "xmlns", nsModerate).Attr("by", r.publicNick(a.by))
	b.Elem("retracted", "", "xmlns", nsRetract, "stamp", r.now.UTC().Format(time.RFC3339))
	if a.reason != "" {
		b.Elem("reason", a.reason)
	}
	return b.Bytes()
}

// announce is the moderation as this room tells of it: what the main room sent,
// from this room's address, which is the one clients believe.
func (r *conference) announce(m *said) *Packet {
	b := wire.NewBuilder(nil).Start("apply-to", "xmlns", nsFasten, "id", m.about.id)
	b.Start("moderated", "xmlns", nsModerate).Attr("by", r.publicNick(m.about.by))
	b.Elem("retract", "", "xmlns", nsRetract)
	if m.about.reason != "" {
		b.Elem("reason", m.about.reason)
	}
	b.End().End()
	content := append(b.Bytes(), "<no-store xmlns='"+nsHints+"'/>"...)
	return messagePacket(r.pubFrom, groupchat, &payload{id: m.id, lang: m.lang}, content)
}

// publicNick maps the address of an occupant of the main room to the one
// visitors know it by; "" for anything else.
func (r *conference) publicNick(s string) string {
	j, err := wire.ParseJID(s)
	if err != nil || j.Bare() != r.main || j.Resource == "" {
		return ""
	}
	return r.pub.WithResource(j.Resource).String()
}
