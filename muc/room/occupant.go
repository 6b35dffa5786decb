package room

import (
	"strings"
	"time"

	"vnode/internal/wire"
)

// role and affiliation of an occupant, XEP-0045 §5. In a byte each: a node has
// many occupants.
type (
	role        uint8
	affiliation uint8
)

const (
	roleNone role = iota
	roleVisitor
	roleParticipant
	roleModerator
)

const (
	affiliationNone affiliation = iota
	affiliationOwner
)

func (r role) String() string { return [...]string{"none", "visitor", "participant", "moderator"}[r] }

func (a affiliation) String() string { return [...]string{"none", "owner"}[a] }

// kind of occupant: where it comes from, which no promotion changes.
type kind uint8

const (
	visitor kind = iota
	focus
	participant // of the main room
)

// occupant of a room. There are thousands of silent visitors: what only others
// have is behind a pointer, and what can be made when it is needed is not kept.
type occupant struct {
	kind        kind
	role        role
	affiliation affiliation
	listed      bool // of visitors: watchers were told of it
	hand        bool // of visitors: raised

	nick    string
	joined  time.Duration // since the room was made
	session Session       // nil for participants
	said    kept          // of visitors: the latest available presence
	flow    *flow         // of visitors; nil until it says something
	seen    *seen         // nil for visitors
}

// seen is what a room has of those whom everybody sees: of the focus and of
// participants.
type seen struct {
	last      payload // of its latest available presence
	shown     *Packet // the same as everybody sees it
	jid       wire.JID
	confirmed *confirmation // of participants; nil until main has sent the join
}

// confirmation is when main sent a participant's join, and how often its streams
// had been lost by then.
type confirmation struct {
	at     time.Time
	losses uint64
}

// newLocal makes an occupant of a session's that is not in the room yet.
func (r *conference) newLocal(k kind, nick string, s Session) *occupant {
	o := &occupant{kind: k, role: roleVisitor, nick: within(nick, s.JID().Local), session: s}
	if k == focus {
		o.role, o.affiliation = roleModerator, affiliationOwner
		o.seen = &seen{jid: s.JID()}
	}
	return o
}

// within returns s from the memory of another string that begins with it, as
// visitors' names do with their nicks, or a copy of it: the string it was cut
// from is not to be kept.
func within(s, other string) string {
	if strings.HasPrefix(other, s) {
		return other[:len(s)]
	}
	return strings.Clone(s)
}

// newParticipant makes an occupant of the main room's that is not in the room
// yet.
func (r *conference) newParticipant(nick string, jid wire.JID) *occupant {
	o := &occupant{kind: participant, role: roleParticipant, nick: nick, seen: &seen{jid: jid}}
	if r.moderators[nick] {
		o.role = roleModerator
	}
	return o
}

// jid is the real full JID of an occupant.
func (o *occupant) jid() wire.JID {
	if o.seen != nil {
		return o.seen.jid
	}
	return o.session.JID()
}

// idOf is the occupant-id, see [occupantIDs].
func (r *conference) idOf(o *occupant) string {
	var b [64]byte
	return string(r.ids.append(b[:0], o.jid().Bare()))
}

// name is the display name of a visitor, "" when it told none.
func (o *occupant) name() string { return o.said.name() }

// from is the public room address and nick of an occupant, escaped. It is made
// when it is needed: kept, it would be a sixteenth of what a silent visitor costs.
func (r *conference) from(o *occupant) string {
	return string(appendJID(nil, r.pub.WithResource(o.nick)))
}
