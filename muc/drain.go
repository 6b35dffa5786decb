package muc

// Drain refuses new rooms while on, with service-unavailable: jicofo takes
// another node then. Rooms that are there go on, and let visitors in.
func (s *Service) Drain(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drains = on
}

// EndSome ends n rooms, or all if there are fewer, whichever they are, as Close
// ends them: everybody in them is told so. It does not wait for that, and
// returns how many rooms it found; a room that is asked twice ends once.
func (s *Service) EndSome(n int) (found int) {
	s.mu.RLock()
	var chosen []*box
	found = len(s.rooms)
	for _, b := range s.rooms {
		if len(chosen) == n {
			break
		}
		chosen = append(chosen, b)
	}
	s.mu.RUnlock()
	for _, b := range chosen {
		// Not in its turn behind a full mailbox: others wait for theirs.
		b.mail.push(event{kind: evShutdown})
	}
	return found
}
