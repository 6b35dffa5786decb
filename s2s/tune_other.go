//go:build !linux

package s2s

import "net"

// tune makes the kernel notice a peer that is gone, by probes while the stream
// is silent.
func tune(conn net.Conn, c *settings) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		setProbes(tcp, c)
	}
}
