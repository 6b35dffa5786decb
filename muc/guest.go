package muc

import (
	"slices"

	"vnode/internal/wire"
)

// guest is a session that has sent a join to a room, until it closes. It is
// guarded by Service.mu.
type guest struct {
	session Session
	boxes   []*box // where it has sent one, the latest last; those that have ended are gone
}

func (g *guest) jid() wire.JID { return g.session.JID() }

// guest returns what is known of a session, with mu held; nil when it has not
// sent a join, or has closed: then its address may be another one's.
func (s *Service) guest(of Session) *guest {
	if g := s.guests.Get(of.JID()); g != nil && g.session == of {
		return g
	}
	return nil
}

// enter notes that a stanza of the guest goes to a room. A join makes that the
// latest.
func (g *guest) enter(b *box, joins bool) {
	switch i := slices.Index(g.boxes, b); {
	case i < 0:
		g.boxes = append(g.boxes, b)
	case joins:
		g.boxes = append(slices.Delete(g.boxes, i, i+1), b)
	}
}

// leave forgets a room that has ended.
func (g *guest) leave(b *box) {
	if i := slices.Index(g.boxes, b); i >= 0 {
		g.boxes = slices.Delete(g.boxes, i, i+1)
	}
}
