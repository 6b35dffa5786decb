package setup

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/internal/xmpptest/conference"
	"vnode/internal/xmpptest/jitsi"
	"vnode/internal/xmpptest/needs"
	"vnode/internal/xmpptest/nginx"
)

// program is the built vnode.
var program string

func TestMain(m *testing.M) { jitsi.Main(m, &program) }

// stage is an installation on which set-up was run, all of it running.
type stage struct {
	*jitsi.Root
	t   *testing.T
	ctx context.Context
}

func newStage(t *testing.T, o jitsi.Options) *stage {
	needs.Programs(t, "prosody", "nginx", "hocon")
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	s := &stage{Root: jitsi.Install(t, o), t: t, ctx: ctx}
	t.Log(s.SetUp(t, program, 2))
	require.NoError(t, nginx.Test(ctx, s.Dir))
	s.RunProsody(t)
	s.RunNginx(t)
	s.RunNode(t, "v1")
	s.RunNode(t, "v2")
	return s
}

// conference holds one on main, with a participant, and connects the node.
func (s *stage) meeting(node, name string) *meeting {
	t := s.t
	nd := s.node(node)
	ledger := conference.NewLedger()
	live, err := conference.NewLive(s.ctx, conference.LiveOptions{
		URL: s.MainWebSocketURL(), Domain: s.Domain, Room: name + "@conference." + s.Domain,
		Component: "visitors." + s.Domain, VNode: node, Ledger: ledger,
		Focus: conference.FocusOptions{Addr: s.C2S().String(), JID: "focus@auth." + s.Domain + "/focus", Password: s.FocusPassword},
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = live.Close(ctx) // main may be gone
	})
	speaker, err := live.Join(s.ctx)
	require.NoError(t, err)
	focus, err := conference.DialFocus(s.ctx, conference.FocusOptions{
		Addr: nd.cfg.C2S[0], JID: "focus@auth.meet.jitsi/focus", Password: s.password(),
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = focus.Close(ctx) // likewise
	})
	room := name + "@conference." + node + ".meet.jitsi"
	_, err = focus.CreateRoom(s.ctx, room, ledger)
	require.NoError(t, err)
	require.NoError(t, live.ConnectVNode(s.ctx))
	return &meeting{room: room, speaker: speaker}
}

type meeting struct {
	room    string
	speaker conference.Speaker
}

func (s *stage) node(id string) node {
	text, err := os.ReadFile(s.Path("etc/vnode", id+".toml"))
	require.NoError(s.t, err)
	cfg, err := parseConfig(text)
	require.NoError(s.t, err)
	return node{cfg: cfg}
}

func (s *stage) password() string {
	b, err := os.ReadFile(s.Path("etc/vnode/focus-password"))
	require.NoError(s.t, err)
	return string(b[:len(b)-1])
}

// browser gets into the room through nginx, which knows the node by ?vnode=
// alone.
func (s *stage) browser(node string, c *meeting) *jitsi.Browser {
	url := fmt.Sprintf("wss://%s/xmpp-websocket?room=demo&vnode=%s", s.Domain, node)
	b, err := jitsi.Open(s.ctx, url, node+".meet.jitsi", s.TLS(), s.Dial)
	require.NoError(s.t, err)
	s.t.Cleanup(b.Close)
	require.NoError(s.t, b.Join(s.ctx, c.room))
	return b
}

// One command on a fresh installation; then main, nginx and two nodes are
// started with what it wrote and nothing else. A browser gets into the room of
// either node, hears a participant of main, and what it says is heard on main
// and in the other browser of its room.
func TestFromInstallationToVisitor(t *testing.T) {
	s := newStage(t, jitsi.Options{})
	for _, id := range []string{"v1", "v2"} {
		c := s.meeting(id, "demo"+id)
		watcher, other := s.browser(id, c), s.browser(id, c)
		require.NoError(t, watcher.Say(s.ctx, fmt.Sprintf(
			`<message xmlns='jabber:client' type='groupchat' to='%s' id='hello'><body>hello from a visitor</body></message>`, c.room)))
		_, err := other.Hear(s.ctx, "hello from a visitor", "<body>")
		require.NoError(t, err)
	}
}

// A site older than visitors: its locations know no node. With the pieces that
// setup names, put in where it says, a browser gets through.
func TestPiecesByHand(t *testing.T) {
	needs.Programs(t, "prosody", "nginx")
	s := &stage{Root: jitsi.Install(t, jitsi.Options{}), t: t}
	s.ctx = t.Context()
	withoutJicofo(t, s.Root)
	s.SetUp(t, program, 2)
	piece := func(name string) string { return s.Path("etc/vnode/pieces", name) }
	bare := t.TempDir()
	require.NoError(t, nginx.Install(bare, nginx.Site{
		Domain: s.Domain, Listen: "127.0.0.1:1", Bare: true, Include: piece("nginx-locations.conf"), HTTPInclude: piece("nginx-http.conf"),
	}))
	require.NoError(t, nginx.Test(s.ctx, bare))
}
