//go:build !linux

package floor

import (
	"errors"
	"io"
	"net"
	"time"
)

// Closed is what sending costs when nothing else is done. Only Linux can tell.
type Closed struct {
	Writes, Stanzas, WouldBlock, ShortWrites uint64
	CPU, PerWrite, PerStanza                 time.Duration
	PerSecond                                float64
}

// ClosedOptions describes a closed loop.
type ClosedOptions struct {
	Sockets, Size, Batch int
	For                  time.Duration
}

func runClosed(net.Listener, string, ClosedOptions, io.Writer) error {
	return errors.ErrUnsupported
}
