package s2s

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// memConn is one end of an in-memory TCP connection: buffered, with deadlines
// and half-close. Unlike net.Pipe it lets both sides write at once, as the end
// of a TLS handshake does, and unlike a socket it works with testing/synctest.
type memConn struct {
	in, out       *memBuffer
	local, remote net.Addr
}

type memBuffer struct {
	mu            sync.Mutex
	change        sync.Cond
	data          []byte
	limit         int  // bytes that fit
	eof           bool // the writer closed
	broken        bool // the reader closed: writes fail
	cut           int  // bytes until the connection breaks; <0: never
	readDeadline  time.Time
	writeDeadline time.Time
}

const memLimit = 256 << 10

func newMemBuffer() *memBuffer {
	b := &memBuffer{limit: memLimit, cut: -1}
	b.change.L = &b.mu
	return b
}

// memPipe returns the ends of a connection from client to server.
func memPipe(client, server string) (c, s *memConn) {
	up, down := newMemBuffer(), newMemBuffer()
	ca := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(client))
	sa := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(server))
	return &memConn{in: down, out: up, local: ca, remote: sa}, &memConn{in: up, out: down, local: sa, remote: ca}
}

func (c *memConn) Read(p []byte) (int, error) {
	b := c.in
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		switch {
		case b.broken:
			return 0, net.ErrClosed
		case past(b.readDeadline):
			return 0, os.ErrDeadlineExceeded
		case len(b.data) > 0:
			n := copy(p, b.data)
			b.data = b.data[n:]
			b.change.Broadcast()
			return n, nil
		case b.eof:
			return 0, io.EOF
		}
		b.change.Wait()
	}
}

var errReset = errors.New("connection reset by peer")

func (c *memConn) Write(p []byte) (n int, err error) {
	b := c.out
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		switch {
		case len(p) == 0:
			return n, nil
		case b.broken || b.cut == 0:
			return n, errReset
		case b.eof:
			return n, net.ErrClosed
		case past(b.writeDeadline):
			return n, os.ErrDeadlineExceeded
		}
		k := max(0, min(len(p), b.limit-len(b.data)))
		if b.cut > 0 {
			k = min(k, b.cut)
			b.cut -= k
			b.eof = b.cut == 0
		}
		if k == 0 {
			b.change.Wait()
			continue
		}
		b.data = append(b.data, p[:k]...)
		n, p = n+k, p[k:]
		b.change.Broadcast()
	}
}

// cutAfter breaks the connection once n more bytes were written by this end:
// they still arrive, then the reader sees the end.
func (c *memConn) cutAfter(n int) {
	c.out.mu.Lock()
	c.out.cut = n
	c.out.mu.Unlock()
}

func (b *memBuffer) close(eof, broken bool) {
	b.mu.Lock()
	b.eof = b.eof || eof
	b.broken = b.broken || broken
	b.mu.Unlock()
	b.change.Broadcast()
}

func (c *memConn) Close() error {
	c.out.close(true, false)
	c.in.close(false, true)
	return nil
}

func (c *memConn) CloseWrite() error { c.out.close(true, false); return nil }

func (c *memConn) LocalAddr() net.Addr  { return c.local }
func (c *memConn) RemoteAddr() net.Addr { return c.remote }

func (c *memConn) SetDeadline(t time.Time) error {
	c.SetReadDeadline(t)
	c.SetWriteDeadline(t)
	return nil
}

func (c *memConn) SetReadDeadline(t time.Time) error {
	c.in.deadline(&c.in.readDeadline, t)
	return nil
}
func (c *memConn) SetWriteDeadline(t time.Time) error {
	c.out.deadline(&c.out.writeDeadline, t)
	return nil
}

func (b *memBuffer) deadline(d *time.Time, t time.Time) {
	b.mu.Lock()
	*d = t
	b.mu.Unlock()
	b.change.Broadcast()
	if !t.IsZero() && !past(t) {
		time.AfterFunc(time.Until(t), b.change.Broadcast)
	}
}

func past(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }

// memListener hands out the server ends of connections.
type memListener struct {
	addr   string
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newMemListener(addr string) *memListener {
	return &memListener{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *memListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memListener) Close() error { l.once.Do(func() { close(l.closed) }); return nil }
func (l *memListener) Addr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(l.addr))
}

// dialFrom connects to the listener as a client at the address from.
func (l *memListener) dialFrom(ctx context.Context, from string) (*memConn, error) {
	c, s := memPipe(from, l.addr)
	select {
	case l.conns <- s:
		return c, nil
	case <-l.closed:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
