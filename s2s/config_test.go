package s2s

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestConfigIsChecked(t *testing.T) {
	rows := []struct {
		name   string
		change func(*Config)
		err    string // "" for none
	}{
		{"as it is", func(c *Config) {}, ""},
		{"no hosts", func(c *Config) { c.Hosts = nil }, "Hosts is empty"},
		{"no peers", func(c *Config) { c.Peers = nil }, "Peers is empty"},
		{"a host that is none", func(c *Config) { c.Hosts = []string{"a@b"} }, `Hosts: "a@b" is not a domain`},
		{"a peer with a resource", func(c *Config) { c.Peers = []string{"a/b"} }, `Peers: "a/b" is not a domain`},
		{"an empty peer", func(c *Config) { c.Peers = []string{""} }, `Peers: "" is not a domain`},
		{"a tenant IDNA refuses", func(c *Config) { c.Hosts = append(c.Hosts, "conference.my_tenant.v3.meet.example") }, ""},
		{"both host and peer", func(c *Config) { c.Peers = append(c.Peers, "V3.meet.example") }, "v3.meet.example is in both"},
		{"no main", func(c *Config) { c.Main = "" }, "is not an address"},
		{"main is a URL", func(c *Config) { c.Main = "http://x/" }, "is not an address"},
		{"target of no peer", func(c *Config) { c.Targets = map[string]string{"evil.example": "x:1"} }, "is not one of Peers"},
		{"target that is none", func(c *Config) { c.Targets = map[string]string{mainHost: ":1"} }, "is not an address"},
		{"no certificate", func(c *Config) { c.TLS = &tls.Config{} }, "TLS has no certificate"},
		{"no TLS", func(c *Config) { c.TLS = nil }, "TLS has no certificate"},
		{"a pin that is none", func(c *Config) { c.Trust.Pins = []string{"sha1"} }, "not a SHA-256 fingerprint"},
		{"a pin that is too short", func(c *Config) { c.Trust.Pins = []string{"00:11"} }, "not a SHA-256 fingerprint"},
		{"a pin with colons", func(c *Config) { c.Trust.Pins = []string{strings.TrimSuffix(strings.Repeat("AB:", 32), ":")} }, ""},
		{"a negative time", func(c *Config) { c.KeepAlive = -1 }, "KeepAlive is negative"},
		{"pauses the wrong way", func(c *Config) { c.RetryMin = time.Hour }, "RetryMin is greater"},
		{"too small stanzas", func(c *Config) { c.MaxBytes = 100 }, "RFC 6120"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			c := testConfig()
			row.change(&c)
			if row.err == "" {
				require.NoError(t, c.Validate())
				return
			}
			require.ErrorContains(t, c.Validate(), row.err)
			_, err := New(c, nil, nil, nil)
			require.ErrorContains(t, err, row.err)
		})
	}
}

func TestTargets(t *testing.T) {
	rows := []struct {
		text string
		want string // "" for an error
		tls  bool
	}{
		{"main.example", "main.example:5269", false},
		{"main.example:1234", "main.example:1234", false},
		{"tcp://10.0.0.5:5269", "10.0.0.5:5269", false},
		{"tls://10.0.0.5", "10.0.0.5:5270", true},
		{"tls://main.example:443", "main.example:443", true},
		{"::1", "[::1]:5269", false},
		{"[::1]", "[::1]:5269", false},
		{"[2001:db8::1]:15269", "[2001:db8::1]:15269", false},
		{"", "", false}, {":5269", "", false}, {"a b:1", "", false}, {"main.example:", "", false}, {"a:b:c", "", false},
	}
	for _, row := range rows {
		got, err := parseTarget(row.text)
		if row.want == "" {
			require.Error(t, err, row.text)
			continue
		}
		require.NoError(t, err, row.text)
		require.Equal(t, row.want, got.String())
		require.Equal(t, row.tls, got.direct)
	}
	c := testConfig()
	c.Targets = map[string]string{mainRooms: "rooms.example"}
	s, err := c.compile()
	require.NoError(t, err)
	require.Equal(t, "rooms.example:5269", s.target(mainRooms).String())
	require.Equal(t, mainAddr, s.target(mainHost).String())
}

// A certificate that is looked up, as one that can be reloaded is, is shown to
// servers we dial too.
func TestCertificateFromCallback(t *testing.T) {
	c := testConfig()
	var asked string
	c.TLS = &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		asked = h.ServerName
		return &nodeCert, nil
	}}
	s, err := c.compile()
	require.NoError(t, err)
	got, err := s.clientTLS(rooms, mainRooms, false).GetClientCertificate(nil)
	require.NoError(t, err)
	require.Equal(t, &nodeCert, got)
	require.Equal(t, rooms, asked)
	require.EqualValues(t, tls.VersionTLS12, s.server.MinVersion)
}

func TestQueueKeepsOrder(t *testing.T) {
	var q queue
	var want, got []byte
	next := byte(0)
	push := func(n int) {
		for range n {
			q.push(item{stanza: []byte{next}})
			want = append(want, next)
			next++
		}
	}
	pop := func(n int) (its []item) {
		for range n {
			it := q.pop()
			its = append(its, it)
			got = append(got, it.stanza[0])
		}
		return its
	}
	push(10)
	pop(4)
	push(30)
	back := pop(7)
	got = got[:len(got)-7]
	q.pushFront(back)
	require.Equal(t, 36, q.len())
	require.Equal(t, 36, q.bytes)
	push(3)
	pop(39)
	require.Equal(t, want, got)
	require.Zero(t, q.len())
	require.Zero(t, q.bytes)
	q.pushFront(nil)
	push(1)
	pop(1)
	require.Equal(t, want, got)
}
