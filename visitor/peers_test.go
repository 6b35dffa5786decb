package visitor

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	"mellium.im/sasl"
	"mellium.im/xmpp"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/ping"

	"vnode/internal/wire"
)

// Independent implementations as clients, over real sockets.

func peerContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// listenTCP serves clients on loopback.
func (h *house) listenTCP(t *testing.T, trusted bool) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.srv.ServeTCP(ctx, ln, trusted) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	return ln.Addr().String()
}

// certificate makes a self-signed one.
func certificate(t *testing.T) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: testAuth}, DNSNames: []string{testAuth, testDomain},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func withTLS(t *testing.T) func(*Config) {
	cert := certificate(t)
	return func(c *Config) { c.TLS = &tls.Config{Certificates: []tls.Certificate{cert}} }
}

// TestMelliumLogsIn plays the focus with mellium's client.
func TestMelliumLogsIn(t *testing.T) {
	h := newHouse(t, withTLS(t))
	t.Cleanup(h.shut)
	trusted, public := h.listenTCP(t, true), h.listenTCP(t, false)
	for _, m := range []sasl.Mechanism{sasl.Plain, sasl.ScramSha1, sasl.ScramSha256} {
		for _, startTLS := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, STARTTLS %t", m.Name, startTLS), func(t *testing.T) {
				ctx := peerContext(t)
				addr, state := trusted, xmpp.Secure // trusted: a password may go in clear
				features := []xmpp.StreamFeature{xmpp.SASL("", testPassword, m), xmpp.BindResource()}
				if startTLS {
					addr, state = public, 0
					features = append(features, xmpp.StartTLS(&tls.Config{InsecureSkipVerify: true}))
				}
				conn, err := net.Dial("tcp", addr)
				require.NoError(t, err)
				defer conn.Close()
				me := jid.MustParse("focus@auth.meet.jitsi")
				s, err := xmpp.NewSession(ctx, me.Domain(), me, conn, state, xmpp.NewNegotiator(func(*xmpp.Session, *xmpp.StreamConfig) xmpp.StreamConfig {
					return xmpp.StreamConfig{Features: features}
				}))
				require.NoError(t, err)
				bound, err := wire.ParseJID(s.LocalAddr().String()) // mellium's client cannot ask for a resource
				require.NoError(t, err)
				require.Equal(t, wire.JID{Local: "focus", Domain: testAuth}, bound.Bare())
				served := make(chan error, 1)
				go func() { served <- s.Serve(nil) }()
				require.NoError(t, ping.Send(ctx, s, jid.MustParse(testDomain)))
				require.True(t, h.srv.session(bound).Admin())
				require.NoError(t, s.Close())
				require.NoError(t, <-served)
			})
		}
	}
}

func TestMelliumWithWrongPassword(t *testing.T) {
	h := newHouse(t, nil)
	t.Cleanup(h.shut)
	addr := h.listenTCP(t, true)
	for _, m := range []sasl.Mechanism{sasl.Plain, sasl.ScramSha1, sasl.ScramSha256} {
		conn, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		me := jid.MustParse("focus@auth.meet.jitsi/focus")
		_, err = xmpp.NewSession(peerContext(t), me.Domain(), me, conn, xmpp.Secure, xmpp.NewNegotiator(func(*xmpp.Session, *xmpp.StreamConfig) xmpp.StreamConfig {
			return xmpp.StreamConfig{Features: []xmpp.StreamFeature{xmpp.SASL("", "wrong", m), xmpp.BindResource()}}
		}))
		require.ErrorContains(t, err, "not-authorized", m.Name)
		conn.Close()
	}
}

func TestSTARTTLSComesFirstWhereAnybodyCanConnect(t *testing.T) {
	t.Run("offered alone, and required", func(t *testing.T) {
		inBubble(t, withTLS(t), func(t *testing.T, h *house) {
			p := h.tcp(false)
			require.Equal(t, `<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>`+limitsBeforeLogin+`</stream:features>`,
				p.open(testAuth))
			p.play("C: "+auth("PLAIN", "\x00focus\x00"+testPassword), "S: "+failure("encryption-required"))
			p.leave()
		})
	})
	t.Run("not offered on a trusted listener", func(t *testing.T) {
		inBubble(t, withTLS(t), func(t *testing.T, h *house) {
			p := h.tcp(true)
			require.NotContains(t, p.open(testAuth), "starttls")
			p.play("C: <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "S: <failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
			p.expectEnd()
		})
	})
	t.Run("what was sent in clear behind it is not believed", func(t *testing.T) {
		inBubble(t, withTLS(t), func(t *testing.T, h *house) {
			p := h.tcp(false)
			p.open(testAuth)
			p.play("C: <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><auth/>", "S: <proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
			require.Equal(t, "EOF", p.next())
		})
	})
	t.Run("garbage in place of TLS", func(t *testing.T) {
		inBubble(t, withTLS(t), func(t *testing.T, h *house) {
			p := h.tcp(false)
			p.open(testAuth)
			p.play("C: <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "S: <proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
			go func() { _, _ = io.Copy(io.Discard, p.conn) }()
			p.write([]byte("this is not TLS"))
			for h.open() > 0 {
				time.Sleep(time.Second)
			}
			p.hangUp()
		})
	})
	t.Run("a session over TLS outlives its silences", func(t *testing.T) {
		inBubble(t, withTLS(t), func(t *testing.T, h *house) {
			p := h.tcp(false)
			p.open(testAuth)
			p.play("C: <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "S: <proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
			p.conn = tls.Client(p.conn, &tls.Config{InsecureSkipVerify: true})
			p.tcp = wire.NewReader(p.conn, wire.Limits{})
			p.focus()
			for range 3 { // the read deadline has passed inside a TLS record's wait
				p.play("S: <iq xmlns='jabber:client' type='get' id='ping' from='auth.meet.jitsi' to='{jid}'><ping xmlns='urn:xmpp:ping'/></iq>",
					"C: <iq type='result' id='ping' to='auth.meet.jitsi'/>")
			}
			p.send("</stream:stream>")
			p.expect("</stream:stream>")
			p.hangUp()
		})
	})
	t.Run("no certificate, no listener", func(t *testing.T) {
		h := newHouse(t, nil)
		t.Cleanup(h.shut)
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		require.ErrorContains(t, h.srv.ServeTCP(t.Context(), ln, false), "not trusted")
		_, err = ln.Accept()
		require.ErrorIs(t, err, net.ErrClosed)
	})
}

// serveHTTP serves WebSockets on loopback.
// serveHTTP serves as a node does.
func (h *house) serveHTTP(t *testing.T) *httptest.Server { return h.serveWeb(t, h.srv.Entrance) }

// serveWeb serves HTTP through an entrance, nil for none.
func (h *house) serveWeb(t *testing.T, entrance func(net.Listener, *tls.Config) net.Listener) *httptest.Server {
	var handlers sync.WaitGroup // a hijacked connection's is not waited for by srv
	handler := h.srv.HTTPHandler()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handlers.Add(1)
		defer handlers.Done()
		handler.ServeHTTP(w, r)
	}))
	if entrance != nil {
		srv.Listener = entrance(srv.Listener, nil)
	}
	srv.Start()
	t.Cleanup(func() {
		srv.Close()
		handlers.Wait()
	})
	return srv
}

// coderPeer is a WebSocket client of coder/websocket.
type coderPeer struct {
	t   *testing.T
	ctx context.Context
	c   *websocket.Conn
}

func dialCoder(t *testing.T, url string) *coderPeer {
	return dialCoderWith(t, url+WebSocketPath+"?room=x&vnode=v3&unknown=1")
}

func dialCoderWith(t *testing.T, url string) *coderPeer {
	ctx := peerContext(t)
	c, resp, err := websocket.Dial(ctx, url, &websocket.DialOptions{
		Subprotocols: []string{"chat", "xmpp"}, Host: "meet.example.com", CompressionMode: websocket.CompressionContextTakeover,
	})
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
	require.Equal(t, "xmpp", c.Subprotocol())
	c.SetReadLimit(1 << 20)
	t.Cleanup(func() { _ = c.CloseNow() })
	return &coderPeer{t, ctx, c}
}

func (p *coderPeer) send(elem string) {
	require.NoError(p.t, p.c.Write(p.ctx, websocket.MessageText, []byte(elem)))
}

func (p *coderPeer) next() string {
	p.t.Helper()
	kind, data, err := p.c.Read(p.ctx)
	require.NoError(p.t, err)
	require.Equal(p.t, websocket.MessageText, kind)
	return string(data)
}

// anonymous logs in, without binding.
func (p *coderPeer) anonymous() {
	p.t.Helper()
	p.send(fmt.Sprintf(openTo, testDomain))
	require.Contains(p.t, p.next(), "<open ")
	require.Contains(p.t, p.next(), "ANONYMOUS")
	p.send(anonymousAuth)
	require.Equal(p.t, saslSuccess, p.next())
	p.send(fmt.Sprintf(openTo, testDomain))
	require.Contains(p.t, p.next(), "<open ")
	require.Contains(p.t, p.next(), "<bind ")
}

func (p *coderPeer) login() (jid string) {
	p.t.Helper()
	p.anonymous()
	p.send(bindIQ)
	require.Contains(p.t, p.next(), "<message ")
	jid = matcher(`<iq xmlns='jabber:client' type='result' id='_bind_auth_2'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>{jid}</jid></bind></iq>`).FindStringSubmatch(p.next())[1]
	return jid
}

func TestCoderWebSocketJoins(t *testing.T) {
	h := newHouse(t, nil)
	t.Cleanup(h.shut)
	p := dialCoder(t, h.serveHTTP(t).URL)
	p.login()
	p.send(`<iq xmlns='jabber:client' type='get' id='p' to='v3.meet.jitsi'><ping xmlns='urn:xmpp:ping'/></iq>`)
	require.Contains(t, p.next(), "type='result'")
	big := strings.Repeat("A", 200<<10)
	p.send(`<message xmlns='jabber:client' to='v3.meet.jitsi' id='big'><body>` + big + `</body></message>`)
	require.Contains(t, p.next(), "id='big' type='error'")
	ctx := p.c.CloseRead(p.ctx)
	require.NoError(t, p.c.Ping(ctx))
}

// As the web client resumes: with the id in the URL.
func TestCoderWebSocketResumes(t *testing.T) {
	h := newHouse(t, nil)
	t.Cleanup(h.shut)
	url := h.serveHTTP(t).URL + WebSocketPath + "?prefix=&room=x&vnode=v3"
	p := dialCoderWith(t, url)
	jid := p.login()
	p.send(smEnable)
	id := matcher(`<enabled xmlns='urn:xmpp:sm:3' id='{id}' resume='true' max='60'/>`).FindStringSubmatch(p.next())[1]
	h.tell(jid, 0)
	require.Equal(t, told(0), p.next())
	require.NoError(t, p.c.CloseNow())
	h.tell(jid, 1)

	var q *coderPeer
	for _, again := range []string{url, url + "&previd=" + id} { // in the element alone, and in both
		q = dialCoderWith(t, again)
		q.anonymous()
		q.send("<resume xmlns='urn:xmpp:sm:3' previd='" + id + "' h='0'/>")
		require.Equal(t, resumedWith(id, 0), q.next())
		require.Equal(t, told(0), q.next())
		require.Equal(t, told(1), q.next())
	}
	q.send(`<iq xmlns='jabber:client' type='get' id='p' to='v3.meet.jitsi'><ping xmlns='urn:xmpp:ping'/></iq>`)
	require.Equal(t, `<iq xmlns='jabber:client' to='`+jid+`' from='v3.meet.jitsi' id='p' type='result'/>`, q.next())
	require.Empty(t, h.ended())
}

func TestCoderWebSocketLeaves(t *testing.T) {
	h := newHouse(t, nil)
	t.Cleanup(h.shut)
	p := dialCoder(t, h.serveHTTP(t).URL)
	p.login()
	p.send(wsClose)
	require.Equal(t, wsClose, p.next())
	_, _, err := p.c.Read(p.ctx)
	require.Equal(t, websocket.StatusNormalClosure, websocket.CloseStatus(err))
}

func TestCoderWebSocketSeesTheErrorOfAnOversizedStanza(t *testing.T) {
	h := newHouse(t, nil)
	t.Cleanup(h.shut)
	p := dialCoder(t, h.serveHTTP(t).URL)
	p.login()
	go func() {
		_ = p.c.Write(p.ctx, websocket.MessageText, []byte(megabyte)) // the server closes while it is under way
	}()
	require.Contains(t, p.next(), "<policy-violation ")
	require.Equal(t, wsClose, p.next())
	_, _, err := p.c.Read(p.ctx)
	require.Equal(t, websocket.StatusNormalClosure, websocket.CloseStatus(err))
}

func TestCoderWebSocketCloses(t *testing.T) {
	h := newHouse(t, nil)
	t.Cleanup(h.shut)
	p := dialCoder(t, h.serveHTTP(t).URL)
	p.login()
	require.NoError(t, p.c.Close(websocket.StatusGoingAway, "bye"), "the close handshake completes")
	q := dialCoder(t, h.serveHTTP(t).URL)
	q.login()
	require.NoError(t, q.c.Write(q.ctx, websocket.MessageBinary, []byte("x")))
	_, _, err := q.c.Read(q.ctx)
	require.Equal(t, websocket.StatusUnsupportedData, websocket.CloseStatus(err))
}

// The same answers come with the entrance and from net/http alone.
func TestHandshakes(t *testing.T) {
	t.Run("by the entrance", func(t *testing.T) {
		h := newHouse(t, nil)
		t.Cleanup(h.shut)
		testHandshakes(t, h.serveHTTP(t))
	})
	t.Run("by net/http", func(t *testing.T) {
		h := newHouse(t, nil)
		t.Cleanup(h.shut)
		testHandshakes(t, h.serveWeb(t, nil))
	})
}

func testHandshakes(t *testing.T, srv *httptest.Server) {
	upgrade := "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	good := upgrade + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: xmpp\r\n"
	for _, c := range []struct {
		name, request, status string
	}{
		{"plain GET", "GET /xmpp-websocket?room=x HTTP/1.1\r\nHost: any.example\r\n", "200"},
		{"plain HEAD", "HEAD /xmpp-websocket HTTP/1.1\r\nHost: x\r\n", "200"},
		{"POST", "POST /xmpp-websocket HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n", "405"},
		{"other path", "GET /nothing HTTP/1.1\r\nHost: x\r\n", "404"},
		{"no subprotocol", "GET /xmpp-websocket HTTP/1.1\r\nHost: x\r\n" + upgrade + "Sec-WebSocket-Version: 13\r\n", "501"},
		{"other subprotocol", "GET /xmpp-websocket HTTP/1.1\r\nHost: x\r\n" + upgrade + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: XMPP, chat\r\n", "501"},
		{"old version", "GET /xmpp-websocket HTTP/1.1\r\nHost: x\r\n" + upgrade + "Sec-WebSocket-Version: 8\r\nSec-WebSocket-Protocol: xmpp\r\n", "426"},
		{"short key", "GET /xmpp-websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: xmpp\r\n", "400"},
		{"one of several subprotocols, any host and query", "GET /xmpp-websocket?prefix=&room=a&vnode=v3&x=%zz HTTP/1.1\r\nHost: whatever\r\n" + strings.Replace(good, "Protocol: xmpp", "Protocol: chat, xmpp", 1), "101"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", srv.Listener.Addr().String())
			require.NoError(t, err)
			defer conn.Close()
			require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
			_, err = io.WriteString(conn, c.request+"\r\n")
			require.NoError(t, err)
			line := make([]byte, len("HTTP/1.1 200"))
			_, err = io.ReadFull(conn, line)
			require.NoError(t, err)
			require.Equal(t, "HTTP/1.1 "+c.status, string(line))
		})
	}
	resp, err := http.Get(srv.URL + WebSocketPath)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, "*", resp.Header.Get("Access-Control-Allow-Origin"))
	srv.CloseClientConnections()
	http.DefaultClient.CloseIdleConnections()
}

// A client may send its header right behind the handshake.
func TestEarlyFrames(t *testing.T) {
	h := newHouse(t, nil)
	t.Cleanup(h.shut)
	conn, err := net.Dial("tcp", h.serveHTTP(t).Listener.Addr().String())
	require.NoError(t, err)
	p := &peer{t: t, conn: conn, ws: true}
	defer p.hangUp()
	handshake := "GET /xmpp-websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: xmpp\r\n\r\n"
	p.write(append([]byte(handshake), clientFrame(0x81, fmt.Sprintf(openTo, testDomain))...))
	require.Contains(t, readHTTPHead(t, conn), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "the accept key of RFC 6455 §1.3")
	p.expect(fmt.Sprintf(serverWS, testDomain))
}

func readHTTPHead(t *testing.T, r io.Reader) string {
	var head []byte
	for !strings.HasSuffix(string(head), "\r\n\r\n") {
		var b [1]byte
		_, err := io.ReadFull(r, b[:])
		require.NoError(t, err)
		head = append(head, b[0])
	}
	return string(head)
}
