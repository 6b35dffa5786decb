package check

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"vnode/cmd/internal/config"
	"vnode/internal/xmpptest/conference"
	"vnode/internal/xmpptest/jitsi"
	"vnode/internal/xmpptest/turn"
)

// program is the built vnode.
var program string

func TestMain(m *testing.M) { jitsi.Main(m, &program) }

// stage is an installation on which set-up was run.
type stage struct {
	*jitsi.Root
	t *testing.T
}

// newStage sets up one node. edit changes the installation before anything is
// started. Without jicofo neither set-up nor the check starts hocon, which takes
// longer than all else.
func newStage(t *testing.T, jicofo bool, edit func(*stage)) *stage {
	const secret = "the TURN secret"
	relay, err := turn.Start(secret)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, relay.Close()) })
	s := &stage{Root: jitsi.Install(t, jitsi.Options{TURN: relay.Addr(), TURNSecret: secret}), t: t}
	if !jicofo {
		require.NoError(t, os.Remove(s.Path("etc/jitsi/jicofo/jicofo.conf")))
	}
	s.SetUp(t, program, 1)
	if edit != nil {
		edit(s)
	}
	return s
}

// replace changes a file of the installation.
func (s *stage) replace(file, old, new string) {
	s.t.Helper()
	path := s.Path(file)
	b, err := os.ReadFile(path)
	require.NoError(s.t, err)
	require.Contains(s.t, string(b), old, file)
	require.NoError(s.t, os.WriteFile(path, []byte(strings.ReplaceAll(string(b), old, new)), 0o600))
}

// options are those of a check of node v1, with lines of its configuration put
// in the place of others: key to line.
func (s *stage) options(t *testing.T, lines map[string]string) Options {
	t.Helper()
	b, err := os.ReadFile(s.Path("etc/vnode/v1.toml"))
	require.NoError(t, err)
	var text strings.Builder
	for line := range strings.Lines(string(b)) {
		key, _, _ := strings.Cut(line, " = ")
		if with, ok := lines[key]; ok {
			line = with + "\n"
			delete(lines, key)
		}
		text.WriteString(line)
	}
	for _, line := range lines {
		text.WriteString(line + "\n")
	}
	path := filepath.Join(t.TempDir(), "v1.toml")
	require.NoError(t, os.WriteFile(path, []byte(text.String()), 0o600))
	flags := flag.NewFlagSet("vnode", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	cfg, err := config.Load(flags, []string{"-config", path}, func(string) (string, bool) { return "", false })
	require.NoError(t, err)
	return Options{Config: cfg, ConfigFile: path, Root: s.Dir, Roots: s.CA.Pool(), Dial: s.Dial, Visitors: 500, Timeout: 5 * time.Second}
}

func run(t *testing.T, o Options) *Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	var told []Finding
	r, err := Run(ctx, o, func(f Finding) { told = append(told, f) })
	require.NoError(t, err)
	require.Equal(t, r.Findings, told)
	return r
}

func text(r *Report) string {
	var b bytes.Buffer
	for _, f := range r.Findings {
		f.WriteText(&b)
	}
	r.WriteSummary(&b)
	return b.String()
}

// fault is something wrong, and what the check has to say of it.
type fault struct {
	lines  map[string]string // of the node's configuration
	change func(*testing.T, *Options)
	check  string // the finding's name
	level  Level
	file   string // part of the file named
	fix    string // part of the line to change
}

func (f fault) look(t *testing.T, o Options) {
	t.Helper()
	r := run(t, o)
	t.Log("\n" + text(r))
	for _, found := range r.Findings {
		if found.Check == f.check && found.Level == f.level && strings.Contains(found.Fix, f.fix) && strings.Contains(found.File, f.file) {
			require.NotEmpty(t, found.What)
			require.NotEmpty(t, found.Why)
			return
		}
	}
	t.Errorf("no finding %s %q with the line %q in %q", f.check, f.level, f.fix, f.file)
}

// On a fresh installation after one `vnode setup`, all fits: with the node
// running, and before its first start, when the check takes its place and main
// has to dial it.
func TestAllFitsAfterSetUp(t *testing.T) {
	s := newStage(t, true, nil)
	s.RunProsody(t)
	s.RunNginx(t)
	before := run(t, s.options(t, nil))
	require.True(t, before.OK, text(before))
	require.Contains(t, text(before), "main answered a ping on a stream of its own")

	s.RunNode(t, "v1")
	s.testJicofoLogin(t)
	focus := s.loginAsJicofo(t)
	after := s.settled(t)
	t.Log("\n" + text(after))
	for _, f := range after.Findings {
		require.Equal(t, OK, f.Level, f.Check)
		require.Empty(t, f.Fix)
	}
	var b bytes.Buffer
	require.NoError(t, after.WriteJSON(&b))
	var again Report
	require.NoError(t, json.Unmarshal(b.Bytes(), &again))
	require.Equal(t, *after, again)

	// As a command: an address is not what the certificate is for.
	out, err := exec.CommandContext(t.Context(), program, "check", "-json", "-config", s.Path("etc/vnode/v1.toml"), "-url", s.WebSocketURL()).Output()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 1, exit.ExitCode())
	require.Contains(t, string(exit.Stderr), "public-certificate: error")
	require.NoError(t, json.Unmarshal(out, &again))
	require.False(t, again.OK)

	lean := s.withoutJicofo()
	t.Run("faults", func(t *testing.T) { testFaults(t, s, lean) })
	require.NoError(t, focus.Close(t.Context()))
	fault{check: "jicofo-login", level: Fail, file: "jicofo.conf", fix: "password = the one in"}.look(t, s.options(t, nil)) // the faults' logins were refused
}

// loginAsJicofo logs in at the node as jicofo does.
func (s *stage) loginAsJicofo(t *testing.T) *conference.Focus {
	cfg := s.options(t, nil).Config
	b, err := os.ReadFile(cfg.FocusPasswordFile)
	require.NoError(t, err)
	var focus *conference.Focus
	require.Eventually(t, func() bool {
		focus, err = conference.DialFocus(t.Context(), conference.FocusOptions{
			Addr: cfg.C2S[0], JID: "focus@" + cfg.AuthDomain + "/focus", Password: strings.TrimSpace(string(b)),
		})
		return err == nil
	}, 20*time.Second, 20*time.Millisecond)
	return focus
}

// testJicofoLogin checks what is said of a jicofo that is not logged in: it runs
// and does not find the node, or it does not run.
func (s *stage) testJicofoLogin(t *testing.T) {
	answers := httptest.NewServer(http.NotFoundHandler())
	defer answers.Close()
	line := func(url string) map[string]string {
		return map[string]string{"jicofo-url": "jicofo-url = \"" + url + "\""}
	}
	focus := s.loginAsJicofo(t) // the node is up
	require.NoError(t, focus.Close(t.Context()))
	fault{check: "jicofo-login", level: Fail, file: "jicofo.conf", fix: "hostname and port"}.look(t, s.options(t, line(answers.URL)))
	fault{check: "jicofo-login", level: Fail, file: "jicofo.conf", fix: "systemctl start jicofo"}.look(t, s.options(t, line("http://127.0.0.1:1")))
}

// settled checks until the node's streams are up, which they are within a
// moment after its start.
func (s *stage) settled(t *testing.T) *Report {
	var r *Report
	require.Eventually(t, func() bool {
		r = run(t, s.options(t, nil))
		return r.OK
	}, 20*time.Second, 50*time.Millisecond)
	return r
}

// withoutJicofo is a root with all of the stage's but jicofo.conf.
func (s *stage) withoutJicofo() string {
	root := s.t.TempDir()
	require.NoError(s.t, os.Mkdir(filepath.Join(root, "etc"), 0o755))
	for _, name := range []string{"etc/nginx", "etc/prosody", "etc/systemd"} {
		require.NoError(s.t, os.Symlink(s.Path(name), filepath.Join(root, name)))
	}
	return root
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestFlags(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"argument": {[]string{"v3"}, "name the configuration with -config"},
		"visitors": {[]string{"-config", "x", "-visitors", "0"}, "-visitors: 0 is not between"},
		"timeout":  {[]string{"-config", "x", "-timeout", "1ms"}, "-timeout: 1ms is less than 1s"},
	} {
		t.Run(name, func(t *testing.T) {
			flags := flag.NewFlagSet("check", flag.ContinueOnError)
			flags.SetOutput(io.Discard)
			_, err := ParseFlags(flags, tc.args)
			require.ErrorContains(t, err, tc.want)
		})
	}
	_, err := Run(t.Context(), Options{}, nil)
	require.ErrorContains(t, err, "no configuration")
}

// A node that wants a token refuses a visitor without one. That is as it should
// be, and shows that the visitor got there.
func TestTokensAreWanted(t *testing.T) {
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"xmpp"}})
		if err != nil {
			return
		}
		defer conn.CloseNow()
		for _, answer := range []string{
			"<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' from='v1.meet.jitsi' version='1.0'/>",
			"<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-allowed/></failure>",
		} {
			if _, _, err := conn.Read(r.Context()); err != nil {
				return
			}
			frames := []string{answer}
			if strings.HasPrefix(answer, "<open") {
				frames = append(frames, "<stream:features xmlns:stream='http://etherx.jabber.org/streams'/>")
			}
			for _, f := range frames {
				if conn.Write(r.Context(), websocket.MessageText, []byte(f)) != nil {
					return
				}
			}
		}
	}))
	defer node.Close()
	look := func(change func(*config.Config)) Finding {
		cfg := &config.Config{ID: "v1", MainDomain: "meet.example.com", HTTP: []string{"127.0.0.1:1"}, Admin: "off"}
		change(cfg)
		c := newChecker(Options{Config: cfg, URL: "ws://" + node.Listener.Addr().String() + "/xmpp-websocket", Root: t.TempDir()})
		found := c.lookWebSocket(t.Context())
		return found[len(found)-1]
	}
	require.Equal(t, OK, look(func(c *config.Config) { c.TokenKeysURL = "https://keys.example" }).Level)
	refused := look(func(*config.Config) {})
	require.Equal(t, Fail, refused.Level)
	require.Contains(t, refused.What, "a visitor may not log in: not-allowed")
}

// A state directory that root closed to the unit by a node run by hand is found,
// with the command that opens it; so is a link of systemd's that leads nowhere.
func TestStateDirectoryOpenForTheUnit(t *testing.T) {
	root := t.TempDir()
	state := filepath.Join(root, "var/lib/vnode/v1")
	look := func(dir string) Finding {
		c := newChecker(Options{Config: &config.Config{ID: "v1", StateDir: dir}, Root: root})
		return c.lookState(t.Context())[0]
	}
	require.Equal(t, OK, look(state).Level, "still to be made")
	require.NoError(t, os.MkdirAll(filepath.Dir(state), 0o700))
	require.NoError(t, os.Chmod(filepath.Dir(filepath.Dir(state)), 0o755))
	require.NoError(t, os.Chmod(filepath.Join(root, "var"), 0o755))
	closed := look(state)
	require.Equal(t, Fail, closed.Level)
	require.Equal(t, "chmod 755 "+filepath.Dir(state), closed.Fix)
	require.Equal(t, OK, look(filepath.Join(root, "home/kim/state")).Level, "a person's own")
	require.NoError(t, os.Chmod(filepath.Dir(state), 0o755))
	require.NoError(t, os.Symlink("../private/vnode/v1", state))
	require.Equal(t, "rm "+state, look(state).Fix)
}

// In a container there is no file to change, but variables to set.
func TestAdviceForAContainer(t *testing.T) {
	for fix, want := range map[string]string{
		`main-s2s = "HOST:5269"`:                               "VNODE_MAIN_S2S=HOST:5269",
		`choose another address: c2s = ["…"]`:                  "choose another address: VNODE_C2S=…",
		`turn-services = ["turn:HOST:3478?transport=udp"]`:     "VNODE_TURN_SERVICES=turn:HOST:3478?transport=udp",
		"max-connections = 20000":                              "VNODE_MAX_CONNECTIONS=20000",
		`main-s2s = "ADDRESS:5269", or put x.org into the DNS`: "VNODE_MAIN_S2S=ADDRESS:5269, or put x.org into the DNS",
		"systemctl restart vnode@v3":                           "systemctl restart vnode@v3",
	} {
		require.Equal(t, want, asVariables(fix))
	}
}

// Whether the focus encrypts its stream follows from the listener: in a container it
// listens on all addresses, and the check dials one of loopback.
func TestFocusEncryptsAsTheListenerWants(t *testing.T) {
	for listener, encrypted := range map[string]bool{
		"127.0.0.1:52223": false, "[::1]:52223": false,
		":5222": true, "0.0.0.0:5222": true, "10.0.0.3:5222": true, "node.example.com:5222": true,
	} {
		c := &checker{cfg: &config.Config{C2S: []string{listener}}}
		require.Equal(t, encrypted, c.focusAccount("secret").TLS != nil, listener)
	}
}
