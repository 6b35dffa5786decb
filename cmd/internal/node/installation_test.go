package node

import (
	"context"
	_ "embed"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"vnode/cmd/internal/config"
	"vnode/internal/xmpptest/browser"
	"vnode/internal/xmpptest/conference"
	"vnode/internal/xmpptest/jitsi"
	"vnode/internal/xmpptest/needs"
	"vnode/internal/xmpptest/nginx"
)

//go:embed testdata/visitor.html
var visitorPage string

// installation is what an operator has after `vnode setup`: a main Prosody and
// an nginx with the generated pieces, nodes started as their unit does; and a
// browser that knows the site by its name.
type installation struct {
	*jitsi.Root
	t       *testing.T
	browser *browser.Browser
}

// install sets up nodes v1 to v3 and starts v1, where visitors need a token, and
// v3.
func install(t *testing.T) *installation {
	t.Helper()
	needs.Programs(t, "prosody", "nginx", "chromium", "npm")
	program, err := jitsi.Build(t.Context(), t.TempDir())
	require.NoError(t, err)
	i := &installation{t: t, Root: jitsi.Install(t, jitsi.Options{Site: func(s *nginx.Site) { s.Include = servePage(t) }})}
	// Asking hocon for jicofo's settings takes longer than all else.
	require.NoError(t, os.Remove(i.Path("etc/jitsi/jicofo/jicofo.conf")))
	i.SetUp(t, program, 3)
	i.addTo("v1", fmt.Sprintf("token-key-file = %q\ntoken-issuers = [\"jitsi\"]\n", secretFile(t, tokenSecret+"\n")))
	i.RunProsody(t)
	i.RunNginx(t)
	i.RunNode(t, "v1")
	i.RunNode(t, "v3")
	i.browser = browser.Run(t, chromedp.IgnoreCertErrors,
		chromedp.Flag("host-resolver-rules", fmt.Sprintf("MAP %s 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", i.Domain)))
	return i
}

// servePage writes the page and strophe.js, and what makes nginx serve both.
func servePage(t *testing.T) (include string) {
	t.Helper()
	strophe, err := browser.Module("strophe.js/dist/strophe.umd.min.js")
	require.NoError(t, err)
	return secretFile(t, fmt.Sprintf(`
location = /visitor.html { alias %s; default_type text/html; }
location = /strophe.js { alias %s; default_type text/javascript; }
`, secretFile(t, visitorPage), secretFile(t, strophe)))
}

func (i *installation) configFile(node string) string { return i.Path("etc/vnode", node+".toml") }

// addTo adds lines to a node's configuration.
func (i *installation) addTo(node, lines string) {
	i.t.Helper()
	f, err := os.OpenFile(i.configFile(node), os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(i.t, err)
	_, err = f.WriteString(lines)
	require.NoError(i.t, err)
	require.NoError(i.t, f.Close())
}

func (i *installation) config(node string) *config.Config {
	i.t.Helper()
	flags := flag.NewFlagSet("vnode", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	cfg, err := config.Load(flags, []string{"-config", i.configFile(node)}, func(string) (string, bool) { return "", false })
	require.NoError(i.t, err)
	return cfg
}

// visitors is how many occupants a node counts, by its metrics.
func (i *installation) visitors(node string) int {
	r, err := http.Get("http://" + i.config(node).Admin + "/metrics")
	require.NoError(i.t, err)
	defer r.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	text, err := io.ReadAll(r.Body)
	require.NoError(i.t, err)
	found := visitorCount.FindSubmatch(text)
	require.NotNil(i.t, found)
	n, err := strconv.Atoi(string(found[1]))
	require.NoError(i.t, err)
	return n
}

var visitorCount = regexp.MustCompile(`(?m)^vnode_muc_occupants\{[^}]*"visitor"\} (\d+)$`)

// show is a conference that a node carries, with a participant who came through
// the same nginx, without ?vnode=.
type show struct {
	*installation
	node        string
	name        string // of the room
	participant *tab
}

// show holds a conference. It is the focus that opens its rooms and has main
// connect the node.
func (i *installation) show(node string) *show {
	i.t.Helper()
	ctx, t := i.t.Context(), i.t
	s := &show{installation: i, node: node, name: "demo" + node}
	ledger := conference.NewLedger()
	live, err := conference.NewLive(ctx, conference.LiveOptions{
		URL: i.MainWebSocketURL(), Domain: i.Domain, Room: s.name + "@conference." + i.Domain,
		Component: "visitors." + i.Domain, VNode: node, Ledger: ledger,
		Focus: conference.FocusOptions{Addr: i.C2S().String(), JID: "focus@auth." + i.Domain + "/focus", Password: i.FocusPassword},
	})
	require.NoError(t, err)
	closeAtEnd(t, live.Close)
	s.participant = i.opens(t, visit{way: i.Web, service: "wss://%s/xmpp-websocket?room=" + s.name, domain: i.Domain, room: s.name})
	s.participant.until("seen.occupants.includes(nick)")
	password, err := os.ReadFile(i.Path("etc/vnode/focus-password"))
	require.NoError(t, err)
	focus, err := conference.DialFocus(ctx, conference.FocusOptions{
		Addr: i.config(node).C2S[0], JID: "focus@auth.meet.jitsi/focus", Password: string(password[:len(password)-1]),
	})
	require.NoError(t, err)
	closeAtEnd(t, focus.Close)
	_, err = focus.CreateRoom(ctx, s.name+"@conference."+node+".meet.jitsi", ledger)
	require.NoError(t, err)
	require.NoError(t, live.ConnectVNode(ctx))
	return s
}

// closeAtEnd closes a client of a server that may be gone by then.
func closeAtEnd(t *testing.T, shut func(context.Context) error) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = shut(ctx)
	})
}
