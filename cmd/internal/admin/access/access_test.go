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
