package visitor

// Refuse lets nobody in any more: new streams, and requests of clients without
// a session, are refused. Sessions that are open go on. It cannot be undone;
// Close follows.
func (s *Server) Refuse() { s.beginClosing() }

// EndSome ends n sessions, or all if there are fewer, whichever they are, with
// system-shutdown, and returns how many were open before. It does not wait for
// them: a client says good-bye, or the closing takes its time. Called over and
// over it spreads the ends, so that not all clients look for another server at
// once.
func (s *Server) EndSome(n int) (open int) {
	chosen, open := s.choose(n)
	for _, sess := range chosen {
		sess.end(streamReason(errShutdown))
	}
	return open
}

// choose returns up to n of the open sessions, and how many there are.
func (s *Server) choose(n int) (chosen []*Session, open int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for sess := range s.sessions.All() {
		if sess.ending.Load() != nil {
			continue
		}
		open++
		if len(chosen) < n {
			chosen = append(chosen, sess)
		}
	}
	return chosen, open
}
