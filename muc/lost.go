package muc

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"vnode/internal/wire"
	"vnode/muc/room"
)

// lostRooms are those that ended without the focus knowing, by localpart
// between servers: because its session was lost, or shortly before that, when
// what it was sent last may not have arrived. Jicofo up to 2026 takes such a
// room for alive and sends visitors there for ever; a destroy is what makes it
// forget the room (and costs nothing where it knows).
type lostRooms map[string]lostRoom

type lostRoom struct {
	focus  wire.JID // bare
	nick   string
	ended  time.Time
	reason string
	told   bool      // a session of its was there to be sent the end
	at     time.Time // when
	times  int       // it was told at a login
}

const (
	// maxLost bounds the rooms remembered.
	maxLost = 10000
	// unheard is how long before the loss of a session what it was sent may
	// have been lost with it: a focus resumes within 15 s, a dead connection
	// is noticed within a minute.
	unheard = 2 * time.Minute
	// remembered is how long a lost room is told of. A focus that comes back
	// later has been started anew, and knows of none.
	remembered = time.Hour
	// maxTellings bounds the logins at which a room is told of. Each session may be
	// lost soon after, as those are that a drained node ends.
	maxTellings = 2
)

// add remembers a room.
func (l lostRooms) add(local string, gone lostRoom) {
	if len(l) >= maxLost {
		oldest := slices.MinFunc(slices.Collect(maps.Keys(l)), func(a, b string) int { return l[a].ended.Compare(l[b].ended) })
		delete(l, oldest)
	}
	l[local] = gone
}

// closed takes notice that the focus lost a session: what it was sent last may
// have been lost with it.
func (l lostRooms) closed(focus wire.JID, now time.Time) {
	for local, gone := range l {
		if gone.focus != focus || !gone.told {
			continue
		}
		if now.Sub(gone.at) > unheard || gone.times >= maxTellings {
			delete(l, local)
			continue
		}
		gone.told = false
		l[local] = gone
	}
}

// take returns what the focus is to be told of, oldest first. It counts as told,
// until that session is lost soon after.
func (l lostRooms) take(focus wire.JID, now time.Time) (locals []string, rooms []lostRoom) {
	for local, gone := range l {
		switch {
		case now.Sub(gone.ended) > remembered:
			delete(l, local)
		case gone.focus == focus && !gone.told:
			locals = append(locals, local)
		}
	}
	slices.SortFunc(locals, func(a, b string) int {
		return cmp.Or(l[a].ended.Compare(l[b].ended), cmp.Compare(a, b))
	})
	for _, local := range locals {
		gone := l[local]
		rooms = append(rooms, gone)
		gone.told, gone.at = true, now
		gone.times++
		l[local] = gone
	}
	return locals, rooms
}

// noteLost remembers, with mu held, a room of b that ended, if its focus may not
// know of the end, and returns the sessions of the focus that are to be told now.
// One that makes the room anew knows: its join ended the room, or is on its way.
func (s *Service) noteLost(b *box, e room.End) (gone lostRoom, again []Session) {
	if e.Nick == "" || e.Known || b.joins > 0 {
		return gone, nil
	}
	now := time.Now()
	gone = lostRoom{focus: e.Focus, nick: e.Nick, reason: e.Reason, ended: now, told: e.Told, at: now}
	if !gone.told {
		again = slices.Clone(s.focuses[gone.focus])
		gone.told = len(again) > 0
	}
	s.lost.add(b.local, gone)
	return gone, again
}

// checks is how the resource of the focus begins when "vnode check" tries its
// password: that is no jicofo.
const checks = "check-"

// noteFocuses finds out, with mu held, whether a focus is logged in, and returns
// the boxes that are to be told when that has changed.
func (s *Service) noteFocuses() (now room.FocusLink, told []*box) {
	n := 0
	for _, sessions := range s.focuses {
		for _, session := range sessions {
			if !strings.HasPrefix(session.JID().Resource, checks) {
				n++
			}
		}
	}
	s.metrics.focusSessions.Set(float64(n))
	if in := n > 0; in != s.focusIn.In {
		s.focusIn = room.FocusLink{In: in, Change: s.focusIn.Change + 1}
		told = slices.Collect(maps.Values(s.rooms))
	}
	return s.focusIn, told
}

func tellFocusLink(boxes []*box, l room.FocusLink) {
	for _, b := range boxes {
		b.mail.push(event{what: l})
	}
}

// FocusIn reports whether jicofo is logged in.
func (s *Service) FocusIn() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.focusIn.In
}

// SessionOpened takes notice of a new local session, before its first stanza.
// A focus is told of the rooms that ended without its knowing. It does not
// block.
func (s *Service) SessionOpened(session Session) {
	if !session.Admin() {
		return
	}
	n := s.focusOpened(session)
	s.tellLost(n.locals, n.rooms, []Session{session})
	tellFocusLink(n.boxes, n.link)
}

// focusNews is what is to be told when sessions of the focus come and go: rooms that
// ended to the focus, and boxes whether it is logged in.
type focusNews struct {
	locals []string
	rooms  []lostRoom
	others []Session // of the focus, that are told what one that closes may not have heard
	link   room.FocusLink
	boxes  []*box
}

// focusOpened notes an open session of the focus.
func (s *Service) focusOpened(session Session) (n focusNews) {
	bare := session.JID().Bare()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.focuses[bare] = append(s.focuses[bare], session)
	n.locals, n.rooms = s.lost.take(bare, time.Now())
	n.link, n.boxes = s.noteFocuses()
	s.recordsChange()
	return n
}

// focusClosed takes a session out of those of the focus, with mu held, and
// returns what the others are to be told: what this one may not have heard. The
// focus may have logged in again before it was gone, or somebody beside it.
func (s *Service) focusClosed(session Session) (locals []string, rooms []lostRoom, others []Session) {
	bare := session.JID().Bare()
	i := slices.Index(s.focuses[bare], session)
	if i < 0 {
		return nil, nil, nil
	}
	others = slices.Concat(s.focuses[bare][:i], s.focuses[bare][i+1:])
	s.focuses[bare] = others
	now := time.Now()
	s.lost.closed(bare, now)
	if len(others) == 0 {
		delete(s.focuses, bare)
		return nil, nil, nil
	}
	locals, rooms = s.lost.take(bare, now)
	return locals, rooms, others
}

// tellLost tells sessions of the focus of lost rooms.
func (s *Service) tellLost(locals []string, rooms []lostRoom, to []Session) {
	for _, session := range to {
		for i, local := range locals {
			reply(session, room.Destroyed(s.domains.Public(local), rooms[i].nick, rooms[i].reason, session.JID()))
		}
	}
}
