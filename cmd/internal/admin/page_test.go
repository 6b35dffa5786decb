package admin

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"image/png"
	"math"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"vnode/internal/xmpptest/browser"
)

var screenshots = flag.String("screenshots", "", "`directory` to write pictures of the status page to")

// busy fills the node with a conference that people complain about.
func (h *house) busy() *meters {
	m := newMeters(h.reg)
	m.sessions.WithLabelValues("websocket", "bound").Set(2412)
	m.sessions.WithLabelValues("bosh", "bound").Set(31)
	m.sessions.WithLabelValues("websocket", "hibernating").Set(18)
	m.closed.WithLabelValues("disconnected")
	m.closed.WithLabelValues("slow_consumer")
	now := time.Now()
	town := RoomDetail{Room: Room{
		Name: "townhall@conference.v3.meet.jitsi", Address: "townhall@conference.v3.meet.jitsi", MeetingID: "8a1f6a9e-3f1c-4c55-9d8e-0f6f1c1d7a42",
		Made: now.Add(-42 * time.Minute), State: "connected", Visitors: 2291, Participants: 14, Moderators: 2, RaisedHands: 3,
	}}
	for i, name := range []string{"Ada", "Blaise", "Chandra"} {
		town.Participants = append(town.Participants, Occupant{ID: fmt.Sprintf("%08x", i*7919+43981), Name: "", JID: strings.ToLower(name) + "@meet.jitsi/x" + fmt.Sprint(i), Role: "participant", Joined: now.Add(-40 * time.Minute)})
	}
	for i := range 40 {
		town.Visitors = append(town.Visitors, Occupant{ID: fmt.Sprintf("%08x", i*104729+999), Name: fmt.Sprintf("Visitor %d", i+1), JID: fmt.Sprintf("%08x-0000-4000-8000-000000000000@v3.meet.jitsi/%d", i*104729+999, i), Role: "visitor", Joined: now.Add(-time.Duration(i) * time.Minute), Hand: i == 2})
	}
	for i, text := range []string{"visitor joined (nick 0001994d)", "main is lost, visitors wait for it (grace 1m0s)", "participant joined (nick abcd0001)", "room created (session focus@auth.meet.jitsi/focus)"} {
		level := "INFO"
		if i == 1 {
			level = "WARN"
		}
		town.Events = append(town.Events, Event{Time: now.Add(-time.Duration(i*7) * time.Minute), Level: level, Text: text})
	}
	h.node.change(func(f *fakeNode) {
		f.rooms = []RoomDetail{town,
			{Room: Room{Name: "standup@conference.acme.v3.meet.jitsi", Address: "[acme]standup@conference.v3.meet.jitsi", Made: now.Add(-9 * time.Minute), State: "connected", Visitors: 121, Participants: 6}},
			{Room: Room{Name: "earlybirds@conference.v3.meet.jitsi", Address: "earlybirds@conference.v3.meet.jitsi", Made: now.Add(-12 * time.Second), State: "waits for main", Queued: 31}},
		}
		f.slow = []Slow{{Session: "6f1d2c3b-0000-4000-8000-000000000000@v3.meet.jitsi/abc", Lag: 812, Blocked: true}, {Session: "0badcafe-0000-4000-8000-000000000000@v3.meet.jitsi/def", Lag: 40}}
	})
	return m
}

// past makes the sampler believe that the node has been at work for a while.
func (h *house) past(m *meters) {
	h.samples.mu.Lock()
	h.samples.ring = nil
	h.samples.mu.Unlock()
	for i := range sparkline + 5 {
		h.work(m, i)
		h.samples.take(time.Now().Add(time.Duration(i-sparkline-5) * interval))
	}
	m.closed.WithLabelValues("disconnected").Add(37)
	m.closed.WithLabelValues("slow_consumer").Add(2)
}

// work is a second of deliveries.
func (h *house) work(m *meters, i int) {
	m.delivered.Add(4800)
	m.bytes.Add(4.3e6)
	for j := range 200 {
		m.delay.Observe(0.0008 * (1 + math.Sin(float64(i)/9)*.6) * math.Exp(float64(j%20)/8))
	}
}

type view struct {
	name          string
	width, height int64
	phone, dark   bool
}

var views = []view{
	{"status-desktop", 1280, 900, false, false},
	{"status-desktop-dark", 1280, 900, false, true},
	{"status-phone", 390, 844, true, false},
	{"status-phone-dark", 390, 844, true, true},
}

// look sets a tab to a screen.
func (v view) look(tab *browser.Tab) error {
	scheme := "light"
	if v.dark {
		scheme = "dark"
	}
	return tab.Run(
		chromedp.ActionFunc(func(ctx context.Context) error {
			return emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}).Do(ctx)
		}),
		chromedp.ActionFunc(func(ctx context.Context) error {
			return emulation.SetDeviceMetricsOverride(v.width, v.height, 1, v.phone).Do(ctx)
		}),
	)
}

// picture keeps what a tab shows, if pictures are wanted.
func picture(t *testing.T, tab *browser.Tab, name string) {
	if *screenshots == "" {
		return
	}
	var b []byte
	require.NoError(t, tab.Run(chromedp.CaptureScreenshot(&b)))
	_, err := png.Decode(bytes.NewReader(b))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(*screenshots, name+".png"), b, 0o644))
}

// until waits for an expression to be true in the page.
func until(expression string) chromedp.Action {
	return chromedp.Poll(expression, nil, chromedp.WithPollingInterval(20*time.Millisecond), chromedp.WithPollingTimeout(time.Minute))
}

const (
	nodeIsShown = `document.getElementById("host").textContent === "v3.meet.jitsi"`
	roomIsShown = `document.getElementById("room-visitors").textContent === "2,291"`
)

// showToken enters the token; then people are shown.
var showToken = chromedp.Evaluate(fmt.Sprintf(`{
	const field = document.getElementById("token");
	field.value = %q;
	field.dispatchEvent(new Event("change"));
}`, token), nil)

// On a phone and on a large screen, by day and by night, nothing of the page is
// out of reach: no rule of accessibility is broken, nothing hangs over the
// edge, and the browser has nothing to complain of, its content security policy
// included.
func TestPageIsForEverybody(t *testing.T) {
	h := newHouse(t, token)
	m := h.busy()
	h.past(m)
	h.node.change(func(f *fakeNode) { f.work = func() { h.work(m, 0) } })
	b := browser.Run(t)
	for _, v := range views {
		t.Run(v.name, func(t *testing.T) {
			tab := b.Tab(t)
			require.NoError(t, v.look(tab))
			check := func(name string) {
				found, err := tab.Axe()
				require.NoError(t, err)
				require.Empty(t, found)
				var over int
				require.NoError(t, tab.Run(chromedp.Evaluate(`document.documentElement.scrollWidth - innerWidth`, &over)))
				require.LessOrEqual(t, over, 0, "pixels beyond the screen")
				picture(t, tab, name)
			}
			require.NoError(t, tab.Run(chromedp.Navigate(h.url), until(nodeIsShown), showToken,
				until(`document.querySelectorAll("#rooms tr").length === 3`),
				until(`document.getElementById("p99").textContent.endsWith("ms")`),
				until(`document.querySelector("#rooms td:last-child").textContent !== "0"`)))
			check(v.name)
			require.NoError(t, tab.Run(chromedp.Click(`#rooms a`), until(roomIsShown)))
			check(strings.Replace(v.name, "status", "room", 1))
			require.Empty(t, tab.Problems())
		})
	}
}

// What changes on the node is on the page a moment later, without a reload, and
// a screen reader is told of what matters.
func TestPageIsLive(t *testing.T) {
	h := newHouse(t, "")
	m := h.busy()
	tab := browser.Run(t).Tab(t)
	require.NoError(t, tab.Run(chromedp.Navigate(h.url), until(nodeIsShown),
		until(`document.getElementById("visitors").textContent === "2,412"`),
		until(`document.getElementById("announce").textContent === ""`)))

	h.node.change(func(f *fakeNode) {
		f.rooms[1].Room.Visitors = 1000
		f.links[0].Up, f.links[0].Reason = false, "nothing answers at 10.0.0.5:5269"
	})
	h.work(m, 1)
	require.NoError(t, tab.Run(
		until(`document.getElementById("visitors").textContent === "3,291"`),
		until(`document.getElementById("announce").textContent.includes("nothing answers at 10.0.0.5:5269")`),
		until(`document.querySelector("#links li.down .why").textContent.startsWith("nothing answers")`),
	))
	h.health.Set(Draining, "an operator drains the node; no new conferences")
	require.NoError(t, tab.Run(
		until(`document.getElementById("state-text").textContent === "Draining"`),
		until(`document.getElementById("announce").textContent.includes("operator drains the node")`),
		until(`!document.getElementById("notice").hidden`),
	))
	h.node.change(func(f *fakeNode) { f.rooms = f.rooms[:1] })
	require.NoError(t, tab.Run(
		until(`document.querySelectorAll("#rooms tr").length === 1`),
		until(`document.getElementById("read-only").checkVisibility()`)))
	require.Empty(t, tab.Problems())
}

// A display name is text, whatever it looks like.
func TestPageShowsNamesAsText(t *testing.T) {
	h := newHouse(t, token)
	h.busy()
	const evil = `<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>`
	h.node.change(func(f *fakeNode) {
		f.rooms[0].Visitors[0].Name = evil
		f.rooms[0].Events[0].Text = evil
	})
	tab := browser.Run(t).Tab(t)
	var title string
	require.NoError(t, tab.Run(chromedp.Navigate(h.url+"/#room=townhall%40conference.v3.meet.jitsi"), until(roomIsShown),
		until(`document.getElementById("occupants-none").textContent.includes("Shown with the admin token")`), showToken,
		until(`document.getElementById("occupants").textContent.includes("onerror")`),
		chromedp.Title(&title)))
	require.Equal(t, "townhall · vnode", title)
	require.Empty(t, tab.Problems())
}

// With nothing but a keyboard: past the header, to a room, around, back, and to
// what an operator may do. The focus is always seen.
func TestPageByKeyboard(t *testing.T) {
	h := newHouse(t, token)
	h.busy()
	tab := browser.Run(t).Tab(t)
	focused := func() string {
		var s string
		require.NoError(t, tab.Run(chromedp.Evaluate(`(() => {
			const e = document.activeElement, s = getComputedStyle(e);
			const seen = e.matches("main, h2") || e.className === "skip" || s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2;
			return (e.id || e.textContent.trim()) + (seen ? "" : " UNSEEN");
		})()`, &s)))
		return s
	}
	press := func(keys string) {
		t.Helper()
		require.NoError(t, tab.Run(chromedp.KeyEvent(keys)))
	}
	require.NoError(t, tab.Run(chromedp.Navigate(h.url), until(nodeIsShown), until(`document.querySelectorAll("#rooms a").length === 3`)))
	press(kb.Tab)
	require.Equal(t, "Skip to content", focused())
	press(kb.Enter)
	require.Equal(t, "main", focused())
	press(kb.Tab)
	require.Equal(t, "townhall", focused())
	// A second later the figures are others, and the focus is where it was.
	h.node.change(func(f *fakeNode) { f.rooms[1].Room.Visitors = 5000 }) // it is first now
	require.NoError(t, tab.Run(until(`document.querySelector("#rooms a").textContent === "standup"`)))
	require.Equal(t, "townhall", focused())
	press(kb.Enter)
	require.NoError(t, tab.Run(until(roomIsShown)))
	require.Equal(t, "room-title", focused())
	press(kb.Tab)
	require.Equal(t, "room-debug", focused())
	press(kb.Shift + kb.Tab)
	require.NoError(t, tab.Run(chromedp.Focus("#back")))
	press(kb.Enter)
	require.Equal(t, "main", focused())
	require.NoError(t, tab.Run(until(`document.getElementById("node-view").checkVisibility()`)))
	for range 3 {
		press(kb.Tab) // the rooms
	}
	for _, want := range []string{"token", "timeout", "drain", "undrain", "Metrics"} {
		press(kb.Tab)
		require.Equal(t, want, focused())
	}
}

// An operator with the token drains the node and calls it off, and has a room
// logged in detail; with a wrong one it is told so.
func TestPageLetsOperatorsAct(t *testing.T) {
	h := newHouse(t, token)
	h.busy()
	tab := browser.Run(t).Tab(t)
	result := func(text string) chromedp.Action {
		return until(fmt.Sprintf(`document.getElementById("control-result").textContent.includes(%q)`, text))
	}
	require.NoError(t, tab.Run(chromedp.Navigate(h.url), until(nodeIsShown),
		chromedp.SendKeys("#token", "wrong"), chromedp.Click("#drain"), result("send the admin token"),
		chromedp.SetValue("#token", token), chromedp.Click("#drain"), result("Done."),
	))
	h.node.change(func(f *fakeNode) { require.Equal(t, []string{"30m0s an operator drains the node"}, f.drained) })
	require.NoError(t, tab.Run(chromedp.SetValue("#timeout", "soon"), chromedp.Click("#drain"), result("is not a duration"),
		chromedp.Click("#undrain"), result("Done.")))
	h.node.change(func(f *fakeNode) { require.Empty(t, f.drained) })
	require.NoError(t, tab.Run(chromedp.Click(`#rooms a`), until(roomIsShown), chromedp.Click("#room-debug"),
		until(`document.getElementById("room-result").textContent === "Done."`)))
	h.node.change(func(f *fakeNode) { require.Equal(t, "townhall@conference.v3.meet.jitsi", f.debugged[0].Name) })
}

// A page that has lost the node says so, and goes on by itself when it is back.
func TestPageComesBack(t *testing.T) {
	h := newHouse(t, "")
	h.busy()
	tab := browser.Run(t).Tab(t)
	require.NoError(t, tab.Run(chromedp.Navigate(h.url), until(nodeIsShown)))
	h.hub.mu.Lock()
	h.hub.limit = 0 // the next stream is refused
	h.hub.mu.Unlock()
	h.cut()
	require.NoError(t, tab.Run(until(`document.getElementById("state-text").textContent === "No answer"`)))
	h.hub.mu.Lock()
	h.hub.limit = maxWatchers
	h.hub.mu.Unlock()
	require.NoError(t, tab.Run(until(`document.getElementById("state-text").textContent === "Ready"`)))
}

// From another machine the page asks for the token, and shows everything with it.
func TestPageFromElsewhereAsksForTheToken(t *testing.T) {
	h := newHouse(t, token)
	h.busy()
	proxy := httptest.NewServer(&httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) {
		to, err := url.Parse(h.url)
		require.NoError(t, err)
		r.SetURL(to)
		r.SetXForwarded()
	}})
	t.Cleanup(proxy.Close)
	t.Cleanup(proxy.CloseClientConnections)
	tab := browser.Run(t).Tab(t)
	require.NoError(t, tab.Run(chromedp.Navigate(proxy.URL),
		until(`document.getElementById("state-text").textContent === "Token needed"`),
		until(`document.getElementById("notice").textContent.includes("without the admin token")`)))
	found, err := tab.Axe()
	require.NoError(t, err)
	require.Empty(t, found)
	require.NoError(t, tab.Run(chromedp.SendKeys("#token", token+kb.Tab), until(nodeIsShown),
		until(`document.querySelectorAll("#slow tr").length === 2`)))
}
