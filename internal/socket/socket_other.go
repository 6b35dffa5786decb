//go:build !linux

package socket

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// Poller does not exist on this system.
type Poller struct{}

// Conn does not exist on this system.
type Conn struct{ net.Conn }

var errUnsupported = fmt.Errorf("socket: %w", errors.ErrUnsupported)

// NewPoller returns an error in the tree of errors.ErrUnsupported.
func NewPoller(time.Duration) (*Poller, error) { return nil, errUnsupported }

// Close does nothing.
func (*Poller) Close() error { return nil }

// Take returns an error in the tree of errors.ErrUnsupported.
func (*Poller) Take(net.Conn) (*Conn, error) { return nil, errUnsupported }

// TryRead returns an error in the tree of errors.ErrUnsupported.
func (*Conn) TryRead([]byte) (int, error) { return 0, errUnsupported }

// Park returns false.
func (*Conn) Park(Reader) bool { return false }

// TryWrite returns an error in the tree of errors.ErrUnsupported.
func (*Conn) TryWrite([]byte) (int, error) { return 0, errUnsupported }

// AwaitRoom tells of an error in the tree of errors.ErrUnsupported.
func (*Conn) AwaitRoom(tell func(error)) { tell(errUnsupported) }

// CloseWrite returns an error in the tree of errors.ErrUnsupported.
func (*Conn) CloseWrite() error { return errUnsupported }

// SetWriteBuffer returns an error in the tree of errors.ErrUnsupported.
func (*Conn) SetWriteBuffer(int) error { return errUnsupported }

// Listener does not exist on this system.
type Listener struct{}

// NewListener returns an error in the tree of errors.ErrUnsupported.
func NewListener(net.Listener) (*Listener, error) { return nil, errUnsupported }

// Interrupt does nothing.
func (*Listener) Interrupt() {}

// Accept returns an error in the tree of errors.ErrUnsupported.
func (*Listener) Accept(*Poller) (*Conn, error) { return nil, errUnsupported }

// Close does nothing.
func (*Listener) Close() error { return nil }

// Release returns an error in the tree of errors.ErrUnsupported.
func (*Conn) Release() (net.Conn, error) { return nil, errUnsupported }

// Ended returns false.
func (*Conn) Ended() bool { return false }

// Remote returns an invalid address.
func (*Conn) Remote() netip.AddrPort { return netip.AddrPort{} }

// Late returns false.
func (*Conn) Late() bool { return false }
