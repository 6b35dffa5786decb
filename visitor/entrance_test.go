package visitor

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"vnode/visitor/admission"
)

const (
	upgradeFields = "Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: xmpp\r\n"
	upgradeHead = "GET /xmpp-websocket?room=x HTTP/1.1\r\n" + upgradeFields + "\r\n"
	pageHead    = "GET /xmpp-websocket HTTP/1.1\r\nHost: x\r\n\r\n"
)

// door is a listener of a node, and who serves HTTP behind it.
type door struct {
	*house
	ln  net.Listener
	web *http.Server
}

// openDoor begins to serve on a listener, as a node does: by the entrance, and what
// is not for that by net/http, which says so in a header.
func (h *house) openDoor(t *testing.T, ln net.Listener, config *tls.Config) *door {
	handler := h.srv.HTTPHandler()
	d := &door{house: h, ln: ln, web: &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("By", "net/http")
			if r.URL.Query().Get("vnode") == "v4" { // where siblings are routed to
				w.WriteHeader(http.StatusTeapot)
				return
			}
			handler.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 32 << 10,
	}}
	ended := make(chan error)
	go func() { ended <- d.web.Serve(h.srv.Entrance(ln, config)) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		require.NoError(t, h.srv.Close(ctx))
		require.NoError(t, d.web.Shutdown(ctx))
		require.ErrorIs(t, <-ended, http.ErrServerClosed)
		require.Eventually(t, func() bool { n, _ := h.srv.gate.Arrived(); return n == 0 }, 20*time.Second, time.Millisecond)
		h.shut()
	})
	return d
}

func newDoor(t *testing.T, change func(*Config)) *door {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return newHouse(t, change).openDoor(t, ln, nil)
}

// caller is a client's connection, from the first byte.
type caller struct {
	*peer
	r *bufio.Reader
}

func (d *door) call(t *testing.T) *caller {
	conn, err := net.Dial(d.ln.Addr().Network(), d.ln.Addr().String())
	require.NoError(t, err)
	return calling(t, conn)
}

func calling(t *testing.T, conn net.Conn) *caller {
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	c := &caller{&peer{t: t, ws: true}, bufio.NewReader(conn)}
	c.conn = buffered{conn, c.r}
	return c
}

// buffered is a connection read by a bufio.Reader.
type buffered struct {
	net.Conn
	r *bufio.Reader
}

func (b buffered) Read(p []byte) (int, error) { return b.r.Read(p) }

func (c *caller) say(s string) {
	_, err := io.WriteString(c.conn, s)
	require.NoError(c.t, err)
}

// answer reads an answer of HTTP.
func (c *caller) answer() *http.Response {
	resp, err := http.ReadResponse(c.r, nil)
	require.NoError(c.t, err)
	if resp.StatusCode == http.StatusSwitchingProtocols {
		require.Equal(c.t, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", resp.Header.Get("Sec-WebSocket-Accept"))
		return resp
	}
	body, err := io.ReadAll(resp.Body)
	require.NoError(c.t, err)
	require.NoError(c.t, resp.Body.Close())
	resp.Body = io.NopCloser(strings.NewReader(string(body)))
	return resp
}

// in says whether a caller is a visitor, by becoming one.
func (c *caller) in() {
	require.Equal(c.t, http.StatusSwitchingProtocols, c.answer().StatusCode)
	c.visitor()
}

func (d *door) arrived() int {
	n, _ := d.srv.gate.Arrived()
	return n
}

func TestHandshakesInPieces(t *testing.T) {
	d := newDoor(t, nil)
	for name, pieces := range map[string][]string{
		"at once":             {upgradeHead},
		"byte by byte":        strings.Split(upgradeHead, ""),
		"in two":              {upgradeHead[:50], upgradeHead[50:]},
		"with line ends LF":   {strings.ReplaceAll(upgradeHead, "\r\n", "\n")}, // net/http takes it
		"with a large header": {"GET /xmpp-websocket HTTP/1.1\r\n" + upgradeFields + "Cookie: " + strings.Repeat("c", 20_000) + "\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			c := d.call(t)
			for _, piece := range pieces {
				c.say(piece)
			}
			c.in()
			require.Zero(t, d.arrived())
			c.leave()
		})
	}
}

// What follows a handshake at once belongs to the stream.
func TestBytesBehindAHandshake(t *testing.T) {
	d := newDoor(t, nil)
	c := d.call(t)
	c.say(upgradeHead + string(clientFrame(0x81, fmt.Sprintf(openTo, testDomain))))
	require.Equal(t, http.StatusSwitchingProtocols, c.answer().StatusCode)
	c.expect(fmt.Sprintf(serverWS, testDomain))
}

func TestWhatIsNoHandshakeIsAnsweredByNetHTTP(t *testing.T) {
	d := newDoor(t, func(c *Config) { c.Shard = "s1" })
	for name, c := range map[string]struct {
		head   string
		status int
	}{
		"a page":                 {pageHead, 200},
		"another path":           {"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", 404},
		"no subprotocol":         {strings.Replace(upgradeHead, "Protocol: xmpp", "Protocol: chat", 1), 501},
		"another version":        {strings.Replace(upgradeHead, "Version: 13", "Version: 8", 1), 426},
		"two hosts":              {strings.Replace(upgradeHead, "Host: x\r\n", "Host: x\r\nHost: y\r\n", 1), 400},
		"no host":                {strings.Replace(upgradeHead, "Host: x\r\n", "", 1), 400},
		"no HTTP":                {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", 400},
		"a header without end":   {"GET /xmpp-websocket HTTP/1.1\r\nHost: x\r\nCookie: " + strings.Repeat("c", 40_000), 431},
		"a header before nobody": {"GET /xmpp-websocket HTTP/1.1\r\n: x\r\n\r\n", 400},
	} {
		t.Run(name, func(t *testing.T) {
			call := d.call(t)
			call.say(c.head)
			resp := call.answer()
			require.Equal(t, c.status, resp.StatusCode)
			if c.status == 200 {
				require.Equal(t, "net/http", resp.Header.Get("By"))
				require.Equal(t, "s1", resp.Header.Get("X-Jitsi-Shard"))
			}
		})
	}
}

// A body cannot hide behind a handshake.
func TestBodiesBehindAHandshake(t *testing.T) {
	d := newDoor(t, nil)
	c := d.call(t)
	c.say("GET /xmpp-websocket HTTP/1.1\r\n" + upgradeFields + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + pageHead)
	require.Equal(t, http.StatusBadRequest, c.answer().StatusCode)
}

// A connection that is kept alive can become a WebSocket later.
func TestUpgradeOfAConnectionKeptAlive(t *testing.T) {
	d := newDoor(t, nil)
	c := d.call(t)
	for range 3 {
		c.say(pageHead)
		resp := c.answer()
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.Equal(t, 1, d.arrived())
	}
	c.say(upgradeHead + string(clientFrame(0x81, fmt.Sprintf(openTo, testDomain))))
	require.Equal(t, http.StatusSwitchingProtocols, c.answer().StatusCode)
	c.expect(fmt.Sprintf(serverWS, testDomain))
	require.Zero(t, d.arrived())
}

// Requests sent in one go are answered in order, whatever they are.
func TestPipelinedRequests(t *testing.T) {
	d := newDoor(t, nil)
	c := d.call(t)
	c.say(pageHead + pageHead + upgradeHead)
	require.Equal(t, http.StatusOK, c.answer().StatusCode)
	require.Equal(t, http.StatusOK, c.answer().StatusCode)
	c.in()
}

func TestUpgradeOverTLS(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	d := newHouse(t, nil).openDoor(t, ln, &tls.Config{Certificates: []tls.Certificate{certificate(t)}, NextProtos: []string{"http/1.1"}})
	conn, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
	require.NoError(t, err)
	c := calling(t, conn)
	c.say(pageHead)
	require.Equal(t, http.StatusOK, c.answer().StatusCode)
	require.Equal(t, 1, d.arrived())
	c.say(upgradeHead)
	c.in()
	require.Zero(t, d.arrived())
	c.leave()
}

func TestUpgradeOverUnixSocket(t *testing.T) {
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "web"))
	require.NoError(t, err)
	d := newHouse(t, func(c *Config) {
		c.Limits.PerAddress = 1
		c.Requests.UnixProxies = true
	}).openDoor(t, ln, nil)
	idle, page := d.call(t), d.call(t)
	page.say(pageHead)
	require.Equal(t, http.StatusOK, page.answer().StatusCode)
	require.Equal(t, 2, d.arrived(), "a socket has no address to be counted under")
	c := d.call(t)
	c.say(strings.Replace(upgradeHead, "Host", "X-Forwarded-For: 192.0.2.7\r\nHost", 1))
	c.in()
	again := d.call(t)
	again.say(strings.Replace(upgradeHead, "Host", "X-Forwarded-For: 192.0.2.7\r\nHost", 1))
	resp := again.answer()
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, "the proxy says whose connections they are")
	require.NotEmpty(t, resp.Header.Get("Retry-After"))
	c.leave()
	idle.hangUp()
}

// From 127.0.0.1 everybody comes through the proxy; the other addresses of
// loopback are so, too.
func TestConnectionsThatSayNothingAreCounted(t *testing.T) {
	d := newDoor(t, func(c *Config) { c.Limits.Connections = 2 })
	a, b := d.call(t), d.call(t)
	b.say(pageHead)
	require.Equal(t, http.StatusOK, b.answer().StatusCode)
	require.Eventually(t, func() bool { return d.arrived() == 2 }, 20*time.Second, time.Millisecond)
	c := d.call(t)
	resp := c.answer()
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.NotEmpty(t, resp.Header.Get("Retry-After"))
	require.EqualValues(t, 1, testutil.ToFloat64(d.srv.metrics.refused[admission.Connections]))
	a.hangUp()
	require.Eventually(t, func() bool { return d.arrived() == 1 }, 20*time.Second, time.Millisecond)
	a = d.call(t)
	a.say(upgradeHead)
	a.in()
	require.Equal(t, 1, d.arrived())
	a.leave()
}

// Addresses are counted before anything is read of their connections; those of a
// proxy that is believed are not.
func TestConnectionsThatSayNothingAreCountedByAddress(t *testing.T) {
	for _, proxies := range [][]netip.Prefix{nil, {netip.MustParsePrefix("192.0.2.0/24")}} {
		h := newHouse(t, func(c *Config) {
			c.Limits.PerAddress = 1
			c.Requests.Proxies = proxies
		})
		l := make(chanListener, 2)
		counted := h.srv.Entrance(l, nil)
		from := func(address string) net.Conn {
			near, far := net.Pipe()
			l <- withAddress{near, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address))}
			return far
		}
		from("192.0.2.1:1")
		first, err := counted.Accept()
		require.NoError(t, err)
		second := from("192.0.2.1:2")
		from("198.51.100.1:1")
		read := make(chan string)
		go func() {
			if proxies == nil {
				got, _ := io.ReadAll(second)
				read <- string(got)
			} else {
				read <- ""
			}
		}()
		next, err := counted.Accept()
		require.NoError(t, err)
		got := <-read
		if proxies == nil {
			require.Contains(t, got, "503 Service Unavailable")
			require.Equal(t, "198.51.100.1:1", next.RemoteAddr().String())
		} else {
			require.Equal(t, "192.0.2.1:2", next.RemoteAddr().String())
		}
		require.NoError(t, first.Close())
		require.NoError(t, next.Close())
		require.NoError(t, next.Close(), "and is counted out once")
		n, addresses := h.srv.gate.Arrived()
		require.Zero(t, n)
		require.Zero(t, addresses)
		h.shut()
	}
}

// withAddress is a connection from an address.
type withAddress struct {
	net.Conn
	from net.Addr
}

func (c withAddress) RemoteAddr() net.Addr { return c.from }

// chanListener gives the connections it is given.
type chanListener chan net.Conn

func (l chanListener) Accept() (net.Conn, error) { return <-l, nil }
func (l chanListener) Close() error              { return nil }
func (l chanListener) Addr() net.Addr            { return textAddr("here") }

func TestSlowHeadsAreCutOff(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	h := newHouse(t, func(c *Config) { c.Limits.Close = 16 * time.Millisecond }) // polls often
	h.srv.headTime = 20 * time.Millisecond
	d := h.openDoor(t, ln, nil)
	for _, begun := range []string{"", "GET /xmpp-w", upgradeHead[:len(upgradeHead)-2]} {
		c := d.call(t)
		_, _ = io.WriteString(c.conn, begun) // the time may be over already
		got, err := io.ReadAll(c.conn)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "it is the server that gives up")
		require.Empty(t, got)
	}
	require.Zero(t, d.arrived())
}

// A page of an origin that may not ask is told so, and a node elsewhere is
// reached, by net/http.
func TestHandshakesThatAreNotForHere(t *testing.T) {
	d := newDoor(t, func(c *Config) {
		c.Requests.Origins = []string{"https://meet.example"}
		c.Elsewhere = new(nextDoor)
	})
	for _, c := range []struct {
		head   string
		status int
		by     string
	}{
		{strings.Replace(upgradeHead, "Host", "Origin: https://evil.example\r\nHost", 1), 403, "net/http"},
		{strings.Replace(upgradeHead, "Host", "Origin: https://meet.example\r\nHost", 1), 101, ""},
		{strings.Replace(upgradeHead, "room=x", "vnode=v3", 1), 101, ""},
	} {
		call := d.call(t)
		call.say(c.head)
		resp := call.answer()
		require.Equal(t, c.status, resp.StatusCode)
		require.Equal(t, c.by, resp.Header.Get("By"))
	}
	call := d.call(t)
	call.say(strings.Replace(upgradeHead, "room=x", "vnode=v4", 1))
	require.Equal(t, http.StatusTeapot, call.answer().StatusCode, "the siblings' handler has it")
}

// A handshake is kept for a stream that turns out to be for another node.
func TestHandshakeIsRepeatedElsewhere(t *testing.T) {
	d := newDoor(t, func(c *Config) { c.Elsewhere = mirror{t} })
	c := d.call(t)
	c.say(upgradeHead)
	require.Equal(t, http.StatusSwitchingProtocols, c.answer().StatusCode)
	c.send(openV4)
	c.write([]byte("anything"))
	got, err := c.r.ReadString('g')
	for !strings.HasSuffix(got, "anything") {
		require.NoError(t, err)
		var more string
		more, err = c.r.ReadString('g')
		got += more
	}
	require.Contains(t, got, "v4.meet.jitsi")
	c.hangUp()
}

// mirror is a node elsewhere that gives back all that it is sent.
type mirror struct{ t *testing.T }

func (mirror) Has(string) bool { return false }

func (m mirror) Node(domain string, handshake *http.Request) func(net.Conn, []byte) error {
	require.Equal(m.t, "v4.meet.jitsi", domain)
	require.Equal(m.t, "x", handshake.URL.Query().Get("room"))
	require.Equal(m.t, "dGhlIHNhbXBsZSBub25jZQ==", handshake.Header.Get("Sec-WebSocket-Key"))
	require.Contains(m.t, handshake.RemoteAddr, "127.0.0.1:")
	return func(client net.Conn, sent []byte) error {
		_, _ = client.Write(sent)
		_, _ = io.Copy(client, client)
		return client.Close()
	}
}

// Who has to wait for its turn gets it; who goes leaves its place to others.
func TestTurnsAtTheEntrance(t *testing.T) {
	d := newDoor(t, func(c *Config) { c.Limits.JoinsPerSecond = admission.MinRate })
	d.exhaust()
	gone := d.call(t)
	gone.say(upgradeHead)
	require.Eventually(t, func() bool { n, _ := d.srv.gate.Inside(); return n == 1 }, 20*time.Second, time.Millisecond)
	gone.hangUp()
	require.Eventually(t, func() bool { n, _ := d.srv.gate.Inside(); return n == 0 }, 20*time.Second, time.Millisecond)
	c := d.call(t)
	c.say(upgradeHead)
	c.in()
	c.leave()
}

func TestWhoWouldWaitTooLongIsToldSoAtTheEntrance(t *testing.T) {
	d := newDoor(t, func(c *Config) {
		c.Limits.JoinsPerSecond, c.Limits.JoinPatience = admission.MinRate, time.Millisecond
	})
	d.exhaust()
	late := d.call(t)
	late.say(upgradeHead)
	resp := late.answer()
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.NotEmpty(t, resp.Header.Get("Retry-After"))
}

// A server that closes leaves connections to net/http: clients of BOSH must hear
// of the end.
func TestAClosingServerIsReachedByHTTP(t *testing.T) {
	d := newDoor(t, nil)
	early := d.call(t)
	require.Eventually(t, func() bool { return d.arrived() == 1 }, 20*time.Second, time.Millisecond)
	d.srv.Refuse()
	early.say(pageHead)
	require.Equal(t, http.StatusOK, early.answer().StatusCode)
	c := d.call(t)
	c.say(pageHead)
	require.Equal(t, http.StatusOK, c.answer().StatusCode)
	require.NoError(t, d.srv.Close(t.Context()))
	c = d.call(t)
	c.say(pageHead)
	require.Equal(t, http.StatusOK, c.answer().StatusCode)
}
