package node

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"vnode/internal/visitorlist"
	"vnode/internal/visitorlist/stomp"
	"vnode/internal/xmpptest/conference"
)

// subscriber is a moderator's page that asks for the list of visitors.
type subscriber struct {
	t    testing.TB
	ctx  context.Context
	conn *websocket.Conn
}

func (r *running) subscribe(bearer string) *subscriber {
	ctx, cancel := context.WithTimeout(r.t.Context(), 30*time.Second)
	r.t.Cleanup(cancel)
	conn, _, err := websocket.Dial(ctx, "ws://"+r.Addresses().HTTP[0]+visitorlist.Path, &websocket.DialOptions{Subprotocols: []string{"v12.stomp"}})
	require.NoError(r.t, err)
	r.t.Cleanup(func() { _ = conn.CloseNow() })
	s := &subscriber{r.t, ctx, conn}
	s.send(stomp.Connect, "Authorization", "Bearer "+bearer, "accept-version", "1.2")
	return s
}

func (s *subscriber) send(command string, headers ...string) {
	f := stomp.Frame{Command: command}
	for i := 0; i < len(headers); i += 2 {
		f.Headers = append(f.Headers, stomp.Header{Name: headers[i], Value: headers[i+1]})
	}
	require.NoError(s.t, s.conn.Write(s.ctx, websocket.MessageBinary, f.Append(nil)))
}

func (s *subscriber) next() stomp.Frame {
	s.t.Helper()
	for {
		_, b, err := s.conn.Read(s.ctx)
		require.NoError(s.t, err)
		if f, _, ok, err := stomp.Parse(b); ok {
			require.NoError(s.t, err)
			return f
		}
	}
}

// A moderator's page sees who watches, and who comes and goes.
func TestModeratorsListVisitors(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	cfg := testConfig(t, ln.Addr().String())
	withTokens(t, cfg)
	cfg.TokenOptional = true
	node := start(t, cfg)
	meeting := node.simulatedMain(ln).Room("demo", conference.NewLedger())
	_, err = meeting.Join(t.Context())
	require.NoError(t, err)
	_, err = node.focus().CreateRoom(t.Context(), demoRoom, nil)
	require.NoError(t, err)
	require.NoError(t, meeting.ConnectVNode(t.Context()))
	first := enter(t, node.Addresses().C2S[0], "v3.meet.jitsi", demoRoom)
	infos, err := node.rooms.Rooms(t.Context())
	require.NoError(t, err)
	id := infos[0].MeetingID

	page := node.subscribe(listToken(t, "demo", true))
	connected := page.next()
	require.Equal(t, stomp.Connected, connected.Command, "%v", connected.Headers)
	page.send(stomp.Subscribe, "id", "topic", "destination", "/secured/conference/visitors-list/topic/"+id)
	page.send(stomp.Subscribe, "id", "queue", "destination", "/secured/conference/visitors-list/queue/"+id+"/abcdef01")
	list := page.next()
	require.Equal(t, "queue", list.Get("subscription"))
	require.JSONEq(t, fmt.Sprintf(`[{"n":"","r":%q}]`, first.nick), string(list.Body))
	second := enter(t, node.Addresses().C2S[0], "v3.meet.jitsi", demoRoom)
	news := page.next()
	require.Equal(t, "topic", news.Get("subscription"))
	require.JSONEq(t, fmt.Sprintf(`[{"n":"","r":%q,"s":"j"}]`, second.nick), string(news.Body))
	require.NoError(t, node.rooms.Kick(t.Context(), demoRoom, first.nick, ""))
	news = page.next()
	require.JSONEq(t, fmt.Sprintf(`[{"n":"","r":%q,"s":"l"}]`, first.nick), string(news.Body))

	for name, bearer := range map[string]string{"none": "", "without the feature": listToken(t, "demo", false), "nonsense": "x"} {
		refused := node.subscribe(bearer).next()
		require.Equal(t, stomp.Error, refused.Command, name)
	}
	other := node.subscribe(listToken(t, "another", true))
	connected = other.next()
	require.Equal(t, stomp.Connected, connected.Command)
	other.send(stomp.Subscribe, "id", "topic", "destination", "/secured/conference/visitors-list/topic/"+id)
	refused := other.next()
	require.Contains(t, refused.Get("message"), "does not allow")
}

func listToken(t *testing.T, room string, feature bool) string {
	t.Helper()
	s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iss": "jitsi", "aud": "x", "sub": "meet.jitsi", "room": room, "exp": time.Now().Add(time.Hour).Unix(),
		"context": map[string]any{"features": map[string]any{"list-visitors": feature}},
	}).SignedString([]byte(tokenSecret))
	require.NoError(t, err)
	return s
}
