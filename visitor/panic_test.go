package visitor

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"vnode/fanout"
	"vnode/internal/guard"
	"vnode/visitor/token"
)

// guarded has panics kept in, however many there are.
func guarded(c *Config) {
	c.Guard = guard.New(slog.New(slog.NewTextHandler(io.Discard, nil)), prometheus.NewRegistry(), func(int) {})
}

const (
	roomChat  = `<message xmlns='jabber:client' type='groupchat' to='room@conference.v3.meet.jitsi'><body>x</body></message>`
	faultOfUs = `<stream:error xmlns:stream='http://etherx.jabber.org/streams'><internal-server-error xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>`
)

// A panic while a visitor is served costs that visitor its session, wherever it is
// met. What the visitor held is given back, as the house looks when it shuts, and
// the others notice nothing.
func TestPanicCostsOneVisitor(t *testing.T) {
	for _, where := range []string{"stanza", "opened", "closed"} {
		t.Run(where, func(t *testing.T) {
			inBubble(t, guarded, func(t *testing.T, h *house) { playPanic(t, h, where, h.websocket) })
		})
	}
}

// The same for visitors on sockets, whom the poller's goroutine reads.
func TestPanicCostsOnePolledVisitor(t *testing.T) {
	for _, where := range []string{"stanza", "opened", "closed"} {
		t.Run(where, func(t *testing.T) {
			onSockets(t, fanout.Config{}, guarded, func(t *testing.T, h *house, network string) {
				playPanic(t, h, where, func() *peer { return h.dialed(network, "") })
			})
		})
	}
}

// brokenTransport is one that a panic has left in pieces.
type brokenTransport struct{ transport }

func (brokenTransport) rest()           { panic("a fault of the program") }
func (brokenTransport) output() *output { panic("a fault of the program") }

// A panic may leave the transport in pieces, so that the client cannot be told of its
// end, nor the connection be ended in order. It is closed, and all is given back.
func TestPanicThatBreaksTheTransport(t *testing.T) {
	for _, where := range []string{"session", "login"} {
		t.Run(where, func(t *testing.T) {
			broken := func(c *Config) {
				guarded(c)
				if where == "login" {
					c.Tokens = new(token.Verifier) // as no configuration makes it
				}
			}
			inBubble(t, broken, func(t *testing.T, h *house) {
				if where == "login" {
					p := h.websocket()
					p.open(testDomain)
					h.breakTransports()
					p.send(anonymousAuth)
					p.isCut()
					return
				}
				p := h.websocket().visitor()
				h.breakTransports()
				h.setTrip("stanza")
				p.send(roomChat)
				p.isCut()
			})
		})
	}
}

// isCut expects that the connection is closed, and nothing said.
func (p *peer) isCut() {
	p.t.Helper()
	_, err := p.conn.Read(make([]byte, 1))
	require.ErrorIs(p.t, err, io.EOF)
}

// breakTransports is for streams that wait for their client.
func (h *house) breakTransports() {
	synctest.Wait()
	for st := range h.srv.streams.All() {
		st.t = brokenTransport{st.t}
	}
}

// A connection that meets a panic before there is a stream is closed, and its place
// is free.
func TestPanicBeforeTheStream(t *testing.T) {
	t.Run("reading the handshake", func(t *testing.T) {
		d := newDoor(t, func(c *Config) {
			guarded(c)
			c.Elsewhere = fatalDoor{}
		})
		c := d.call(t)
		c.say(strings.Replace(upgradeHead, "room=x", "vnode=fatal", 1))
		c.isCut()
		require.Eventually(t, func() bool { return d.arrived() == 0 }, 20*time.Second, time.Millisecond)
		other := d.call(t)
		other.say(upgradeHead)
		other.in()
	})
	t.Run("after the handshake", func(t *testing.T) {
		h := newHouse(t, guarded)
		pollers := h.srv.pollers
		h.srv.pollers = nil // as no server has it
		guarded, done := h.srv.cfg.Guard.Handler(h.srv.HTTPHandler()), make(chan struct{})
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer close(done)
			guarded.ServeHTTP(w, r)
		}))
		conn, err := net.Dial("tcp", web.Listener.Addr().String())
		require.NoError(t, err)
		defer conn.Close()
		_, err = conn.Write([]byte(upgradeHead))
		require.NoError(t, err)
		all, err := io.ReadAll(conn)
		require.NoError(t, err)
		require.Contains(t, string(all), "101 Switching Protocols")
		web.Close()
		<-done
		h.srv.pollers = pollers
		inside, _ := h.srv.gate.Inside()
		require.Zero(t, inside)
		h.shut()
	})
}

// fatalDoor knows a node whose name is fatal.
type fatalDoor struct{}

func (fatalDoor) Has(vnode string) bool {
	if vnode == "fatal" {
		panic("a fault of the program")
	}
	return false
}

func (fatalDoor) Node(string, *http.Request) func(net.Conn, []byte) error { return nil }

func playPanic(t *testing.T, h *house, where string, connect func() *peer) {
	other := connect().visitor()
	other.ping(1)
	switch where {
	case "stanza":
		p := connect().visitor()
		h.setTrip(where)
		p.send(roomChat)
		p.expect(faultOfUs)
		p.expectEnd()
	case "opened":
		h.setTrip(where)
		p := connect().visitor()
		p.expect(faultOfUs)
		p.expectEnd()
	case "closed":
		p := connect().visitor()
		h.setTrip(where)
		p.send(wsClose)
		p.expectEnd()
	}
	other.ping(2)
	connect().visitor().ping(3)
}

// A visitor whose login meets a panic is told so, and may try again.
func TestPanicAtLogin(t *testing.T) {
	broken := func(c *Config) {
		guarded(c)
		c.Tokens = new(token.Verifier) // as no configuration makes it
	}
	inBubble(t, broken, func(t *testing.T, h *house) {
		for range 2 {
			p := h.websocket()
			p.open(testDomain)
			p.send(anonymousAuth)
			p.expect(faultOfUs)
			p.expectEnd()
		}
	})
}
