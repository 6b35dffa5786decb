package visitor

import "net/netip"

// Address is the client's network address, as far as it is counted under one:
// the /64 of an IPv6 client, and what a trusted proxy says. It is invalid for
// clients on this machine, behind a proxy that is not trusted, and for one that
// is away.
func (s *Session) Address() netip.Addr {
	if st := s.current.Load(); st != nil {
		return st.peer
	}
	return netip.Addr{}
}
