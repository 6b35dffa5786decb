package visitor

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/fanout"
	"vnode/internal/wire"
)

// Clients that do not hang up are waited for as long as Close may take, then
// cut off.
func TestCloseCutsOffWhenItsTimeIsUp(t *testing.T) {
	for name, connect := range map[string]func(h *house) *peer{
		"bound":       func(h *house) *peer { return h.websocket().visitor() },
		"negotiating": func(h *house) *peer { p := h.tcp(true); p.open(testDomain); return p },
	} {
		inBubble(t, func(c *Config) { c.Limits.Close = time.Hour }, func(t *testing.T, h *house) {
			p := connect(h)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			closed := make(chan error, 1)
			go func() { closed <- h.srv.Close(ctx) }()
			p.expectShutdown()
			start := time.Now()
			require.ErrorIs(t, <-closed, context.DeadlineExceeded, name)
			synctest.Wait()
			require.Zero(t, h.open(), name)
			require.LessOrEqual(t, time.Since(start), time.Second)
			p.hangUp()
		})
	}
}

// expectShutdown reads to the end of the stream, and stays.
func (p *peer) expectShutdown() {
	p.t.Helper()
	require.Contains(p.t, p.next(), "<system-shutdown ")
	p.expect(p.endTag())
	if p.ws {
		p.expect("CLOSE 1000 Stream closed")
	}
}

// Fanout may be closed under a server that still has clients.
func TestBroadcasterClosesFirst(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		p := h.websocket().visitor()
		require.NoError(t, h.fan.Close(t.Context()))
		p.send(`<presence xmlns='jabber:client'/>`)
		p.hangUp()
		synctest.Wait()
		require.Equal(t, []string{p.jid}, h.ended())
	})
}

// badListener fails a few times before it is closed.
type badListener struct {
	errs   []error
	closed bool
}

func (l *badListener) Accept() (net.Conn, error) {
	if len(l.errs) == 0 {
		return nil, net.ErrClosed
	}
	err := l.errs[0]
	l.errs = l.errs[1:]
	return nil, err
}

func (l *badListener) Close() error   { l.closed = true; return nil }
func (l *badListener) Addr() net.Addr { return textAddr("here") }

func TestAcceptErrorsAreSurvived(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		full := errors.New("too many open files")
		ln := &badListener{errs: []error{full, full, full}}
		start := time.Now()
		require.NoError(t, h.srv.ServeTCP(t.Context(), ln, true))
		require.Equal(t, 35*time.Millisecond, time.Since(start), "5, 10 and 20 ms")
		require.True(t, ln.closed)
		require.Contains(t, h.log.String(), "accept failed")
	})
}

func TestServeTCPEndsWithItsContextAndItsServer(t *testing.T) {
	h := newHouse(t, nil)
	listen := func() net.Listener {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		return ln
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- h.srv.ServeTCP(ctx, listen(), true) }()
	cancel()
	require.NoError(t, <-done)

	ln := listen()
	go func() { done <- h.srv.ServeTCP(t.Context(), ln, true) }()
	p := &peer{t: t, tcp: nil}
	conn, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	p.conn, p.tcp = conn, wire.NewReader(conn, wire.Limits{})
	p.visitor()
	p.leave()
	h.shut()
	require.NoError(t, <-done)
	require.NoError(t, h.srv.ServeTCP(t.Context(), listen(), true), "a closed server serves nobody")
	require.False(t, h.srv.Deliver(wire.JID{Domain: testDomain}, fanout.NewPrivate(nil)))
}
