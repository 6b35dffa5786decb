package node

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// docker-jitsi-meet's health check, `curl --fail-with-body
// http://127.0.0.1:5280/health`, is answered as its visitor prosody does.
func TestHealthWhereBrowsersConnect(t *testing.T) {
	c := testConfig(t, "127.0.0.1:1")
	c.TrustedProxies = []string{"127.0.0.1"}
	node := start(t, c)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	ask := func(method, path, forwarded string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+node.Addresses().HTTP[0]+path, nil)
		require.NoError(t, err)
		if forwarded != "" {
			req.Header.Set("X-Forwarded-For", forwarded)
		}
		resp, err := http.DefaultTransport.RoundTrip(req) // no redirection is followed
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(body)
	}
	for _, path := range []string{"/health", "/health/", "/health?x=1", "//health", "/health//?x"} {
		status, body := ask(http.MethodGet, path, "")
		require.Equal(t, 200, status, path)
		require.Equal(t, "OK\n", body)
	}
	status, body := ask(http.MethodHead, "/health", "")
	require.Equal(t, 200, status)
	require.Empty(t, body)
	status, body = ask(http.MethodGet, "/health", "203.0.113.9")
	require.Equal(t, 403, status, "a visitor behind the proxy")
	require.NotContains(t, body, "OK")
	status, _ = ask(http.MethodPost, "/health", "")
	require.Equal(t, 404, status, "it is there to be asked alone")
	status, _ = ask(http.MethodGet, "/health/x", "")
	require.Equal(t, 404, status)

	node.stop()
	require.Eventually(t, func() bool {
		rec := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/health", nil)
		r.RemoteAddr = "[::1]:1234"
		node.web.ServeHTTP(rec, r)
		return rec.Code == 500 && strings.Contains(rec.Body.String(), "HAS ERRORS")
	}, 20*time.Second, 10*time.Millisecond, "rooms that answer no more")
}
