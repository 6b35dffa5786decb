package muc

import (
	"vnode/internal/wire"
	"vnode/muc/room"
)

// Idle reports whether jicofo can be sent away without harm: no room is left that
// it sends visitors to, and there is none whose end it has yet to be told.
func (s *Service) Idle() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.lives > 0 || s.held.Load() > 0 {
		return false
	}
	for _, gone := range s.lost {
		if !gone.told {
			return false
		}
	}
	return true
}

// EndSome ends n rooms, or all if there are fewer, whichever they are: jicofo is
// told of each visitor's leave and of the end, and visitors that the focus is
// gone, at which their pages reload and ask for another node. It does not wait for
// that, and returns how many rooms it found; a room that is asked twice ends once.
func (s *Service) EndSome(n int) (found int) {
	s.mu.RLock()
	var chosen []*box
	for _, b := range s.rooms {
		if !b.lives && b.holding == 0 {
			continue
		}
		if found++; len(chosen) < n {
			chosen = append(chosen, b)
		}
	}
	s.mu.RUnlock()
	for _, b := range chosen {
		// Not in its turn behind a full mailbox: others wait for theirs.
		b.mail.push(event{what: room.Shutdown{}})
	}
	return found
}

// tellGone tells the focus, which takes a room for alive that is not there, that
// the room is destroyed: it has been lost with a process before this one. Only
// that makes jicofo forget it.
func (s *Service) tellGone(focus Session, local string, nick string) {
	s.log.Info("jicofo takes a room for alive that is not here, and is told that it is gone", "room", wire.JID{Local: local, Domain: s.domains.Rooms}.String())
	reply(focus, room.Destroyed(s.domains.Public(local), nick, room.Lost(), focus.JID()))
}
