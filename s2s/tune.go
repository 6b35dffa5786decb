package s2s

import (
	"net"
	"time"
)

// setProbes spreads keep-alive probes so that all of them go unanswered within
// about LossTimeout.
func setProbes(tcp *net.TCPConn, c *settings) {
	const probes = 3
	tcp.SetKeepAliveConfig(net.KeepAliveConfig{
		Enable: true, Idle: max(c.LossTimeout/2, time.Second),
		Interval: max(c.LossTimeout/(2*probes), time.Second), Count: probes,
	})
}
