package muc

import (
	"slices"

	"vnode/internal/wire"
)

// guest is a session that has sent a join to a room, until it closes. It is
// guarded by Service.mu.
type guest struct {
	session Session
	// Where it has sent one; rooms that have ended are gone. Hardly anybody is
	// in more than one.
	latest  *box
	earlier []*box // the latest last
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
	known := g.in(b)
	if g.latest == b || known && !joins {
		return
	}
	g.leave(b)
	if g.latest != nil {
		g.earlier = append(g.earlier, g.latest)
	}
	g.latest = b
}

func (g *guest) in(b *box) bool { return g.latest == b || slices.Contains(g.earlier, b) }

// leave forgets a room that has ended.
func (g *guest) leave(b *box) {
	if g.latest != b {
		g.earlier = slices.DeleteFunc(g.earlier, func(x *box) bool { return x == b })
		return
	}
	g.latest = nil
	if last := len(g.earlier) - 1; last >= 0 {
		g.latest = g.earlier[last]
		g.earlier = slices.Delete(g.earlier, last, last+1)
	}
}

// boxes are the rooms, in no order.
func (g *guest) boxes() []*box {
	if g.latest == nil {
		return nil
	}
	return append(slices.Clone(g.earlier), g.latest)
}
