package s2s

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"vnode/internal/guard"
)

// newGuard outlives any number of panics.
func newGuard(log io.Writer) *guard.Guard {
	return guard.New(slog.New(slog.NewTextHandler(log, nil)), prometheus.NewRegistry(), func(int) {})
}

func keepIn(c *Config) { c.Guard = newGuard(io.Discard) }

// faulty is a connection whose next reading or writing meets a panic, once.
type faulty struct {
	*memConn
	read, write atomic.Bool
}

func (c *faulty) Read(p []byte) (int, error) {
	n, err := c.memConn.Read(p)
	if c.read.CompareAndSwap(true, false) {
		panic("a fault of the program")
	}
	return n, err
}

func (c *faulty) Write(p []byte) (int, error) {
	if c.write.CompareAndSwap(true, false) {
		panic("a fault of the program")
	}
	return c.memConn.Write(p)
}

// A panic in what a peer's stanza leads to ends the stream it came on, with
// internal-server-error. Another stream goes on, and the peer may come back.
func TestPanicEndsOneStream(t *testing.T) {
	within(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) {
			c.Guard = newGuard(io.Discard)
		}, nil)
		w.in.hook = func(g got) {
			if strings.Contains(g.stanza, "fatal") {
				panic("a fault of the program")
			}
		}
		other := w.connect(fromMain, mainCert)
		other.authenticated(mainRooms, rooms, "")
		for range 2 {
			p := w.connect(fromMain, mainCert)
			p.authenticated(mainHost, rooms, "")
			p.write("<message from='a@main.example/x' to='r@conference.v3.meet.example'><body>fatal</body></message>")
			p.expect(streamError("internal-server-error", ""), end, closed)
		}
		other.write("<message from='r@" + mainRooms + "' to='r@conference.v3.meet.example'><body>goes on</body></message>")
		synctest.Wait()
		all := w.in.stanzas()
		require.Contains(t, all[len(all)-1], "goes on")
		time.Sleep(10 * time.Second) // the end of a stream waits for the peer
		require.EqualValues(t, 2, w.metric("vnode_s2s_closed_total", "in", "panic"))
		require.EqualValues(t, 1, w.metric("vnode_s2s_streams", "in", "ready"))
	})
}

// While one stream after the other meets a panic, another one is in full use both ways:
// it loses nothing, gets nothing twice and keeps the order.
func TestPanicsBesideABusyStream(t *testing.T) {
	within(t, func(t *testing.T) {
		w := newWorld(t, keepIn, nil)
		w.in.hook = func(g got) {
			if strings.Contains(g.stanza, "fatal") {
				panic("a fault of the program")
			}
		}
		busy := w.connect(fromMain, mainCert)
		busy.authenticated(mainRooms, rooms, bidi)
		const lines, faults = 1000, 20
		line := func(n int) string {
			return fmt.Sprintf("<message from='r@%s' to='r@conference.v3.meet.example'><body>line %d</body></message>", mainRooms, n)
		}
		go func() {
			for n := range lines {
				busy.write(line(n))
				w.Send(rooms, mainRooms, chat(n))
				time.Sleep(time.Millisecond)
			}
		}()
		go func() {
			for range faults {
				p := w.connect(fromMain, mainCert)
				p.authenticated(mainHost, rooms, "")
				p.write("<message from='a@main.example/x' to='r@conference.v3.meet.example'><body>fatal</body></message>")
				p.expect(streamError("internal-server-error", ""), end, closed)
			}
		}()
		for n := range lines {
			busy.expect(string(chat(n)))
		}
		time.Sleep(time.Minute)
		n, met := 0, 0
		for _, stanza := range w.in.stanzas() {
			if strings.Contains(stanza, "fatal") {
				met++
				continue
			}
			require.Equal(t, line(n), stanza)
			n++
		}
		require.Equal(t, lines, n)
		require.Equal(t, faults, met)
	})
}

// A panic of the writer ends the stream. No lock stays locked, and what the connection
// was not given yet goes out on the next stream, once and in order.
func TestPanicOfAWriter(t *testing.T) {
	within(t, func(t *testing.T) {
		d := newDialled(t)
		w := newWorld(t, keepIn, d.dial)
		w.Keep(rooms, mainRooms)
		p := d.next()
		p.accepted(rooms, mainRooms)
		w.Send(rooms, mainRooms, chat(1))
		p.expect(string(chat(1)))
		st := w.allStreams()[0]
		broken := newPair(w.Server, st.domainPair)
		broken.closed, broken.carriers, broken.q.head = true, []*stream{st}, -1 // as no queue is
		st.mu.Lock()
		st.carries = append(st.carries[:1:1], broken)
		st.mu.Unlock()
		for n := range 20 {
			w.Send(rooms, mainRooms, chat(2+n))
		}
		p.expect(streamError("internal-server-error", ""), end)
		p.write(end)
		p = d.next()
		p.accepted(rooms, mainRooms)
		for n := range 20 {
			p.expect(string(chat(2 + n)))
		}
		require.EqualValues(t, 1, w.metric("vnode_s2s_closed_total", "out", "panic"))
		require.EqualValues(t, 1, w.metric("vnode_s2s_streams", "out", "ready"))
		require.Empty(t, w.in.stanzas())
	})
}

// A panic in the middle of a write ends the stream: nobody knows what has arrived.
// The next one carries what comes then.
func TestPanicInTheMiddleOfAWrite(t *testing.T) {
	within(t, func(t *testing.T) {
		d := newDialled(t)
		var conn *faulty
		w := newWorld(t, keepIn, func(ctx context.Context) (net.Conn, error) {
			c, err := d.dial(ctx)
			conn = &faulty{memConn: c.(*memConn)}
			return conn, err
		})
		w.Keep(rooms, mainRooms)
		p := d.next()
		p.accepted(rooms, mainRooms)
		w.Send(rooms, mainRooms, chat(1))
		p.expect(string(chat(1)))
		conn.write.Store(true)
		w.Send(rooms, mainRooms, chat(2))
		synctest.Wait()
		w.Send(rooms, mainRooms, chat(3))
		p = d.next()
		p.accepted(rooms, mainRooms)
		p.expect(string(chat(3)))
		require.EqualValues(t, 1, w.metric("vnode_s2s_closed_total", "out", "panic"))
	})
}

// A panic while the main server is dialed, or on the way to a stream, is a failure
// like others: it is tried again.
func TestPanicOfADialer(t *testing.T) {
	for _, when := range []string{"dialing", "negotiating"} {
		t.Run(when, func(t *testing.T) {
			within(t, func(t *testing.T) {
				d := newDialled(t)
				tries := 0
				w := newWorld(t, keepIn, func(ctx context.Context) (net.Conn, error) {
					if tries++; tries > 1 {
						return d.dial(ctx)
					}
					if when == "dialing" {
						panic("a fault of the program")
					}
					c, _ := memPipe("192.0.2.3:50000", mainAddr)
					conn := &faulty{memConn: c}
					conn.write.Store(true)
					return conn, nil
				})
				w.Send(rooms, mainRooms, chat(1))
				p := d.next()
				p.accepted(rooms, mainRooms)
				p.expect(string(chat(1)))
				require.EqualValues(t, 1, w.metric("vnode_s2s_connect_failures_total", "panic"))
				require.EqualValues(t, 0, w.metric("vnode_s2s_streams", "out", "negotiating"))
			})
		})
	}
}

// A panic while the main server is asked about a key refuses the key for now. The
// stream of the question is gone, that of the claim goes on.
func TestPanicWhileAKeyIsChecked(t *testing.T) {
	within(t, func(t *testing.T) {
		d := newDialled(t)
		var conn *faulty
		w := newWorld(t, keepIn, func(ctx context.Context) (net.Conn, error) {
			c, err := d.dial(ctx)
			conn = &faulty{memConn: c.(*memConn)}
			return conn, err
		})
		p := w.connect(fromMain, mainCert)
		p.authenticated(mainHost, rooms, "")
		p.write(claimOf(mainRooms, rooms, "k"))
		authority := d.next()
		authority.receive(rooms, mainRooms, "")
		require.Contains(t, authority.read(), "<db:verify ")
		conn.read.Store(true)
		authority.write(" ")
		p.expect("<db:result from='conference.v3.meet.example' to='conference.main.example' type='error'><error type='wait'>" +
			"<remote-server-timeout xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></db:result>")
		p.write("<message from='a@main.example/x' to='r@conference.v3.meet.example'><body>goes on</body></message>")
		synctest.Wait()
		require.Len(t, w.in.stanzas(), 1)
		require.EqualValues(t, 0, w.metric("vnode_s2s_streams", "out"))
		require.EqualValues(t, 1, w.metric("vnode_s2s_closed_total", "out", "panic"))
	})
}

// A panic in what an undelivered stanza leads to costs its answer, and no other's.
func TestPanicOfABounce(t *testing.T) {
	within(t, func(t *testing.T) {
		w := newWorld(t, keepIn, nil)
		w.in.hook = func(g got) {
			if strings.Contains(g.stanza, "id='1'") {
				panic("a fault of the program")
			}
		}
		for n := range 3 {
			w.Send(rooms, "nowhere.example", chat(n))
		}
		synctest.Wait()
		require.Len(t, w.in.stanzas(), 3)
		require.Contains(t, w.in.stanzas()[2], "id='2'")
	})
}

// The log of a panic names the kind and the size of the stanza in hand, and nothing
// of what it says.
func TestPanicNamesTheStanza(t *testing.T) {
	within(t, func(t *testing.T) {
		var log lines
		w := newWorld(t, func(c *Config) { c.Guard = newGuard(&log) }, nil)
		w.in.hook = func(got) { panic("a fault of the program") }
		p := w.connect(fromMain, mainCert)
		p.authenticated(mainHost, rooms, "")
		stanza := "<message from='a@main.example/x' to='r@conference.v3.meet.example'><body>nobody's business</body></message>"
		p.write(stanza)
		p.expect(streamError("internal-server-error", ""), end, closed)
		require.Contains(t, log.String(), "boundary=stream")
		require.Contains(t, log.String(), fmt.Sprintf("stanza=message bytes=%d", len(stanza)))
		require.NotContains(t, log.String(), "business")
	})
}
