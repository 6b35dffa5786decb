package access

import (
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBears(t *testing.T) {
	for header, want := range map[string]bool{
		"Bearer secret": true, "bearer  secret ": true, "Bearer secre": false, "Bearer secret2": false,
		"Basic secret": false, "secret": false, "": false, "Bearer ": false, "Bearer": false,
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", header)
		require.Equal(t, want, New("secret").Bears(r), header)
		require.False(t, New("").Bears(r), header)
		require.False(t, Gate{}.Bears(r), header)
	}
	require.True(t, New("x").Exists())
	require.False(t, New("").Exists())
}

func TestLocal(t *testing.T) {
	for _, c := range []struct {
		name, remote, host, header string
		want                       bool
	}{
		{"by name", "127.0.0.1:5", "localhost:52603", "", true},
		{"by address", "127.0.0.1:5", "127.0.0.1:52603", "", true},
		{"by IPv6 address", "[::1]:5", "[::1]:52603", "", true},
		{"mapped", "[::ffff:127.0.0.1]:5", "127.0.0.1", "", true},
		{"on a Unix socket", "@", "localhost", "", true},
		{"from elsewhere", "192.0.2.1:5", "127.0.0.1:52603", "", false},
		{"a page in a browser here", "127.0.0.1:5", "evil.example:52603", "", false},
		{"a name that looks like one", "127.0.0.1:5", "localhost.evil.example", "", false},
		{"no name", "127.0.0.1:5", "", "", false},
		{"a proxy here", "127.0.0.1:5", "localhost", "X-Forwarded-For", false},
		{"another proxy here", "127.0.0.1:5", "localhost", "Via", false},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr, r.Host = c.remote, c.host
		if c.header != "" {
			r.Header.Set(c.header, "192.0.2.9")
		}
		require.Equal(t, c.want, Local(r), c.name)
	}
}

// Each proxy has a field of its own to say that it has passed a request on.
func TestProxiedIsNotLocal(t *testing.T) {
	for _, name := range []string{
		"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Server", "X-Forwarded-Prefix",
		"X-Forwarded", "Forwarded-For", "X-Original-Forwarded-For", "Forwarded", "Via", "X-Real-IP", "CF-Connecting-IP",
		"CF-Connecting-IPv6", "CF-Ray", "CF-Visitor", "CF-IPCountry", "True-Client-IP", "X-Client-IP", "Client-IP", "X-Cluster-Client-IP",
		"Fastly-Client-IP", "Fly-Client-IP", "X-Azure-ClientIP", "X-Appengine-User-IP", "X-Original-URL", "X-Original-Host",
		"X-Envoy-External-Address", "CDN-Loop", "WL-Proxy-Client-IP", "X-ProxyUser-Ip", "X-Amzn-Trace-Id", "X-Remote-Addr", "X-Scheme",
	} {
		for _, value := range []string{"192.0.2.9", ""} {
			r := httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr, r.Host = "127.0.0.1:5", "localhost"
			require.True(t, Local(r))
			r.Header.Set(name, value)
			require.False(t, Local(r), "%s: %q", name, value)
		}
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr, r.Host = "127.0.0.1:5", "localhost"
	for _, name := range []string{"User-Agent", "Accept", "Authorization", "Accept-Encoding", "X-Prometheus-Scrape-Timeout-Seconds", "Traceparent", "Cache-Control"} {
		r.Header.Set(name, "x")
	}
	require.True(t, Local(r), "what programs send by themselves")
}

func TestNamed(t *testing.T) {
	for host, want := range map[string]bool{
		"10.0.0.3:52603": true, "192.0.2.1": true, "[2001:db8::1]:52603": true, "[::1]": true, "localhost:52603": true, "vnode-3:52603": true, "": true,
		"node3.example.com:52603": true, "NODE3.example.com": true, "node3.example.com.": true, "v3.meet.jitsi:52603": true,
		"evil.example:52603": false, "evil.example": false, "localhost.evil.example": false, "10.0.0.3.evil.example:52603": false,
		"127.0.0.1.nip.io": false, "xnode3.example.com": false, "node3.example.com.evil.example": false,
	} {
		r := httptest.NewRequest("GET", "/metrics", nil)
		r.Host = host
		require.Equal(t, want, Named(r, "node3.example.com", "v3.meet.jitsi"), host)
	}
}
