package visitor

import (
	"io"
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

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
