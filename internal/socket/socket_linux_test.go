package socket

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newPoller(t testing.TB) *Poller {
	p, err := NewPoller(time.Millisecond)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

// pair returns a polled connection and its peer, over TCP or a unix socket.
func pair(t testing.TB, p *Poller, network string) (*Conn, net.Conn) {
	address := "127.0.0.1:0"
	if network == "unix" {
		address = t.TempDir() + "/s"
	}
	ln, err := net.Listen(network, address)
	require.NoError(t, err)
	defer ln.Close()
	far, err := net.Dial(network, ln.Addr().String())
	require.NoError(t, err)
	near, err := ln.Accept()
	require.NoError(t, err)
	c, err := p.Take(near)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close(); far.Close() })
	require.NoError(t, far.SetDeadline(time.Now().Add(20*time.Second)))
	return c, far
}

func bothNetworks(t *testing.T, story func(t *testing.T, p *Poller, c *Conn, far net.Conn)) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			p := newPoller(t)
			c, far := pair(t, p, network)
			story(t, p, c, far)
		})
	}
}

// watcher notes how it is called.
type watcher struct {
	readable, interrupted atomic.Int32
	called                chan struct{}
}

func newWatcher() *watcher { return &watcher{called: make(chan struct{}, 8)} }

func (w *watcher) Readable()    { w.readable.Add(1); w.called <- struct{}{} }
func (w *watcher) Interrupted() { w.interrupted.Add(1); w.called <- struct{}{} }

// parked reads until there is nothing, then parks w.
func parked(t *testing.T, c *Conn, w Reader) {
	t.Helper()
	for {
		_, err := c.TryRead(make([]byte, 4096))
		if err == nil {
			continue
		}
		require.ErrorIs(t, err, ErrAgain)
		if c.Park(w) {
			return
		}
	}
}

func TestWhoHasParkedIsToldOnce(t *testing.T) {
	bothNetworks(t, func(t *testing.T, p *Poller, c *Conn, far net.Conn) {
		w := newWatcher()
		parked(t, c, w)
		for _, s := range []string{"one", "two"} {
			_, err := far.Write([]byte(s))
			require.NoError(t, err)
		}
		<-w.called
		var got []byte
		for len(got) < 6 {
			b := make([]byte, 4)
			n, err := c.TryRead(b)
			if err == ErrAgain {
				v := newWatcher()
				if c.Park(v) {
					<-v.called
				}
				continue
			}
			require.NoError(t, err)
			got = append(got, b[:n]...)
		}
		require.Equal(t, "onetwo", string(got))
		require.EqualValues(t, 1, w.readable.Load())
		require.Zero(t, w.interrupted.Load())
	})
}

func TestParkIsRefusedWhileThereIsInput(t *testing.T) {
	bothNetworks(t, func(t *testing.T, p *Poller, c *Conn, far net.Conn) {
		w := newWatcher()
		require.False(t, c.Park(w), "nothing was read yet")
		parked(t, c, w)
		_, err := far.Write([]byte("xyz"))
		require.NoError(t, err)
		<-w.called
		n, err := c.TryRead(make([]byte, 2))
		require.NoError(t, err)
		require.Equal(t, 2, n)
		require.False(t, c.Park(w), "the read has not emptied the socket")
	})
}

func TestInterruptions(t *testing.T) {
	bothNetworks(t, func(t *testing.T, p *Poller, c *Conn, far net.Conn) {
		w := newWatcher()
		parked(t, c, w)
		require.NoError(t, c.SetReadDeadline(time.Unix(1, 0)))
		require.EqualValues(t, 1, w.interrupted.Load(), "by who set the deadline")
		_, err := c.TryRead(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.False(t, c.Park(w), "an interruption is not forgotten")

		require.NoError(t, c.SetReadDeadline(time.Now().Add(5*time.Millisecond)))
		<-w.called
		parked(t, c, w)
		<-w.called
		require.EqualValues(t, 1, w.readable.Load(), "the deadline has passed")
		_, err = c.TryRead(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)

		// Input that came meanwhile is not lost by an interruption.
		require.NoError(t, c.SetReadDeadline(time.Time{}))
		parked(t, c, w)
		_, err = far.Write([]byte("x"))
		require.NoError(t, err)
		<-w.called
		require.NoError(t, c.SetReadDeadline(time.Unix(1, 0)))
		_, err = c.TryRead(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.NoError(t, c.SetReadDeadline(time.Time{}))
		n, err := c.TryRead(make([]byte, 9))
		require.NoError(t, err)
		require.Equal(t, 1, n)

		parked(t, c, w)
		require.NoError(t, c.Close())
		<-w.called
		require.EqualValues(t, 2, w.interrupted.Load())
		_, err = c.TryRead(make([]byte, 1))
		require.ErrorIs(t, err, net.ErrClosed)
		require.ErrorIs(t, c.Close(), net.ErrClosed)
		require.ErrorIs(t, c.SetDeadline(time.Time{}), net.ErrClosed)
	})
}

// Read keeps to its deadline even with a peer that never stops sending, as a
// net.Conn does: what bounds a handshake must not be up to who makes it.
func TestReadKeepsToItsDeadline(t *testing.T) {
	bothNetworks(t, func(t *testing.T, p *Poller, c *Conn, far net.Conn) {
		w := newWatcher()
		parked(t, c, w)
		_, err := far.Write([]byte("x"))
		require.NoError(t, err)
		<-w.called
		by := time.Now().Add(time.Millisecond)
		require.NoError(t, c.SetReadDeadline(by))
		for time.Now().Before(by) {
			runtime.Gosched()
		}
		_, err = c.Read(make([]byte, 9))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.NoError(t, c.SetReadDeadline(time.Time{}))
		n, err := c.Read(make([]byte, 9))
		require.NoError(t, err)
		require.Equal(t, 1, n)
	})
}

// The end of the peer can come with its last bytes in one report.
func TestEndBehindBytes(t *testing.T) {
	bothNetworks(t, func(t *testing.T, p *Poller, c *Conn, far net.Conn) {
		w := newWatcher()
		parked(t, c, w)
		_, err := far.Write([]byte("bye"))
		require.NoError(t, err)
		require.NoError(t, far.Close())
		<-w.called
		got, err := io.ReadAll(c)
		require.NoError(t, err)
		require.Equal(t, "bye", string(got))
	})
}

func TestRoomIsAwaited(t *testing.T) {
	bothNetworks(t, func(t *testing.T, p *Poller, c *Conn, far net.Conn) {
		require.NoError(t, c.SetWriteBuffer(16<<10))
		fill := func() (n int) {
			for {
				m, err := c.TryWrite(make([]byte, 64<<10))
				n += m
				if err != nil {
					require.ErrorIs(t, err, ErrAgain)
					return n
				}
			}
		}
		n := fill()
		told := make(chan error, 1)
		require.NoError(t, c.SetWriteDeadline(time.Now().Add(5*time.Millisecond)))
		c.AwaitRoom(func(err error) { told <- err })
		require.ErrorIs(t, <-told, os.ErrDeadlineExceeded)
		require.NoError(t, c.SetWriteDeadline(time.Time{}))
		c.AwaitRoom(func(err error) { told <- err })
		_, err := io.CopyN(io.Discard, far, int64(n))
		require.NoError(t, err)
		require.NoError(t, <-told)
		fill()
		c.AwaitRoom(func(err error) { told <- err })
		require.NoError(t, c.SetWriteDeadline(time.Unix(1, 0)))
		require.ErrorIs(t, <-told, os.ErrDeadlineExceeded, "interrupted")
		require.NoError(t, c.SetWriteDeadline(time.Time{}))
		c.AwaitRoom(func(err error) { told <- err })
		require.NoError(t, c.Close())
		require.ErrorIs(t, <-told, net.ErrClosed)
	})
}

// As a net.Conn, in both directions at once, with sizes that fill buffers.
func TestBlockingReadsAndWrites(t *testing.T) {
	bothNetworks(t, func(t *testing.T, p *Poller, c *Conn, far net.Conn) {
		require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
		want := make([]byte, 4<<20)
		for i := range want {
			want[i] = byte(rand.Uint32())
		}
		var both sync.WaitGroup
		both.Go(func() {
			_, err := io.Copy(far, far) // sends back what it gets
			require.NoError(t, err)
			require.NoError(t, far.(interface{ CloseWrite() error }).CloseWrite())
		})
		both.Go(func() {
			for rest := want; len(rest) > 0; {
				n := min(len(rest), 1+rand.IntN(100_000))
				_, err := c.Write(rest[:n])
				require.NoError(t, err)
				rest = rest[n:]
			}
			require.NoError(t, c.CloseWrite())
		})
		got, err := io.ReadAll(c)
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, got))
		both.Wait()
	})
}

func TestAddresses(t *testing.T) {
	p := newPoller(t)
	c, far := pair(t, p, "tcp")
	require.Equal(t, far.LocalAddr().String(), c.RemoteAddr().String())
	require.Equal(t, far.RemoteAddr().String(), c.LocalAddr().String())
	c, _ = pair(t, p, "unix")
	require.Equal(t, "unix", c.RemoteAddr().Network())
	require.Equal(t, "unix", c.LocalAddr().Network())
}

func TestWhatCannotBePolledIsLeftAlone(t *testing.T) {
	p := newPoller(t)
	near, far := net.Pipe()
	_, err := p.Take(near)
	require.ErrorIs(t, err, errors.ErrUnsupported)
	go func() { far.Write([]byte("x")); far.Close() }()
	got, err := io.ReadAll(near)
	require.NoError(t, err)
	require.Equal(t, "x", string(got))

	closed, err := NewPoller(time.Second)
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	far, err = net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	defer far.Close()
	near, err = ln.Accept()
	require.NoError(t, err)
	_, err = closed.Take(near)
	require.ErrorIs(t, err, os.ErrClosed)
	_, err = near.Write([]byte("y"))
	require.NoError(t, err)
	near.Close()
}

// Connections that say nothing cost no goroutine, whatever is awaited of them.
func TestNoGoroutineForEach(t *testing.T) {
	p := newPoller(t)
	before := runtime.NumGoroutine()
	for range 50 {
		c, _ := pair(t, p, "tcp")
		require.NoError(t, c.SetReadDeadline(time.Now().Add(time.Hour)))
		parked(t, c, newWatcher())
	}
	require.LessOrEqual(t, runtime.NumGoroutine(), before)
}

// echo sends back what it reads, as far as it has a goroutine only while there
// is something to do.
type echo struct {
	c    *Conn
	done chan error
}

func (e *echo) Readable()    { go e.run() }
func (e *echo) Interrupted() { go e.run() }

func (e *echo) run() {
	b := make([]byte, 100)
	for {
		n, err := e.c.TryRead(b)
		switch {
		case err == ErrAgain:
			if e.c.Park(e) {
				return
			}
		case err != nil:
			e.done <- err
			return
		default:
			if _, err := e.c.Write(b[:n]); err != nil {
				e.done <- err
				return
			}
		}
	}
}

// Many connections on one poller; none misses its turn.
func TestNobodyIsForgotten(t *testing.T) {
	p := newPoller(t)
	var clients sync.WaitGroup
	defer clients.Wait()
	for i := range 30 {
		c, far := pair(t, p, []string{"tcp", "unix"}[i%2])
		e := &echo{c, make(chan error, 1)}
		go e.run()
		clients.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 7))
			for range 200 {
				want := bytes.Repeat([]byte{byte(rnd.Uint32())}, 1+rnd.IntN(250))
				_, err := far.Write(want)
				require.NoError(t, err)
				got := make([]byte, len(want))
				_, err = io.ReadFull(far, got)
				require.NoError(t, err)
				require.Equal(t, want, got)
			}
			far.Close()
			require.ErrorIs(t, <-e.done, io.EOF)
		})
	}
}

func TestReadingAllocatesNothing(t *testing.T) {
	p := newPoller(t)
	c, far := pair(t, p, "tcp")
	w := newWatcher()
	b := make([]byte, 64)
	msg := []byte("x")
	require.Zero(t, testing.AllocsPerRun(500, func() {
		for {
			if _, err := c.TryRead(b); err == ErrAgain && c.Park(w) {
				break
			}
		}
		if _, err := far.Write(msg); err != nil {
			t.Error(err)
		}
		<-w.called
	}))
}

// There are thousands of these: one more field is a size class more.
func TestSize(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(Conn{}), uintptr(96))
}
