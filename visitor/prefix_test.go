package visitor

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"vnode/internal/wire"
	"vnode/internal/xmpptest/hostile"
)

// What other software writes: elements of the stream's level under any prefix,
// declared on them or, over TCP, on the stream's header. The visitor prosody
// resolves namespaces, and takes all of them.

// Over WebSocket each message declares its own prefixes (RFC 7395 §3.3.3).
func TestPrefixedElementsOverWebSocket(t *testing.T) {
	const (
		features = `S: <stream:features xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:client'>`
		open     = `C: <n:open xmlns:n='urn:ietf:params:xml:ns:xmpp-framing' to='v3.meet.jitsi' version='1.0'/>`
		opened   = `S: <open xmlns='urn:ietf:params:xml:ns:xmpp-framing' from='v3.meet.jitsi' id='{id}' version='1.0' xml:lang='en'/>`
	)
	inBubble(t, nil, func(t *testing.T, h *house) {
		p := h.websocket()
		p.play(open, opened,
			features+`<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>ANONYMOUS</mechanism></mechanisms>`+limitsBeforeLogin+`</stream:features>`,
			`C: <sasl:auth xmlns:sasl='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'/>`, "S: "+saslSuccess,
			`C: <?xml version="1.0" encoding="UTF-8"?>`+open[len("C: "):], opened,
			features+`<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><required/></bind><sm xmlns='urn:xmpp:sm:3'><optional/></sm>`+limitsOfVisitor+`</stream:features>`,
			"C: <q:resume xmlns:q='urn:xmpp:sm:3' previd='nosuchtoken' h='0'/>",
			"S: <failed xmlns='urn:xmpp:sm:3'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>",
			`C: <iq xmlns='jabber:client' type='set' id='_bind_auth_2'><b:bind xmlns:b='urn:ietf:params:xml:ns:xmpp-bind'/></iq>`,
			"S: "+pushed, "S: "+bindResult,
			"C: <q:enable xmlns:q='urn:xmpp:sm:3' resume='true'/>",
			"S: <enabled xmlns='urn:xmpp:sm:3' id='{id}' resume='true' max='60'/>",
			"C: <q:r xmlns:q='urn:xmpp:sm:3'/>", "S: <a xmlns='urn:xmpp:sm:3' h='0'/>",
			"C: <q:a xmlns:q='urn:xmpp:sm:3' h='0'/>",
			"C: <n:close xmlns:n='urn:ietf:params:xml:ns:xmpp-framing'/>",
			"S: <a xmlns='urn:xmpp:sm:3' h='0'/>",
		)
		p.expectEnd()
	})
}

// A visitor that resumes with a prefix gets its session.
func TestPrefixedResume(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		p := h.websocket().visitor()
		id := p.resumable()
		p.hangUp()
		q := h.returning(id).anonymous()
		q.send("<m:resume xmlns:m='urn:xmpp:sm:3' previd='" + id + "' h='0'/>")
		q.expect(resumedWith(id, 0))
		q.jid = p.jid
		q.send(wsClose)
		q.expect("<a xmlns='urn:xmpp:sm:3' h='0'/>")
		q.expectEnd()
	})
}

// Over TCP the header may declare prefixes, and its default namespace may be that
// of streams (RFC 6120 §4.8.3); a byte order mark may come first.
func TestStreamHeadersOfOthers(t *testing.T) {
	for name, tc := range map[string]struct{ header, auth, bind, enable, ask string }{
		"prefixes of the header": {
			`<s:stream xmlns='jabber:client' xmlns:s='http://etherx.jabber.org/streams' xmlns:a='urn:ietf:params:xml:ns:xmpp-sasl' xmlns:b='urn:ietf:params:xml:ns:xmpp-bind' xmlns:m="urn:xmpp:sm:3" to='v3.meet.jitsi' version='1.0'>`,
			`<a:auth mechanism='ANONYMOUS'/>`, `<iq type='set' id='_bind_auth_2'><b:bind/></iq>`, `<m:enable/>`, `<m:r/>`,
		},
		"streams as the default": {
			`<stream xmlns='http://etherx.jabber.org/streams' to='v3.meet.jitsi' version='1.0'>`,
			`<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'/>`, bindIQ, `<enable xmlns='urn:xmpp:sm:3'/>`, `<r xmlns='urn:xmpp:sm:3'/>`,
		},
		"streams as the default, prefixes of the header": {
			`<stream xmlns='http://etherx.jabber.org/streams' xmlns:a='urn:ietf:params:xml:ns:xmpp-sasl' xmlns:m='urn:xmpp:sm:3' to='v3.meet.jitsi' version='1.0'>`,
			`<a:auth mechanism='ANONYMOUS'/>`, bindIQ, `<m:enable/>`, `<m:r/>`,
		},
		"a byte order mark": {
			"\xEF\xBB\xBF<?xml version='1.0' encoding='UTF-8'?>" + strings.ReplaceAll(streamTo[len("<?xml version='1.0'?>"):], "%s", testDomain),
			anonymousAuth, bindIQ, `<enable xmlns='urn:xmpp:sm:3'/>`, `<r xmlns='urn:xmpp:sm:3'/>`,
		},
		"no default": {
			`<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns:c='jabber:client' to='v3.meet.jitsi' version='1.0'>`,
			`<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'>
				=
			</auth>`, `<c:iq type='set' id='_bind_auth_2'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></c:iq>`, `<enable xmlns='urn:xmpp:sm:3'/>`, `<r xmlns='urn:xmpp:sm:3'></r>`,
		},
		"a prefix declared anew": {
			`<s:stream xmlns='jabber:client' xmlns:s='http://etherx.jabber.org/streams' xmlns:a='urn:something:else' to='v3.meet.jitsi' version='1.0'>`,
			`<a:auth xmlns:a='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'/>`, bindIQ, `<enable xmlns='urn:xmpp:sm:3'/>`, `<r xmlns='urn:xmpp:sm:3'/>`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, h *house) {
				p := h.tcp(true)
				open := func() {
					p.send(tc.header)
					p.expect(strings.ReplaceAll(serverTCP, "%s", testDomain))
					require.Contains(t, p.next(), "<stream:features>")
				}
				open()
				p.play("C: "+tc.auth, "S: "+saslSuccess)
				p.tcp.Restart()
				open()
				p.play("C: "+tc.bind, "S: "+pushed, "S: "+bindResult,
					"C: "+tc.enable, "S: <enabled xmlns='urn:xmpp:sm:3'/>", "C: "+tc.ask, "S: <a xmlns='urn:xmpp:sm:3' h='0'/>")
				room := `<message xmlns='jabber:client' type='groupchat' to='room@conference.v3.meet.jitsi'><body>a</body></message>`
				p.send(room)
				if strings.HasPrefix(tc.header, "<stream ") { // not a stanza: it has another namespace
					p.send(`<message type='groupchat' to='room@conference.v3.meet.jitsi'><body>b</body></message>`)
				}
				p.send(endTagOf(tc.header))
				for s := p.next(); s != "</stream:stream>"; s = p.next() {
					require.NotEqual(t, "EOF", s)
				}
				p.expectEOF()
				require.Len(t, h.handled(), 1)
				require.Contains(t, h.handled()[0], "<body>a</body>")
			})
		})
	}
}

func endTagOf(header string) string {
	name, _, _ := strings.Cut(header[strings.LastIndex(header, "<")+1:], " ")
	return "</" + name + ">"
}

// A stanza that uses a prefix of the stream's header is passed on whole: the room
// gets it with the declaration.
func TestStanzaWithAPrefixOfTheHeader(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		p := h.tcp(true)
		header := strings.Replace(strings.ReplaceAll(streamTo, "%s", testDomain), " to=", " xmlns:j='http://jitsi.org/jitmeet' to=", 1)
		for _, login := range []string{anonymousAuth, ""} {
			p.send(header)
			p.next()
			p.next()
			if login != "" {
				p.play("C: "+login, "S: "+saslSuccess)
				p.tcp.Restart()
			}
		}
		p.send(bindIQ)
		p.jid = p.expect(pushed)
		p.next()
		p.send(`<message xmlns='jabber:client' to='room@conference.v3.meet.jitsi'><j:audience/></message>`)
		p.leave()
		require.Len(t, h.handled(), 1)
		stanza := h.handled()[0]
		require.NoError(t, wire.Check([]byte(stanza[strings.Index(stanza, "<"):]), wire.Limits{}), "it can stand alone")
		require.Contains(t, stanza, `xmlns:j='http://jitsi.org/jitmeet'`)
	})
}

// So may stanzas be, whole or in part: RFC 6120 §4.8.5 lets a server take what it
// must not send. They are handed on as Prosody would, without prefixes, so that
// nobody takes them for something else.
func TestStanzasUnderAPrefix(t *testing.T) {
	stanzas := map[string]string{ // with what is handed on
		`<c:message xmlns:c='jabber:client' type='groupchat' to='room@conference.v3.meet.jitsi'><c:body>c:a</c:body></c:message>`:           `<message xmlns='jabber:client' xmlns:c='jabber:client' type='groupchat' to='room@conference.v3.meet.jitsi'><body>c:a</body></message>`,
		`<c:presence to='room@conference.v3.meet.jitsi/n' xmlns:c="jabber:client" xmlns='http://jabber.org/protocol/muc'><x/></c:presence>`: `<presence xmlns='jabber:client' to='room@conference.v3.meet.jitsi/n' xmlns:c='jabber:client'><x xmlns='http://jabber.org/protocol/muc'/></presence>`,
		`<message xmlns='jabber:client' to='room@conference.v3.meet.jitsi'><j:x xmlns:j='urn:j' j:a='1'><j:y/></j:x></message>`:             `<message xmlns='jabber:client' to='room@conference.v3.meet.jitsi'><x xmlns='urn:j' xmlns:j='urn:j' j:a='1'><y/></x></message>`,
	}
	for _, transport := range []string{transportTCP, transportWebSocket} {
		inBubble(t, nil, func(t *testing.T, h *house) {
			p := h.on(transport)
			p.open(testDomain)
			p.play("C: "+anonymousAuth, "S: "+saslSuccess)
			p.restart(testDomain)
			p.send(`<c:iq xmlns:c='jabber:client' type='set' id='_bind_auth_2'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></c:iq>`)
			p.jid = p.expect(pushed)
			p.expect(bindResult)
			for sent, handed := range stanzas {
				p.send(sent)
				p.play("C: <c:iq xmlns:c='jabber:client' type='get' id='p'><ping xmlns='urn:xmpp:ping'/></c:iq>", "S: "+pongIn)
				require.Contains(t, h.handled()[len(h.handled())-1], handed)
			}
			require.Len(t, h.handled(), len(stanzas))
			for _, k := range hostile.Kinds() { // outside the profile it is refused alone, prefix or not
				p.send("<c:message xmlns='jabber:client' xmlns:c='jabber:client' id='h' to='r@conference.v3.meet.jitsi'>" + k.Children + "</c:message>")
				p.matches(policyViolation("message"), k.Name)
			}
			require.Len(t, h.handled(), len(stanzas))
			p.send("<c:message to='r@conference.v3.meet.jitsi'/>")
			p.expectStreamError(wire.BadNamespacePrefix, false)
		})
	}
	inBubble(t, nil, func(t *testing.T, h *house) {
		p := h.bosh().visitor()
		const ping = "<c:iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></c:iq>"
		for sent := range stanzas {
			require.Contains(t, p.send(" xmlns:c='jabber:client'", sent+ping).body(), "id='p' type='result'")
		}
		p.send(" xmlns:c='jabber:client'", "<c:message to='room@conference.v3.meet.jitsi'/>"+ping).body()
		p.terminate()
		synctest.Wait()
		all := strings.Join(h.handled(), "\n")
		for _, handed := range stanzas {
			require.Contains(t, all, handed)
		}
		require.Contains(t, all, "<message xmlns='jabber:client' xmlns:c='jabber:client' to='room@conference.v3.meet.jitsi'/>")
	})
}

// BOSH bodies under a prefix, behind an XML declaration or a byte order mark, and
// elements that use prefixes of their body.
func TestBOSHBodiesOfOthers(t *testing.T) {
	const ns = `http://jabber.org/protocol/httpbind`
	for name, wrap := range map[string]func(attrs, content string) string{
		"prefixed": func(a, c string) string { return `<n:body xmlns:n='` + ns + `'` + a + `>` + c + `</n:body>` },
		"XML declaration": func(a, c string) string {
			return `<?xml version='1.0'?><body xmlns='` + ns + `'` + a + `>` + c + `</body>`
		},
		"declaration and lines": func(a, c string) string {
			return "<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n<body xmlns='" + ns + `'` + a + ">" + c + "</body>\n"
		},
		"byte order mark": func(a, c string) string { return "\xEF\xBB\xBF<body xmlns='" + ns + `'` + a + `>` + c + `</body>` },
		"mark and declaration": func(a, c string) string {
			return "\xEF\xBB\xBF<?xml version='1.0' encoding='UTF-8'?>\n<k:body xmlns:k=\"" + ns + `"` + a + `>` + c + `</k:body>`
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, h *house) {
				p := h.bosh()
				p.rid = 10
				p.sid = sidIn(t, p.post(wrap(` rid='10' to='v3.meet.jitsi' wait='60' hold='1' ver='1.6' x:version='1.0' xmlns:x='urn:xmpp:xbosh'`, "")).body())
				at := func(rid, attrs, content string) string {
					return p.post(wrap(` rid='`+rid+`' sid='`+p.sid+`'`+attrs, content)).body()
				}
				require.Contains(t, at("11", ` xmlns:sasl='urn:ietf:params:xml:ns:xmpp-sasl'`, `<sasl:auth mechanism='ANONYMOUS'/>`), "<success ")
				require.Contains(t, at("12", ` x:restart='true' xmlns:x='urn:xmpp:xbosh' to='v3.meet.jitsi'`, ""), "<bind ")
				require.Contains(t, at("13", ` xmlns:b='urn:ietf:params:xml:ns:xmpp-bind'`, `<iq xmlns='jabber:client' type='set' id='_bind_auth_2'><b:bind/></iq>`), "<jid>")
				require.Contains(t, at("14", ` type='terminate'`, ""), "type='terminate'")
			})
		})
	}
	inBubble(t, nil, func(t *testing.T, h *house) {
		require.Contains(t, h.bosh().post("<?xml version='1.0' encoding='utf-16'?><body xmlns='"+ns+"' rid='1' to='v3.meet.jitsi'/>").body(), "condition='bad-request'")
	})
}

func sidIn(t *testing.T, body string) string {
	t.Helper()
	_, rest, ok := strings.Cut(body, " sid='")
	require.True(t, ok, body)
	sid, _, _ := strings.Cut(rest, "'")
	return sid
}

// A slash at the end is the same place; what is below it is not.
func TestPathsWithASlash(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		for path, status := range map[string]int{
			"/http-bind": 200, "/http-bind/": 200, "/http-bind/?room=x": 200, "/xmpp-websocket": 200, "/xmpp-websocket/": 200, "/xmpp-websocket/?vnode=v3": 200,
			"/http-bind/x": 404, "/xmpp-websocket/x": 404, "/xmpp": 404,
		} {
			rec := httptest.NewRecorder()
			h.srv.HTTPHandler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
			require.Equal(t, status, rec.Code, path)
		}
	})
}

// Proxies make several slashes of two parts of a path. No client of a WebSocket or
// BOSH follows a redirection.
func TestPathsWithSeveralSlashes(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		for _, path := range []string{"//xmpp-websocket", "/xmpp-websocket//", "///xmpp-websocket///?room=a//b", "//http-bind", "//http-bind//?x=//"} {
			req := httptest.NewRequest(http.MethodGet, "http://node"+path, nil)
			rec := httptest.NewRecorder()
			h.srv.HTTPHandler().ServeHTTP(rec, req)
			require.Equal(t, 200, rec.Code, path)
		}
		for _, path := range []string{"//x//http-bind", "/http//bind"} {
			rec := httptest.NewRecorder()
			h.srv.HTTPHandler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "http://node"+path, nil))
			require.Equal(t, 404, rec.Code, path)
		}
	})
}
