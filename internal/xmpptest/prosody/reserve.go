package prosody

import (
	"fmt"
	"net/netip"

	"vnode/internal/port"
)

// Reservation holds three loopback ports for one server, so that peers can be
// told the addresses before the server starts. The ports refuse connections
// until it listens and whenever it is down, and belong to nobody else in
// between.
type Reservation struct {
	// Static after construction.
	ports port.Ports // s2s, c2s, http
}

// Reserve takes three free ports on 127.0.0.1. The caller owns the result until
// it passes it to [Start].
func Reserve() (*Reservation, error) {
	ports, err := port.HoldAll(3)
	if err != nil {
		return nil, fmt.Errorf("prosody: %w", err)
	}
	return &Reservation{ports: ports}, nil
}

// S2S returns the address for streams of other servers.
func (r *Reservation) S2S() netip.AddrPort { return r.ports[0].Addr() }

// C2S returns the address for client streams over TCP.
func (r *Reservation) C2S() netip.AddrPort { return r.ports[1].Addr() }

// HTTP returns the address for clients over WebSocket.
func (r *Reservation) HTTP() netip.AddrPort { return r.ports[2].Addr() }

// Close gives the ports back. It may be called again, and on nil.
func (r *Reservation) Close() error {
	if r == nil {
		return nil
	}
	return r.ports.Close()
}
