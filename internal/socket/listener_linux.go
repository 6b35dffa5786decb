package socket

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Listener accepts connections straight into a [Poller]: without a net.Conn that
// is given up at once, and with the options of TCP set on the listening socket,
// from which Linux copies them, instead of on each connection (five system calls
// of the seven that accepting one takes otherwise).
type Listener struct {
	// Static after construction.
	file *os.File // known to the runtime's poller
	raw  syscall.RawConn

	// Owned by who accepts.
	poller *Poller
	conn   *Conn
	err    error
}

// Keep-alive as package net sets it.
const (
	keepAliveSeconds = 15
	keepAliveProbes  = 9
)

// NewListener returns a Listener of ln's socket, which it holds open besides ln
// until Close. The error is in the tree of errors.ErrUnsupported if ln is not of
// TCP or unix sockets.
func NewListener(ln net.Listener) (*Listener, error) {
	var sc syscall.Conn
	tcp := false
	switch ln := ln.(type) {
	case *net.TCPListener:
		sc, tcp = ln, true
	case *net.UnixListener:
		sc = ln
	default:
		return nil, fmt.Errorf("socket: %T: %w", ln, errors.ErrUnsupported)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, err
	}
	var own int
	var dupErr error
	err = raw.Control(func(fd uintptr) {
		if own, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0); dupErr == nil && tcp {
			inherit(own)
		}
	})
	if err = errors.Join(err, dupErr); err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	l := &Listener{file: os.NewFile(uintptr(own), "listener")}
	if l.raw, err = l.file.SyscallConn(); err != nil {
		l.file.Close()
		return nil, fmt.Errorf("socket: %w", err)
	}
	return l, nil
}

// inherit sets what accepted connections are to have. Each is of use only; none
// is needed.
func inherit(fd int) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, keepAliveSeconds)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, keepAliveSeconds)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepAliveProbes)
}

// Accept waits for a connection and makes it one of p's. It is not safe for
// concurrent use. The error is in the tree of net.ErrClosed once the Listener is
// closed, and of os.ErrDeadlineExceeded after Interrupt; after others, as when the
// process is out of files, it may be called again.
func (l *Listener) Accept(p *Poller) (*Conn, error) {
	l.poller = p
	if err := l.raw.Read(l.accept); err != nil {
		if !errors.Is(err, os.ErrDeadlineExceeded) { // nothing else fails there
			err = net.ErrClosed
		}
		return nil, fmt.Errorf("accept: %w", err)
	}
	c, err := l.conn, l.err
	l.conn, l.err = nil, nil
	return c, err
}

// accept is one accept4(2). False means that there is nobody. It is a raw system
// call, for it never blocks.
func (l *Listener) accept(listener uintptr) bool {
	for {
		var from unix.RawSockaddrAny
		size := uint32(unsafe.Sizeof(from))
		fd, _, errno := syscall.RawSyscall6(unix.SYS_ACCEPT4, listener, uintptr(unsafe.Pointer(&from)),
			uintptr(unsafe.Pointer(&size)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		switch errno {
		case 0:
			l.conn, l.err = l.poller.adopt(int(fd), remote(&from))
			return true
		case unix.EAGAIN:
			return false
		case unix.EINTR, unix.ECONNABORTED:
		default:
			l.err = fmt.Errorf("accept: %w", errno)
			return true
		}
	}
}

// adopt makes a Conn of a socket that has just been accepted. Nothing has been
// read of it: what has come already is reported as soon as epoll knows it.
func (p *Poller) adopt(fd int, remote netip.AddrPort) (*Conn, error) {
	c := &Conn{poller: p, file: int32(fd), remote: remote, drained: true}
	if err := p.add(c); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("socket: %w", err)
	}
	return c, nil
}

// remote is the address of an internet socket's peer; invalid for others.
func remote(from *unix.RawSockaddrAny) netip.AddrPort {
	port := func(p *uint16) uint16 {
		b := (*[2]byte)(unsafe.Pointer(p)) // in the order of the network
		return uint16(b[0])<<8 | uint16(b[1])
	}
	switch from.Addr.Family {
	case unix.AF_INET:
		a := (*unix.RawSockaddrInet4)(unsafe.Pointer(from))
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), port(&a.Port))
	case unix.AF_INET6:
		a := (*unix.RawSockaddrInet6)(unsafe.Pointer(from))
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), port(&a.Port))
	}
	return netip.AddrPort{}
}

// Interrupt makes Accept fail from now on.
func (l *Listener) Interrupt() {
	_ = l.file.SetReadDeadline(time.Unix(1, 0)) // it fails on a closed one, whose Accept does so anyway
}

// Close makes Accept end. What waits to be accepted is left to others who hold
// the socket.
func (l *Listener) Close() error { return l.file.Close() }

// Release makes an ordinary connection of c, without deadlines; c is closed. Only
// who reads c may call it, while nobody writes. After an error the connection is
// lost.
func (c *Conn) Release() (net.Conn, error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, net.ErrClosed
	}
	c.closed = true
	c.mu.Unlock()
	c.poller.forget(c.fd())
	// Closing the descriptor alone would not do: the socket stays open.
	_ = c.poller.watch(c.fd(), 0, unix.EPOLL_CTL_DEL) // it was added
	f := os.NewFile(uintptr(c.fd()), "connection")
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	return conn, nil
}

// Ended reports whether the peer is known to have ended its side, or the
// connection to be broken. There may be input to be read nevertheless.
func (c *Conn) Ended() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// Remote returns the address of the peer, invalid for a unix socket.
func (c *Conn) Remote() netip.AddrPort { return c.remote }
