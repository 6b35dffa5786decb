package visitor

import (
	"encoding/base64"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"github.com/xdg-go/scram"

	"vnode/visitor/sasl"
)

const limitsBeforeLogin = `<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>16384</max-bytes><idle-seconds>120</idle-seconds></limits>`
const limitsOfVisitor = `<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>262144</max-bytes><idle-seconds>120</idle-seconds></limits>`

func TestVisitorLogsInOverWebSocket(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		p := h.websocket()
		p.play(
			`C: <open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='v3.meet.jitsi' version='1.0'/>`,
			`S: <open xmlns='urn:ietf:params:xml:ns:xmpp-framing' from='v3.meet.jitsi' id='{id}' version='1.0' xml:lang='en'/>`,
			`S: <stream:features xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:client'><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>ANONYMOUS</mechanism></mechanisms>`+limitsBeforeLogin+`</stream:features>`,
			`C: <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'></auth>`,
			`S: <success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>`,
			`C: <open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='v3.meet.jitsi' version='1.0'/>`,
			`S: <open xmlns='urn:ietf:params:xml:ns:xmpp-framing' from='v3.meet.jitsi' id='{id}' version='1.0' xml:lang='en'/>`,
			`S: <stream:features xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:client'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><required/></bind><sm xmlns='urn:xmpp:sm:3'><optional/></sm>`+limitsOfVisitor+`</stream:features>`,
			`C: <iq xmlns='jabber:client' type='set' id='_bind_auth_2'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'></bind></iq>`,
		)
		jid := p.expect(pushed)
		require.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}@v3\.meet\.jitsi/[A-Z2-7]{16}$`, jid)
		p.play(
			`S: <iq xmlns='jabber:client' type='result' id='_bind_auth_2'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>`+jid+`</jid></bind></iq>`,
			`C: <close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>`,
			`S: <close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>`,
			`S: CLOSE 1000 Stream closed`,
		)
		p.hangUp()
		synctest.Wait()
		require.Equal(t, []string{jid}, h.ended())
	})
}

func TestVisitorLogsInOverTCP(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		p := h.tcp(true)
		require.Equal(t, `<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>ANONYMOUS</mechanism></mechanisms>`+
			limitsBeforeLogin+`</stream:features>`, p.open(testDomain))
		p.play("C: "+anonymousAuth, "S: "+saslSuccess)
		require.Equal(t, `<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><required/></bind><sm xmlns='urn:xmpp:sm:3'><optional/></sm>`+
			limitsOfVisitor+`</stream:features>`, p.restart(testDomain))
		p.send(bindIQ)
		p.expect(pushed)
		p.expect(`<iq xmlns='jabber:client' type='result' id='_bind_auth_2'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>{jid}</jid></bind></iq>`)
		p.leave()
	})
}

// The whole login may arrive at once: nothing read ahead may be lost.
func TestPipelinedLogin(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		p := h.tcp(true)
		header := strings.ReplaceAll(streamTo, "%s", testDomain)
		go p.write([]byte(header + anonymousAuth + header + bindIQ))
		p.next() // header
		p.next() // features
		p.expect(saslSuccess)
		p.tcp.Restart()
		p.next()
		p.next()
		p.jid = p.expect(pushed)
		p.next()
		p.leave()
	})
}

func TestFocusLogsInWithSCRAM(t *testing.T) {
	for name, hash := range map[string]scram.HashGeneratorFcn{sasl.SCRAMSHA1: scram.SHA1, sasl.SCRAMSHA256: scram.SHA256} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, h *house) {
				p := h.tcp(true)
				require.Contains(t, p.open(testAuth), `<mechanism>SCRAM-SHA-256</mechanism><mechanism>SCRAM-SHA-1</mechanism><mechanism>PLAIN</mechanism>`)
				conv := p.scram(t, name, hash, "focus", testPassword)
				final := p.expect(`<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{data}</success>`)
				proof, err := base64.StdEncoding.DecodeString(final)
				require.NoError(t, err)
				_, err = conv.Step(string(proof))
				require.NoError(t, err)
				require.True(t, conv.Valid(), "the server knows the password too")
				require.Contains(t, p.restart(testAuth), "<max-bytes>10485760</max-bytes>")
				p.send(`<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>focus</resource></bind></iq>`)
				p.expect(`<iq xmlns='jabber:client' type='result' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>focus@auth.meet.jitsi/focus</jid></bind></iq>`)
				p.leave()
				require.EqualValues(t, 1, testutil.ToFloat64(h.srv.metrics.logins.WithLabelValues(name, "success")))
			})
		})
	}
}

// scram plays the client's two messages.
func (p *peer) scram(t *testing.T, name string, hash scram.HashGeneratorFcn, user, password string) *scram.ClientConversation {
	t.Helper()
	c, err := hash.NewClient(user, password, "")
	require.NoError(t, err)
	conv := c.NewConversation()
	first, err := conv.Step("")
	require.NoError(t, err)
	p.send(auth(name, first))
	challenge, err := base64.StdEncoding.DecodeString(p.expect(`<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{data}</challenge>`))
	require.NoError(t, err)
	final, err := conv.Step(string(challenge))
	require.NoError(t, err)
	p.send(response(final))
	return conv
}

func response(msg string) string {
	return `<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>` + sasl.Encode([]byte(msg)) + `</response>`
}

func failure(condition string) string {
	return `<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><` + condition + `/></failure>`
}

// A guesser learns nothing: an unknown user and a wrong password look alike,
// salt included, and the stream stays usable for another try.
func TestWrongLoginsLookAlike(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		p := h.tcp(true)
		p.open(testAuth)
		p.scram(t, sasl.SCRAMSHA1, scram.SHA1, "focus", "wrong")
		p.expect(failure("not-authorized"))
		p.scram(t, sasl.SCRAMSHA1, scram.SHA1, "nobody", "wrong")
		p.expect(failure("not-authorized"))
		p.scram(t, sasl.SCRAMSHA1, scram.SHA1, "focus", testPassword)
		p.expect(`<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{data}</success>`)
		p.hangUp()
	})
}

func TestTooManyFailedLoginsEndTheStream(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		p := h.tcp(true)
		p.open(testAuth)
		for range 3 {
			p.play("C: "+auth(sasl.Plain, "\x00focus\x00wrong"), "S: "+failure("not-authorized"))
		}
		p.expect(`<stream:error><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>too many failed logins</text></stream:error>`)
		p.expectEnd()
	})
}

func TestSASLRefusals(t *testing.T) {
	for _, c := range []struct{ name, domain, send, want string }{
		{"unknown mechanism", testAuth, auth("X-NO-SUCH", ""), failure("invalid-mechanism")},
		{"no mechanism", testAuth, `<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>`, failure("invalid-mechanism")},
		{"ANONYMOUS at the auth domain", testAuth, anonymousAuth, failure("invalid-mechanism")},
		{"PLAIN at the visitors' domain", testDomain, auth(sasl.Plain, "\x00focus\x00"+testPassword), failure("invalid-mechanism")},
		{"not base64", testAuth, `<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>!!!</auth>`, failure("incorrect-encoding")},
		{"base64 with loose bits", testAuth, `<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AB==</auth>`, failure("incorrect-encoding")},
		{"PLAIN of one part", testAuth, auth(sasl.Plain, "focus"), failure("malformed-request")},
		{"PLAIN of four parts", testAuth, auth(sasl.Plain, "\x00focus\x00pw\x00x"), failure("malformed-request")},
		{"PLAIN, empty password", testAuth, auth(sasl.Plain, "\x00focus\x00"), failure("malformed-request")},
		{"PLAIN, not UTF-8", testAuth, auth(sasl.Plain, "\x00focus\x00\xff"), failure("malformed-request")},
		{"PLAIN, unknown user", testAuth, auth(sasl.Plain, "\x00nobody\x00"+testPassword), failure("not-authorized")},
		{"PLAIN, user that is no localpart", testAuth, auth(sasl.Plain, "\x00fo@cus/x\x00"+testPassword), failure("not-authorized")},
		{"PLAIN, password refused by SASLprep", testAuth, auth(sasl.Plain, "\x00focus\x00a\x07b"), failure("not-authorized")},
		{"PLAIN as somebody else", testAuth, auth(sasl.Plain, "root@auth.meet.jitsi\x00focus\x00"+testPassword), failure("invalid-authzid")},
		{"SCRAM, garbage", testAuth, auth(sasl.SCRAMSHA1, "garbage"), failure("malformed-request")},
		{"SCRAM, not UTF-8", testAuth, auth(sasl.SCRAMSHA1, "n,,n=\xff,r=x"), failure("malformed-request")},
		{"SCRAM with channel binding, without the name for it", testAuth, auth(sasl.SCRAMSHA1, "p=tls-exporter,,n=focus,r=x"), failure("not-authorized")},
		{"SCRAM extension", testAuth, auth(sasl.SCRAMSHA1, "n,,m=x,n=focus,r=x"), failure("malformed-request")},
		{"response to nothing", testAuth, response("x"), failure("malformed-request")},
		{"abort", testAuth, `<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>`, failure("aborted")},
		{"unknown element", testAuth, `<foo xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>`, failure("malformed-request")},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, h *house) {
				p := h.tcp(true)
				p.open(c.domain)
				p.play("C: "+c.send, "S: "+c.want)
				p.leave()
			})
		})
	}
}

func TestSASLWithoutInitialResponse(t *testing.T) {
	for _, c := range []struct{ mechanism, msg, want string }{
		{sasl.Plain, "\x00focus\x00" + testPassword, saslSuccess},
		{sasl.SCRAMSHA256, "n,,n=focus,r=abc", `<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{data}</challenge>`},
	} {
		inBubble(t, nil, func(t *testing.T, h *house) {
			p := h.tcp(true)
			p.open(testAuth)
			p.play(
				"C: <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='"+c.mechanism+"'/>",
				"S: <challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
				"C: "+response(c.msg),
				"S: "+c.want,
			)
			p.hangUp()
		})
	}
}

func TestSCRAMSecondMessage(t *testing.T) {
	for name, msg := range map[string]string{
		"unreadable":  "x",
		"other nonce": "c=biws,r=other,p=AAAA",
		"no proof":    "c=biws,r=abc",
		"other gs2":   "c=eSws,r=abc,p=AAAA",
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, h *house) {
				p := h.tcp(true)
				p.open(testAuth)
				p.play(
					"C: "+auth(sasl.SCRAMSHA1, "n,,n=focus,r=abc"),
					"S: <challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{data}</challenge>",
					"C: "+response(msg),
				)
				require.Regexp(t, `<(malformed-request|not-authorized)/>`, p.next())
				p.leave()
			})
		})
	}
}

// What a client claims in its header or its stanzas is not who it is.
func TestClaimedIdentityIsNotBelieved(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		p := h.websocket()
		p.play(
			`C: <open xmlns='urn:ietf:params:xml:ns:xmpp-framing' from='focus@auth.meet.jitsi/x' to='v3.meet.jitsi' version='1.0'/>`,
			`S: <open xmlns='urn:ietf:params:xml:ns:xmpp-framing' from='v3.meet.jitsi' id='{id}' version='1.0' xml:lang='en'/>`,
		)
		p.next()
		p.play("C: "+anonymousAuth, "S: "+saslSuccess)
		p.open(testDomain)
		p.send(`<iq xmlns='jabber:client' type='set' id='b' from='focus@auth.meet.jitsi/focus'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>focus</resource></bind></iq>`)
		p.jid = p.expect(pushed)
		require.Regexp(t, `^[0-9a-f-]{36}@v3\.meet\.jitsi/focus$`, p.jid)
		p.next()
		p.send(`<message xmlns='jabber:client' from='focus@auth.meet.jitsi/focus' to='room@conference.v3.meet.jitsi' type='groupchat'><body>x</body></message>`)
		synctest.Wait()
		require.Len(t, h.handled(), 1)
		require.True(t, strings.HasPrefix(h.handled()[0], p.jid+" -> "), "the session's identity, not the stanza's")
		p.leave()
	})
}

func TestBindResources(t *testing.T) {
	const bind = `<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>%</resource></bind></iq>`
	const bad = `<iq xmlns='jabber:client' id='b' type='error'><error type='modify'><bad-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`
	inBubble(t, nil, func(t *testing.T, h *house) {
		p := h.websocket()
		p.open(testDomain)
		p.play("C: "+anonymousAuth, "S: "+saslSuccess)
		p.open(testDomain)
		for _, resource := range []string{strings.Repeat("x", 1024), "&#xAD;&#x200B;"} {
			p.play("C: "+strings.Replace(bind, "%", resource, 1), "S: "+bad)
		}
		p.send(strings.Replace(bind, "%", "my &lt;choice", 1))
		require.True(t, strings.HasSuffix(p.expect(pushed), "/my &lt;choice"))
		p.next()
		p.play(
			"C: "+strings.Replace(bind, "%", "again", 1),
			"S: <iq xmlns='jabber:client' to='{jid}' id='b' type='error'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>",
		)
		p.leave()
	})
}

// A focus that comes back takes the place of its old session at once, and the
// rooms hear of the old one's end first.
func TestNewFocusReplacesOldOne(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		old := h.tcp(true).focus()
		done := make(chan struct{})
		go func() {
			defer close(done)
			old.expect(`<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>replaced by a new connection</text></stream:error>`)
			old.expectEnd()
		}()
		fresh := h.tcp(true).focus()
		require.Equal(t, []string{"focus@auth.meet.jitsi/focus"}, h.ended())
		<-done
		fresh.play(
			`C: <iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>`,
			`S: <iq xmlns='jabber:client' to='focus@auth.meet.jitsi/focus' id='p' type='result'/>`,
		)
		fresh.leave()
	})
}

func TestAnonymousUsersDifferInTheirFirstDigits(t *testing.T) {
	u := newUsers()
	seen := make(map[string]bool)
	for range 10_000 {
		name := u.take()
		require.False(t, seen[name[:8]])
		seen[name[:8]] = true
	}
	for digits := range seen {
		u.release(digits)
	}
	require.Empty(t, u.taken)
}
