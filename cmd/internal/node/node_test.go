package node

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"vnode/cmd/internal/config"
	"vnode/internal/xmpptest/conference"
	"vnode/internal/xmpptest/prosody"
	"vnode/muc/rate"
	"vnode/muc/room"
	"vnode/visitor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testConfig is node v3 on free loopback ports, with its state in a directory
// of the test's.
func testConfig(t testing.TB, mainS2S string) *config.Config {
	t.Helper()
	free := "127.0.0.1:0"
	return &config.Config{
		ID: "v3", StateDir: t.TempDir(), MainDomain: "meet.jitsi", MainS2S: mainS2S, RoomPrefix: "conference",
		S2STrust: config.TrustAddress, MainGrace: config.Duration(time.Minute), S2S: []string{free}, C2S: []string{free}, HTTP: []string{free}, Admin: free,
		AuthDomain: "auth.meet.jitsi", MaxVisitorsPerRoom: 1000, MaxVisitors: 1000, MaxRooms: 100, MaxConnections: 1000,
		ChatAudience: "all", ChatBurst: 1, RoomChatBurst: 1, PresenceBurst: 1, MainBurst: 1, HistoryMessages: 20, TokenPromotion: true,
		MaxPerAddress: 1000, MaxJoinsPerSecond: 2000, RegionHeader: "X-Proxy-Region", TokenAudiences: []string{"*"},
		Comeback: config.ComebackReload, ComebackWord: config.Duration(3 * time.Second), ComebackSettle: config.Duration(22 * time.Second),
		ComebackAsk: config.Duration(32 * time.Second), ComebackGiveUp: config.Duration(2 * time.Minute), ComebackRate: 100,
		JoinWait: config.Duration(8 * time.Second), ReadyWithoutJicofo: true,
		LogLevel: "info", LogFormat: "text",
	}
}

// running is a node that runs until the test ends or stop is called.
type running struct {
	*Node
	t    testing.TB
	stop func()
}

func start(t testing.TB, cfg *config.Config) *running {
	t.Helper()
	return startLogging(t, cfg, testWriter{t})
}

// startLogging is start with another place for the log.
func startLogging(t testing.TB, cfg *config.Config, to io.Writer) *running {
	t.Helper()
	return startWith(t, cfg, to, func(*Node) {})
}

// startWith is startLogging of a node that is changed before it runs.
func startWith(t testing.TB, cfg *config.Config, to io.Writer, change func(*Node)) *running {
	t.Helper()
	require.NoError(t, cfg.Validate())
	level := new(slog.LevelVar)
	n, err := New(cfg, "test", slog.New(slog.NewTextHandler(to, &slog.HandlerOptions{Level: level})), level)
	require.NoError(t, err)
	change(n)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	stopped := false
	r := &running{Node: n, t: t}
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		require.NoError(t, <-done)
	}
	t.Cleanup(r.stop)
	return r
}

// up tells of each stream to main whether it is up.
func (r *running) up() map[string]bool {
	up := make(map[string]bool)
	for _, l := range (operator{r.Node}).Links() {
		up[l.From+" -> "+l.To] = l.Up
	}
	return up
}

// testWriter sends the node's log to the test's.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func (r *running) password() string {
	b, err := os.ReadFile(r.PasswordFile())
	require.NoError(r.t, err)
	return strings.TrimSpace(string(b))
}

func (r *running) focus() *conference.Focus {
	f, err := conference.DialFocus(r.t.Context(), conference.FocusOptions{
		Addr: r.Addresses().C2S[0], JID: "focus@auth.meet.jitsi/focus", Password: r.password(),
	})
	require.NoError(r.t, err)
	r.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = f.Close(ctx) // the node may have closed it
	})
	return f
}

// simulatedMain plays main for the node, listening on ln.
func (r *running) simulatedMain(ln net.Listener) *conference.Main {
	m, err := conference.NewMain(conference.MainOptions{
		Domain: "meet.jitsi", Node: "v3.meet.jitsi", NodeAddr: r.Addresses().S2S[0], Listener: ln, Log: slog.New(slog.DiscardHandler),
	})
	require.NoError(r.t, err)
	r.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = m.Close(ctx) // the node may have ended the streams
	})
	return m
}

const demoRoom = "demo@conference.v3.meet.jitsi"

func (r *running) swarm(l *conference.Ledger) *conference.Swarm {
	o := conference.SwarmOptions{
		URL:    "ws://" + r.Addresses().HTTP[0] + "/xmpp-websocket?room=demo&vnode=v3",
		Domain: "v3.meet.jitsi", Room: demoRoom, Ledger: l,
	}
	if network, addr := config.Network(r.cfg.Load().HTTP[0]); network == "unix" {
		o.URL = "ws://node/xmpp-websocket?room=demo&vnode=v3"
		o.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		}
	}
	s := conference.NewSwarm(o)
	r.t.Cleanup(s.Close)
	return s
}

// Three participants talk on a real main Prosody, fifty visitors watch and say
// something themselves. Every visitor gets every presence and line of main
// exactly once and in order, main gets each visitor's line exactly once, the
// room ends with its reason, and the node ends without a goroutine left.
func TestVisitorsWatchARealMainRoom(t *testing.T) {
	for name, options := range map[string]prosody.Options{
		"self-signed certificates, bidi": {Auth: prosody.AuthSelfSigned, Bidi: true},
		"dialback, bidi":                 {Auth: prosody.AuthDialback, Bidi: true, ComponentsDial: true},
		"dialback, one stream each way":  {Auth: prosody.AuthDialback, ComponentsDial: true},
	} {
		t.Run(name, func(t *testing.T) {
			ports, err := prosody.Reserve()
			require.NoError(t, err)
			node := start(t, testConfig(t, ports.S2S().String()))
			options.Ports = ports
			options.Nodes = map[string]netip.AddrPort{"v3": netip.MustParseAddrPort(node.Addresses().S2S[0])}
			main := prosody.Run(t, options)
			ledger := conference.NewLedger()
			meeting, err := conference.NewLive(t.Context(), conference.LiveOptions{
				URL: main.WebSocketURL(), Domain: main.MainDomain(), Room: "demo@" + main.RoomsDomain(),
				Component: main.VisitorsDomain(), VNode: "v3", Ledger: ledger,
				Focus: conference.FocusOptions{Addr: main.C2SAddr().String(), JID: "focus@auth.meet.jitsi/focus", Password: main.FocusPassword()},
			})
			require.NoError(t, err)
			play(t, node, meeting, ledger)
			node.stop()
		})
	}
}

// The same with the simulated main, which also checks what the node says to
// it on its streams.
func TestVisitorsWatchASimulatedMainRoom(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	node := start(t, testConfig(t, ln.Addr().String()))
	ledger := conference.NewLedger()
	meeting := node.simulatedMain(ln).Room("demo", ledger)
	play(t, node, meeting, ledger)
	require.Empty(t, meeting.Faults())
	node.stop()
}

// A local proxy reaches the node by a unix socket; nothing else is different.
func TestVisitorsByUnixSocket(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	cfg := testConfig(t, ln.Addr().String())
	cfg.HTTP = []string{"unix:" + filepath.Join(t.TempDir(), "http")}
	node := start(t, cfg)
	ledger := conference.NewLedger()
	meeting := node.simulatedMain(ln).Room("demo", ledger)
	play(t, node, meeting, ledger)
	require.Empty(t, meeting.Faults())
	node.stop()
	_, err = os.Stat(strings.TrimPrefix(cfg.HTTP[0], "unix:"))
	require.ErrorIs(t, err, os.ErrNotExist, "the socket's name is gone")
}

func play(t *testing.T, node *running, meeting conference.Conference, ledger *conference.Ledger) {
	t.Helper()
	scenario := conference.Scenario{
		Name: t.Name(), Conference: meeting, Focus: node.focus(), Room: demoRoom, Swarm: node.swarm(ledger), Ledger: ledger,
		Participants: 3, Visitors: 50, JoinRate: 50, Talk: 3 * time.Second,
		Updates: 10, Lines: 6, VisitorLines: 6, Changes: 1, Drain: 30 * time.Second,
	}
	report := scenario.Run(t.Context())
	var table bytes.Buffer
	require.NoError(t, report.WriteTable(&table))
	t.Log("\n" + table.String())
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	require.NoError(t, meeting.Close(ctx))
	require.Empty(t, report.Problems)
}

// A node that is told to stop ends its conferences first: visitors see the focus
// leave, at which their pages reload, and none loses its connection without a word.
// Jicofo counts each of them out before it hears of the end.
func TestShutdownEndsConferencesFirst(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	node := start(t, testConfig(t, ln.Addr().String()))
	ledger := conference.NewLedger()
	meeting := node.simulatedMain(ln).Room("demo", ledger)
	_, err = meeting.Join(t.Context())
	require.NoError(t, err)
	created, err := node.focus().CreateRoom(t.Context(), demoRoom, ledger)
	require.NoError(t, err)
	require.NoError(t, meeting.ConnectVNode(t.Context()))
	swarm := node.swarm(ledger)
	require.NoError(t, swarm.Join(t.Context(), 20, 0))

	node.stop()

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.NoError(t, swarm.WaitEnd(ctx))
	for _, v := range swarm.Visitors() {
		end, ok := v.Ended()
		require.True(t, ok)
		require.False(t, end.Destroyed, "the page would say that the conference has ended")
		require.ErrorContains(t, end.Err, "system-shutdown")
	}
	<-created.Out()
	destroyed, _ := created.Destroyed()
	require.True(t, destroyed)
	present, ever := created.Visitors()
	require.Zero(t, present)
	require.Equal(t, 20, ever)
	_ = meeting.Close(ctx) // it has nobody to say good-bye to
}

func TestAdmin(t *testing.T) {
	node := start(t, testConfig(t, "127.0.0.1:1"))
	get := func(path string) (int, string) {
		resp, err := http.Get("http://" + node.Addresses().Admin + path)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(body)
	}
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	code, body := get("/healthz")
	require.Equal(t, 200, code)
	var health struct {
		Ready bool
		Links map[string]bool
	}
	require.NoError(t, json.Unmarshal([]byte(body), &health))
	require.False(t, health.Ready, "main was not reached yet")
	require.Len(t, health.Links, 4)
	require.Contains(t, health.Links, "conference.v3.meet.jitsi -> conference.meet.jitsi")
	require.Eventually(t, func() bool {
		_, body := get("/readyz")
		return strings.Contains(body, "no stream to meet.jitsi: unreachable: ") && strings.Contains(body, "is main-s2s right?")
	}, 20*time.Second, 20*time.Millisecond)
	_, body = get("/metrics")
	for _, name := range []string{"vnode_fanout_deliveries_total", "vnode_muc_rooms", "vnode_s2s_streams", "vnode_visitor_sessions", "go_goroutines"} {
		require.Contains(t, body, name)
	}
	code, _ = get("/debug/pprof/")
	require.Equal(t, 200, code)
	resp, err := http.Get("http://" + node.Addresses().HTTP[0] + "/debug/pprof/")
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, 404, resp.StatusCode, "clients get no profiles")
	http.DefaultClient.CloseIdleConnections()
}

// What the configuration says of TURN servers is what a visitor is told; the
// secret itself is not.
func TestTURNServicesAreConfigured(t *testing.T) {
	cfg := testConfig(t, "127.0.0.1:1")
	cfg.TURNServices = []string{"turn:turn.example:3478?transport=udp", "stun:stun.example"}
	cfg.TURNSecretFile = filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(cfg.TURNSecretFile, []byte("t0p s3cret\n"), 0o600))
	node := start(t, cfg)
	services, err := node.services(cfg)
	require.NoError(t, err)
	require.Equal(t, []visitor.Service{
		{Type: "turn", Host: "turn.example", Port: 3478, Transport: "udp", Secret: "t0p s3cret"},
		{Type: "stun", Host: "stun.example"},
	}, services)
}

func TestStateIsMadeOnceAndKept(t *testing.T) {
	cfg := testConfig(t, "127.0.0.1:1")
	first := start(t, cfg)
	cert, err := os.ReadFile(filepath.Join(cfg.StateDir, "node.crt"))
	require.NoError(t, err)
	password := first.password()
	require.GreaterOrEqual(t, len(password), 20)
	for _, name := range []string{"node.key", "focus-password"} {
		info, err := os.Stat(filepath.Join(cfg.StateDir, name))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), name)
	}
	first.stop()
	second := start(t, cfg)
	again, err := os.ReadFile(filepath.Join(cfg.StateDir, "node.crt"))
	require.NoError(t, err)
	require.Equal(t, cert, again)
	require.Equal(t, password, second.password())
	second.stop()

	cfg.ID = "v4" // the certificate lacks the new domain
	start(t, cfg)
	renewed, err := os.ReadFile(filepath.Join(cfg.StateDir, "node.crt"))
	require.NoError(t, err)
	require.NotEqual(t, cert, renewed)
}

func TestBannerTellsWhatMainMustKnow(t *testing.T) {
	node := start(t, testConfig(t, "127.0.0.1:5269"))
	var b bytes.Buffer
	node.WriteBanner(&b)
	for _, want := range []string{
		"v3.meet.jitsi", "conference.v3.meet.jitsi", node.Addresses().S2S[0], node.Addresses().C2S[0], node.Addresses().HTTP[0],
		node.PasswordFile(), "s2sout_override", "s2s_connect_overrides", "s2s_whitelist",
	} {
		require.Contains(t, b.String(), want)
	}
	require.NotContains(t, b.String(), node.password())
}

// What an operator can get wrong is refused before anything runs, in a line
// that says what to do.
func TestNewNamesTheRemedy(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	write := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	for name, tc := range map[string]struct {
		change func(*config.Config)
		want   string
	}{
		"taken s2s port":    {func(c *config.Config) { c.S2S = []string{taken.Addr().String()} }, "the port is taken"},
		"taken client port": {func(c *config.Config) { c.C2S = []string{taken.Addr().String()} }, "choose another with -c2s"},
		"taken http port":   {func(c *config.Config) { c.HTTP = []string{taken.Addr().String()} }, "choose another with -http"},
		"taken admin port":  {func(c *config.Config) { c.Admin = taken.Addr().String() }, "choose another with -admin"},
		"foreign address":   {func(c *config.Config) { c.S2S = []string{"192.0.2.1:0"} }, "choose another address with -s2s"},
		"no password file":  {func(c *config.Config) { c.FocusPasswordFile = "/nonexistent" }, "focus password: open /nonexistent"},
		"empty password":    {func(c *config.Config) { c.FocusPasswordFile = write("p", "\n") }, "is empty; put the secret on its first line"},
		"state is a file":   {func(c *config.Config) { c.StateDir = write("s", "") }, "is no directory; as root: mv "},
		"no CA file":        {func(c *config.Config) { c.S2SCAFile = "/nonexistent" }, "s2s-ca-file: open"},
		"CA file is empty":  {func(c *config.Config) { c.S2SCAFile = write("ca", "x") }, "holds no certificate"},
		"no such domain":    {func(c *config.Config) { c.AuthDomain = c.Host() }, "same as the domain"}, // not validated here: what was made is closed
		"no TURN secret":    {func(c *config.Config) { c.TURNSecretFile = "/nonexistent" }, "turn-secret-file: open"},
		"bad pin":           {func(c *config.Config) { c.S2SPins = []string{"xyz"} }, "not a SHA-256 fingerprint"},
		"broken certificate": {func(c *config.Config) {
			require.NoError(t, os.WriteFile(filepath.Join(c.StateDir, "node.crt"), []byte("x"), 0o600))
			require.NoError(t, os.WriteFile(filepath.Join(c.StateDir, "node.key"), []byte("x"), 0o600))
		}, "to have new ones made"},
		"socket path is a file": {func(c *config.Config) { c.HTTP = []string{"unix:" + write("f", "")} }, "is no socket"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t, "127.0.0.1:5269")
			tc.change(cfg)
			_, err := New(cfg, "test", slog.New(slog.DiscardHandler), new(slog.LevelVar))
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestUnixSocketIsTakenOverFromADeadNode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "v3.sock")
	dead, err := net.Listen("unix", path)
	require.NoError(t, err)
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	require.NoError(t, dead.Close())
	cfg := testConfig(t, "127.0.0.1:1")
	cfg.HTTP = []string{"unix:" + path}
	start(t, cfg)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o666), info.Mode().Perm(), "nginx is another user, and units have a strict umask")

	second := testConfig(t, "127.0.0.1:1")
	second.HTTP = cfg.HTTP
	_, err = New(second, "test", slog.New(slog.DiscardHandler), new(slog.LevelVar))
	require.ErrorContains(t, err, "address already in use", "a living node keeps it")
}

// A reload shows a new certificate and trusts new CAs while the streams to main
// stay up; one that cannot be carried out changes nothing.
func TestReload(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	cfg := testConfig(t, ln.Addr().String())
	node := start(t, cfg)
	node.simulatedMain(ln)
	up := func() bool {
		for _, ok := range node.up() {
			if !ok {
				return false
			}
		}
		return true
	}
	require.Eventually(t, up, 20*time.Second, 5*time.Millisecond)

	ca, err := prosody.NewCA()
	require.NoError(t, err)
	issued, err := ca.Issue("v3.meet.jitsi", "conference.v3.meet.jitsi")
	require.NoError(t, err)
	write := func(name string, b []byte) string {
		path := filepath.Join(cfg.StateDir, name)
		require.NoError(t, os.WriteFile(path, b, 0o600))
		return path
	}
	next := *cfg
	next.CertificateFile, next.KeyFile = write("new.crt", issued.CertPEM), write("new.key", issued.KeyPEM)
	next.S2SCAFile = write("ca.crt", ca.PEM())
	next.LogLevel = "warn"
	next.MaxVisitorsPerRoom, next.ChatAudience, next.ChatSlowMode = 7, "visitors", config.Duration(time.Minute)
	next.MaxConnections = 5 // waits for a restart
	old := node.cert.Load()
	require.NoError(t, node.Reload(&next))
	require.NotEqual(t, old.Certificate, node.cert.Load().Certificate)
	require.Equal(t, slog.LevelWarn, node.level.Level())
	require.Equal(t, cfg.MaxConnections, node.cfg.Load().MaxConnections)
	require.True(t, up())
	limits := node.rooms.Limits()
	require.Equal(t, 7, limits.MaxVisitors)
	require.Equal(t, room.Chat{
		Audience: room.HeardByVisitors, SlowMode: time.Minute,
		Visitor: rate.Limit{Burst: 1}, Room: rate.Limit{Burst: 1},
	}, limits.Chat)

	broken := next
	broken.KeyFile = write("broken.key", []byte("x"))
	broken.LogLevel = "debug"
	require.ErrorContains(t, node.Reload(&broken), "certificate-file")
	broken = next
	broken.MaxVisitorsPerRoom = -1
	require.ErrorContains(t, node.Reload(&broken), "MaxVisitors")
	require.Equal(t, limits, node.rooms.Limits())
	broken = next
	broken.S2SPins = []string{"xyz"}
	require.ErrorContains(t, node.Reload(&broken), "fingerprint")
	require.Equal(t, slog.LevelWarn, node.level.Level())
	require.True(t, up())
}

// A reload takes the limits of the configuration back from what the operator's
// API has made of them, and says so.
func TestReloadSaysThatItTakesLimitsBack(t *testing.T) {
	log := new(ear)
	cfg := testConfig(t, "127.0.0.1:1")
	node := startLogging(t, cfg, log)
	require.NoError(t, node.Reload(cfg))
	require.NotContains(t, log.String(), "operator")
	_, err := node.rooms.ChangeLimits(func(l *room.Limits) error { l.MaxVisitors = 5; return nil })
	require.NoError(t, err)
	require.NoError(t, node.Reload(cfg))
	require.Equal(t, cfg.MaxVisitorsPerRoom, node.rooms.Limits().MaxVisitors)
	require.Contains(t, log.String(), "limits that an operator changed")
}
