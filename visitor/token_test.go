package visitor

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"vnode/visitor/request"
	"vnode/visitor/token"
)

const testSecret = "a secret of thirty-two bytes, ok"

func withTokens(optional bool) func(*Config) {
	return func(c *Config) {
		keys, algorithms, err := token.FileKeys([]byte(testSecret))
		if err != nil {
			panic(err)
		}
		c.Tokens, err = token.New(token.Config{
			Keys: keys, Algorithms: algorithms, Issuers: []string{"jitsi"}, Audiences: []string{"jitsi"},
			Domains: []string{"meet.jitsi"}, Optional: optional,
		})
		if err != nil {
			panic(err)
		}
	}
}

// tokenFor is a token of a user for a room.
func tokenFor(t *testing.T, sub, room, user string) string {
	t.Helper()
	s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iss": "jitsi", "aud": "jitsi", "sub": sub, "room": room, "exp": time.Now().Add(time.Hour).Unix(),
		"context": map[string]any{"user": map[string]any{"id": user, "name": "Ann"}, "group": "g"},
	}).SignedString([]byte(testSecret))
	require.NoError(t, err)
	return s
}

// asked connects a client over WebSocket whose handshake was secure, or not.
func (h *house) asked(secure bool) *peer { return h.told(request.Info{Secure: secure}) }

// told connects a client over WebSocket whose handshake said something.
func (h *house) told(info request.Info) *peer {
	near, far := net.Pipe()
	return h.asking(near, far, info)
}

// The texts are what the client's users read: their form is the client's.
func TestTokenLogins(t *testing.T) {
	refused := func(text string) string {
		return `<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-allowed/><text>` + text + `</text></failure>`
	}
	for _, c := range []struct {
		name     string
		optional bool
		token    func(t *testing.T) string
		want     string
	}{
		{"good", false, func(t *testing.T) string { return tokenFor(t, "meet.jitsi", "stage", "u") }, saslSuccess},
		{"none", false, func(*testing.T) string { return "" }, refused("a token is required")},
		{"none, which is allowed", true, func(*testing.T) string { return "" }, saslSuccess},
		{"wrong", true, func(*testing.T) string { return "x.y.z" }, refused("the token is malformed")},
		{"forged", false, func(t *testing.T) string {
			s := tokenFor(t, "meet.jitsi", "stage", "u")
			return s[:len(s)-6] + "AAAAAA"
		}, refused("the token&apos;s signature is wrong")},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, withTokens(c.optional), func(t *testing.T, h *house) {
				p := h.told(request.Info{Token: c.token(t)})
				p.open(testDomain)
				p.send(anonymousAuth)
				require.Equal(t, c.want, p.next())
				p.hangUp()
			})
		})
	}
	t.Run("over TCP there is nowhere to put one", func(t *testing.T) {
		inBubble(t, withTokens(false), func(t *testing.T, h *house) {
			p := h.tcp(true)
			p.open(testDomain)
			p.play("C: "+anonymousAuth, "S: "+refused("a token is required"))
			p.leave()
		})
	})
}

func TestTokenSaysWhoAndWhere(t *testing.T) {
	inBubble(t, withTokens(true), func(t *testing.T, h *house) {
		p := h.told(request.Info{Token: tokenFor(t, "acme", "Stage", "u1"), Tenant: "acme", Region: "eu-1"}).visitor()
		s := h.srv.session(mustJID(p.jid))
		require.Equal(t, &token.Identity{UserID: "u1", GroupID: "g", Name: "Ann", TenantMatches: true}, s.Identity())
		require.Equal(t, "eu-1", s.Region())
		presence := func(to string) string { return `<presence xmlns='jabber:client' to='` + to + `/n' id='i'/>` }
		for _, to := range []string{"stage@conference.acme.v3.meet.jitsi", "[acme]stage@conference.v3.meet.jitsi"} {
			p.send(presence(to))
			synctest.Wait()
			require.Contains(t, h.handled()[len(h.handled())-1], to)
		}
		before := len(h.handled())
		for _, to := range []string{
			"stage@conference.v3.meet.jitsi", "other@conference.acme.v3.meet.jitsi", "stage@conference.evil.v3.meet.jitsi", "[acme]other@conference.v3.meet.jitsi",
		} {
			p.send(presence(to))
			p.expect(`<presence xmlns='jabber:client' to='` + p.jid + `' from='` + to + `/n' id='i' type='error'><error type='cancel'>` +
				`<not-allowed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>The token is for another room</text></error></presence>`)
		}
		require.Len(t, h.handled(), before)
		p.send(`<presence xmlns='jabber:client' to='stage@conference.v3.meet.jitsi/n' type='unavailable'/>`)
		synctest.Wait()
		require.Len(t, h.handled(), before+1, "one may always leave")
		p.leave()

		none := h.websocket().visitor()
		require.Nil(t, h.srv.session(mustJID(none.jid)).Identity())
		require.Empty(t, h.srv.session(mustJID(none.jid)).Region())
		none.leave()
	})
}

// A client whose token is about to expire resumes its session with a new one.
func TestTokenIsRefreshedByResuming(t *testing.T) {
	inBubble(t, withTokens(true), func(t *testing.T, h *house) {
		p := h.told(request.Info{Token: tokenFor(t, "meet.jitsi", "stage", "u1")}).visitor()
		p.send(`<enable xmlns='urn:xmpp:sm:3' resume='true'/>`)
		id := p.expect(`<enabled xmlns='urn:xmpp:sm:3' id='{id}' resume='true' max='60'/>`)
		s := h.srv.session(mustJID(p.jid))
		resume := func(info request.Info) *peer {
			info.PrevID = id
			next := h.told(info)
			next.open(testDomain)
			next.send(anonymousAuth)
			if got := next.next(); got != saslSuccess {
				require.Contains(t, got, "<not-allowed/><text>")
				next.leave()
				return nil
			}
			next.open(testDomain)
			next.send(`<resume xmlns='urn:xmpp:sm:3' previd='` + id + `' h='0'/>`)
			next.expect(`<resumed xmlns='urn:xmpp:sm:3' h='0' previd='` + id + `'/>`)
			next.jid = p.jid
			synctest.Wait()
			return next
		}
		p.hangUp()
		p = resume(request.Info{Token: tokenFor(t, "meet.jitsi", "stage", "u2"), Region: "us"})
		require.Equal(t, "u2", s.Identity().UserID)
		require.Equal(t, "us", s.Region())
		p.hangUp()
		p = resume(request.Info{})
		require.Equal(t, "u2", s.Identity().UserID, "without one the old one goes on")
		p.hangUp()
		require.Nil(t, resume(request.Info{Token: "forged.token.x"}), "a wrong one does not resume")
		p = resume(request.Info{})
		p.hangUp()
	})
}

// Where sessions come with tokens, the element alone resumes one only with a
// token as good.
func TestTokenOfWhoResumesByTheElementAlone(t *testing.T) {
	for _, c := range []struct {
		name, tenant, room, user string
		resumes                  bool
	}{
		{"the same", "meet.jitsi", "stage", "u1", true},
		{"same room, another user", "meet.jitsi", "stage", "u2", true},
		{"same user, another room", "meet.jitsi", "other", "u1", true},
		{"neither", "meet.jitsi", "other", "u2", false},
		{"another tenant", "acme", "stage", "u1", false},
		{"none", "", "", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, withTokens(true), func(t *testing.T, h *house) {
				p := h.told(request.Info{Token: tokenFor(t, "meet.jitsi", "stage", "u1")}).visitor()
				id := p.resumable()
				info := request.Info{}
				if c.tenant != "" {
					info.Token, info.Tenant = tokenFor(t, c.tenant, c.room, c.user), c.tenant
				}
				again := h.told(info).anonymous()
				again.resume(id, 0)
				if c.resumes {
					again.expect(resumedWith(id, 0))
					return
				}
				again.expect(itemNotFound)
				again.leave()
				p.play("C: <r xmlns='urn:xmpp:sm:3'/>", "S: <a xmlns='urn:xmpp:sm:3' h='0'/>")
			})
		})
	}
}

// The whole way: what the URL says becomes the session's.
func TestTokenInTheURL(t *testing.T) {
	h := newHouse(t, withTokens(false))
	t.Cleanup(h.shut)
	srv := h.serveHTTP(t)
	p := dialCoderWith(t, srv.URL+WebSocketPath+"?prefix=ACME&room=stage&vnode=v3&token="+tokenFor(t, "acme", "stage", "u9"))
	jid := p.login()
	require.Equal(t, "u9", h.srv.session(mustJID(jid)).Identity().UserID)
	require.True(t, h.srv.session(mustJID(jid)).Identity().TenantMatches)
	p.send(wsClose)
	p.next()
}

func TestPlainGETsAndOrigins(t *testing.T) {
	h := newHouse(t, func(c *Config) {
		c.Shard = "shard-1"
		c.Requests.Origins = []string{"https://meet.example.com"}
	})
	t.Cleanup(h.shut)
	ask := func(method, path, origin string, upgrade bool) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(method, path, nil)
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		if upgrade {
			r.Header.Set("Connection", "Upgrade")
			r.Header.Set("Upgrade", "websocket")
		}
		h.srv.HTTPHandler().ServeHTTP(w, r)
		return w
	}
	for _, path := range []string{WebSocketPath, BOSHPath} {
		w := ask(http.MethodGet, path+"?room=x&vnode=v3", "https://meet.example.com", false)
		require.Equal(t, http.StatusOK, w.Code)
		require.Equal(t, "shard-1", w.Header().Get("X-Jitsi-Shard"))
		require.Equal(t, "X-Jitsi-Shard", w.Header().Get("Access-Control-Expose-Headers"))
		require.Equal(t, "https://meet.example.com", w.Header().Get("Access-Control-Allow-Origin"))
		require.Less(t, w.Body.Len(), 100, "it is cheap")
		require.Equal(t, http.StatusOK, ask(http.MethodGet, path, "", false).Code, "no browser")
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodOptions} {
			w = ask(method, path, "https://evil.example.com", method == http.MethodGet)
			require.Equal(t, http.StatusForbidden, w.Code)
			require.Empty(t, w.Header().Get("Access-Control-Allow-Origin"))
		}
	}
}

// A token is a secret, and long: no connection keeps it longer than it takes.
func TestTokenIsForgotten(t *testing.T) {
	inBubble(t, withTokens(true), func(t *testing.T, h *house) {
		p := h.told(request.Info{Token: tokenFor(t, "meet.jitsi", "stage", "u1")}).visitor()
		streams, _ := h.srv.open()
		require.Len(t, streams, 1)
		require.Empty(t, streams[0].request.Token)
		p.leave()
	})
}
