package websocket

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestIsUpgrade(t *testing.T) {
	for _, c := range []struct {
		connection, upgrade []string
		want                bool
	}{
		{[]string{"Upgrade"}, []string{"websocket"}, true},
		{[]string{"keep-alive, upgrade"}, []string{"WebSocket"}, true},
		{[]string{"keep-alive", "upgrade"}, []string{"h2c, websocket"}, true},
		{[]string{"keep-alive"}, []string{"websocket"}, false},
		{[]string{"Upgrade"}, []string{"h2c"}, false},
		{nil, nil, false},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["Connection"], r.Header["Upgrade"] = c.connection, c.upgrade
		require.Equal(t, c.want, IsUpgrade(r), "%v %v", c.connection, c.upgrade)
	}
}

func TestUpgradeWantsTheSubprotocol(t *testing.T) {
	for _, offered := range []string{"", "XMPP", "xmpp2, chat", "xmpp/1"} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Sec-WebSocket-Protocol", offered)
		w := httptest.NewRecorder()
		_, _, err := Upgrade(w, r)
		require.ErrorIs(t, err, ErrSubprotocol, offered)
		require.Equal(t, http.StatusNotImplemented, w.Code)
	}
}

// A server that cannot hand its connection over cannot upgrade.
func TestUpgradeNeedsAConnection(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Sec-WebSocket-Protocol", "chat, xmpp")
	w := httptest.NewRecorder()
	_, _, err := Upgrade(w, r)
	require.Error(t, err)
	require.Equal(t, http.StatusInternalServerError, w.Code)
}
