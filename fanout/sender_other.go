//go:build !linux

package fanout

import "net"

// newSocketSender has no raw path on this system: connSender serves.
func newSocketSender(net.Conn, int) sender { return nil }
