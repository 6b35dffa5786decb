package node

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vnode/internal/xmpptest/conference"
	"vnode/muc/rate"
)

// ask sends a request to the operator's API and returns the answer; token may
// be empty.
func (r *running) ask(method, path, token, body string) (status int, answer string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, "http://"+r.Addresses().Admin+"/api/v1/"+path, strings.NewReader(body))
	require.NoError(r.t, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(r.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(r.t, err)
	return resp.StatusCode, string(b)
}

// The operator looks at a conference, tells it something, kicks a visitor,
// closes the door behind it and ends the room.
func TestOperatorModeratesAConference(t *testing.T) {
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	cfg := testConfig(t, ln.Addr().String())
	node := start(t, cfg)
	meeting := node.simulatedMain(ln).Room("demo", conference.NewLedger())
	_, err = meeting.Join(t.Context())
	require.NoError(t, err)
	_, err = node.focus().CreateRoom(t.Context(), demoRoom, nil)
	require.NoError(t, err)
	require.NoError(t, meeting.ConnectVNode(t.Context()))
	visitors := []*person{enter(t, node.Addresses().C2S[0], "v3.meet.jitsi", demoRoom), enter(t, node.Addresses().C2S[0], "v3.meet.jitsi", demoRoom)}

	file := filepath.Join(cfg.StateDir, "admin-token")
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	token := strings.TrimSpace(string(b))

	status, body := node.ask("GET", "rooms", "", "")
	require.Equal(t, 200, status)
	require.Contains(t, body, `"visitors":2`)
	status, body = node.ask("GET", "rooms/"+demoRoom, "", "")
	require.Equal(t, 200, status)
	require.NotContains(t, body, visitors[0].nick, "people are not for everybody on this machine")
	status, body = node.ask("GET", "rooms/"+demoRoom, token, "")
	require.Equal(t, 200, status)
	var detail struct {
		Participants []any                            `json:"participantList"`
		Visitors     []struct{ ID, JID, Role string } `json:"visitorList"`
	}
	require.NoError(t, json.Unmarshal([]byte(body), &detail))
	require.Len(t, detail.Participants, 1)
	require.Len(t, detail.Visitors, 2)
	require.Equal(t, visitors[0].nick, detail.Visitors[0].ID)
	require.Equal(t, visitors[0].jid, detail.Visitors[0].JID)

	status, body = node.ask("POST", "rooms/"+demoRoom+"/announcements", token, `{"text":"Five minutes"}`)
	require.Equal(t, 200, status, body)
	require.JSONEq(t, `{"visitors":2}`, body)

	status, _ = node.ask("DELETE", "rooms/"+demoRoom+"/visitors/"+visitors[0].nick, "wrong", "")
	require.Equal(t, 401, status)
	visitors[0].stayed()
	status, body = node.ask("DELETE", "rooms/"+demoRoom+"/visitors/"+visitors[0].nick, token, `{"reason":"Spam"}`)
	require.Equal(t, 204, status, body)
	visitors[0].eventually("is kicked", func() bool {
		return !visitors[0].inside && strings.Contains(visitors[0].out, "307") && strings.Contains(visitors[0].out, "Spam")
	})
	visitors[1].stayed()
	status, body = node.ask("POST", "bans", token, `{"room":"`+demoRoom+`","visitor":"`+visitors[1].nick+`"}`)
	require.Equal(t, 409, status, "nothing tells who it is: %s", body)

	status, body = node.ask("PATCH", "limits", token, `{"visitorsPerRoom":1}`)
	require.Equal(t, 200, status, body)
	require.Equal(t, 1, node.rooms.Limits().MaxVisitors)
	status, body = node.ask("PATCH", "limits", token, `{"presences":{"perSecond":3,"burst":7}}`)
	require.Equal(t, 200, status, body)
	require.Equal(t, rate.Limit{PerSecond: 3, Burst: 7}, node.rooms.Limits().Presences)
	require.Equal(t, 1, node.rooms.Limits().MaxVisitors, "what is not named stays")
	status, body = node.ask("PATCH", "limits", token, `{"chat":{"audience":"cats"}}`)
	require.Equal(t, 400, status)
	require.Contains(t, body, "cats")

	status, _ = node.ask("DELETE", "rooms/"+demoRoom, token, `{"reason":"Maintenance"}`)
	require.Equal(t, 204, status)
	visitors[1].eventually("is told", func() bool {
		return !visitors[1].inside && strings.Contains(visitors[1].out, "<destroy><reason>Maintenance")
	})
	status, _ = node.ask("DELETE", "rooms/"+demoRoom, token, "")
	require.Equal(t, 404, status)
}

// Behind a proxy on this machine a visitor without a token is known by the
// address that the proxy tells.
func TestOperatorBansAnAddressBehindAProxy(t *testing.T) {
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	cfg := testConfig(t, ln.Addr().String())
	cfg.TrustedProxies = []string{"127.0.0.1"}
	node := start(t, cfg)
	ledger := conference.NewLedger()
	meeting := node.simulatedMain(ln).Room("demo", ledger)
	_, err = meeting.Join(t.Context())
	require.NoError(t, err)
	_, err = node.focus().CreateRoom(t.Context(), demoRoom, nil)
	require.NoError(t, err)
	require.NoError(t, meeting.ConnectVNode(t.Context()))

	behind := func(address string) *conference.Swarm {
		proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: node.Addresses().HTTP[0]})
			r.Out.Header.Set("X-Forwarded-For", address)
		}})
		t.Cleanup(proxy.Close)
		s := conference.NewSwarm(conference.SwarmOptions{
			URL:    "ws://" + proxy.Listener.Addr().String() + "/xmpp-websocket?room=demo&vnode=v3",
			Domain: "v3.meet.jitsi", Room: demoRoom, Ledger: ledger,
		})
		t.Cleanup(s.Close)
		return s
	}
	spammer, other := behind("198.51.100.7"), behind("198.51.100.8")
	require.NoError(t, spammer.Join(t.Context(), 1, 0))
	require.NoError(t, other.Join(t.Context(), 1, 0))
	_, people, err := moderator{node.rooms}.Look(t.Context(), demoRoom)
	require.NoError(t, err)
	require.Len(t, people.Visitors, 2)
	require.Equal(t, "198.51.100.7", people.Visitors[0].Address)

	status, body := node.ask("POST", "bans", node.Node.adminToken, `{"room":"`+demoRoom+`","visitor":"`+people.Visitors[0].ID+`","for":"24h","reason":"Spam"}`)
	require.Equal(t, 200, status, body)
	require.Contains(t, body, `"address":"198.51.100.7"`)
	t.Log(body)
	_, people, err = moderator{node.rooms}.Look(t.Context(), demoRoom)
	require.NoError(t, err)
	require.Len(t, people.Visitors, 1)
	require.Equal(t, "198.51.100.8", people.Visitors[0].Address)
	require.Error(t, behind("198.51.100.7").Join(t.Context(), 1, 0))
	require.NoError(t, behind("198.51.100.9").Join(t.Context(), 1, 0))
	status, body = node.ask("GET", "bans", node.Node.adminToken, "")
	require.Equal(t, 200, status)
	t.Log(body)
	status, _ = node.ask("DELETE", "bans/1", node.Node.adminToken, "")
	require.Equal(t, 204, status)
	require.NoError(t, behind("198.51.100.7").Join(t.Context(), 1, 0))
}
