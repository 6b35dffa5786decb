package s2s

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Main may offer to resume a stream. It is asked to on the next one, before
// anything else, and gets what it has not handled, once.
func TestResumption(t *testing.T) {
	within(t, func(t *testing.T) {
		d := newDialled(t)
		w := newWorld(t, nil, d.dial)
		w.Keep(rooms, mainRooms)
		p := d.next()
		p.offersSM(rooms, mainRooms)
		p.expect(enable)
		line := "<message id='9' from='r@conference.main.example' to='r@conference.v3.meet.example'/>"
		p.write(resumable + line + line)
		for n := range 4 {
			w.Send(rooms, mainRooms, chat(n))
		}
		p.expectAround(ackAsked, string(chat(0)), string(chat(1)), string(chat(2)), string(chat(3)))
		p.write(ack(1))
		p.expect(ackAsked)
		p.raw.Close()
		synctest.Wait()
		w.Send(rooms, mainRooms, chat(4))

		p = d.next() // lost again before main says anything
		p.offersSM(rooms, mainRooms)
		p.expect(resume(2))
		p.raw.Close()
		p = d.next()
		p.offersSM(rooms, mainRooms)
		p.expect(resume(2))
		p.write(resumed(3) + line)
		p.expectAround(ackAsked, string(chat(3)), string(chat(4)))
		p.write(ack(5) + ackAsked)
		p.expect(ack(3))
		w.Send(rooms, mainRooms, chat(5))
		p.expect(string(chat(5)), ackAsked)
		require.Empty(t, w.bounces())
		require.EqualValues(t, 1, w.metric("vnode_s2s_resumptions_total", "resumed"))

		p.raw.Close() // and main has forgotten it, but not how much it had
		w.Send(rooms, mainRooms, chat(6))
		p = d.next()
		p.offersSM(rooms, mainRooms)
		p.expect(resume(3))
		p.write(failed("item-not-found", " h='6'"))
		p.expect(enable)
		p.write(resumable)
		p.expect(string(chat(6)), ackAsked)
		require.Empty(t, w.bounces())

		p.raw.Close() // and now everything
		p = d.next()
		p.offersSM(rooms, mainRooms)
		p.expect(resume(0))
		p.write(failed("item-not-found", ""))
		p.expect(enable)
		synctest.Wait()
		require.Equal(t, []int{6}, w.bounces())
		require.EqualValues(t, 2, w.metric("vnode_s2s_resumptions_total", "failed"))

		p.write(resumable)
		w.Send(rooms, mainRooms, chat(7))
		p.expect(string(chat(7)), ackAsked)
		p.write(end) // closed in order: nothing to resume
		p.expect(ack(0), end, closed)
		p = d.next()
		p.offersSM(rooms, mainRooms)
		p.expect(enable)
		require.Equal(t, []int{6, 7}, w.bounces())
	})
}

// Not all that main says about a lost stream makes sense.
func TestResumptionRefusals(t *testing.T) {
	for _, row := range []struct {
		name, said string
		held       bool // the stream is asked for once more
	}{
		{"more than was sent", resumed(3), true},
		{"no count", "<resumed xmlns='urn:xmpp:sm:3' previd='token'/>", true},
		{"something else", "<message/>", true},
		{"nothing", "", true},
		{"offered no more", "", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			within(t, func(t *testing.T) {
				d := newDialled(t)
				w := newWorld(t, func(c *Config) { c.QueueTimeout = 2 * time.Minute }, d.dial)
				w.Keep(rooms, mainRooms)
				p := d.next()
				p.offersSM(rooms, mainRooms)
				p.expect(enable)
				p.write(resumable)
				w.Send(rooms, mainRooms, chat(1))
				p.expect(string(chat(1)), ackAsked)
				p.raw.Close()
				p = d.next()
				if !row.held {
					p.accepted(rooms, mainRooms)
					synctest.Wait()
					require.Equal(t, []int{1}, w.bounces())
					return
				}
				p.offersSM(rooms, mainRooms)
				p.expect(resume(0))
				p.write(row.said)
				if row.said == "" {
					require.Contains(t, p.read(), "no answer to resume in time")
				}
				for p.read() != closed {
				}
				p = d.next()
				p.offersSM(rooms, mainRooms)
				p.expect(resume(0))
				require.Empty(t, w.bounces())
				p.write(resumed(1))
				synctest.Wait()
				require.True(t, w.Up(rooms, mainRooms))
				require.Empty(t, w.bounces())
			})
		})
	}
}

// What waits to be resumed waits no longer than in the queue, and is counted
// when the server closes.
func TestResumptionExpires(t *testing.T) {
	lose := func(t *testing.T) *world {
		d := newDialled(t)
		var away atomic.Bool
		w := newWorld(t, nil, func(ctx context.Context) (net.Conn, error) {
			if away.Load() {
				return nil, &net.OpError{Op: "dial", Err: errReset}
			}
			return d.dial(ctx)
		})
		w.Send(rooms, mainRooms, chat(1))
		p := d.next()
		p.offersSM(rooms, mainRooms)
		p.expect(enable)
		p.write(resumable)
		p.expect(string(chat(1)), ackAsked)
		away.Store(true)
		p.raw.Close()
		time.Sleep(29 * time.Second)
		synctest.Wait()
		require.Empty(t, w.bounces())
		return w
	}
	within(t, func(t *testing.T) {
		w := lose(t)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.Equal(t, []int{1}, w.bounces())
	})
	within(t, func(t *testing.T) {
		w := lose(t)
		require.NoError(t, w.Close(context.Background()))
		require.EqualValues(t, 1, w.metric("vnode_s2s_undelivered_total", "shutdown"))
	})
}

// A main that resumes gets every stanza exactly once and in order, however
// often and wherever the connection breaks, and nothing comes back.
func TestResumptionIsExact(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			within(t, func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(seed, 2))
				const total = 1000
				done := make(chan struct{})
				d := newDialled(t)
				var healthy atomic.Bool
				w := newWorld(t, func(c *Config) { c.QueueTimeout = time.Hour }, func(context.Context) (net.Conn, error) {
					c, s := memPipe("192.0.2.3:50000", mainAddr)
					if !healthy.Load() {
						c.cutAfter(3000 + rnd.IntN(20000)) // of what it says
						s.cutAfter(3000 + rnd.IntN(3000))  // of what it hears
					}
					d.conns <- s
					return c, nil
				})
				main := &resumingMain{t: t, done: done, total: total}
				go func() {
					defer close(done)
					for main.got < total {
						main.serve(d.next())
					}
				}()
				w.Keep(rooms, mainRooms)
				for n := range total {
					w.Send(rooms, mainRooms, chat(n))
					if n%20 == 0 {
						time.Sleep(time.Second)
					}
				}
				healthy.Store(true)
				<-done
				synctest.Wait()
				require.Empty(t, w.bounces())
				require.Greater(t, w.metric("vnode_s2s_resumptions_total", "resumed"), 0.0)
			})
		})
	}
}

// resumingMain is a main that keeps count across streams.
type resumingMain struct {
	t          *testing.T
	done       chan struct{}
	total, got int
	known      bool // it has enabled stream management
}

// serve plays main on one connection until that breaks.
func (m *resumingMain) serve(p *peer) {
	defer p.conn.Close()
	said := func(s string) bool { _, err := p.conn.Write([]byte(s)); return err == nil }
	header := headerWithID(mainRooms, rooms)
	p.read()
	said(header + "<stream:features>" + startTLS + "</stream:features>")
	if p.read() != startTLS || !said(proceed) {
		return
	}
	p.tlsServer()
	if p.read() == closed || !said(header+"<stream:features>"+mechanisms+"</stream:features>") || p.read() != auth(b64(rooms)) {
		return
	}
	p.r.Restart()
	said(success)
	if p.read() == closed {
		return
	}
	said(header + "<stream:features>" + sm + "</stream:features>")
	for m.got < m.total {
		switch s := p.read(); {
		case s == closed:
			return
		case s == enable:
			require.False(m.t, m.known, "enabled twice")
			m.known = said(resumable)
		case strings.HasPrefix(s, "<resume "):
			said(resumed(m.got))
		case s == ackAsked:
			said(ack(m.got))
		case strings.HasPrefix(s, "<a "): // the other side's last word
		default:
			require.Equal(m.t, string(chat(m.got)), s)
			m.got++
		}
	}
}
