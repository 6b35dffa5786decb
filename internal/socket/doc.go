// Package socket keeps thousands of stream sockets without a goroutine, a
// net.Conn or a descriptor in the runtime's poller each. A [Poller] takes
// connections over; what is left of one is its file descriptor and a [Conn] of
// about a hundred bytes, which still is a net.Conn.
//
// Whoever reads or writes a Conn does so without blocking and, when there is
// nothing more to be had, says whom to tell and ends. The poller tells it once.
//
// It works on Linux. Elsewhere [NewPoller] says so, and callers serve the
// connection they have.
package socket

import "errors"

// ErrAgain is returned where a call would have to block.
var ErrAgain = errors.New("socket: would block")

// Reader is who parks on a [Conn] until there is input. Exactly one of its
// methods is called, once for each time it has parked.
type Reader interface {
	// Readable is called on the poller's goroutine, which everybody else's
	// input waits for: it must not block. There is input, or the connection
	// has ended, or the read deadline has passed: TryRead tells.
	Readable()
	// Interrupted is called by who set the read deadline to the past, or
	// closed the connection, on its goroutine. It must not block.
	Interrupted()
}
