package node

import (
	_ "embed"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"vnode/internal/xmpptest/browser"
	"vnode/internal/xmpptest/prosody"
)

//go:embed testdata/visitor.html
var visitorPage string

// tab is a visitor in a real browser: strophe.js in Chromium, whose way to the
// node can fail.
type tab struct {
	*browser.Tab
	t   *testing.T
	net *link
}

// page serves the visitor's page and strophe.js.
func page(t *testing.T) string {
	strophe, err := browser.Module("strophe.js/dist/strophe.umd.min.js")
	require.NoError(t, err)
	files := http.NewServeMux()
	serve := func(path, kind, text string) {
		files.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			_, _ = w.Write([]byte(text))
		})
	}
	serve("/strophe.js", "text/javascript", strophe)
	serve("/visitor.html", "text/html", visitorPage)
	s := httptest.NewServer(files)
	t.Cleanup(s.Close)
	return s.URL + "/visitor.html"
}

// browse opens the page with a service of the HTTP server at addr, such as
// ws://%s/xmpp-websocket; %s is the way there.
func browse(t *testing.T, b *browser.Browser, page, service, addr string) *tab {
	t.Helper()
	p := &tab{Tab: b.Tab(t), t: t, net: newLink(t, netip.MustParseAddrPort(addr))}
	ask := url.Values{
		"service": {fmt.Sprintf(service, p.net.toMain.Addr())},
		"domain":  {"v3.meet.jitsi"}, "room": {"demo@conference.v3.meet.jitsi"},
	}
	p.run(chromedp.Navigate(page + "?" + ask.Encode()))
	return p
}

func (p *tab) run(actions ...chromedp.Action) {
	p.t.Helper()
	require.NoError(p.t, p.Run(actions...))
}

// until waits for an expression of the page to become true.
func (p *tab) until(what string) {
	p.t.Helper()
	if err := p.Run(chromedp.Poll(what, nil, chromedp.WithPollingTimeout(70*time.Second))); err != nil {
		var seen any
		p.run(chromedp.Evaluate("seen", &seen))
		require.NoError(p.t, err, "%s; the page has seen %v", what, seen)
	}
}

func (p *tab) lines() (heard []string) {
	p.t.Helper()
	p.run(chromedp.Evaluate("seen.lines", &heard))
	return heard
}

func (p *tab) say(id string) { p.run(chromedp.Evaluate(fmt.Sprintf("say(%q)", id), nil)) }

// hears waits for a line and checks that it came once.
func (p *tab) hears(id string) {
	p.t.Helper()
	p.until(fmt.Sprintf("seen.lines.includes(%q)", id))
	require.Equal(p.t, 1, count(p.lines(), id))
}

func count(all []string, one string) (n int) {
	for _, s := range all {
		if s == one {
			n++
		}
	}
	return n
}

// audience is a conference at a real main with one participant, and a page to
// watch it with.
type audience struct {
	*stage
	participant *person
	browser     *browser.Browser
	page, http  string
}

func newAudience(t *testing.T) *audience {
	s := newStage(t, prosody.Options{Auth: prosody.AuthSelfSigned, Bidi: true}, "v3")
	s.ready()
	s.open()
	a := &audience{stage: s, participant: s.participant(), browser: browser.Run(t), page: page(t), http: s.nodes["v3"].Addresses().HTTP[0]}
	s.connect()
	return a
}

// enters lets a visitor come in through addr, see the participant, and talk
// with it.
func (a *audience) enters(service string) *tab {
	a.t.Helper()
	v := browse(a.t, a.browser, a.page, service, a.http)
	v.until(fmt.Sprintf("seen.occupants.includes(nick) && seen.occupants.includes(%q)", a.participant.nick))
	return v
}

// talk lets both say a line that the other hears once.
func (a *audience) talk(v *tab, about string) {
	a.t.Helper()
	v.hears(a.participant.say(about + "-down"))
	v.say(about + "-up")
	a.participant.hears(about + "-up")
	require.Equal(a.t, 1, a.participant.heard(about+"-up"))
}

// away cuts the browser's network off for d. What was under way, and what is
// said meanwhile, reaches the other side afterwards, once.
func (a *audience) away(v *tab, d time.Duration, about string) {
	a.t.Helper()
	v.net.freeze() // what it says now is on its way, and lost with the connection
	v.say(about + "-kept")
	v.net.cut()
	a.participant.say(about + "-missed")
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
	v.net.heal()
	v.hears(about + "-missed")
	a.participant.hears(about + "-kept")
	require.Equal(a.t, 1, a.participant.heard(about+"-kept"))
	a.talk(v, about)
}

// leaves ends the visitor's stay; nobody is left behind.
func (a *audience) leaves(v *tab) {
	a.t.Helper()
	v.run(chromedp.Evaluate("leave()", nil))
	visitors := func() float64 { return a.nodes["v3"].metric("vnode_muc_occupants", "visitor") }
	require.Eventually(a.t, func() bool { return visitors() == 0 }, 20*time.Second, 5*time.Millisecond)
}

// A visitor with a real browser watches a real main room by WebSocket, loses
// its network for a moment and for most of what a session may be away, and
// reloads its page: one session, one occupant, every line once.
func TestABrowserByWebSocket(t *testing.T) {
	t.Parallel()
	a := newAudience(t)
	v := a.enters("ws://%s/xmpp-websocket?room=demo")
	a.talk(v, "first")
	a.away(v, 5*time.Second, "five")
	v.until("seen.resumed === 1")

	var before, after string
	v.run(chromedp.Evaluate("nick", &before), chromedp.Reload())
	v.until("seen.resumed === 1")
	v.run(chromedp.Evaluate("nick", &after))
	require.Equal(t, before, after)
	a.talk(v, "reloaded")

	a.away(v, 40*time.Second, "forty")
	v.until("seen.resumed === 2")
	a.leaves(v)
}

// The same by BOSH, where the session is the HTTP server's and a lost
// connection only a request to send again.
func TestABrowserByBOSH(t *testing.T) {
	t.Parallel()
	a := newAudience(t)
	v := a.enters("http://%s/http-bind?room=demo")
	a.talk(v, "first")
	a.away(v, 5*time.Second, "five")
	a.leaves(v)
}
