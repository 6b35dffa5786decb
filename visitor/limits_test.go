package visitor

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"vnode/fanout"
	"vnode/visitor/admission"
	"vnode/visitor/sasl"
)

func TestConfigIsValidated(t *testing.T) {
	good := testConfig()
	require.NoError(t, good.Validate())
	for want, spoil := range map[string]func(*Config){
		"domain: \"\"":             func(c *Config) { c.Domain = "" },
		"domain: \"V3\"":           func(c *Config) { c.Domain = "V3" },
		"domain: \"a@b\"":          func(c *Config) { c.Domain = "a@b" },
		"auth domain: \"a/b\"":     func(c *Config) { c.AuthDomain = "a/b" },
		"no accounts":              func(c *Config) { c.Accounts = nil },
		"same as the domain":       func(c *Config) { c.AuthDomain = c.Domain },
		"item: malformed":          func(c *Config) { c.Items = []string{"@"} },
		"limit connections":        func(c *Config) { c.Limits.Connections = -1 },
		"limit bytes before login": func(c *Config) { c.Limits.NegotiationBytes = 100 },
		"limit hibernation:":       func(c *Config) { c.Limits.Hibernation = time.Millisecond },
		"limit hibernating":        func(c *Config) { c.Limits.Hibernating = -1 },
		"limit unacknowledged":     func(c *Config) { c.Limits.Unacked = 1 },
		"limit ping after":         func(c *Config) { c.Limits.PingAfter = -time.Second },
	} {
		bad := testConfig()
		spoil(&bad)
		require.ErrorContains(t, bad.Validate(), want)
		_, err := New(bad, nil, nil, nil, nil)
		require.ErrorContains(t, err, want)
	}
	without := testConfig()
	without.AuthDomain, without.Accounts = "", nil
	require.NoError(t, without.Validate())
}

// The focus has connections of its own by TCP, wherever the main server is: no
// number of strangers keeps it out.
func TestStrangersDoNotKeepTheFocusOut(t *testing.T) {
	inBubble(t, func(c *Config) {
		c.Limits.Connections, c.Limits.PerAddress = 2, 1
		c.Believed = func(a netip.Addr) bool { return a == netip.MustParseAddr("192.0.2.5") }
	}, func(t *testing.T, h *house) {
		var strangers []net.Conn
		arrive := func(from string) net.Conn {
			near, far := net.Pipe()
			h.srv.acceptTCP(addressed{near, from}, false)
			return far
		}
		for _, from := range []string{"198.51.100.1:1", "198.51.100.2:1"} {
			strangers = append(strangers, arrive(from))
		}
		focus := arrive("192.0.2.5:1")
		go func() {
			_, _ = io.WriteString(focus, "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='"+testDomain+"' version='1.0'>")
		}()
		head := make([]byte, 400)
		n, err := focus.Read(head)
		require.NoError(t, err)
		require.NotContains(t, string(head[:n]), "resource-constraint")
		for _, c := range append(strangers, focus) {
			c.Close()
		}
	})
}

func TestConnectionsAreCounted(t *testing.T) {
	inBubble(t, func(c *Config) { c.Limits.Connections = 2 }, func(t *testing.T, h *house) {
		a, b := h.websocket().visitor(), h.tcp(true)
		b.open(testDomain)
		near, far := net.Pipe()
		go h.srv.acceptTCP(near, false)
		got, err := io.ReadAll(far)
		require.NoError(t, err)
		require.Equal(t, `<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' from='v3.meet.jitsi' version='1.0'>`+
			`<stream:error><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>too many connections</text></stream:error></stream:stream>`, string(got))
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, WebSocketPath, nil)
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "websocket")
		h.srv.HTTPHandler().ServeHTTP(w, r)
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.NotEmpty(t, w.Header().Get("Retry-After"))
		require.EqualValues(t, 2, testutil.ToFloat64(h.srv.metrics.refused[admission.Connections]))
		a.leave()
		b.leave()
		synctest.Wait()
		h.websocket().visitor().leave() // there is room again
	})
}

// addressed is a connection that says where it comes from.
type addressed struct {
	net.Conn
	from string
}

type textAddr string

func (a textAddr) Network() string       { return "tcp" }
func (a textAddr) String() string        { return string(a) }
func (a addressed) RemoteAddr() net.Addr { return textAddr(a.from) }

func TestConnectionsOfOneAddressAreCounted(t *testing.T) {
	inBubble(t, func(c *Config) { c.Limits.PerAddress = 1 }, func(t *testing.T, h *house) {
		connect := func(from string) *peer {
			near, far := net.Pipe()
			go h.srv.acceptTCP(addressed{near, from}, true)
			synctest.Wait()
			return &peer{t: t, conn: far}
		}
		var peers []*peer
		for _, from := range []string{"192.0.2.1:1", "192.0.2.2:1", "[2001:db8::1]:1", "[2001:db8:0:1::1]:1", "127.0.0.1:1", "127.0.0.1:2", "[::1]:1", "[::1]:2", "@", "@"} {
			peers = append(peers, connect(from))
		}
		require.Equal(t, len(peers), h.open())
		for _, from := range []string{"192.0.2.1:2", "[::ffff:192.0.2.2]:9", "[2001:db8::2]:1"} {
			got, err := io.ReadAll(connect(from).conn)
			require.NoError(t, err)
			require.Contains(t, string(got), "resource-constraint", from)
		}
		require.EqualValues(t, 3, testutil.ToFloat64(h.srv.metrics.refused[admission.PerAddress]))
		for _, p := range peers {
			p.hangUp()
		}
	})
	require.Equal(t, netip.MustParseAddr("2001:db8::"), addressOf(textAddr("[2001:db8::1%eth0]:5")))
}

// endless gives as many bytes as are asked for, at once.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestMeterHoldsFastClientsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMeter(endless{}, &Limits{BytesPerSecond: 1000, RateBurst: 5000})
		start := time.Now()
		read := func(n int) time.Duration {
			_, err := io.CopyN(io.Discard, &m, int64(n))
			require.NoError(t, err)
			return time.Since(start)
		}
		require.Zero(t, read(5000), "the burst is free")
		require.Less(t, read(1000), 2*time.Second)
		read(20_000)
		took := time.Since(start).Seconds()
		require.InDelta(t, 21_000.0/1000, took, 0.5, "then the rate holds, but for one read of debt")
		time.Sleep(time.Hour)
		start = time.Now()
		require.Zero(t, read(5000), "silence fills the burst, not more")
		m.unlimited()
		before := time.Now()
		read(1_000_000)
		require.Equal(t, before, time.Now())
		require.EqualValues(t, 5000+1000+20_000+5000+1_000_000, m.total)
	})
}

// A visitor that floods is slowed down; the focus is not.
func TestFloodingVisitorIsSlowedDown(t *testing.T) {
	inBubble(t, func(c *Config) { c.Limits.BytesPerSecond, c.Limits.RateBurst = 1000, 10_000 }, func(t *testing.T, h *house) {
		message := `<message xmlns='jabber:client' to='room@conference.v3.meet.jitsi'><body>` + strings.Repeat("x", 900) + `</body></message>`
		visitor, focus := h.websocket().visitor(), h.tcp(true).focus()
		start := time.Now()
		for range 100 {
			focus.send(message)
		}
		require.Zero(t, time.Since(start))
		for range 60 {
			visitor.send(message)
		}
		synctest.Wait()
		require.Greater(t, time.Since(start), 40*time.Second)
		require.Less(t, time.Since(start), 70*time.Second)
		require.Len(t, h.handled(), 160, "nothing is lost")
		visitor.leave()
		focus.leave()
	})
}

func TestFocusMaySendLargeStanzas(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		focus := h.tcp(true).focus()
		focus.send(`<message to='room@conference.v3.meet.jitsi'><body>` + strings.Repeat("x", 1<<20) + `</body></message>`)
		focus.play(`C: <iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>`, `S: <iq xmlns='jabber:client' to='{jid}' id='p' type='result'/>`)
		require.Len(t, h.handled(), 1)
		focus.leave()
	})
}

func TestMetricsHaveClosedLabels(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		before, err := testutil.GatherAndCount(h.reg)
		require.NoError(t, err)
		p := h.websocket().visitor()
		require.EqualValues(t, 1, testutil.ToFloat64(h.srv.metrics.sessions.WithLabelValues(transportWebSocket, stateBound)))
		p.leave()
		for _, bad := range []string{"<!-- -->", "x"} {
			q := h.tcp(true)
			q.send(bad)
			q.next()
			q.next()
			q.expectEnd()
		}
		synctest.Wait()
		after, err := testutil.GatherAndCount(h.reg)
		require.NoError(t, err)
		require.Equal(t, before, after)
		require.Zero(t, testutil.ToFloat64(h.srv.metrics.sessions.WithLabelValues(transportWebSocket, stateBound)))
		require.Zero(t, testutil.ToFloat64(h.srv.metrics.sessions.WithLabelValues(transportTCP, stateNegotiating)))
	})
	for _, l := range labels() {
		require.Regexp(t, "^[a-z]+(_[a-z]+)*$", l)
	}
}

// Every error a client can provoke has its place in the metric.
func TestReasonsAreInTheClosedSet(t *testing.T) {
	known := make(map[fanout.Reason]bool)
	for _, l := range labels() {
		known[fanout.Reason(l)] = true
	}
	for _, table := range [][]badInput{badOnTCP, badOnWebSocket} {
		for _, c := range table {
			require.True(t, known[fanout.Reason(strings.ReplaceAll(string(c.want), "-", "_"))], c.name)
		}
	}
	for _, err := range []error{errTooLarge, errUnsupported, errSilent, errShutdown, errReplaced, errBusy, errSlow, errNoTo, errOtherHost,
		errTooManyElements, errTooManyLogins, errTooMuchAcked, errBadAck, errClosed, errTakenOver, errExpired, errOverrun, errInterrupted, errTLS, errNoTLS, io.EOF, fmt.Errorf("x: %w", net.ErrClosed)} {
		require.True(t, known[reasonOf(err).label], err)
	}
}

func TestNothingSecretIsLogged(t *testing.T) {
	var log *journal
	inBubble(t, nil, func(t *testing.T, h *house) {
		log = h.log
		p := h.tcp(true)
		p.open(testAuth)
		p.play("C: "+auth(sasl.Plain, "\x00focus\x00not the right secret"), "S: "+failure("not-authorized"))
		p.leave()
	})
	require.Contains(t, log.String(), "login failed")
	require.NotContains(t, log.String(), "not the right secret")
}
