package sibling

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

// handshake is what a browser asks, by way of a proxy.
func handshake(header ...string) *http.Request {
	h := http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}, "Sec-Websocket-Protocol": {"xmpp"}, "X-Forwarded-For": {"192.0.2.7"},
	}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Request{
		Method: http.MethodGet, URL: &url.URL{Path: "/xmpp-websocket", RawQuery: "room=r&token=a.b.c"},
		Host: "meet.example.com", Header: h, RemoteAddr: "127.0.0.1:5",
	}
}

func TestAWebSocketReachesTheNodeOfItsStream(t *testing.T) {
	asked := make(chan *http.Request, 1)
	v4 := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Clone(r.Context())
		node("v4").ServeHTTP(w, r)
	}))
	t.Cleanup(v4.Close)
	router := New([]Sibling{{"v4", "v4.meet.jitsi", address(t, v4)}}, nil, slog.New(slog.DiscardHandler))
	require.Nil(t, router.Node("v3.meet.jitsi", handshake()))
	require.Nil(t, router.Node("v4.meet.jitsi", handshake("Via", "1.1 vnode")), "once at most")

	browser, ours := net.Pipe()
	passed := make(chan error)
	go func() {
		passed <- router.Node("v4.meet.jitsi", handshake())(ours, []byte("\x81\x85\x00\x00\x00\x00hello"))
	}()
	b := make([]byte, 2+len("v4 hello"))
	_, err := io.ReadFull(browser, b)
	require.NoError(t, err)
	require.Equal(t, "v4 hello", string(b[2:]))
	r := <-asked
	require.Equal(t, "/xmpp-websocket?room=r&token=a.b.c", r.RequestURI)
	require.Equal(t, "meet.example.com", r.Host)
	require.Equal(t, "192.0.2.7, 127.0.0.1", r.Header.Get("X-Forwarded-For"))
	require.Equal(t, "1.1 vnode", r.Header.Get("Via"))
	// The node says good-bye; what it is answered with ends the connection.
	_, err = io.ReadFull(browser, b[:4])
	require.NoError(t, err)
	require.Equal(t, "\x88\x02\x03\xe8", string(b[:4]))
	_, err = browser.Write([]byte("\x88\x82\x00\x00\x00\x00\x03\xe8"))
	require.NoError(t, err)
	require.NoError(t, <-passed)
	_, err = browser.Read(b)
	require.ErrorIs(t, err, io.EOF)
}

// A browser that goes away takes the connection to its node with it.
func TestTheEndOfABrowserReachesItsNode(t *testing.T) {
	ended := make(chan error, 1)
	v4 := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			ended <- err
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly")
		_, err = io.Copy(io.Discard, conn)
		ended <- err
	}))
	t.Cleanup(v4.Close)
	router := New([]Sibling{{"v4", "v4.meet.jitsi", address(t, v4)}}, nil, slog.New(slog.DiscardHandler))
	browser, ours := net.Pipe()
	passed := make(chan error)
	go func() { passed <- router.Node("v4.meet.jitsi", handshake())(ours, nil) }()
	b := make([]byte, 5)
	_, err := io.ReadFull(browser, b)
	require.NoError(t, err)
	require.Equal(t, "early", string(b))
	require.NoError(t, browser.Close())
	require.NoError(t, <-passed)
	require.NoError(t, <-ended)
}

func TestANodeThatTakesNoWebSocket(t *testing.T) {
	full := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "full", http.StatusServiceUnavailable)
	}))
	t.Cleanup(full.Close)
	router := New([]Sibling{
		{"v4", "v4.meet.jitsi", address(t, full)}, {"v5", "v5.meet.jitsi", nobody(t)},
	}, nil, slog.New(slog.DiscardHandler))
	for _, domain := range []string{"v4.meet.jitsi", "v5.meet.jitsi"} {
		browser, ours := net.Pipe()
		require.Error(t, router.Node(domain, handshake())(ours, nil))
		go func() { _, _ = ours.Write([]byte("so")) }()
		b := make([]byte, 2)
		_, err := io.ReadFull(browser, b)
		require.NoError(t, err, "the browser can be told")
		require.NoError(t, browser.Close())
	}
}
