package node

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"vnode/internal/wire"
	"vnode/internal/xmpptest/browser"
	"vnode/internal/xmpptest/hostile"
	"vnode/internal/xmpptest/parsers"
	"vnode/internal/xmpptest/prosody"
)

// watch opens a visitor's page in a browser, which comes to a node by WebSocket
// without a proxy.
func (s *stage) watch(id string) *tab {
	s.t.Helper()
	strophe, err := browser.Module("strophe.js/dist/strophe.umd.min.js")
	require.NoError(s.t, err)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/strophe.js" {
			w.Header().Set("Content-Type", "text/javascript")
			_, _ = w.Write([]byte(strophe))
			return
		}
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(visitorPage))
	}))
	s.t.Cleanup(web.Close)
	domain := id + ".meet.jitsi"
	ask := url.Values{
		"service": {"ws://" + s.nodes[id].Addresses().HTTP[0] + "/xmpp-websocket?room=demo&vnode=" + id},
		"domain":  {domain}, "room": {"demo@conference." + domain},
	}
	p := &tab{Tab: browser.Run(s.t).Tab(s.t), t: s.t}
	p.run(chromedp.Navigate(web.URL + "/visitor.html?" + ask.Encode()))
	p.until("seen.occupants.includes(nick)")
	return p
}

// jicofo lets a focus that keeps all that it hears open the room on a node.
func (s *stage) jicofo(id string) *person {
	s.t.Helper()
	p := s.nodes[id].loginAsFocus()
	p.here, p.left, p.lines, p.errors = map[string]bool{}, map[string]int{}, map[string]int{}, map[string]int{}
	p.nick, p.keeps, p.refused = "focus", true, map[string]int{}
	p.write(fmt.Sprintf("<presence to='demo@conference.%s.meet.jitsi/focus'><x xmlns='%s'/></presence>", id, wire.NSMUC))
	require.Contains(s.t, p.expect("presence"), "code='201'")
	require.NoError(s.t, p.conn.SetDeadline(time.Time{}))
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.listen()
	}()
	s.t.Cleanup(func() { _ = p.conn.Close(); <-done })
	return p
}

// attack says everything hostile in every way, children in a stanza's and the id
// of it, and returns the ids of what is to be heard by nobody.
func (p *person) attack(i int, k hostile.Kind, participant string) []string {
	p.t.Helper()
	var ids []string
	say := func(format string, args ...any) {
		id := fmt.Sprintf("hostile-%s-%d-%d", p.nick, i, len(ids))
		p.write(fmt.Sprintf(format, append([]any{id}, args...)...))
		ids = append(ids, id)
	}
	say("<message id='%s' type='groupchat' to='%s'><body>hostile</body>%s</message>", p.room, k.Children)
	say("<presence id='%s' to='%s/%s'>%s</presence>", p.room, p.nick, k.Children)
	if participant != "" {
		say("<message id='%s' type='chat' to='%s/%s'><body>hostile</body>%s</message>", p.room, participant, k.Children)
		say("<iq id='%s' type='set' to='%s/focus'>%s</iq>", p.room, k.Children)
	}
	return ids
}

// Whatever a visitor or a participant says, everybody else stays and hears the
// next line: the visitors, a real browser among them, the participants, jicofo,
// and the streams between the servers. What they were shown their parsers can
// read.
func TestNothingThatAnybodySaysHarmsAnybodyElse(t *testing.T) {
	s := newStage(t, prosody.Options{Auth: prosody.AuthSelfSigned, Bidi: true}, "v3")
	s.ready()
	s.openOnMain()
	jicofo := s.jicofo("v3")
	participants := []*person{s.participant(), s.participant()}
	s.connect()
	bad, visitor, page := s.visitor("v3"), s.visitor("v3"), s.watch("v3")
	for _, p := range []*person{participants[0], participants[1], bad, visitor} {
		p.keep()
	}
	visitor.sees(participants...)
	s.links["v3"].quiet()
	node := s.nodes["v3"]
	ended := func() float64 {
		return node.metric("vnode_s2s_closed_total", "") + node.metric("vnode_visitor_closed_total", "")
	}
	before := ended()

	good := func(by *person, id string) {
		t.Helper()
		by.say(id)
		visitor.hears(id)
		participants[1].hears(id)
		page.hears(id)
	}
	for i, k := range hostile.Kinds() {
		for _, id := range bad.attack(i, k, participants[0].nick) {
			bad.eventually("is told that nobody hears "+k.Name, func() bool { return bad.refused[id] == 1 })
		}
		good(bad, fmt.Sprintf("good-from-visitor-%d", i))
	}
	require.Greater(t, node.metric("vnode_visitor_dropped_stanzas_total", ""), 100.0)

	unread := map[string]bool{} // ids of what visitors could not read
	for i, k := range hostile.Kinds() {
		form := "<message xmlns='jabber:client' id='x' type='groupchat' to='" + mainRoomJID + "'><body>hostile</body>" + k.Children + "</message>"
		written, err := parsers.Prosody([]string{form})
		require.NoError(t, err)
		if written[0] == "" {
			continue // the main server ends that participant's stream, and nobody else's
		}
		ids := participants[0].attack(i, k, "")
		if wire.Check([]byte(written[0]), wire.Limits{MaxBytes: wire.DefaultMaxServerBytes}) != nil {
			unread[ids[0]] = true
		}
		good(participants[0], fmt.Sprintf("good-from-main-%d", i))
	}
	require.Greater(t, len(unread), 15)
	require.Greater(t, node.metric("vnode_s2s_dropped_stanzas_total", ""), 30.0)

	require.Equal(t, before, ended(), "no stream has ended")
	for _, p := range append(participants, bad, visitor) {
		p.stayed()
	}
	for id := range unread {
		require.Zero(t, visitor.heard(id), id)
	}
	var heard []string
	page.run(chromedp.Evaluate("seen.lines.concat(seen.status)", &heard))
	require.NotContains(t, heard, "DISCONNECTED")
	for _, id := range heard {
		require.False(t, unread[id], id)
		require.NotContains(t, id, "hostile-"+bad.nick)
	}
	// What a participant says the main server shows the others by itself.
	fromVisitors := slices.DeleteFunc(participants[1].kept(), func(s string) bool { return !strings.Contains(s, "good-from-visitor-") })
	require.GreaterOrEqual(t, len(fromVisitors), len(hostile.Kinds()))
	everybodyReads(t, page, slices.Concat(jicofo.kept(), visitor.kept(), bad.kept(), fromVisitors))
}

// everybodyReads gives all that somebody was shown to everybody's parser.
func everybodyReads(t *testing.T, page *tab, shown []string) {
	t.Helper()
	require.Greater(t, len(shown), 300)
	read, err := parsers.Expat(shown)
	require.NoError(t, err)
	for i := range read {
		require.NotEmpty(t, read[i], "expat: %q", shown[i])
	}
	complaints, err := parsers.Chromium(page.Tab, shown)
	require.NoError(t, err)
	for i, c := range complaints {
		require.Empty(t, c, "%q", shown[i])
	}
	complaints, err = parsers.JDK(shown)
	if errors.Is(err, parsers.ErrNoJava) {
		return
	}
	require.NoError(t, err)
	for i, c := range complaints {
		require.Empty(t, c, "%q", shown[i])
	}
}
