package muc

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"vnode/fanout"
	"vnode/internal/wire"
	"vnode/internal/xmpptest/cast"
	"vnode/muc/room"
)

// bubble is a whole Service with a real broadcaster, in-memory clients and a
// recorded main server, inside a synctest bubble: settle waits until nothing
// moves any more, and time is the bubble's.
type bubble struct {
	t       *testing.T
	svc     *Service
	reg     *prometheus.Registry
	caster  *fanout.Broadcaster
	main    *mainServer
	clients map[string]*client
}

func testConfig() Config {
	return Config{Domain: "conference.v3.meet.jitsi", MainDomain: "meet.jitsi"}
}

func newBubble(t *testing.T, cfg Config) *bubble {
	require.NoError(t, cfg.Validate())
	b := &bubble{t: t, main: &mainServer{t: t}, clients: make(map[string]*client), reg: prometheus.NewRegistry()}
	b.caster = fanout.New(fanout.Config{Shards: 2}, prometheus.NewRegistry())
	b.svc = New(cfg, b.main, b.caster, slog.New(slog.NewTextHandler(io.Discard, nil)), b.reg)
	return b
}

// end closes everything; whatever was not awaited by then is discarded.
func (b *bubble) end() {
	require.NoError(b.t, b.svc.Close(context.Background()))
	for _, c := range b.clients {
		c.out.Abort("test_over")
	}
	require.NoError(b.t, b.caster.Close(context.Background()))
	for _, c := range b.clients {
		<-c.out.Done()
		_ = c.near.Close()
		_ = c.far.Close()
		<-c.read
	}
}

func (b *bubble) settle() { synctest.Wait() }

// client is a local session: a real fanout session whose output is read back.
type client struct {
	jid       wire.JID
	admin     bool
	identity  *room.Identity
	region    string
	out       *fanout.Session
	near, far net.Conn
	read      chan struct{}
	address   netip.Addr
	paused    atomic.Bool

	hungUp atomic.Bool

	mu       sync.Mutex
	received [][]byte // guarded by mu
}

func (b *bubble) client(name string) *client {
	if c := b.clients[name]; c != nil {
		return c
	}
	jid, err := wire.ParseJID(cast.Address(name))
	require.NoError(b.t, err)
	near, far := net.Pipe()
	c := &client{jid: jid, admin: jid.Domain == "auth.meet.jitsi", near: near, far: far, read: make(chan struct{})}
	c.out = b.caster.Attach(fanout.Options{Conn: fanout.Conn{Conn: near, Framing: fanout.Raw}, To: escaped(jid.String())})
	go c.readAll()
	b.clients[name] = c
	return c
}

func (c *client) JID() wire.JID { return c.jid }
func (c *client) Admin() bool   { return c.admin }

func (c *client) HangUp() { c.hungUp.Store(true) }

func (c *client) Identity() *room.Identity { return c.identity }
func (c *client) Region() string           { return c.region }
func (c *client) Address() netip.Addr      { return c.address }
func (c *client) Deliver(after *fanout.Log, ms ...*fanout.Message) {
	c.out.Deliver(after, ms...)
}
func (c *client) Follow(l *fanout.Log, ms ...*fanout.Message) bool { return c.out.Follow(l, ms...) }
func (c *client) Unfollow(l *fanout.Log, ms ...*fanout.Message)    { c.out.Unfollow(l, ms...) }

func (c *client) Drained(tell func()) { c.out.Drained(tell) }
func (c *client) Pause(on bool)       { c.paused.Store(on) }

func (c *client) readAll() {
	defer close(c.read)
	var buf []byte
	r := bufio.NewReader(c.far)
	for {
		chunk := make([]byte, 4096)
		n, err := r.Read(chunk)
		buf = append(buf, chunk[:n]...)
		buf = c.frame(buf)
		if err != nil {
			return
		}
	}
}

// frame moves complete stanzas from buf to received and returns the rest.
func (c *client) frame(buf []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		n := elementLength(buf)
		if n == 0 {
			return buf
		}
		c.received = append(c.received, bytes.Clone(buf[:n]))
		buf = buf[n:]
	}
}

// elementLength is the length of the complete element buf starts with, or 0.
func elementLength(buf []byte) int {
	depth := 0
	for i := 0; i < len(buf); i++ {
		if buf[i] != '<' {
			continue
		}
		end := bytes.IndexByte(buf[i:], '>')
		if end < 0 {
			return 0
		}
		tag := buf[i : i+end+1]
		switch {
		case tag[1] == '/':
			depth--
		case tag[len(tag)-2] != '/':
			depth++
		}
		if i += end; depth == 0 {
			return i + 1
		}
	}
	return 0
}

// take returns what the client got since the last take.
func (c *client) take() [][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	got := c.received
	c.received = nil
	return got
}

// mainServer records what the node sends over s2s.
type mainServer struct {
	t  *testing.T
	mu sync.Mutex
	// Guarded by mu.
	sent    [][]byte
	svc     *Service // answers for its room go to it
	answers string   // how
	trip    string   // a stanza that holds it makes Send panic, once
}

// answer answers from now on when main is asked for a room.
func (m *mainServer) answer(svc *Service, how string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.svc, m.answers = svc, how
}

// answered answers a question for a room, if it is one and main answers.
func (m *mainServer) answered(stanza []byte) bool {
	h, err := wire.ParseHeader(stanza)
	if err != nil || m.answers == "" || m.answers == "silent" || string(h.Name) != "iq" || string(h.Type) != "get" {
		return false
	}
	condition := map[string]string{"exists": "forbidden", "gone": "item-not-found"}[m.answers]
	reply := fmt.Appendf(nil, "<iq type='error' id='%s' from='%s' to='%s'><error type='auth'><%s xmlns='%s'/></error></iq>", h.ID, h.To, h.From, condition, wire.NSStanzas)
	go m.svc.FromRemote(parsed(m.t, "%s", reply))
	return true
}

// Send also checks that a stanza is sent between the domains it names.
func (m *mainServer) Send(from, to string, stanza []byte) {
	h, err := wire.ParseHeader(stanza)
	if err == nil {
		f, err1 := wire.ParseAddress(h.From)
		t, err2 := wire.ParseAddress(h.To)
		if err1 != nil || err2 != nil || f.Domain != from || t.Domain != to || h.Space != nil {
			err = fmt.Errorf("%q sent from %s to %s", stanza, from, to)
		}
	}
	if err != nil {
		m.t.Error(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.trip != "" && bytes.Contains(stanza, []byte(m.trip)) {
		m.trip = ""
		panic("a fault of the program")
	}
	if m.answered(stanza) {
		return
	}
	m.sent = append(m.sent, bytes.Clone(stanza))
}

func (m *mainServer) take() [][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	got := m.sent
	m.sent = nil
	return got
}

// escaped returns s fit for text or an attribute value.
func escaped(s string) string { return string(wire.AppendText(nil, s)) }

// parsed reads a stanza as the streams do.
func parsed(t testing.TB, format string, args ...any) *wire.Stanza {
	t.Helper()
	st, err := wire.ParseStanza(fmt.Appendf(nil, format, args...))
	require.NoError(t, err)
	return st
}
