package visitor

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"vnode/fanout"
	"vnode/internal/wire"
)

// boshPeer is a client over BOSH.
type boshPeer struct {
	t    testing.TB
	h    http.Handler
	from string // address
	sid  string
	rid  int
	jid  string
}

func (h *house) bosh() *boshPeer {
	return &boshPeer{t: h.t, h: h.srv.HTTPHandler(), from: "192.0.2.1:1234", rid: 604944}
}

// boshCall is a request under way.
type boshCall struct {
	t    testing.TB
	rec  *httptest.ResponseRecorder
	done chan struct{}
}

func (p *boshPeer) post(body string) *boshCall {
	c := &boshCall{t: p.t, rec: httptest.NewRecorder(), done: make(chan struct{})}
	r := httptest.NewRequest(http.MethodPost, BOSHPath+"?room=x", strings.NewReader(body))
	r.RemoteAddr = p.from
	go func() {
		defer close(c.done)
		p.h.ServeHTTP(c.rec, r)
	}()
	return c
}

func (c *boshCall) body() string {
	<-c.done
	require.Equal(c.t, http.StatusOK, c.rec.Code)
	require.NoError(c.t, wire.CheckWellFormed(c.rec.Body.Bytes(), wire.Limits{MaxBytes: 1 << 20}))
	return c.rec.Body.String()
}

// expect matches the whole response, as peer.expect does.
func (c *boshCall) expect(pattern string) string {
	c.t.Helper()
	got := c.body()
	m := matcher(pattern).FindStringSubmatch(got)
	require.NotNil(c.t, m, "expected %s\ngot      %s", pattern, got)
	if len(m) > 1 {
		return m[1]
	}
	return ""
}

const (
	boshBody   = `<body xmlns='http://jabber.org/protocol/httpbind' xmlns:stream='http://etherx.jabber.org/streams'`
	boshCreate = `<body rid='%d' xmlns='http://jabber.org/protocol/httpbind' to='%s' xml:lang='en' wait='60' hold='1' ver='1.6' content='text/xml; charset=utf-8' xmpp:version='1.0' xmlns:xmpp='urn:xmpp:xbosh'></body>`
	restarting = ` to='v3.meet.jitsi' xml:lang='en' xmpp:restart='true' xmlns:xmpp='urn:xmpp:xbosh'`
)

func (p *boshPeer) create(domain string) *boshCall {
	p.rid++
	return p.post(fmt.Sprintf(boshCreate, p.rid, domain))
}

func (p *boshPeer) send(attrs, content string) *boshCall {
	p.rid++
	return p.post(fmt.Sprintf(`<body rid='%d' xmlns='http://jabber.org/protocol/httpbind' sid='%s'%s>%s</body>`, p.rid, p.sid, attrs, content))
}

// with is a response that carries content.
func (p *boshPeer) with(content string) string {
	if content == "" {
		return boshBody + ` sid='` + p.sid + `'/>`
	}
	return boshBody + ` sid='` + p.sid + `'>` + content + `</body>`
}

func boshEnd(attrs, content string) string {
	if content == "" {
		return boshBody + ` type='terminate'` + attrs + `/>`
	}
	return boshBody + ` type='terminate'` + attrs + `>` + content + `</body>`
}

// visitor logs in and binds, as in the transcript bosh-login.
func (p *boshPeer) visitor() *boshPeer {
	p.t.Helper()
	p.sid = p.create(testDomain).expect(boshBody + ` sid='{sid}' wait='55' hold='1' requests='2' inactivity='60' polling='5' maxpause='120' ver='1.6'` +
		` from='v3.meet.jitsi' authid='{sid}' secure='true' xmlns:xmpp='urn:xmpp:xbosh' xmpp:version='1.0' xmpp:restartlogic='true'>` +
		`<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>ANONYMOUS</mechanism></mechanisms>` + limitsBeforeLogin + `</stream:features></body>`)
	p.send("", anonymousAuth).expect(p.with(saslSuccess))
	p.send(restarting, "").expect(p.with(`<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><required/></bind>` + limitsOfVisitor + `</stream:features>`))
	p.jid = p.send("", bindIQ).expect(p.with(pushed +
		`<iq xmlns='jabber:client' type='result' id='_bind_auth_2'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>{jid}</jid></bind></iq>`))
	return p
}

// terminate ends the session as a page does that is left.
func (p *boshPeer) terminate() {
	p.t.Helper()
	p.send(` type='terminate'`, "").expect(boshEnd("", ""))
}

func TestBOSHVisitorLogsInAndLeaves(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		p := h.bosh().visitor()
		require.EqualValues(t, 1, testutil.ToFloat64(h.srv.metrics.sessions.WithLabelValues(transportBOSH, stateBound)))
		p.send("", `<iq xmlns='jabber:client' type='get' id='ha816644' to='v3.meet.jitsi'><ping xmlns='urn:xmpp:ping'/></iq>`).
			expect(p.with(`<iq xmlns='jabber:client' to='` + p.jid + `' from='v3.meet.jitsi' id='ha816644' type='result'/>`))
		held := p.send("", "")
		leave := p.send(` type='terminate'`, `<presence xmlns='jabber:client' type='unavailable'/>`)
		held.expect(boshEnd("", ""))
		leave.expect(boshEnd("", ""))
		synctest.Wait()
		require.Equal(t, []string{p.jid}, h.opened)
		require.Equal(t, []string{p.jid}, h.ended())
		require.EqualValues(t, 1, testutil.ToFloat64(h.srv.metrics.closed[reasonClosed]))
		p.send("", "").expect(boshEnd(` condition='item-not-found'`, ""))
	})
}

// As in the transcript bosh-join: the room's presences come in one response,
// chat in both directions, and terminate tells the room.
func TestBOSHVisitorInARoom(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		p := h.bosh().visitor()
		jid, err := wire.ParseJID(p.jid)
		require.NoError(t, err)
		room := h.fan.NewLog()
		join := p.send("", `<presence xmlns='jabber:client' to='r@conference.v3.meet.jitsi/n'><x xmlns='http://jabber.org/protocol/muc'/></presence>`)
		synctest.Wait()
		require.Equal(t, []string{p.jid + ` -> r@conference.v3.meet.jitsi/n: <presence xmlns='jabber:client' to='r@conference.v3.meet.jitsi/n'><x xmlns='http://jabber.org/protocol/muc'/></presence>`}, h.handled())
		stanza := func(s string) *fanout.Message {
			return fanout.NewMessage(fanout.Plain, "", []byte(`<message xmlns='jabber:client' to='`), []byte(`'><body>`+s+`</body></message>`))
		}
		sent := func(s string) string {
			return `<message xmlns='jabber:client' to='` + p.jid + `'><body>` + s + `</body></message>`
		}
		require.True(t, h.srv.session(jid).Follow(room, fanout.NewPrivate([]byte(`<presence xmlns='jabber:client' from='a'/>`))))
		room.Append(stanza("1"))
		room.Append(stanza("2"))
		join.expect(p.with(`<presence xmlns='jabber:client' from='a'/>` + sent("1") + sent("2")))

		poll := p.send("", "")
		chat := p.send("", `<message xmlns='jabber:client' type='groupchat' to='r@conference.v3.meet.jitsi'><body>up</body></message>`)
		synctest.Wait()
		require.Len(t, h.handled(), 2)
		room.Append(stanza("up"))
		poll.expect(p.with(sent("up")))
		room.Append(stanza("down"))
		chat.expect(p.with(sent("down")))

		leave := p.send(` type='terminate'`, `<presence xmlns='jabber:client' type='unavailable' to='r@conference.v3.meet.jitsi/n'/>`)
		leave.expect(boshEnd("", ""))
		synctest.Wait()
		require.Len(t, h.handled(), 3)
		require.Equal(t, []string{p.jid}, h.ended())
	})
}

func TestBOSHRefusals(t *testing.T) {
	for domain, text := range map[string]string{
		"nowhere.example": "This server does not serve nowhere.example",
		testAuth:          "This server does not serve auth.meet.jitsi",
	} {
		inBubble(t, nil, func(t *testing.T, h *house) {
			h.bosh().create(domain).expect(boshEnd(` condition='host-unknown'`, `<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>`+
				`<text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>`+text+`</text></stream:error>`))
		})
	}
	t.Run("a version of another time", func(t *testing.T) {
		inBubble(t, nil, func(t *testing.T, h *house) {
			p := h.bosh()
			got := p.post(strings.Replace(fmt.Sprintf(boshCreate, 1, testDomain), "xmpp:version='1.0'", "xmpp:version='2.0'", 1)).body()
			require.Contains(t, got, "<unsupported-version ")
		})
	})
	t.Run("too many", func(t *testing.T) {
		inBubble(t, func(c *Config) { c.Limits.PerAddress = 1 }, func(t *testing.T, h *house) {
			a, b := h.bosh(), h.bosh()
			b.from = "192.0.2.2:1234"
			a.visitor()
			b.visitor()
			c := h.bosh().create(testDomain)
			<-c.done
			require.Equal(t, http.StatusServiceUnavailable, c.rec.Code)
			require.NotEmpty(t, c.rec.Header().Get("Retry-After"))
			a.terminate()
			synctest.Wait()
			h.bosh().visitor().terminate()
			b.terminate()
		})
	})
}

func TestBadInputOverBOSH(t *testing.T) {
	streamError := func(cond, text string) string {
		return string(wire.StreamError{Condition: wire.StreamCondition(cond), Text: text}.Append(nil, false))
	}
	for name, c := range map[string]struct{ send, attrs, content, label string }{
		"not XML":            {"<a>", ` condition='bad-request'`, "", "bosh_protocol"},
		"too large":          {`<message xmlns='jabber:client'>` + strings.Repeat("x", 256<<10) + `</message>`, ` condition='remote-stream-error'`, streamError("policy-violation", "stanza too large"), "policy_violation"},
		"unknown element":    {`<a xmlns='b'/>`, ` condition='remote-stream-error'`, streamError("unsupported-stanza-type", ""), "unsupported_stanza_type"},
		"prefix of the body": {`<x:a/>`, ` condition='remote-stream-error'`, streamError("unsupported-stanza-type", ""), "unsupported_stanza_type"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, h *house) {
				p := h.bosh().visitor()
				p.send(` xmlns:x='y'`, c.send).expect(boshEnd(c.attrs, c.content))
				synctest.Wait()
				require.Equal(t, []string{p.jid}, h.ended())
				require.EqualValues(t, 1, testutil.ToFloat64(h.srv.metrics.closed[fanout.Reason(c.label)]))
			})
		})
	}
}

// Lost requests are BOSH's to repair: there is no stream management over it.
func TestNoStreamManagementOverBOSH(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		p := h.bosh().visitor()
		p.send("", `<enable xmlns='urn:xmpp:sm:3' resume='true'/>`).
			expect(p.with(`<failed xmlns='urn:xmpp:sm:3'><unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>`))
		p.terminate()
	})
}

func TestBOSHSessionsEnd(t *testing.T) {
	t.Run("when the client stays away", func(t *testing.T) {
		inBubble(t, nil, func(t *testing.T, h *house) {
			p := h.bosh().visitor()
			time.Sleep(time.Minute)
			synctest.Wait()
			require.Equal(t, []string{p.jid}, h.ended())
			require.EqualValues(t, 1, testutil.ToFloat64(h.srv.metrics.closed["connection_timeout"]))
		})
	})
	t.Run("when it does not log in", func(t *testing.T) {
		inBubble(t, nil, func(t *testing.T, h *house) {
			h.bosh().create(testDomain).body()
			time.Sleep(30 * time.Second)
			synctest.Wait()
			require.EqualValues(t, 1, testutil.ToFloat64(h.srv.metrics.closed["connection_timeout"]))
		})
	})
	t.Run("not while it polls, and nothing is asked of it", func(t *testing.T) {
		inBubble(t, func(c *Config) { c.Limits.PingAfter, c.Limits.PingTimeout = 90*time.Second, 30*time.Second }, func(t *testing.T, h *house) {
			p := h.bosh().visitor()
			for range 5 {
				require.Equal(t, p.with(""), p.send("", "").body())
			}
			require.Empty(t, h.ended())
			p.terminate()
		})
	})
	t.Run("with the server", func(t *testing.T) {
		inBubble(t, nil, func(t *testing.T, h *house) {
			p := h.bosh().visitor()
			held := p.send("", "")
			synctest.Wait()
			require.NoError(t, h.srv.Close(t.Context()))
			held.expect(boshEnd(` condition='remote-stream-error'`, `<stream:error><system-shutdown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>`))
			c := h.bosh().create(testDomain)
			<-c.done
			require.Equal(t, http.StatusServiceUnavailable, c.rec.Code)
		})
	})
	t.Run("not while a room says more than is kept for it", func(t *testing.T) {
		inBubble(t, nil, func(t *testing.T, h *house) {
			p := h.bosh().visitor()
			jid, err := wire.ParseJID(p.jid)
			require.NoError(t, err)
			room := h.fan.NewLog()
			require.True(t, h.srv.session(jid).Follow(room))
			say := func() {
				for range 10 {
					room.Append(fanout.NewMessage(fanout.Plain, "", []byte(`<message to='`), []byte(`'>`+strings.Repeat("x", 100<<10)+`</message>`)))
				}
			}
			say()
			time.Sleep(55 * time.Second)
			for got := 0; got < 10; {
				got += strings.Count(p.send("", "").body(), "</message>")
				synctest.Wait()
			}
			require.Empty(t, h.ended())
			say()
			time.Sleep(61 * time.Second)
			synctest.Wait()
			require.Equal(t, []string{p.jid}, h.ended(), "unless it stays away")
			// The reader and the writer hear of it at the same time.
			closed := h.srv.metrics.closed
			require.EqualValues(t, 1, testutil.ToFloat64(closed["connection_timeout"])+testutil.ToFloat64(closed[fanout.WriteFailed]))
			require.Zero(t, testutil.ToFloat64(closed[fanout.Stalled]))
		})
	})
}

// A client that sends faster than it may is read more slowly; what it sends is
// all handled.
func TestBOSHIsMetered(t *testing.T) {
	inBubble(t, func(c *Config) { c.Limits.BytesPerSecond, c.Limits.RateBurst = 1000, 1000 }, func(t *testing.T, h *house) {
		p := h.bosh().visitor()
		start := time.Now()
		line := `<message xmlns='jabber:client' to='r@conference.v3.meet.jitsi'><body>` + strings.Repeat("x", 1000) + `</body></message>`
		c := p.send("", strings.Repeat(line, 10))
		for len(h.handled()) < 10 {
			time.Sleep(100 * time.Millisecond)
		}
		require.Greater(t, time.Since(start), 8*time.Second)
		p.terminate()
		<-c.done
	})
}

func TestBOSHPathAnswersAGet(t *testing.T) {
	h := newHouse(t, nil)
	t.Cleanup(h.shut)
	rec := httptest.NewRecorder()
	h.srv.HTTPHandler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, BOSHPath, nil))
	require.Equal(t, http.StatusOK, rec.Code)
	require.Contains(t, rec.Body.String(), "BOSH")
}
