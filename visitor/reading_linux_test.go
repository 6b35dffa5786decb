package visitor

import (
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"vnode/fanout"
	"vnode/internal/socket"
)

// Clients on sockets, which are polled; those of the other tests are on pipes,
// and a goroutine each reads them.

// dialed connects a WebSocket client over a real socket, behind the handshake.
func (h *house) dialed(network, previd string) *peer {
	h.t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = h.t.TempDir() + "/s"
	}
	ln, err := net.Listen(network, address)
	require.NoError(h.t, err)
	defer ln.Close()
	far, err := net.Dial(network, ln.Addr().String())
	require.NoError(h.t, err)
	near, err := ln.Accept()
	require.NoError(h.t, err)
	h.t.Cleanup(func() { far.Close() })
	return h.returningOn(near, far, previd)
}

// onSockets runs a story over TCP and over a unix socket.
func onSockets(t *testing.T, fan fanout.Config, change func(*Config), story func(t *testing.T, h *house, network string)) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			fan.Shards = 1
			h := newHouseOver(t, fan, change)
			t.Cleanup(h.shut)
			story(t, h, network)
		})
	}
}

// eventually is for what no client can be asked about.
func eventually(t *testing.T, cond func() bool) {
	t.Helper()
	require.Eventually(t, cond, 20*time.Second, time.Millisecond)
}

const (
	pingIQ = `<iq xmlns='jabber:client' type='get' id='%d'><ping xmlns='urn:xmpp:ping'/></iq>`
	pong   = `<iq xmlns='jabber:client' to='{jid}' id='%d' type='result'/>`
)

func (p *peer) ping(n int) {
	p.t.Helper()
	p.send(fmt.Sprintf(pingIQ, n))
	p.expect(fmt.Sprintf(pong, n))
}

func TestSilentVisitorsCostNoGoroutine(t *testing.T) {
	onSockets(t, fanout.Config{}, nil, func(t *testing.T, h *house, network string) {
		h.dialed(network, "").visitor() // starts what serves them all
		eventually(t, func() bool { return h.parked() == 1 })
		before := runtime.NumGoroutine()
		var all []*peer
		for range 30 {
			p := h.dialed(network, "").visitor()
			p.resumable()
			all = append(all, p)
		}
		eventually(t, func() bool { return runtime.NumGoroutine() < before+len(all)/3 }) // the test has some itself
		for i, p := range all {
			p.ping(i)
			p.send(wsClose)
			p.expect("<a xmlns='urn:xmpp:sm:3' h='1'/>")
			p.expectEnd()
		}
		eventually(t, func() bool { return len(h.ended()) == 30 })
	})
}

// parked is how many sessions have no goroutine, as far as can be told from
// outside: those that are polled.
func (h *house) parked() (n int) {
	h.srv.mu.Lock()
	defer h.srv.mu.Unlock()
	for s := range h.srv.sessions.All() {
		if _, ok := s.current.Load().raw.(*socket.Conn); ok {
			n++
		}
	}
	return n
}

// What a client sends is handled in order, however its bytes come, whether the
// poller or a goroutine does it.
func TestPolledClientIsReadInOrder(t *testing.T) {
	onSockets(t, fanout.Config{}, nil, func(t *testing.T, h *house, network string) {
		p := h.dialed(network, "").visitor()
		p.resumable()
		var out []byte
		const lines = 60
		for i := range lines {
			out = append(out, clientFrame(0x89, "ping")...)
			line := fmt.Sprintf("<message xmlns='jabber:client' to='room@conference.v3.meet.jitsi' id='%d'><body>%s</body></message>",
				i, strings.Repeat("x", i*i))
			out = append(out, clientFrame(0x01, line[:30])...) // in two frames
			out = append(out, clientFrame(0x80, line[30:])...)
			out = append(out, clientFrame(0x81, "<r xmlns='urn:xmpp:sm:3'/>")...)
		}
		go func() {
			for n := 1; len(out) > 0; n = n%977 + 13 {
				n := min(n, len(out))
				p.write(out[:n])
				out = out[n:]
				runtime.Gosched()
			}
		}()
		for i := range lines {
			p.expect("PONG ping")
			p.expect(fmt.Sprintf("<a xmlns='urn:xmpp:sm:3' h='%d'/>", i+1))
		}
		handled := h.handled()
		require.Len(t, handled, lines)
		for i, s := range handled {
			require.Contains(t, s, fmt.Sprintf(" id='%d'>", i))
		}
	})
}

// A room that is busy holds up who speaks in it, and nobody else: neither the
// others' input nor anybody's output.
func TestBlockedHandlerHoldsUpOnePolledClient(t *testing.T) {
	onSockets(t, fanout.Config{}, nil, func(t *testing.T, h *house, network string) {
		var held, others []*peer
		for range 8 { // more than there are pollers
			held = append(held, h.dialed(network, "").visitor())
			others = append(others, h.dialed(network, "").visitor())
		}
		block := make(chan struct{})
		h.mu.Lock()
		h.block = block
		h.mu.Unlock()
		for _, p := range held {
			p.send(fmt.Sprintf(toRoom, 1))
		}
		eventually(t, func() bool { return len(h.handled()) == len(held) })
		for i, p := range held {
			p.send(fmt.Sprintf(pingIQ, i))
		}
		for i, p := range others {
			p.write(clientFrame(0x89, "here?"))
			p.expect("PONG here?")
			p.ping(i)
		}
		for i, p := range held {
			h.tell(p.jid, i)
			p.expect(told(i)) // before the answer: that comes when the room has taken the line
		}
		close(block)
		for i, p := range held {
			p.expect(fmt.Sprintf(pong, i))
		}
	})
}

func TestPolledClientThatFloodsIsSlowedDown(t *testing.T) {
	slow := func(c *Config) { c.Limits.BytesPerSecond, c.Limits.RateBurst = 60_000, 10_000 }
	onSockets(t, fanout.Config{}, slow, func(t *testing.T, h *house, network string) {
		p := h.dialed(network, "").visitor()
		start := time.Now()
		line := fmt.Sprintf("<message xmlns='jabber:client' to='room@conference.v3.meet.jitsi'><body>%s</body></message>", strings.Repeat("x", 900))
		for range 40 {
			p.send(line)
		}
		p.ping(1)
		require.Len(t, h.handled(), 40, "nothing is lost")
		require.Greater(t, time.Since(start), 400*time.Millisecond, "40 KB at 60 KB/s, 10 KB of them free")
	})
}

// The network is gone: no byte comes, and no end of the connection either.
func TestPolledClientThatIsSilentIsGivenUp(t *testing.T) {
	impatient := func(c *Config) {
		c.Limits.PingAfter, c.Limits.PingTimeout = 40*time.Millisecond, 40*time.Millisecond
	}
	onSockets(t, fanout.Config{}, impatient, func(t *testing.T, h *house, network string) {
		alive, gone := h.dialed(network, "").visitor(), h.dialed(network, "").visitor()
		// On a slow machine what they say may come too late.
		say := func(p *peer, b []byte) { _, _ = p.conn.Write(b) }
		say(gone, clientFrame(0x81, "<presence/>")[:7]) // half a frame is not a sign of life for ever
		id := alive.expect(`<iq xmlns='jabber:client' type='get' id='{id}' from='v3.meet.jitsi' to='` + alive.jid + `'><ping xmlns='urn:xmpp:ping'/></iq>`)
		say(alive, clientFrame(0x81, `<iq xmlns='jabber:client' type='result' id='`+id+`'/>`))
		require.Contains(t, gone.next(), "<ping ")
		require.Contains(t, gone.next(), "<connection-timeout ")
		eventually(t, func() bool { return slices.Contains(h.ended(), gone.jid) })
	})
}

func TestShutdownEndsPolledClients(t *testing.T) {
	onSockets(t, fanout.Config{}, nil, func(t *testing.T, h *house, network string) {
		var all []*peer
		for range 20 {
			p := h.dialed(network, "").visitor()
			p.resumable()
			all = append(all, p)
		}
		var told sync.WaitGroup
		for _, p := range all {
			told.Go(func() {
				p.expect("<a xmlns='urn:xmpp:sm:3' h='0'/>")
				p.expect("<stream:error xmlns:stream='http://etherx.jabber.org/streams'><system-shutdown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>")
				p.expectEnd()
			})
		}
		h.shut()
		told.Wait()
		require.Len(t, h.ended(), len(all))
	})
}

// A client that takes nothing any more: its connection ends for that reason, and
// the session waits for it to come back.
func TestStalledClientIsCountedAsStalled(t *testing.T) {
	// Who comes back must take something as often as that.
	stall := fanout.Config{StallTimeout: 500 * time.Millisecond, SendBuffer: 4096}
	onSockets(t, stall, nil, func(t *testing.T, h *house, network string) {
		p := h.dialed(network, "").visitor()
		id := p.resumable()
		s := h.srv.session(mustJID(p.jid))
		big := strings.Repeat("x", 32<<10)
		sent := 0
		for ; sent < 28; sent++ { // more than the buffers of both kernels hold, less than may wait
			s.Deliver(nil, fanout.NewPrivate([]byte(fmt.Sprintf("<message xmlns='jabber:client' id='%d'>%s</message>", sent, big))))
		}
		if network == "tcp" { // whose receive buffer grows: the rest of it
			require.NoError(t, p.conn.(*net.TCPConn).SetReadBuffer(4096))
			for range 4000 {
				s.Deliver(nil, fanout.NewRaw([]byte("\x8a\x00")))
			}
		}
		eventually(t, func() bool { return testutil.ToFloat64(h.srv.metrics.closed[fanout.Stalled]) == 1 })
		require.Zero(t, testutil.ToFloat64(h.srv.metrics.closed[reasonDisconnected]))
		// The connection is seen off beside the session.
		eventually(t, func() bool { return h.inState(transportWebSocket, stateHibernating) == 1 })
		require.Empty(t, h.ended())
		q := h.dialed(network, id).anonymous()
		q.resume(id, 0)
		q.expect(resumedWith(id, 0))
		for i := range sent {
			got := q.next()
			if strings.HasPrefix(got, "<r ") {
				got = q.next()
			}
			require.Contains(t, got, fmt.Sprintf(" id='%d'>", i))
		}
	})
}
