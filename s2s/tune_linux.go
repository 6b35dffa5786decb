package s2s

import (
	"net"

	"golang.org/x/sys/unix"
)

// tune makes the kernel notice a peer that is gone: probes while the stream is
// silent, and a bound on how long data may stay unacknowledged, which also ends
// the probing (RFC 5482, tcp(7)). Whitespace on idle streams is such data.
func tune(conn net.Conn, c *settings) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	setProbes(tcp, c)
	sc, err := tcp.SyscallConn()
	if err != nil {
		return // the connection is broken; the first read will say so
	}
	sc.Control(func(fd uintptr) {
		unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(c.LossTimeout.Milliseconds()))
	})
}
