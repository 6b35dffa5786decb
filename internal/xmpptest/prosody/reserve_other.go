//go:build !linux

package prosody

import (
	"net"
	"net/netip"
)

// heldPort is a port that was free a moment ago. Only Linux can really hold
// one for another process; see reserve_linux.go.
type heldPort struct{ addr netip.AddrPort }

func holdPort() (heldPort, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return heldPort{}, err
	}
	addr := l.Addr().(*net.TCPAddr).AddrPort()
	return heldPort{addr: addr}, l.Close()
}

func (h *heldPort) release() error { return nil }
