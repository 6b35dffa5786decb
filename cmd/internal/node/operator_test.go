package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/cmd/internal/admin"
	"vnode/cmd/internal/config"
	"vnode/internal/xmpptest/conference"
)

// shift is an operator at work on a node with a conference.
type shift struct {
	*running
	token   string
	meeting conference.Conference
	swarm   *conference.Swarm
	created *conference.FocusRoom
	focused *conference.Focus
}

// startShift starts a node with a conference of one participant and so many
// visitors.
func startShift(t *testing.T, visitors int, change func(*config.Config)) *shift {
	t.Helper()
	return startShiftLogging(t, visitors, change, testWriter{t})
}

func startShiftLogging(t *testing.T, visitors int, change func(*config.Config), log io.Writer) *shift {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	cfg := testConfig(t, ln.Addr().String())
	s := &shift{token: "an operator's token"}
	cfg.AdminTokenFile = filepath.Join(cfg.StateDir, "admin-token")
	require.NoError(t, os.WriteFile(cfg.AdminTokenFile, []byte(s.token+"\n"), 0o600))
	if change != nil {
		change(cfg)
	}
	s.running = startLogging(t, cfg, log)
	ledger := conference.NewLedger()
	s.meeting = s.simulatedMain(ln).Room("demo", ledger)
	_, err = s.meeting.Join(t.Context())
	require.NoError(t, err)
	s.focused = s.focus()
	s.created, err = s.focused.CreateRoom(t.Context(), demoRoom, ledger)
	require.NoError(t, err)
	require.NoError(t, s.meeting.ConnectVNode(t.Context()))
	s.swarm = s.running.swarm(ledger)
	require.NoError(t, s.swarm.Join(t.Context(), visitors, 0))
	return s
}

// ear hears a log.
type ear struct {
	mu    sync.Mutex
	heard bytes.Buffer // guarded by mu
}

func (e *ear) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.heard.Write(p)
}

func (e *ear) String() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.heard.String()
}

// ask sends the operator's request and returns the answer.
func (s *shift) ask(method, path, body string) (int, string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, "http://"+s.Addresses().Admin+path, strings.NewReader(body))
	require.NoError(s.t, err)
	req.Header.Set("Authorization", "Bearer "+s.token)
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	require.NoError(s.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	return resp.StatusCode, string(b)
}

func (s *shift) leaves() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_ = s.meeting.Close(ctx) // it may have nobody to say good-bye to
}

// What the status page shows is what is the case.
func TestStatusOfARealConference(t *testing.T) {
	s := startShift(t, 12, nil)
	var status admin.Status
	require.Eventually(t, func() bool {
		_, body := s.ask("GET", "/status.json", "")
		status = admin.Status{}
		require.NoError(t, json.Unmarshal([]byte(body), &status))
		bound := 0
		for _, n := range status.Sessions {
			if n.State == "bound" {
				bound += n.Count
			}
		}
		return status.Visitors == 12 && bound == 13 // and the focus
	}, 20*time.Second, 20*time.Millisecond)
	require.Equal(t, admin.Ready, status.State)
	require.Equal(t, 1, status.Participants)
	require.Len(t, status.Rooms, 1)
	require.Equal(t, demoRoom, status.Rooms[0].Address)
	require.Equal(t, "connected", status.Rooms[0].State)
	require.Len(t, status.Links, 4)
	require.Empty(t, status.Trouble)

	_, body := s.ask("GET", "/status.json?room="+demoRoom, "")
	var d admin.RoomDetail
	require.NoError(t, json.Unmarshal([]byte(body), &d))
	require.Len(t, d.Visitors, 12)
	require.Len(t, d.Participants, 1)
	require.Contains(t, d.Events[0].Text, "joined (nick ")
	require.Contains(t, d.Events[len(d.Events)-2].Text, "room created (session focus@")
	s.leaves()
}

// Every metric that the status page reads is one the node has.
func TestStatusPageReadsRealMetrics(t *testing.T) {
	node := start(t, testConfig(t, "127.0.0.1:1"))
	families, err := node.registry.Gather()
	require.NoError(t, err)
	have := make(map[string]bool)
	for _, f := range families {
		have[f.GetName()] = true
	}
	for _, name := range admin.Metrics() {
		require.True(t, have[name], name)
	}
}

// An operator drains the node: the load balancer hears of it, visitors of the
// room that is there still come, jicofo may begin another, and when the drain is
// called off all is as before.
func TestOperatorDrains(t *testing.T) {
	s := startShift(t, 3, nil)
	defer s.leaves()
	code, body := s.ask("POST", "/admin/drain", "")
	require.Equal(t, 409, code, body)
	require.Contains(t, body, "other-nodes is empty")
	code, body = s.ask("POST", "/admin/drain", `{"force": true}`)
	require.Equal(t, 202, code, body)
	code, body = s.ask("GET", "/readyz", "")
	require.Equal(t, 503, code)
	require.Contains(t, body, "an operator drains the node")
	_, err := s.focused.CreateRoom(t.Context(), "another@conference.v3.meet.jitsi", conference.NewLedger())
	require.NoError(t, err, "a focus that is logged in is refused no room")
	require.NoError(t, s.swarm.Join(t.Context(), 2, 0), "the room goes on, and takes visitors")
	_, body = s.ask("GET", "/metrics", "")
	require.Contains(t, body, `vnode_state{state="draining"} 1`)

	code, body = s.ask("DELETE", "/admin/drain", "")
	require.Equal(t, 200, code, body)
	code, _ = s.ask("GET", "/readyz", "")
	require.Equal(t, 200, code)
	_, err = s.focused.CreateRoom(t.Context(), "third@conference.v3.meet.jitsi", conference.NewLedger())
	require.NoError(t, err)
}

// A node that is told to end waits for its conferences, but not when somebody
// is in a hurry; they end with a reason all the same.
func TestEndWaitsForConferencesUnlessHurried(t *testing.T) {
	s := startShift(t, 5, func(c *config.Config) {
		c.DrainTimeout, c.DrainSpread = config.Duration(time.Hour), config.Duration(time.Minute)
	})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.stop()
	}()
	require.Eventually(t, func() bool {
		_, body := s.ask("GET", "/readyz", "")
		return strings.Contains(body, "the node was told to end; 1 conferences with 5 visitors go on")
	}, 20*time.Second, 20*time.Millisecond)
	require.NoError(t, s.swarm.Join(t.Context(), 1, 0))
	s.Hurry()
	<-stopped
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.NoError(t, s.swarm.WaitEnd(ctx))
	for _, v := range s.swarm.Visitors() {
		end, ok := v.Ended()
		require.True(t, ok)
		require.ErrorContains(t, end.Err, "system-shutdown")
	}
	s.leaves()
}

// A room that is logged in every detail tells of each stanza, and not what was
// said; no log has a secret in it.
func TestOneRoomIsTracedAndSecretsAreNot(t *testing.T) {
	log := new(ear)
	s := startShiftLogging(t, 1, nil, log)
	require.NotContains(t, log.String(), "from a client")
	code, body := s.ask("POST", "/admin/debug", fmt.Sprintf(`{"target":%q,"for":"1m"}`, demoRoom))
	require.Equal(t, 200, code, body)
	require.Contains(t, body, demoRoom)
	require.NoError(t, s.swarm.Visitors()[0].Chat())
	require.NoError(t, s.swarm.Drain(t.Context()))
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "stanza=message") }, 20*time.Second, 5*time.Millisecond)
	s.leaves()
	s.stop()
	text := log.String()
	require.Contains(t, text, `msg="from a client"`)
	require.Contains(t, text, "meeting=")
	require.NotContains(t, text, "<body>")
	require.NotContains(t, text, s.password())
	require.NotContains(t, text, s.token)
}
