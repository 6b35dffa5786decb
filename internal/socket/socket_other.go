//go:build !linux

package socket

import (
	"errors"
	"fmt"
	"net"
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
