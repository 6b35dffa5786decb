package node

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"vnode/internal/xmpptest/browser"
)

// tab is somebody with a real browser: strophe.js in Chromium.
type tab struct {
	*browser.Tab
	t *testing.T
}

// visit is what a page is asked to do.
type visit struct {
	way     netip.AddrPort // to nginx
	service string         // a URL, with %s for the site
	domain  string
	room    string // its name
	inURL   bool   // the URL of a resumption names the session
}

// opens opens the page, by a name for which any port will do.
func (i *installation) opens(t *testing.T, v visit) *tab {
	t.Helper()
	p := &tab{Tab: i.browser.Tab(t), t: t}
	site := fmt.Sprintf("%s:%d", i.Domain, v.way.Port())
	ask := url.Values{"service": {fmt.Sprintf(v.service, site)}, "domain": {v.domain}, "room": {v.room + "@conference." + v.domain}}
	if v.inURL {
		ask.Set("previd", "")
	}
	p.run(chromedp.Navigate("https://" + site + "/visitor.html?" + ask.Encode()))
	return p
}

func (p *tab) run(actions ...chromedp.Action) {
	p.t.Helper()
	require.NoError(p.t, p.Run(actions...))
}

// until waits for an expression of the page to become true.
func (p *tab) until(what string) {
	p.t.Helper()
	// Frames are drawn in the tab in front only, so they are not what to wait by.
	poll := chromedp.Poll(what, nil, chromedp.WithPollingInterval(20*time.Millisecond), chromedp.WithPollingTimeout(20*time.Second))
	if err := p.Run(poll); err != nil {
		var seen any
		p.run(chromedp.Evaluate("seen", &seen))
		require.NoError(p.t, err, "%s; the page has seen %v", what, seen)
	}
}

func (p *tab) text(what string) (s string) {
	p.t.Helper()
	p.run(chromedp.Evaluate(what, &s))
	return s
}

// say says a line and returns its id.
func (p *tab) say(id string) string {
	p.t.Helper()
	p.run(chromedp.Evaluate(fmt.Sprintf("say(%q)", id), nil))
	return id
}

// hears waits for a line.
func (p *tab) hears(id string) {
	p.t.Helper()
	p.until(fmt.Sprintf("seen.lines.includes(%q)", id))
}

// heardOnce checks that nothing came twice.
func (p *tab) heardOnce() {
	p.t.Helper()
	var heard []string
	p.run(chromedp.Evaluate("seen.lines", &heard))
	slices.Sort(heard)
	require.Equal(p.t, slices.Compact(slices.Clone(heard)), heard)
}

// guest is a visitor of a show, whose way to nginx can fail.
type guest struct {
	*tab
	participant *tab
	name        string // begins its lines
	net         *link
}

// visitor lets one come in by a URL with query added, see the participant, and talk with it.
func (s *show) visitor(t *testing.T, name, service, query string, inURL bool) *guest {
	t.Helper()
	g := &guest{participant: &tab{Tab: s.participant.Tab, t: t}, name: name, net: newLink(t, s.Web)}
	g.tab = s.opens(t, visit{
		way: netip.MustParseAddrPort(g.net.toMain.Addr().String()), domain: s.node + ".meet.jitsi", room: s.name, inURL: inURL,
		service: service + "?room=" + s.name + "&vnode=" + s.node + query,
	})
	g.until(fmt.Sprintf("seen.occupants.includes(nick) && seen.occupants.includes(%q)", g.participant.text("nick")))
	g.talk("first")
	return g
}

// talk lets both say a line that the other hears. The participant's tab serves
// visitors of several tests at once.
func (g *guest) talk(about string) {
	g.t.Helper()
	g.hears(g.participant.say(g.name + about + "-down"))
	g.participant.hears(g.say(g.name + about + "-up"))
}

// away cuts the browser's network off for d. What was under way, and what is
// said meanwhile, reaches the other side afterwards.
func (g *guest) away(d time.Duration, about string) {
	g.t.Helper()
	g.net.freeze() // what it says now is on its way, and lost with the connection
	kept := g.say(g.name + about + "-kept")
	g.net.cut()
	missed := g.participant.say(g.name + about + "-missed")
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
	g.net.heal()
	g.hears(missed)
	g.participant.hears(kept)
	g.talk(about)
	g.heardOnce()
}

// reload reloads the page, which goes on as the same occupant.
func (g *guest) reload() {
	g.t.Helper()
	before := g.text("nick")
	g.run(chromedp.Reload())
	g.until("seen.resumed === 1")
	require.Equal(g.t, before, g.text("nick"))
	g.talk("reloaded")
	g.heardOnce()
}

func (g *guest) leaves() {
	g.t.Helper()
	g.run(chromedp.Evaluate("leave()", nil))
	g.until("seen.status.includes('DISCONNECTED')")
}

const (
	byWebSocket = "wss://%s/xmpp-websocket"
	byBOSH      = "https://%s/http-bind"
)

// What `vnode setup` makes of a fresh installation is enough for browsers: main
// and nginx run with the generated pieces, two nodes from the generated unit,
// and nginx knows a visitor's node by ?vnode= alone. Visitors lose their network
// between browser and nginx, for a moment and for most of what a session may be
// away, and reload their page: one session, one occupant, every line once.
func TestBrowsersOnWhatSetupMade(t *testing.T) {
	t.Parallel()
	i := install(t)
	open, closed := i.show("v3"), i.show("v1")
	t.Run("visitors", func(t *testing.T) {
		t.Run("WebSocket", func(t *testing.T) {
			t.Parallel()
			g := open.visitor(t, "ws-", byWebSocket, "", true)
			g.away(5*time.Second, "five")
			g.until("seen.resumed === 1")
			g.reload()
			g.away(40*time.Second, "forty")
			g.until("seen.resumed === 2")
			g.leaves()
		})
		// A client that does not put the session's id into its URL.
		t.Run("WebSocket, resumed by the element alone", func(t *testing.T) {
			t.Parallel()
			g := open.visitor(t, "element-", byWebSocket, "", false)
			g.away(5*time.Second, "five")
			g.until("seen.resumed === 1")
			g.reload()
			g.leaves()
		})
		// Here the session is the HTTP server's, and a lost connection only a
		// request to send again.
		t.Run("BOSH", func(t *testing.T) {
			t.Parallel()
			g := open.visitor(t, "bosh-", byBOSH, "", true)
			g.away(5*time.Second, "five")
			g.leaves()
		})
		for name, service := range map[string]string{"WebSocket": byWebSocket, "BOSH": byBOSH} {
			// Not in parallel, so before the others: waiting for its turn among
			// them, the room would end, 15 s after its last visitor.
			t.Run(name+", with a token", func(t *testing.T) {
				good := signedFor(t, i.Domain, closed.name)
				wrong := i.opens(t, visit{
					way: i.Web, domain: "v1.meet.jitsi", room: closed.name,
					service: service + "?room=" + closed.name + "&vnode=v1&token=" + good[:len(good)-6] + "AAAAAA",
				})
				wrong.until("seen.refused !== ''")
				require.Equal(t, "the token's signature is wrong", wrong.text("seen.refused"))
				wrong.until("seen.status.includes('AUTHFAIL')")
				closed.visitor(t, name+"-", service, "&token="+good, true).leaves()
			})
		}
	})
	open.participant.heardOnce()
	closed.participant.heardOnce()
	for _, node := range []string{"v1", "v3"} {
		require.Eventually(t, func() bool { return i.visitors(node) == 0 }, 20*time.Second, 50*time.Millisecond)
	}
}
