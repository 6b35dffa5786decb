package prosody

import (
	"errors"
	"fmt"
	"net/netip"
)

// Reservation holds three loopback ports for one server, so that peers can be
// told the addresses before the server starts. The ports refuse connections
// until it listens and whenever it is down, and belong to nobody else in
// between.
type Reservation struct {
	// Static after construction.
	s2s, c2s, http heldPort
}

// Reserve takes three free ports on 127.0.0.1. The caller owns the result until
// it passes it to [Start].
func Reserve() (*Reservation, error) {
	r := &Reservation{}
	for _, p := range []*heldPort{&r.s2s, &r.c2s, &r.http} {
		held, err := holdPort()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("prosody: reserve a port: %w", err), r.Close())
		}
		*p = held
	}
	return r, nil
}

// S2S returns the address for streams of other servers.
func (r *Reservation) S2S() netip.AddrPort { return r.s2s.addr }

// C2S returns the address for client streams over TCP.
func (r *Reservation) C2S() netip.AddrPort { return r.c2s.addr }

// HTTP returns the address for clients over WebSocket.
func (r *Reservation) HTTP() netip.AddrPort { return r.http.addr }

// Close gives the ports back. It may be called again, and on nil.
func (r *Reservation) Close() error {
	if r == nil {
		return nil
	}
	return errors.Join(r.s2s.release(), r.c2s.release(), r.http.release())
}
