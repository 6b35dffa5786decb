package s2s

// Trouble says in words why there is no stream from the local domain from to
// the peer to, and which setting may be the cause: what the last attempt to
// open one failed with. It is "" when there is a stream, or when none was tried
// yet.
func (s *Server) Trouble(from, to string) string {
	p := s.pair(domainPair{from, to})
	if p == nil {
		return "it is not between Hosts and Peers"
	}
	p.mu.Lock()
	e := p.failure
	up := len(p.carriers) > 0
	p.mu.Unlock()
	if e == nil || up {
		return ""
	}
	return e.Error() + advice(e, s.cfg.Load(), p.domainPair)
}
