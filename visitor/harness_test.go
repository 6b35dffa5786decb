package visitor

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"vnode/fanout"
	"vnode/internal/wire"
	"vnode/visitor/admission"
	"vnode/visitor/request"
	"vnode/visitor/sasl"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testDomain   = "v3.meet.jitsi"
	testAuth     = "auth.meet.jitsi"
	testPassword = "correct horse"
)

// testAccount is derived once: it takes milliseconds.
var testAccount = sync.OnceValue(func() sasl.Account {
	a, err := sasl.NewAccount("focus", testPassword, true)
	if err != nil {
		panic(err)
	}
	return a
})

func testConfig() Config {
	return Config{
		Domain: testDomain, AuthDomain: testAuth,
		Accounts: sasl.Directory{"focus": testAccount()},
		Identities: []Identity{
			{"component", "polls", "polls.v3.meet.jitsi"},
		},
		Items:   []string{"conference.v3.meet.jitsi"},
		Version: "1",
	}
}

// house is a server with a recording Handler behind it.
type house struct {
	t   testing.TB
	srv *Server
	fan *fanout.Broadcaster
	log *journal
	reg *prometheus.Registry

	mu      sync.Mutex
	stanzas []string // guarded by mu, like the rest
	opened  []string
	closed  []string
	trip    string        // guarded by mu; where the Handler panics next
	block   chan struct{} // when set, Stanza waits for it
}

func newHouse(t testing.TB, change func(*Config)) *house {
	t.Helper()
	return newHouseOver(t, fanout.Config{Shards: 1}, change)
}

func newHouseOver(t testing.TB, fan fanout.Config, change func(*Config)) *house {
	t.Helper()
	cfg := testConfig()
	if change != nil {
		change(&cfg)
	}
	h := &house{t: t, log: new(journal), reg: prometheus.NewRegistry()}
	h.fan = fanout.New(fan, h.reg)
	var err error
	log := slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	h.srv, err = New(cfg, h.fan, h, log, h.reg)
	require.NoError(t, err)
	return h
}

// shut ends everything; in a synctest bubble it must come before the test
// function returns.
func (h *house) shut() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	require.NoError(h.t, h.srv.Close(ctx))
	require.NoError(h.t, h.fan.Close(ctx))
	h.mu.Lock()
	defer h.mu.Unlock()
	require.Zero(h.t, h.srv.streams.Len())
	inside, addresses := h.srv.gate.Inside()
	require.Zero(h.t, inside)
	require.Zero(h.t, addresses)
	require.Empty(h.t, h.srv.arrivals)
	inside, addresses = h.srv.gate.Arrived()
	require.Zero(h.t, inside)
	require.Zero(h.t, addresses)
	require.Zero(h.t, h.srv.sessions.Len())
	require.Empty(h.t, h.srv.users.taken)
	require.Zero(h.t, h.srv.ids.Len())
	require.Zero(h.t, h.srv.hibernating.Len())
	require.NotContains(h.t, h.log.String(), "previd")
	require.NotContains(h.t, h.log.String(), testPassword)
}

// journal is a log that is read while it may still be written to.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}

func (h *house) Stanza(s *Session, st *wire.Stanza) {
	h.trips("stanza")
	h.mu.Lock()
	h.stanzas = append(h.stanzas, fmt.Sprintf("%s -> %s: %s", s.JID(), st.To, st.Raw))
	block := h.block
	h.mu.Unlock()
	if block != nil {
		<-block
	}
}

func (h *house) Opened(s *Session) {
	h.trips("opened")
	h.mu.Lock()
	defer h.mu.Unlock()
	h.opened = append(h.opened, s.JID().String())
}

// trips panics if a test wants the Handler to do so there, once.
func (h *house) trips(where string) {
	h.mu.Lock()
	trip := h.trip == where
	if trip {
		h.trip = ""
	}
	h.mu.Unlock()
	if trip {
		panic("a fault of the program")
	}
}

func (h *house) setTrip(where string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.trip = where
}

func (h *house) Closed(s *Session) {
	h.trips("closed")
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = append(h.closed, s.JID().String())
}

func (h *house) handled() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.stanzas...)
}

func (h *house) ended() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.closed...)
}

func mustJID(s string) wire.JID {
	j, err := wire.ParseJID(s)
	if err != nil {
		panic(err)
	}
	return j
}

// inBubble runs a story with fake time against a fresh server.
func inBubble(t *testing.T, change func(*Config), story func(t *testing.T, h *house)) {
	testAccount()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, change)
		t.Cleanup(h.shut)
		story(t, h)
	})
}

// peer is a client at the other end of an in-memory connection.
type peer struct {
	t    testing.TB
	conn net.Conn
	ws   bool
	tcp  *wire.Reader
	jid  string
}

// tcp connects a client over TCP.
func (h *house) tcp(trusted bool) *peer {
	near, far := net.Pipe()
	h.srv.acceptTCP(near, trusted)
	return &peer{t: h.t, conn: far, tcp: wire.NewReader(far, wire.Limits{})}
}

// websocket connects a client over WebSocket, behind the handshake.
func (h *house) websocket() *peer { return h.returning("") }

// returning connects a client over WebSocket that says which session it comes
// back to.
func (h *house) returning(previd string) *peer {
	near, far := net.Pipe()
	return h.returningOn(near, far, previd)
}

// returningOn is returning over a given connection.
func (h *house) returningOn(near, far net.Conn, previd string) *peer {
	return h.asking(near, far, request.Info{PrevID: previd})
}

// asking connects a client over WebSocket whose handshake said something.
func (h *house) asking(near, far net.Conn, info request.Info) *peer {
	st := h.srv.newWebSocket(near, nil, info.Secure)
	st.tell(st.peer, info)
	h.admitted(st)
	return &peer{t: h.t, conn: far, ws: true}
}

func (h *house) admitted(st *stream) {
	require.Nil(h.t, h.srv.admit(h.srv.lifetime, st.peer, admission.Exempt, 0))
	require.True(h.t, h.srv.start(st))
}

// on connects over the named transport; TCP is trusted.
func (h *house) on(transport string) *peer {
	if transport == transportTCP {
		return h.tcp(true)
	}
	return h.websocket()
}

// write sends bytes as they are. The server may have hung up meanwhile, as some
// tests provoke.
func (p *peer) write(b []byte) {
	_, err := p.conn.Write(b)
	if err != nil && !errors.Is(err, io.ErrClosedPipe) {
		require.NoError(p.t, err)
	}
}

// send sends an element.
func (p *peer) send(elem string) {
	p.t.Helper()
	if p.ws {
		p.write(clientFrame(0x81, elem))
		return
	}
	p.write([]byte(elem))
}

func clientFrame(b0 byte, payload string) []byte {
	dst := []byte{b0}
	switch n := len(payload); {
	case n <= 125:
		dst = append(dst, 0x80|byte(n))
	case n <= 0xFFFF:
		dst = binary.BigEndian.AppendUint16(append(dst, 0x80|126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, 0x80|127), uint64(n))
	}
	mask := [4]byte{1, 2, 3, 4}
	dst = append(dst, mask[:]...)
	for i := range len(payload) {
		dst = append(dst, payload[i]^mask[i%4])
	}
	return dst
}

// next returns what the server sent next, "EOF" at the end.
func (p *peer) next() string {
	p.t.Helper()
	if p.conn.SetReadDeadline(time.Now().Add(time.Hour)) != nil {
		return "EOF"
	}
	s, err := p.read()
	switch {
	case err == io.EOF, errors.Is(err, io.ErrClosedPipe):
		return "EOF"
	case errors.Is(err, os.ErrDeadlineExceeded):
		require.FailNow(p.t, "the server says nothing")
	}
	require.NoError(p.t, err)
	return s
}

func (p *peer) read() (string, error) {
	if p.ws {
		return p.readFrame()
	}
	tok, err := p.tcp.Next()
	return string(tok.Data), err
}

func (p *peer) readFrame() (string, error) {
	var head [2]byte
	if _, err := io.ReadFull(p.conn, head[:]); err != nil {
		return "", err
	}
	n := int(head[1])
	switch n {
	case 126:
		var ext [2]byte
		if _, err := io.ReadFull(p.conn, ext[:]); err != nil {
			return "", err
		}
		n = int(binary.BigEndian.Uint16(ext[:]))
	case 127:
		var ext [8]byte
		if _, err := io.ReadFull(p.conn, ext[:]); err != nil {
			return "", err
		}
		n = int(binary.BigEndian.Uint64(ext[:]))
	}
	payload := make([]byte, n)
	if _, err := io.ReadFull(p.conn, payload); err != nil {
		return "", err
	}
	switch head[0] {
	case 0x81:
		return string(payload), nil
	case 0x88:
		if n < 2 {
			return "CLOSE", nil
		}
		return fmt.Sprintf("CLOSE %d %s", binary.BigEndian.Uint16(payload), payload[2:]), nil
	case 0x8A:
		return "PONG " + string(payload), nil
	}
	return "", fmt.Errorf("frame with first byte %#x", head[0])
}

// expect reads the next element and matches it: {name} stands for anything
// without a quote or a tag, and is returned when there is one.
func (p *peer) expect(pattern string) string {
	p.t.Helper()
	got := p.next()
	m := matcher(pattern).FindStringSubmatch(got)
	require.NotNil(p.t, m, "expected %s\ngot      %s", pattern, got)
	if len(m) > 1 {
		return m[1]
	}
	return ""
}

var placeholder = regexp.MustCompile(`\\\{[a-z]+\\\}`)

func matcher(pattern string) *regexp.Regexp {
	q := regexp.QuoteMeta(pattern)
	return regexp.MustCompile("^(?s:" + placeholder.ReplaceAllString(q, `([^'<>]*)`) + ")$")
}

// play runs a transcript: lines of "C: " are sent, lines of "S: " expected.
func (p *peer) play(lines ...string) {
	p.t.Helper()
	for _, l := range lines {
		kind, rest, _ := strings.Cut(l, ": ")
		switch kind {
		case "C":
			p.send(rest)
		case "S":
			p.expect(rest)
		default:
			require.FailNow(p.t, "bad transcript line", l)
		}
	}
}

// hangUp closes the client's end without a word.
func (p *peer) hangUp() { p.conn.Close() }

const (
	streamTo  = `<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='%s' version='1.0'>`
	openTo    = `<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='%s' version='1.0'/>`
	serverTCP = `<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' from='%s' id='{id}' version='1.0' xml:lang='en'>`
	serverWS  = `<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' from='%s' id='{id}' version='1.0' xml:lang='en'/>`

	anonymousAuth = `<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'></auth>`
	saslSuccess   = `<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>`
	bindIQ        = `<iq xmlns='jabber:client' type='set' id='_bind_auth_2'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'></bind></iq>`
	wsClose       = `<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>`
)

// open sends a header and expects the server's and its features.
func (p *peer) open(domain string) (features string) {
	p.t.Helper()
	if p.ws {
		p.send(fmt.Sprintf(openTo, domain))
		p.expect(fmt.Sprintf(serverWS, domain))
		return p.next()
	}
	p.send(fmt.Sprintf(streamTo, domain))
	p.expect(fmt.Sprintf(serverTCP, domain))
	return p.next()
}

// restart is open after a login.
func (p *peer) restart(domain string) (features string) {
	if p.tcp != nil {
		p.tcp.Restart()
	}
	return p.open(domain)
}

// visitor logs in anonymously and binds.
func (p *peer) visitor() *peer {
	p.t.Helper()
	p.open(testDomain)
	p.play("C: "+anonymousAuth, "S: "+saslSuccess)
	p.restart(testDomain)
	p.send(bindIQ)
	p.jid = p.expect(pushed)
	p.expect(`<iq xmlns='jabber:client' type='result' id='_bind_auth_2'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>{jid}</jid></bind></iq>`)
	return p
}

const pushed = `<message xmlns='jabber:client' from='v3.meet.jitsi' to='{jid}'><query xmlns='http://jabber.org/protocol/disco#info'>` +
	`<identity category='component' type='polls' name='polls.v3.meet.jitsi'/><identity category='server' type='im' name='vnode'/></query></message>`

// focusLogin logs in with PLAIN, without binding.
func (p *peer) focusLogin() *peer {
	p.t.Helper()
	p.open(testAuth)
	p.play("C: "+auth(sasl.Plain, "\x00focus\x00"+testPassword), "S: "+saslSuccess)
	p.restart(testAuth)
	return p
}

// focus logs in and binds the resource focus.
func (p *peer) focus() *peer {
	p.t.Helper()
	p.focusLogin()
	p.send(`<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>focus</resource></bind></iq>`)
	p.jid = p.expect(`<iq xmlns='jabber:client' type='result' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>{jid}</jid></bind></iq>`)
	require.Equal(p.t, "focus@auth.meet.jitsi/focus", p.jid)
	return p
}

func auth(mechanism, msg string) string {
	return "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='" + mechanism + "'>" + sasl.Encode([]byte(msg)) + "</auth>"
}

// leave ends the stream in order.
func (p *peer) leave() {
	p.t.Helper()
	p.send(p.endTag())
	p.expectEnd()
}

func (p *peer) endTag() string {
	if p.ws {
		return wsClose
	}
	return "</stream:stream>"
}

// expectEnd expects the end of the stream and the connection.
func (p *peer) expectEnd() {
	p.t.Helper()
	p.expect(p.endTag())
	if p.ws {
		p.expect("CLOSE 1000 Stream closed")
	}
	p.expectEOF()
}

func (p *peer) expectEOF() {
	p.t.Helper()
	if p.ws {
		// A pipe has no half-close: the server waits for ours.
		p.hangUp()
		return
	}
	p.hangUp()
}

// lateTCP connects and reports whether the server took the connection.
func (h *house) lateTCP() (bool, net.Conn) {
	near, far := net.Pipe()
	h.srv.acceptTCP(near, true)
	h.srv.mu.Lock()
	defer h.srv.mu.Unlock()
	return h.srv.streams.Len() > 0, far
}
