//go:build !linux

package port

import (
	"io"
	"net"
	"net/netip"
)

// hold only finds a port: nothing portable lets another process listen on one
// that this process holds.
func hold(number uint16) (netip.AddrPort, io.Closer, error) {
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(number)})
	if err != nil {
		return netip.AddrPort{}, nil, err
	}
	return l.Addr().(*net.TCPAddr).AddrPort(), nil, l.Close()
}
