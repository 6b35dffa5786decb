package admin

import (
	"bufio"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

func report(t *testing.T, body string) Report {
	t.Helper()
	var r Report
	require.NoError(t, json.Unmarshal([]byte(body), &r))
	return r
}

// A load balancer asks /readyz, a supervisor /healthz; both tell a person why.
func TestHealthSaysWhy(t *testing.T) {
	h := newHouse(t, "")
	code, body := h.ask("GET", "/readyz", "", "")
	require.Equal(t, 200, code)
	r := report(t, body)
	require.True(t, r.OK)
	require.Equal(t, Ready, r.State)
	require.True(t, r.Links["conference.v3.meet.jitsi -> meet.jitsi"])
	require.Len(t, r.Reasons, 1, "polls are not there, which does not keep visitors away")
	require.Contains(t, r.Reasons[0], "no stream to polls.meet.jitsi: host_unknown")

	h.health.Set(Draining, "an operator drains the node")
	code, body = h.ask("GET", "/readyz", "", "")
	require.Equal(t, 503, code)
	r = report(t, body)
	require.False(t, r.OK)
	require.Equal(t, "an operator drains the node", r.Reasons[0])
	code, body = h.ask("GET", "/healthz", "", "")
	require.Equal(t, 200, code, "draining is no illness")
	require.True(t, report(t, body).OK)

	h.node.change(func(f *fakeNode) { f.stuck = errors.New("a room does not answer") })
	code, body = h.ask("GET", "/healthz", "", "")
	require.Equal(t, 503, code)
	require.Contains(t, report(t, body).Reasons[0], "a room does not answer")
	_, body = h.ask("GET", "/status.json", "", "")
	require.Contains(t, body, `"trouble":"a room does not answer"`)
}

func TestStartingIsNotReady(t *testing.T) {
	h := newHouse(t, "")
	*h.health = Health{}
	code, body := h.ask("GET", "/readyz", "", "")
	require.Equal(t, 503, code)
	require.Equal(t, Starting, report(t, body).State)
}

// A node that has not reached main yet is not ready; one that has, stays it while
// main is away for a moment.
func TestReadyOnceMainWasReached(t *testing.T) {
	node := &fakeNode{links: []Link{{Name: "main"}, {Name: "polls", Up: true}}}
	s := &Server{o: Options{Source: node, Health: new(Health)}}
	s.o.Health.Set(Ready, "")
	main := func(up bool) Report {
		node.change(func(f *fakeNode) { f.links[0].Up = up })
		return s.report()
	}
	r := main(false)
	require.False(t, r.Ready)
	require.Contains(t, r.Reasons, "main has not been reached since the start")
	require.True(t, main(true).Ready)
	r = main(false)
	require.True(t, r.Ready, "rooms wait for main")
	require.Equal(t, []string{"no stream to  yet"}, r.Reasons)
}

// Nothing is changed without the token.
func TestTokenGuardsWhatChangesSomething(t *testing.T) {
	for name, tc := range map[string]struct {
		token, bearer string
		code          int
		says          string
	}{
		"right":         {token, token, 202, ""},
		"wrong":         {token, "an operator's tokem", 401, "Authorization: Bearer"},
		"prefix":        {token, token[:5], 401, ""},
		"none":          {token, "", 401, ""},
		"no token":      {"", "", 403, "no admin token"},
		"empty to none": {"", " ", 403, "no admin token"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, tc.token)
			code, body := h.ask("POST", "/admin/drain", "", tc.bearer)
			require.Equal(t, tc.code, code)
			require.Contains(t, body, tc.says)
			require.Equal(t, code == 202, len(h.node.drained) == 1)
			for _, request := range []string{"DELETE /admin/drain", "GET /admin/debug", "POST /admin/debug", "DELETE /admin/debug"} {
				method, path, _ := strings.Cut(request, " ")
				code, _ := h.ask(method, path, `{"target":"x"}`, tc.bearer)
				require.Equal(t, tc.code == 202, code < 300, request)
			}
		})
	}
}

func TestDrainTakesATimeout(t *testing.T) {
	h := newHouse(t, token)
	for body, want := range map[string]int{
		`{"timeout":"30m"}`: 202, `{}`: 202, ``: 202,
		`{"timeout":"soon"}`: 400, `{"timeout":"-1s"}`: 400, `{"timout":"1s"}`: 400, `[]`: 400, `{"timeout":30}`: 400,
		`{"timeout":"` + strings.Repeat("9", maxBody) + `"}`: 400,
	} {
		code, answer := h.ask("POST", "/admin/drain", body, token)
		require.Equal(t, want, code, body)
		if want == 400 {
			require.Contains(t, answer, "error")
		}
	}
	require.ElementsMatch(t, []string{"30m0s an operator drains the node", "0s an operator drains the node", "0s an operator drains the node"}, h.node.drained)
	code, _ := h.ask("DELETE", "/admin/drain", "", token)
	require.Equal(t, 200, code)
	code, body := h.ask("DELETE", "/admin/drain", "", token)
	require.Equal(t, 409, code)
	require.Contains(t, body, "does not drain")
}

func TestDebugIsTurnedOnForAWhile(t *testing.T) {
	h := newHouse(t, token)
	code, body := h.ask("POST", "/admin/debug", `{"target":"demo@conference.v3.meet.jitsi"}`, token)
	require.Equal(t, 200, code)
	var on []DebugTarget
	require.NoError(t, json.Unmarshal([]byte(body), &on))
	require.Len(t, on, 1)
	require.WithinDuration(t, time.Now().Add(debugFor), on[0].Until, time.Minute)
	for _, bad := range []string{`{}`, `{"target":"x","for":"25h"}`, `{"target":"x","for":"0s"}`, `{"target":1}`} {
		code, _ := h.ask("POST", "/admin/debug", bad, token)
		require.Equal(t, 400, code, bad)
	}
	_, body = h.ask("DELETE", "/admin/debug?target=demo@conference.v3.meet.jitsi", "", token)
	require.Equal(t, "[]\n", body)
}

// stream opens a stream of events; nil when it was refused.
func (h *house) stream(query string) *bufio.Reader {
	req, err := http.NewRequest("GET", h.url+"/status/events"+query, nil)
	require.NoError(h.t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(h.t, err)
	h.t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != 200 {
		require.Equal(h.t, 503, resp.StatusCode)
		require.NotEmpty(h.t, resp.Header.Get("Retry-After"))
		return nil
	}
	require.Equal(h.t, "text/event-stream", resp.Header.Get("Content-Type"))
	return bufio.NewReader(resp.Body)
}

// event reads the next event's name and data.
func event(t *testing.T, r *bufio.Reader) (name, data string) {
	t.Helper()
	for {
		line, err := r.ReadString('\n')
		require.NoError(t, err)
		switch key, value, _ := strings.Cut(strings.TrimSpace(line), ": "); key {
		case "event":
			name = value
		case "data":
			return name, value
		}
	}
}

func TestEventStreamsAreBounded(t *testing.T) {
	h := newHouse(t, "")
	h.hub.limit = 2
	first := h.stream("")
	require.NotNil(t, first)
	require.NotNil(t, h.stream(""))
	require.Nil(t, h.stream(""))
	for range 3 {
		name, data := event(t, first)
		require.Equal(t, "status", name)
		var s Status
		require.NoError(t, json.Unmarshal([]byte(data), &s))
		require.Equal(t, "v3.meet.jitsi", s.Identity.Host)
	}
	h.cut()
	require.Eventually(t, func() bool { return !h.hub.any() }, 20*time.Second, 5*time.Millisecond, "their places are free again")
}

func TestRoomEvents(t *testing.T) {
	h := newHouse(t, token)
	h.busy()
	r := h.stream("?room=townhall%40conference.v3.meet.jitsi")
	for range 2 {
		name, _ := event(t, r)
		require.Equal(t, "status", name)
		name, data := event(t, r)
		require.Equal(t, "room", name)
		require.Contains(t, data, `"visitorList":[{`)
	}
	h.node.change(func(f *fakeNode) { f.rooms = nil })
	for range 10 {
		if name, _ := event(t, r); name == "gone" {
			break
		}
	}
	code, body := h.ask("GET", "/status.json?room=nobody", "", "")
	require.Equal(t, 404, code)
	require.Contains(t, body, "no such room")
}

func TestStatusIsBounded(t *testing.T) {
	h := newHouse(t, token)
	h.node.change(func(f *fakeNode) {
		for i := range 3 * maxRooms {
			f.rooms = append(f.rooms, RoomDetail{Room: Room{Address: string(rune('a' + i)), Visitors: i}, Visitors: make([]Occupant, 2*maxOccupants)})
		}
		f.slow = make([]Slow, 10*maxSlow)
	})
	_, body := h.ask("GET", "/status.json", "", token)
	var s Status
	require.NoError(t, json.Unmarshal([]byte(body), &s))
	require.Len(t, s.Rooms, maxRooms)
	require.Equal(t, 3*maxRooms, s.RoomCount)
	require.Equal(t, 3*maxRooms-1, s.Rooms[0].Visitors, "most visitors first")
	require.Len(t, s.Slow, maxSlow)
	require.Equal(t, 10*maxSlow, s.SlowAll)
	_, body = h.ask("GET", "/status.json?room=a", "", token)
	require.Equal(t, maxOccupants, strings.Count(body, `"jid"`))
}

// The page runs its own script and style and nothing else, and loads nothing.
func TestPagePolicy(t *testing.T) {
	h := newHouse(t, "")
	resp, err := http.Get(h.url + "/")
	require.NoError(t, err)
	defer resp.Body.Close()
	policy := resp.Header.Get("Content-Security-Policy")
	require.Contains(t, policy, "default-src 'none'")
	require.NotContains(t, policy, "unsafe")
	for _, outside := range []string{"src=\"", "http://", "https://", "@import", "url("} {
		text := strings.ReplaceAll(page, "http://www.w3.org/2000/svg", "")
		require.NotContains(t, text, outside)
	}
}

func TestSamplesTellRatesAndQuantiles(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := newMeters(reg)
	s := newSampler(reg)
	start := time.Now()
	m.closed.WithLabelValues("closed").Add(5)
	m.main.WithLabelValues("in").Add(1)
	s.take(start)
	require.Empty(t, s.trend().closes, "what was before we looked is not lately")
	m.delivered.Add(2000)
	m.main.WithLabelValues("in").Add(20)
	m.main.WithLabelValues("out").Add(4)
	for range 99 {
		m.delay.Observe(0.0003)
	}
	m.delay.Observe(1000) // beyond the last bucket
	m.closed.WithLabelValues("closed").Add(3)
	m.closed.WithLabelValues("stalled").Add(7)
	s.take(start.Add(2 * time.Second))
	tr := s.trend()
	require.Equal(t, Rates{Delivered: 1000, FromMain: 10, ToMain: 2}, tr.rates)
	require.Equal(t, []CloseCount{{"stalled", 7}, {"closed", 3}}, tr.closes)
	require.Len(t, tr.latency, 1)
	require.InDelta(t, 0.0003, *tr.latency[0].P50, 0.0001)
	require.InDelta(t, 0.0004, *tr.latency[0].P99, 0.0001)
	m.delay.Observe(1000)
	s.take(start.Add(3 * time.Second))
	require.InDelta(t, 3.2768, *s.trend().latency[1].P99, 1e-9, "the last bound")
	for i := range memory + 10 {
		s.take(start.Add(time.Duration(4+i) * time.Second))
	}
	tr = s.trend()
	require.Len(t, s.ring, memory)
	require.Len(t, tr.latency, sparkline)
	require.Nil(t, tr.latency[0].P99)
	require.Empty(t, tr.closes)
}

func BenchmarkSample(b *testing.B) {
	reg := prometheus.NewRegistry()
	newMeters(reg)
	s := newSampler(reg)
	for b.Loop() {
		s.take(time.Now())
	}
}

// Who is in a room is for who bears the token. A program on this machine sees
// the figures; from elsewhere, or by a page that had a browser here come by
// another name, not even those are seen.
func TestPeopleAreForTheToken(t *testing.T) {
	h := newHouse(t, token)
	h.busy()
	h.node.change(func(f *fakeNode) {
		f.debugged = []DebugTarget{{Name: "0badcafe-0000-4000-8000-000000000000@v3.meet.jitsi"}}
	})
	for _, path := range []string{"/status.json", "/status.json?room=townhall@conference.v3.meet.jitsi"} {
		code, body := h.ask("GET", path, "", token)
		require.Equal(t, 200, code)
		require.Contains(t, body, "0000-4000-8000", "a session's address")
		require.Contains(t, body, `"people":true`)
		for _, bearer := range []string{"", "wrong"} {
			code, body = h.ask("GET", path, "", bearer)
			require.Equal(t, 200, code)
			require.Contains(t, body, `"visitors":2291`)
			require.Contains(t, body, `"people":false`)
			for _, private := range []string{"0000-4000-8000", "Visitor 1", "ada@", "nick"} {
				require.NotContains(t, body, private)
			}
		}
	}
	resp, err := http.Get(h.url + "/status/events?room=townhall@conference.v3.meet.jitsi")
	require.NoError(t, err)
	defer resp.Body.Close()
	events := bufio.NewReader(resp.Body)
	for range 4 {
		_, data := event(t, events)
		require.NotContains(t, data, "0000-4000-8000")
	}

	handler := h.Handler()
	from := func(remote, host, path, bearer string) int {
		r := httptest.NewRequest("GET", path, nil)
		r.RemoteAddr, r.Host = remote, host
		if bearer != "" {
			r.Header.Set("Authorization", "Bearer "+bearer)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Code
	}
	for _, path := range []string{"/status.json", "/status/events", "/debug/pprof/", "/debug/pprof/cmdline"} {
		require.Equal(t, 401, from("192.0.2.1:5", "10.0.0.3:52603", path, ""), path)
		require.Equal(t, 401, from("127.0.0.1:5", "evil.example:52603", path, ""), path)
		require.Equal(t, 401, from("127.0.0.1:5", "evil.example:52603", path, "wrong"), path)
	}
	require.Equal(t, 200, from("192.0.2.1:5", "10.0.0.3:52603", "/status.json", token))
	require.Equal(t, 200, from("192.0.2.1:5", "10.0.0.3:52603", "/debug/pprof/cmdline", token))
	for _, path := range []string{"/", "/metrics", "/healthz", "/readyz"} {
		require.Equal(t, 200, from("192.0.2.1:5", "10.0.0.3:52603", path, ""), path)
	}
}

// A page in an operator's browser whose name was made to resolve to the listener
// (DNS rebinding) reads neither metrics nor the page, and of health the state only.
func TestAnotherNameReadsNoMetrics(t *testing.T) {
	h := newHouse(t, token)
	ask := func(remote, host, path, bearer string) (int, string) {
		r := httptest.NewRequest("GET", path, nil)
		r.RemoteAddr, r.Host = remote, host
		if bearer != "" {
			r.Header.Set("Authorization", "Bearer "+bearer)
		}
		w := httptest.NewRecorder()
		h.Handler().ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	for _, host := range []string{"evil.example", "evil.example:52603", "localhost.evil.example", "127.0.0.1.nip.io:52603"} {
		for _, remote := range []string{"127.0.0.1:5", "192.0.2.1:5"} {
			for _, path := range []string{"/metrics", "/", "/status"} {
				code, body := ask(remote, host, path, "")
				require.Equal(t, 421, code, "%s of %s", path, host)
				require.NotContains(t, body, "vnode_")
				code, _ = ask(remote, host, path, "wrong")
				require.Equal(t, 421, code)
			}
			code, body := ask(remote, host, "/healthz", "")
			require.Equal(t, 200, code)
			require.NotContains(t, body, "meet.jitsi", "the domains are nobody else's business")
		}
	}
	for _, host := range []string{"127.0.0.1:52603", "[::1]:52603", "localhost", "10.0.0.3:52603", "vnode-3:52603", ""} {
		code, body := ask("192.0.2.1:5", host, "/metrics", "")
		require.Equal(t, 200, code, host)
		require.Contains(t, body, "# TYPE")
	}
	code, _ := ask("192.0.2.1:5", "metrics.example.com", "/metrics", token)
	require.Equal(t, 200, code, "Prometheus by whatever name, with the token")
	_, body := ask("192.0.2.1:5", "10.0.0.3", "/healthz", "")
	require.Contains(t, body, "meet.jitsi")
}

// Whether jicofo is logged in is told in any case; that it is not makes a node
// unready only where it is wanted.
func TestReadyTellsWhetherJicofoIsThere(t *testing.T) {
	h := newHouse(t, token)
	_, body := h.ask("GET", "/readyz", "", "")
	require.Contains(t, body, `"focus":true`)
	h.node.change(func(f *fakeNode) { f.focus = Focus{Reason: "jicofo is not logged in: is it running?"} })
	code, body := h.ask("GET", "/readyz", "", "")
	require.Equal(t, 200, code)
	require.Contains(t, body, "jicofo is not logged in: is it running?")
	require.Contains(t, body, `"focus":false`)
	_, body = h.ask("GET", "/status.json", "", token)
	require.Contains(t, body, `"focus":{"loggedIn":false,"reason":"jicofo is not logged in: is it running?"}`)
	h.node.change(func(f *fakeNode) { f.focus.Wanted = true })
	code, _ = h.ask("GET", "/readyz", "", "")
	require.Equal(t, 503, code)
	code, _ = h.ask("GET", "/healthz", "", "")
	require.Equal(t, 200, code, "the node itself is well")
}

// An operator is told that no other node takes over before the drain begins.
func TestDrainMustBeForcedWithoutAnotherNode(t *testing.T) {
	h := newHouse(t, token)
	h.node.change(func(f *fakeNode) { f.alone = true })
	code, body := h.ask("POST", "/admin/drain", `{"timeout":"1m"}`, token)
	require.Equal(t, 409, code)
	require.Contains(t, body, "no other node is known")
	require.Empty(t, h.node.drained)
	code, _ = h.ask("POST", "/admin/drain", `{"timeout":"1m","force":true}`, token)
	require.Equal(t, 202, code)
	require.Len(t, h.node.drained, 1)
}

// Held rooms and why they are held are in the status.
func TestStatusTellsOfHeldRooms(t *testing.T) {
	h := newHouse(t, token)
	h.node.change(func(f *fakeNode) {
		f.rooms = []RoomDetail{{Room: Room{Address: "demo@conference.v3.meet.jitsi", Held: 7, HeldWhy: "jicofo's session ended", HeldFor: "jicofo must log in"}}}
	})
	_, body := h.ask("GET", "/status.json", "", token)
	require.Contains(t, body, `"held":7,"heldWhy":"jicofo's session ended","heldFor":"jicofo must log in"`)
}
