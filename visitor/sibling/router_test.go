package sibling

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"vnode/internal/port"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is what answers for one: it says what it was asked, and by whom.
func node(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			fmt.Fprintf(w, "%s %s %s %s", name, r.Host, r.URL.RequestURI(), r.Header.Get("X-Forwarded-For"))
			return
		}
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"xmpp"}})
		if err != nil {
			return
		}
		kind, msg, err := c.Read(r.Context())
		if err == nil {
			_ = c.Write(r.Context(), kind, append([]byte(name+" "), msg...))
		}
		_ = c.Close(websocket.StatusNormalClosure, "")
	})
}

func address(t *testing.T, srv *httptest.Server) Address {
	t.Helper()
	return Address{"tcp", srv.Listener.Addr().String()}
}

// nobody is an address where nobody listens, and nobody will.
func nobody(t *testing.T) Address {
	t.Helper()
	p, err := port.Hold()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return Address{"tcp", p.String()}
}

func onUnix(t *testing.T, h http.Handler) Address {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	require.NoError(t, err)
	srv := httptest.NewUnstartedServer(h)
	srv.Listener.Close()
	srv.Listener = ln
	srv.Start()
	t.Cleanup(srv.Close)
	return Address{"unix", path}
}

func TestRequestsReachTheirNode(t *testing.T) {
	v4 := httptest.NewServer(node("v4"))
	t.Cleanup(v4.Close)
	front := httptest.NewServer(New([]Sibling{
		{"v4", "v4.meet.jitsi", address(t, v4)}, {"v5", "v5.meet.jitsi", onUnix(t, node("v5"))}, {"v6", "v6.meet.jitsi", nobody(t)},
	}, nil, slog.New(slog.DiscardHandler)).Handler(node("v3")))
	t.Cleanup(front.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	host := front.Listener.Addr().String()
	ask := func(query string, headers ...string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, front.URL+"/http-bind"+query, nil)
		require.NoError(t, err)
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		res, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		return res.StatusCode, string(body)
	}
	for _, c := range []struct {
		query   string
		headers []string
		want    string
	}{
		{"", nil, "v3 " + host + " /http-bind "},
		{"?vnode=v3", nil, "v3 " + host + " /http-bind?vnode=v3 "},
		{"?vnode=v9", nil, "v3 " + host + " /http-bind?vnode=v9 "},
		{"?room=a;b&vnode=v4", nil, "v4 " + host + " /http-bind?room=a;b&vnode=v4 127.0.0.1"},
		{"?vnode=v5&x=%zz", nil, "v5 " + host + " /http-bind?vnode=v5&x=%zz 127.0.0.1"},
		{"?vnode=v4", []string{"X-Forwarded-For", "192.0.2.7"}, "v4 " + host + " /http-bind?vnode=v4 192.0.2.7, 127.0.0.1"},
		{"?vnode=v4", []string{"Via", "1.1 nginx, 1.1 vnode"}, "v3 " + host + " /http-bind?vnode=v4 "},
	} {
		code, body := ask(c.query, c.headers...)
		require.Equal(t, http.StatusOK, code)
		require.Equal(t, c.want, body)
	}
	code, _ := ask("?vnode=v6")
	require.Equal(t, http.StatusBadGateway, code)

	for vnode, want := range map[string]string{"v3": "v3 hello", "v4": "v4 hello", "v5": "v5 hello"} {
		c, res, err := websocket.Dial(t.Context(), front.URL+"/xmpp-websocket?vnode="+vnode, &websocket.DialOptions{Subprotocols: []string{"xmpp"}})
		require.NoError(t, err)
		require.Equal(t, "xmpp", res.Header.Get("Sec-WebSocket-Protocol"))
		require.NoError(t, c.Write(t.Context(), websocket.MessageText, []byte("hello")))
		_, msg, err := c.Read(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, string(msg))
		require.NoError(t, c.CloseNow())
	}
}
