package socket

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// listening returns a Listener and the one it was made of.
func listening(t *testing.T, network string) (*Listener, net.Listener) {
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = filepath.Join(t.TempDir(), "s")
	}
	ln, err := net.Listen(network, addr)
	require.NoError(t, err)
	l, err := NewListener(ln)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, l.Close())
		require.NoError(t, ln.Close())
	})
	return l, ln
}

func TestListenerAccepts(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			p := newPoller(t)
			l, ln := listening(t, network)
			far, err := net.Dial(network, ln.Addr().String())
			require.NoError(t, err)
			defer far.Close()
			c, err := l.Accept(p)
			require.NoError(t, err)
			defer c.Close()
			require.Equal(t, network == "tcp", c.Remote().IsValid())
			if network == "tcp" {
				require.Equal(t, far.LocalAddr().String(), c.RemoteAddr().String())
				for _, o := range [][3]int{{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1}, {unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1}, {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 15}} {
					v, err := unix.GetsockoptInt(c.fd(), o[0], o[1])
					require.NoError(t, err)
					require.Equal(t, o[2], v, "inherited from the listener")
				}
			}
			require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
			_, err = far.Write([]byte("hello"))
			require.NoError(t, err)
			b := make([]byte, 5)
			_, err = io.ReadFull(c, b)
			require.NoError(t, err)
			require.Equal(t, "hello", string(b))
			require.False(t, c.Late())
			require.False(t, c.Ended())
		})
	}
}

// What was sent before accept is not missed, nor is an end.
func TestListenerMissesNothing(t *testing.T) {
	p := newPoller(t)
	l, ln := listening(t, "tcp")
	far, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	_, err = far.Write([]byte("bye"))
	require.NoError(t, err)
	require.NoError(t, far.Close())
	c, err := l.Accept(p)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	got, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Equal(t, "bye", string(got))
	require.True(t, c.Ended())
}

// A connection can be given back to package net, with what has not been read.
func TestRelease(t *testing.T) {
	p := newPoller(t)
	l, ln := listening(t, "tcp")
	far, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	defer far.Close()
	c, err := l.Accept(p)
	require.NoError(t, err)
	_, err = far.Write([]byte("question"))
	require.NoError(t, err)
	conn, err := c.Release()
	require.NoError(t, err)
	defer conn.Close()
	require.IsType(t, new(net.TCPConn), conn)
	require.ErrorIs(t, c.Close(), net.ErrClosed)
	_, err = c.Release()
	require.ErrorIs(t, err, net.ErrClosed)
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	b := make([]byte, 8)
	_, err = io.ReadFull(conn, b)
	require.NoError(t, err)
	require.Equal(t, "question", string(b))
	_, err = conn.Write([]byte("answer"))
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	got, err := io.ReadAll(far)
	require.NoError(t, err)
	require.Equal(t, "answer", string(got))
}

func TestListenerEnds(t *testing.T) {
	p := newPoller(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	l, err := NewListener(ln)
	require.NoError(t, err)
	failed := make(chan error)
	go func() {
		_, err := l.Accept(p)
		failed <- err
	}()
	l.Interrupt()
	require.ErrorIs(t, <-failed, os.ErrDeadlineExceeded)
	require.NoError(t, l.Close())
	_, err = l.Accept(p)
	require.ErrorIs(t, err, net.ErrClosed)

	_, err = NewListener(otherListener{ln})
	require.ErrorIs(t, err, errors.ErrUnsupported)
}

// otherListener is none of package net's.
type otherListener struct{ net.Listener }
