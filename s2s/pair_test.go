package s2s

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/s2s/trust"
)

func chat(n int) []byte {
	return fmt.Appendf(nil, "<message type='groupchat' id='%d' from='r@%s/a' to='r@%s'><body>line %d</body></message>", n, rooms, mainRooms, n)
}

// What waits for a stream leaves on it in order, in one write.
func TestWaitingStanzasLeaveInOrder(t *testing.T) {
	within(t, func(t *testing.T) {
		d := newDialled(t)
		w := newWorld(t, nil, d.dial)
		for n := range 100 {
			w.Send(rooms, mainRooms, chat(n))
		}
		require.EqualValues(t, 100, w.metric("vnode_s2s_queue_stanzas"))
		require.EqualValues(t, 100*len(chat(10))-20, w.metric("vnode_s2s_queue_bytes"))
		p := d.next()
		time.Sleep(3 * time.Second)
		require.InDelta(t, 3, w.metric("vnode_s2s_queue_age_seconds"), 0.01)
		p.accepted(rooms, mainRooms)
		for n := range 100 {
			p.expect(string(chat(n)))
		}
		synctest.Wait()
		require.EqualValues(t, 0, w.metric("vnode_s2s_queue_stanzas"))
		require.EqualValues(t, 0, w.metric("vnode_s2s_queue_age_seconds"))
		require.EqualValues(t, 100, w.metric("vnode_s2s_stanzas_total", "out"))
	})
}

// A stanza waits 30 s and is then answered; errors and results are not.
func TestExpiredStanzasAreAnswered(t *testing.T) {
	within(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		w.Send(rooms, mainRooms, chat(1))
		time.Sleep(10 * time.Second)
		w.Send(rooms, mainRooms, []byte("<iq type='result' id='2' from='conference.v3.meet.example' to='conference.main.example'/>"))
		w.Send(rooms, mainRooms, []byte("<message type='error' id='3' from='conference.v3.meet.example' to='conference.main.example'/>"))
		w.Send(rooms, mainRooms, []byte("<presence type='unavailable' from='r@conference.v3.meet.example/a' to='r@conference.main.example'/>"))
		time.Sleep(20 * time.Second)
		synctest.Wait()
		timeout := "<error type='wait'><remote-server-timeout xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
		require.Equal(t, []string{"<message to='r@conference.v3.meet.example/a' from='r@conference.main.example' id='1' type='error'>" + timeout + "</message>"},
			w.in.stanzas())
		time.Sleep(11 * time.Second)
		synctest.Wait()
		require.Equal(t, "<presence to='r@conference.v3.meet.example/a' from='r@conference.main.example' type='error'>"+timeout+"</presence>",
			w.in.stanzas()[1])
		require.Len(t, w.in.stanzas(), 2)
		require.EqualValues(t, 4, w.metric("vnode_s2s_undelivered_total", "expired"))
		require.EqualValues(t, 0, w.metric("vnode_s2s_queue_stanzas"))
	})
}

func TestQueueIsBounded(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"stanzas": func(c *Config) { c.QueueStanzas = 3 },
		"bytes":   func(c *Config) { c.QueueBytes = 3*len(chat(1)) + 10 },
	} {
		t.Run(name, func(t *testing.T) {
			within(t, func(t *testing.T) {
				w := newWorld(t, change, nil)
				for n := range 5 {
					w.Send(rooms, mainRooms, chat(n))
				}
				synctest.Wait()
				require.Len(t, w.in.stanzas(), 2)
				require.Contains(t, w.in.stanzas()[0], "id='3'")
				require.Contains(t, w.in.stanzas()[0], "too many stanzas wait for the remote server")
				require.EqualValues(t, 2, w.metric("vnode_s2s_undelivered_total", "overflow"))
			})
		})
	}
}

func TestSendWhereItMayNot(t *testing.T) {
	within(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		w.Send(node, "evil.example", []byte("<iq type='get' id='h' from='u@v3.meet.example/x' to='evil.example'><ping xmlns='urn:xmpp:ping'/></iq>"))
		w.Send("evil.example", mainHost, []byte("<iq type='error' id='h' from='evil.example' to='main.example'/>"))
		w.Keep(node, "evil.example")
		synctest.Wait()
		require.Equal(t, []string{"<iq to='u@v3.meet.example/x' from='evil.example' id='h' type='error'><error type='cancel'>" +
			"<not-allowed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>" +
			restricted + "</text></error></iq>"}, w.in.stanzas())
		require.False(t, w.Up(node, "evil.example"))
		require.Contains(t, w.log.String(), "cannot keep a stream")
	})
}

// A handler that blocks does not block Send, not even when every stanza comes
// back.
func TestSendNeverBlocks(t *testing.T) {
	within(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.QueueStanzas = 1 }, nil)
		release := make(chan struct{})
		w.in.hook = func(got) { <-release }
		big := []byte("<message from='r@conference.v3.meet.example/a' to='r@conference.main.example'><body>" + strings.Repeat("x", 1<<20) + "</body></message>")
		for range 40 {
			w.Send(rooms, mainRooms, big)
			synctest.Wait()
		}
		require.EqualValues(t, 39, w.metric("vnode_s2s_undelivered_total", "overflow"))
		require.Positive(t, w.metric("vnode_s2s_unanswered_total"))
		close(release)
		synctest.Wait()
		require.EqualValues(t, 39, float64(len(w.in.stanzas()))+w.metric("vnode_s2s_unanswered_total"))
	})
}

// A kept stream comes back after growing, jittered pauses, and at once less
// patiently when something waits.
func TestKeptStreamIsReopened(t *testing.T) {
	within(t, func(t *testing.T) {
		var mu sync.Mutex
		var tries []time.Time
		d := newDialled(t)
		up := false
		w := newWorld(t, nil, func(ctx context.Context) (net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			tries = append(tries, time.Now())
			if !up {
				return nil, errors.New("connection refused")
			}
			return d.dial(ctx)
		})
		w.Keep(rooms, mainRooms)
		time.Sleep(10 * time.Minute)
		mu.Lock()
		pauses := []time.Duration{}
		for i := 1; i < len(tries); i++ {
			pauses = append(pauses, tries[i].Sub(tries[i-1]))
		}
		tries = nil
		mu.Unlock()
		require.GreaterOrEqual(t, len(pauses), 12)
		for i, p := range pauses {
			full := min(time.Second<<i, time.Minute)
			require.GreaterOrEqual(t, p, full/2)
			require.LessOrEqual(t, p, full)
		}

		w.Send(rooms, mainRooms, chat(1))
		time.Sleep(29 * time.Second)
		synctest.Wait()
		mu.Lock()
		require.GreaterOrEqual(t, len(tries), 5)
		up = true
		mu.Unlock()
		p := d.next()
		p.accepted(rooms, mainRooms)
		time.Sleep(5 * time.Minute)
		p.conn.Close()
		began := time.Now()
		p = d.next()
		require.Less(t, time.Since(began), time.Second+time.Millisecond)
		p.accepted(rooms, mainRooms)
		synctest.Wait()
		require.True(t, w.Up(rooms, mainRooms))
	})
}

// A pair nobody keeps is dialed for what waits, and then no more.
func TestStreamIsNotReopenedForNothing(t *testing.T) {
	within(t, func(t *testing.T) {
		d := newDialled(t)
		w := newWorld(t, nil, d.dial)
		w.Send(rooms, mainRooms, chat(1))
		p := d.next()
		p.accepted(rooms, mainRooms)
		p.expect(string(chat(1)))
		p.write(end)
		p.expect(end, closed)
		time.Sleep(time.Hour)
		require.Empty(t, d.conns)
		w.Send(rooms, mainRooms, chat(2))
		p = d.next()
		p.accepted(rooms, mainRooms)
		p.expect(string(chat(2)))
	})
}

// A bidi stream of the peer is as good as one of ours; when it ends, ours is
// opened.
func TestPeersBidiStreamIsUsed(t *testing.T) {
	within(t, func(t *testing.T) {
		d := newDialled(t)
		w := newWorld(t, nil, d.dial)
		in := w.connect(fromMain, mainCert)
		in.authenticated(mainRooms, rooms, bidi)
		synctest.Wait()
		w.Keep(rooms, mainRooms)
		w.Send(rooms, mainRooms, chat(1))
		in.expect(string(chat(1)))
		time.Sleep(time.Hour)
		require.Empty(t, d.conns)
		in.conn.Close()
		w.Send(rooms, mainRooms, chat(2))
		out := d.next()
		out.accepted(rooms, mainRooms)
		out.expect(string(chat(2)))

		// A peer that opens another stream has lost the one we still think is
		// up; when the new one ends, the old one, if it was good, goes on.
		in = w.connect(fromMain, mainCert)
		in.authenticated(mainRooms, rooms, bidi)
		synctest.Wait()
		w.Send(rooms, mainRooms, chat(3))
		in.expect(string(chat(3)))
		in.conn.Close()
		synctest.Wait()
		w.Send(rooms, mainRooms, chat(4))
		out.expect(string(chat(4)))
	})
}

// An incoming stream without bidi gets no stanzas.
func TestStreamWithoutBidiIsNotUsed(t *testing.T) {
	within(t, func(t *testing.T) {
		d := newDialled(t)
		w := newWorld(t, nil, d.dial)
		in := w.connect(fromMain, mainCert)
		in.authenticated(mainRooms, rooms, "")
		w.Send(rooms, mainRooms, chat(1))
		out := d.next()
		out.accepted(rooms, mainRooms)
		out.expect(string(chat(1)))
	})
}

// Whitespace is written in time for the peer's limit, and its size limit is
// obeyed.
func TestPeersLimitsAreObeyed(t *testing.T) {
	rows := []struct {
		limits string
		every  time.Duration
	}{
		{"", time.Minute},
		{"<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>10000</max-bytes><idle-seconds>40</idle-seconds></limits>", 20 * time.Second},
		{"<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>10000</max-bytes><idle-seconds>840</idle-seconds></limits>", time.Minute},
	}
	for _, row := range rows {
		t.Run(row.limits, func(t *testing.T) {
			within(t, func(t *testing.T) {
				w := newWorld(t, nil, nil)
				p := w.connect(fromMain, mainCert)
				p.authenticated(mainRooms, rooms, "<bidi xmlns='urn:xmpp:bidi'>"+row.limits+"</bidi>")
				p.pings = true
				require.Contains(t, p.read(), isPing) // never answered
				for range 3 {
					began := time.Now()
					b := make([]byte, 1)
					_, err := io.ReadFull(p.conn, b)
					require.NoError(t, err)
					require.Equal(t, " ", string(b))
					require.Equal(t, row.every, time.Since(began))
				}
				if row.limits == "" {
					return
				}
				w.Send(rooms, mainRooms, fmt.Appendf(nil, "<message id='big' from='r@%s/a' to='r@%s'><body>%s</body></message>", rooms, mainRooms, strings.Repeat("x", 10000)))
				w.Send(rooms, mainRooms, chat(2))
				p.expect(string(chat(2)))
				synctest.Wait()
				require.Contains(t, w.in.stanzas()[0], "<policy-violation ")
				require.EqualValues(t, 1, w.metric("vnode_s2s_undelivered_total", "too_large"))
			})
		})
	}
}

// A peer that reads nothing loses its stream; what it did not take goes to the
// next one.
func TestStalledPeer(t *testing.T) {
	within(t, func(t *testing.T) {
		d := newDialled(t)
		w := newWorld(t, func(c *Config) { c.QueueTimeout = time.Hour }, d.dial)
		w.Keep(rooms, mainRooms)
		p := d.next()
		p.accepted(rooms, mainRooms)
		synctest.Wait()
		p.raw.in.mu.Lock()
		p.raw.in.limit = 0
		p.raw.in.mu.Unlock()
		for n := range 10 {
			w.Send(rooms, mainRooms, chat(n))
		}
		time.Sleep(31 * time.Second)
		synctest.Wait()
		require.EqualValues(t, 1, w.metric("vnode_s2s_closed_total", "out", "stalled"))
		p = d.next()
		p.accepted(rooms, mainRooms)
		for n := range 10 {
			p.expect(string(chat(n)))
		}
	})
}

// twoServers is a node and a main, both this package, that dial each other.
func twoServers(t *testing.T, mainFrom string, link func(*memConn)) (n, m *world) {
	t.Helper()
	n = newWorld(t, func(c *Config) { c.Trust.Strict = mainFrom == fromOther }, func(ctx context.Context) (net.Conn, error) {
		c, err := m.ln.dialFrom(ctx, "192.0.2.3:50000")
		if err == nil && link != nil {
			link(c)
		}
		return c, err
	})
	m = newWorld(t, func(c *Config) {
		c.Hosts, c.Peers = c.Peers, c.Hosts
		c.Main = nodeAddr
		c.TLS.Certificates[0] = mainCert
		c.Trust.Strict = mainFrom == fromOther
	}, func(ctx context.Context) (net.Conn, error) { return n.ln.dialFrom(ctx, mainFrom) })
	return n, m
}

// Node and main prove themselves to each other and talk both ways, over what
// either of them opened.
func TestTwoServers(t *testing.T) {
	for _, row := range []struct{ name, from, method string }{
		{"by address", fromMain, `method="EXTERNAL, address"`},
		{"by dialback", fromOther, "method=dialback"},
	} {
		t.Run(row.name, func(t *testing.T) {
			within(t, func(t *testing.T) {
				n, m := twoServers(t, row.from, nil)
				if row.from == fromOther {
					// Neither knows the other's certificate yet.
					for _, w := range []*world{n, m} {
						w.known, _ = trust.Open("")
					}
				}
				n.Keep(rooms, mainRooms)
				n.Keep(node, visitors)
				m.Send(mainHost, rooms, []byte("<presence from='a@main.example/x' to='r@conference.v3.meet.example/a'/>"))
				for i := range 50 {
					n.Send(rooms, mainRooms, chat(i))
					m.Send(mainRooms, rooms, fmt.Appendf(nil, "<message id='%d' from='r@%s' to='r@%s'/>", i, mainRooms, rooms))
				}
				m.Send(visitors, node, []byte("<iq type='set' id='p' from='visitors.main.example' to='v3.meet.example'/>"))
				time.Sleep(5 * time.Second)
				synctest.Wait()
				require.Len(t, m.in.stanzas(), 50)
				require.Len(t, n.in.stanzas(), 52)
				for i, s := range m.in.stanzas() {
					require.Equal(t, string(chat(i)), s)
				}
				require.Contains(t, n.log.String()+m.log.String(), row.method)
			})
		})
	}
}

// However often the link is cut, in the middle of whatever: every stanza is
// delivered once, in order, or answered once.
func TestNothingIsLostWhenTheLinkIsCut(t *testing.T) {
	id := regexp.MustCompile(` id='(\d+)'`)
	numbers := func(b *inbox) (ns []int) {
		for _, s := range b.stanzas() {
			n, _ := strconv.Atoi(id.FindStringSubmatch(s)[1])
			ns = append(ns, n)
		}
		return ns
	}
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			within(t, func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(seed, 1))
				var healthy atomic.Bool
				n, m := twoServers(t, fromMain, func(c *memConn) {
					if !healthy.Load() {
						c.cutAfter(rnd.IntN(40000))
					}
				})
				n.Keep(rooms, mainRooms)
				const total = 2000
				for i := range total {
					n.Send(rooms, mainRooms, chat(i))
					if i%50 == 0 {
						time.Sleep(500 * time.Millisecond)
					}
				}
				healthy.Store(true)
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				delivered, bounced := numbers(m.in), numbers(n.in)
				require.IsIncreasing(t, delivered)
				seen := map[int]int{}
				for _, i := range append(delivered, bounced...) {
					seen[i]++
				}
				require.Len(t, seen, total)
				require.Len(t, append(delivered, bounced...), total)
				require.Positive(t, len(delivered))
				require.Greater(t, n.metric("vnode_s2s_closed_total", "out", "connection_lost"), 3.0)
			})
		})
	}
}

// Close writes what waits, closes the streams and waits for the peers.
func TestCloseFlushes(t *testing.T) {
	within(t, func(t *testing.T) {
		d := newDialled(t)
		w := newWorld(t, nil, d.dial)
		w.Keep(rooms, mainRooms)
		p := d.next()
		p.accepted(rooms, mainRooms)
		synctest.Wait()
		for i := range 10 {
			w.Send(rooms, mainRooms, chat(i))
		}
		w.Send(node, visitors, []byte("<iq type='set' id='x' from='v3.meet.example' to='visitors.main.example'/>")) // has no stream
		d.next()
		done := make(chan error)
		go func() { done <- w.Close(context.Background()) }()
		for i := range 10 {
			p.expect(string(chat(i)))
		}
		p.expect(end)
		late := "<message from='r@conference.main.example' to='r@conference.v3.meet.example'/>"
		p.write(late + end)
		require.NoError(t, <-done)
		require.Equal(t, []string{late}, w.in.stanzas())
		require.Contains(t, w.log.String(), "stanzas left unsent")
		w.Send(rooms, mainRooms, chat(11))
		require.EqualValues(t, 2, w.metric("vnode_s2s_undelivered_total", "shutdown"))
		_, err := w.ln.dialFrom(context.Background(), fromMain)
		require.Error(t, err)
	})
}

// A peer that does not answer the closing tag holds Close up for CloseTimeout,
// one whose stanza is stuck in the handler until ctx is done.
func TestCloseIsBounded(t *testing.T) {
	within(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		p := w.connect(fromMain, mainCert)
		p.authenticated(mainHost, rooms, bidi)
		synctest.Wait() // it is ready
		began := time.Now()
		require.NoError(t, w.Close(context.Background()))
		require.Equal(t, 5*time.Second, time.Since(began))

		w = newWorld(t, nil, nil)
		release := make(chan struct{})
		w.in.hook = func(got) { <-release }
		p = w.connect(fromMain, mainCert)
		p.authenticated(mainHost, rooms, bidi)
		p.write("<message from='main.example' to='conference.v3.meet.example'/>")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), 7*time.Second)
		defer cancel()
		began = time.Now()
		require.ErrorIs(t, w.Close(ctx), context.DeadlineExceeded)
		require.Equal(t, 7*time.Second, time.Since(began))
		close(release)
	})
}

func TestReload(t *testing.T) {
	within(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		old := w.connect(fromMain, mainCert)
		old.authenticated(mainHost, rooms, bidi)
		c := testConfig()
		c.Peers = []string{mainHost, "guest.main.example"}
		c.TLS.Certificates[0] = selfSigned(time.Now().Add(time.Hour), "new.example")
		require.NoError(t, w.Reload(c))
		p := w.connect(fromMain, mainCert)
		p.authenticated("guest.main.example", rooms, "")
		require.Equal(t, "new.example", p.state.PeerCertificates[0].Subject.CommonName)
		w.Send(rooms, mainHost, []byte("<message from='conference.v3.meet.example' to='main.example'/>"))
		old.expect("<message from='conference.v3.meet.example' to='main.example'/>")

		c.Hosts = nil
		require.Error(t, w.Reload(c))
		c = testConfig()
		c.Trust.KnownCerts = "elsewhere"
		require.ErrorContains(t, w.Reload(c), "cannot change")
	})
}

// A listener that fails for a while is tried again; one that is gone is not.
func TestServeSurvivesAcceptErrors(t *testing.T) {
	within(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		ln := &failingListener{memListener: newMemListener(nodeAddr), failures: 12}
		ctx, cancel := context.WithCancel(context.Background())
		served := make(chan error)
		go func() { served <- w.Serve(ctx, ln) }()
		c, err := ln.dialFrom(ctx, fromMain)
		require.NoError(t, err)
		newPeer(t, c, mainCert).authenticated(mainHost, rooms, "")
		require.Equal(t, 12, strings.Count(w.log.String(), "cannot accept a connection"))
		cancel()
		require.NoError(t, <-served)

		ln = &failingListener{memListener: newMemListener(nodeAddr)}
		go func() { served <- w.Serve(context.Background(), ln) }()
		ln.Close()
		require.ErrorIs(t, <-served, net.ErrClosed)
	})
}

type failingListener struct {
	*memListener
	failures int
}

func (l *failingListener) Accept() (net.Conn, error) {
	if l.failures > 0 {
		l.failures--
		return nil, errors.New("too many open files")
	}
	return l.memListener.Accept()
}
