package conference

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

// serveWS runs a WebSocket server of an independent implementation.
func serveWS(t *testing.T, o *websocket.AcceptOptions, handle func(context.Context, *websocket.Conn)) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, o)
		if err != nil {
			return
		}
		c.SetReadLimit(-1)
		handle(context.WithValue(r.Context(), previd{}, r.URL.Query().Get("previd")), c)
		_ = c.CloseNow()
	}))
	t.Cleanup(srv.Close)
	return "ws" + strings.TrimPrefix(srv.URL, "http") + "/xmpp-websocket?room=r"
}

// previd is the key of the parameter of that name of the URL, in contexts.
type previd struct{}

var xmppProtocol = &websocket.AcceptOptions{Subprotocols: []string{"xmpp"}}

func TestMessagesOfEverySizeGoBothWays(t *testing.T) {
	ctx := testContext(t)
	url := serveWS(t, xmppProtocol, func(ctx context.Context, c *websocket.Conn) {
		for {
			kind, p, err := c.Read(ctx)
			if err != nil || c.Write(ctx, kind, p) != nil {
				return
			}
		}
	})
	w, err := dialWebSocket(ctx, url, nil, nil)
	require.NoError(t, err)
	defer w.close()
	for _, n := range []int{0, 1, 125, 126, 4096, 65535, 65536, 300_000, 5} {
		sent := bytes.Repeat([]byte("x"), n)
		require.NoError(t, w.write(sent))
		got, err := w.read()
		require.NoError(t, err)
		require.True(t, bytes.Equal(sent, got), n)
	}
	require.NoError(t, w.writeClose())
	_, err = w.read()
	var closed *closeError
	require.ErrorAs(t, err, &closed)
	require.EqualValues(t, closeNormal, closed.Code)
}

func TestPingIsAnsweredAndCloseIsReported(t *testing.T) {
	ctx := testContext(t)
	pinged := make(chan error, 1)
	url := serveWS(t, xmppProtocol, func(ctx context.Context, c *websocket.Conn) {
		reading := c.CloseRead(ctx)
		pinged <- c.Ping(reading)
		_ = c.Close(4000, "enough")
	})
	w, err := dialWebSocket(ctx, url, nil, nil)
	require.NoError(t, err)
	defer w.close()
	_, err = w.read()
	require.EqualError(t, err, "WebSocket closed by the server: 4000 enough")
	require.NoError(t, <-pinged)
}

func TestHandshakesThatMustFail(t *testing.T) {
	ctx := testContext(t)
	t.Run("no subprotocol", func(t *testing.T) {
		url := serveWS(t, nil, func(context.Context, *websocket.Conn) {})
		_, err := dialWebSocket(ctx, url, nil, nil)
		require.ErrorIs(t, err, errWSProtocol)
	})
	t.Run("no WebSocket", func(t *testing.T) {
		srv := httptest.NewServer(http.NotFoundHandler())
		defer srv.Close()
		_, err := dialWebSocket(ctx, "ws"+strings.TrimPrefix(srv.URL, "http"), nil, nil)
		require.ErrorContains(t, err, "404")
	})
	t.Run("silence until the context ends", func(t *testing.T) {
		client, server := net.Pipe()
		defer server.Close()
		ctx, cancel := context.WithCancel(ctx)
		go func() { // reads the request, answers nothing
			_, _ = server.Read(make([]byte, 1))
			cancel()
			_, _ = server.Read(make([]byte, 4096))
		}()
		_, err := dialWebSocket(ctx, "ws://node/", pipeDial(client), nil)
		require.Error(t, err)
	})
}

func pipeDial(c net.Conn) DialFunc {
	return func(context.Context, string, string) (net.Conn, error) { return c, nil }
}

func TestFramesAServerMustNotSend(t *testing.T) {
	for name, frame := range map[string]string{
		"masked":                 "\x81\x81abcdx",
		"reserved bit":           "\xC1\x01x",
		"binary":                 "\x82\x01x",
		"unknown opcode":         "\x83\x01x",
		"unknown control":        "\x8B\x00",
		"stray continuation":     "\x80\x01x",
		"text inside a message":  "\x01\x01x\x81\x01x",
		"long control":           "\x89\x7E\x00\x80",
		"fragmented control":     "\x09\x00",
		"larger than any stanza": "\x81\x7F\x00\x00\x00\x00\x7F\x00\x00\x00",
		"absurd size":            "\x81\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
	} {
		t.Run(name, func(t *testing.T) {
			w := wsReading(frame)
			_, err := w.read()
			require.ErrorIs(t, err, errWSProtocol)
		})
	}
}

func TestFragmentsAreJoined(t *testing.T) {
	w := wsReading("\x01\x02ab\x00\x01c\x80\x02de")
	got, err := w.read()
	require.NoError(t, err)
	require.Equal(t, "abcde", string(got))
	_, err = w.read()
	require.True(t, isEOF(err))
}

func FuzzReadFrames(f *testing.F) {
	f.Add([]byte("\x81\x01x"))
	f.Add([]byte("\x01\x02ab\x80\x01c"))
	f.Add([]byte("\x81\x7E\x00\x02ab"))
	f.Add([]byte("\x88\x02\x03\xE8"))
	f.Fuzz(func(t *testing.T, b []byte) {
		w := wsReading(string(b))
		for {
			p, err := w.read()
			if err != nil {
				return
			}
			require.LessOrEqual(t, len(p), len(b))
		}
	})
}

// sinkConn is a connection on which everything written vanishes.
type sinkConn struct{ net.Conn }

func (sinkConn) Write(p []byte) (int, error) { return len(p), nil }

// wsReading returns the client end of a WebSocket on which these bytes come.
func wsReading(bytes string) *wsConn {
	return &wsConn{conn: sinkConn{}, br: bufio.NewReader(strings.NewReader(bytes))}
}
