package token

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
)

func TestEachKindOfKeyVerifiesItsTokens(t *testing.T) {
	for name, p := range pairs() {
		g, err := verifier(t, p, nil).Verify(t.Context(), sign(t, p, body(nil), nil), "")
		require.NoError(t, err, name)
		require.True(t, g.Covers("stage", ""))
		require.Equal(t, &Identity{TenantMatches: true}, g.Identity())
	}
}

// A secret in a file may have the line end and the byte order mark of its editor.
func TestSecretsAsEditorsWriteThem(t *testing.T) {
	p := pairs()["HS256"]
	for _, text := range []string{secret, secret + "\n", secret + "\r\n", "\ufeff" + secret + "\r\n"} {
		_, err := verifier(t, pair{p.alg, p.private, []byte(text)}, nil).Verify(t.Context(), sign(t, p, body(nil), nil), "")
		require.NoError(t, err, "%q", text)
	}
}

// A token chooses neither its algorithm nor how a key is used.
func TestKeysAreBoundToAlgorithms(t *testing.T) {
	all := pairs()
	every := func(c *Config) { c.Algorithms = Algorithms }
	for name, c := range map[string]struct {
		signed  pair
		by      pair
		change  func(*Config)
		refusal string
	}{
		"another algorithm":          {all["RS256"], all["HS256"], nil, "the token's signature algorithm is not accepted"},
		"public key as a secret":     {pair{"HS256", all["RS256"].public, nil}, all["RS256"], every, "there is no key for the token's signature algorithm"},
		"another curve":              {all["ES384"], all["ES256"], every, "there is no key for the token's signature algorithm"},
		"another key":                {pair{"HS256", []byte("guessed"), nil}, all["HS256"], nil, "the token's signature is wrong"},
		"none":                       {pair{"none", jwt.UnsafeAllowNoneSignatureType, nil}, all["HS256"], every, "the token's signature algorithm is not accepted"},
		"not the one that is pinned": {pair{"HS512", []byte(secret), nil}, all["HS256"], nil, "the token's signature algorithm is not accepted"},
	} {
		_, err := verifier(t, c.by, c.change).Verify(t.Context(), sign(t, c.signed, body(nil), nil), "")
		require.Equal(t, Refusal(c.refusal), err, name)
	}
	g, err := verifier(t, all["HS256"], every).Verify(t.Context(), sign(t, pair{"HS512", []byte(secret), nil}, body(nil), nil), "")
	require.NoError(t, err)
	require.NotNil(t, g)
}

func TestRefusals(t *testing.T) {
	p := pairs()["HS256"]
	now := time.Now().Unix()
	for _, c := range []struct {
		name    string
		claims  m
		header  m
		refusal string // "" for none
	}{
		{"as it should be", nil, nil, ""},
		{"expires now", m{"exp": now}, nil, "the token has expired 0 s ago"},
		{"expired long ago", m{"exp": -1e18}, nil, "the token has expired 2147483647 s ago"},
		{"never expires", m{"exp": nil}, nil, ""},
		{"fraction of a second", m{"exp": float64(now) + 3600.5}, nil, ""},
		{"far future", m{"exp": 1e300}, nil, ""},
		{"time as text", m{"exp": "soon"}, nil, "the token is malformed"},
		{"not yet", m{"nbf": now + 60}, nil, "the token is not valid yet"},
		{"already", m{"nbf": now - 60}, nil, ""},
		{"no issuer", m{"iss": nil}, nil, "the token names no issuer"},
		{"other issuer", m{"iss": "evil"}, nil, "the token's issuer is not accepted"},
		{"issuer of another type", m{"iss": 5}, nil, "the token's issuer is not accepted"},
		{"subject of another type", m{"sub": m{}}, nil, "the token names no subject"},
		{"audience of another type", m{"aud": m{"jitsi": true}}, nil, "the token's audience is not accepted"},
		{"no audience", m{"aud": nil}, nil, "the token names no audience"},
		{"other audience", m{"aud": "evil"}, nil, "the token's audience is not accepted"},
		{"several audiences", m{"aud": []string{"x", "jitsi"}}, nil, ""},
		{"no audience in a list", m{"aud": []string{}}, nil, "the token's audience is not accepted"},
		{"audiences of several types", m{"aud": []any{7, nil, "jitsi"}}, nil, ""},
		{"no audience of its type", m{"aud": []any{7, nil, []string{"jitsi"}}}, nil, "the token's audience is not accepted"},
		{"no room", m{"room": nil}, nil, "the token names no room"},
		{"empty room", m{"room": ""}, nil, "the token's room is empty"},
		{"room of another type", m{"room": m{"a": 1}}, nil, "the token is malformed"},
		{"no subject", m{"sub": nil}, nil, "the token names no subject"},
		{"pattern that means nothing", m{"room": "%b()", "context": m{"room": m{"regex": true}}}, nil, "the room pattern of the token cannot be used"},
		{"no type", nil, m{"typ": nil}, "the token's type is not JWT"},
		{"other type", nil, m{"typ": "JOSE"}, "the token's type is not JWT"},
		{"type in lower case", nil, m{"typ": "jwt"}, ""},
		{"critical extension", nil, m{"crit": []string{"exp"}}, "the token has extensions that are not understood"},
		{"key id of another type", nil, m{"kid": 7}, "the token is malformed"},
	} {
		_, err := verifier(t, p, nil).Verify(t.Context(), sign(t, p, body(c.claims), c.header), "")
		if c.refusal == "" {
			require.NoError(t, err, c.name)
			continue
		}
		require.Equal(t, Refusal(c.refusal), err, c.name)
	}
	for name, raw := range map[string]string{
		"no token at all": "abc", "two parts": "a.b", "four parts": "a.b.c.d", "no JSON": "YWJj.YWJj.YWJj", "no base64": "!.!.!",
	} {
		_, err := verifier(t, p, nil).Verify(t.Context(), raw, "")
		require.Equal(t, Refusal("the token is malformed"), err, name)
	}
	_, err := verifier(t, p, nil).Verify(t.Context(), strings.Repeat("a", maxToken+1), "")
	require.Equal(t, Refusal("the token is too large"), err)
}

// Nothing may stand before, in or behind a token: what one reader ignores, another
// may act on.
func TestTokenWithBytesBehindIt(t *testing.T) {
	p := pairs()["HS256"]
	good := sign(t, p, body(nil), nil)
	_, err := verifier(t, p, nil).Verify(t.Context(), good, "")
	require.NoError(t, err)
	parts := strings.Split(good, ".")
	json64 := func(part, more string) string {
		b, err := base64.RawURLEncoding.DecodeString(part)
		require.NoError(t, err)
		return base64.RawURLEncoding.EncodeToString(append(b, more...))
	}
	signed := func(head, claims string) string {
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(head + "." + claims))
		return head + "." + claims + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	}
	require.Equal(t, good, signed(parts[0], parts[1]), "the signature is made as the issuer makes it")
	for name, raw := range map[string]string{
		"a line end": good + "\n", "many line ends": good + "\r\n\r\n", "a line end before": "\n" + good,
		"a line end within": parts[0] + "\n." + parts[1] + "." + parts[2],
		"a blank":           good + " ", "a zero byte": good + "\x00", "a dot": good + ".", "padding": good + "=",
		"another token": good + " " + good, "a comma": good + "," + good, "beyond ASCII": good + "é", "not UTF-8": good + "\xff",
		"JSON behind the claims": signed(parts[0], json64(parts[1], "{}")), "text behind the claims": signed(parts[0], json64(parts[1], "x")),
		"JSON behind the header": signed(json64(parts[0], "{}"), parts[1]),
		"standard alphabet":      strings.Replace(good, parts[2], "+"+parts[2][1:], 1),
	} {
		_, err := verifier(t, p, nil).Verify(t.Context(), raw, "")
		require.Equal(t, Refusal("the token is malformed"), err, name)
	}
	for name, raw := range map[string]string{"bytes in the signature": good + "AAAA", "one byte less": good[:len(good)-1]} {
		_, err := verifier(t, p, nil).Verify(t.Context(), raw, "")
		require.Error(t, err, name)
	}
}

func TestPolicy(t *testing.T) {
	p := pairs()["HS256"]
	ask := func(change func(*Config), raw string) error {
		_, err := verifier(t, p, change).Verify(t.Context(), raw, "")
		return err
	}
	require.Equal(t, Refusal("a token is required"), ask(nil, ""))
	optional := func(c *Config) { c.Optional = true }
	require.NoError(t, ask(optional, ""))
	require.Error(t, ask(optional, "wrong"), "a wrong token is worse than none")
	require.NoError(t, ask(func(c *Config) { c.Issuers, c.Audiences = []string{Any}, []string{Any} },
		sign(t, p, body(m{"iss": "x", "aud": "y"}), nil)))
	require.NoError(t, ask(func(c *Config) { c.RoomOptional = true }, sign(t, p, body(m{"room": nil}), nil)))
	late := sign(t, p, body(m{"exp": time.Now().Add(-time.Minute).Unix()}), nil)
	require.Error(t, ask(nil, late))
	require.NoError(t, ask(func(c *Config) { c.Leeway = time.Hour }, late))

	for want, cfg := range map[string]Config{
		"no keys":               {Algorithms: []string{"RS256"}, Issuers: []string{Any}, Audiences: []string{Any}},
		"is none of":            {Keys: static{}, Algorithms: []string{"none"}, Issuers: []string{Any}, Audiences: []string{Any}},
		"no algorithm":          {Keys: static{}, Issuers: []string{Any}, Audiences: []string{Any}},
		"issuers and audiences": {Keys: static{}, Algorithms: []string{"RS256"}},
		"leeway":                {Keys: static{}, Algorithms: []string{"RS256"}, Issuers: []string{Any}, Audiences: []string{Any}, Leeway: -1},
	} {
		_, err := New(cfg)
		require.ErrorContains(t, err, want)
	}
}

func TestRoomsCovered(t *testing.T) {
	p := pairs()["HS256"]
	regex := m{"room": m{"regex": "true"}}
	type room struct{ name, tenant string }
	for _, c := range []struct {
		name      string
		claims    m
		anyTenant bool
		yes, no   []room
	}{
		{"one room of the domain", nil, false,
			[]room{{"stage", ""}}, []room{{"stage2", ""}, {"stage", "acme"}, {"", ""}}},
		{"any room of the domain", m{"room": "*"}, false,
			[]room{{"stage", ""}, {"x", ""}}, []room{{"stage", "acme"}}},
		{"a room of a tenant", m{"sub": "ACME"}, false,
			[]room{{"stage", "acme"}}, []room{{"stage", ""}, {"stage", "other"}}},
		{"a room of any tenant", m{"sub": "*"}, false,
			[]room{{"stage", "acme"}, {"stage", ""}}, []room{{"x", "acme"}}},
		{"the tenant does not count", m{"sub": "whatever"}, true,
			[]room{{"stage", "acme"}, {"stage", ""}}, []room{{"x", ""}}},
		{"a pattern", m{"room": "team%-%d+", "context": regex}, false,
			[]room{{"team-12", ""}}, []room{{"team-", ""}, {"team-12x", ""}, {"xteam-1", ""}, {"team%-1", ""}}},
		{"a pattern that is everything", m{"room": "*", "context": regex}, false, []room{{"x", ""}}, nil},
	} {
		v := verifier(t, p, func(cfg *Config) { cfg.AnyTenant = c.anyTenant })
		g, err := v.Verify(t.Context(), sign(t, p, body(c.claims), nil), "")
		require.NoError(t, err, c.name)
		for _, r := range c.yes {
			require.True(t, g.Covers(r.name, r.tenant), "%s: %v", c.name, r)
		}
		for _, r := range c.no {
			require.False(t, g.Covers(r.name, r.tenant), "%s: %v", c.name, r)
		}
	}
	var none *Grant
	require.True(t, none.Covers("any", "where"))
	require.Nil(t, none.Identity())
}

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		lua     string
		yes, no []string
	}{
		{"abc", []string{"abc"}, []string{"abcd", "xabc"}},
		{"^abc$", []string{"abc"}, []string{"abcd"}},
		{"a.c", []string{"abc", "aéc"}, []string{"ac"}},
		{"a.-c", []string{"ac", "abbc"}, []string{"a"}},
		{"[%w_]+", []string{"a_1"}, []string{"a-1", ""}},
		{"[^a-c]*", []string{"", "xyz"}, []string{"xa"}},
		{"[]]", []string{"]"}, []string{"["}},
		{"%.%%", []string{".%"}, []string{"x%"}},
		{"*a", []string{"*a"}, []string{"a"}},
		{"50%$", []string{"50$"}, []string{"50"}},
		{"größe?", []string{"größ", "größe"}, []string{"groesse"}},
	} {
		re, err := roomPattern(c.lua)
		require.NoError(t, err, c.lua)
		for _, s := range c.yes {
			require.True(t, re.MatchString(s), "%s should match %q", c.lua, s)
		}
		for _, s := range c.no {
			require.False(t, re.MatchString(s), "%s should not match %q", c.lua, s)
		}
	}
	for _, lua := range []string{"(a)", "%b()", "%f[a]", "%1", "[a", "a%", "[%", "[%1]", "[ü]", "\xff", "%ü", strings.Repeat("a", 300)} {
		_, err := roomPattern(lua)
		require.ErrorIs(t, err, errPattern, lua)
	}
}

func TestIdentity(t *testing.T) {
	p := pairs()["HS256"]
	of := func(claims m, tenant string) *Identity {
		g, err := verifier(t, p, nil).Verify(t.Context(), sign(t, p, body(claims), nil), tenant)
		require.NoError(t, err)
		return g.Identity()
	}
	require.Equal(t, &Identity{
		UserID: "u1", GroupID: "g1", Name: "Ann", Email: "a@x", Avatar: "https://x/a.png", Moderator: true, TenantMatches: true,
		Features: map[string]bool{"file-upload": true, "recording": true},
	}, of(m{"context": m{
		"user":   m{"id": "u1", "name": "Ann", "email": "a@x", "avatar": "https://x/a.png", "moderator": "true"},
		"group":  "g1",
		"tenant": "Acme", "features": m{"file-upload": true, "recording": "true", "livestreaming": false, "x": 1, "bad\x01": true},
	}}, "acme"))
	require.Equal(t, &Identity{UserID: "42", Name: "true", Avatar: "u", TenantMatches: true}, of(m{"context": m{
		"user": m{"id": 42, "name": true, "email": []int{1}, "avatarURL": "u", "moderator": m{}},
	}}, ""))
	require.Equal(t, &Identity{UserID: "7", TenantMatches: true}, of(m{"user_id": 7}, "acme"))
	require.False(t, of(m{"context": m{"tenant": "acme"}}, "other").TenantMatches)
	require.True(t, of(m{"context": m{"tenant": "acme"}}, "").TenantMatches, "a URL without a tenant is no mismatch")

	long := of(m{"context": m{"user": m{"name": "a\x00b\n" + strings.Repeat("é", maxText)}}}, "")
	require.True(t, strings.HasPrefix(long.Name, "abé"), long.Name)
	require.LessOrEqual(t, len(long.Name), maxText)
	require.True(t, strings.HasSuffix(long.Name, "é"))
}

// FuzzToken throws tokens and signed bodies at a verifier: none may panic, an
// unsigned one never gets in, and what is let in was allowed to.
func FuzzToken(f *testing.F) {
	p := pairs()["HS256"]
	f.Add("", `{"iss":"jitsi","aud":"jitsi","sub":"*","room":"*"}`)
	f.Add(sign(f, pair{"HS256", []byte("x"), nil}, body(nil), nil), `{"iss":"jitsi","aud":["jitsi"],"sub":"a","room":"[%w]+","context":{"room":{"regex":true}}}`)
	f.Add("a.b.c", `{"iss":"jitsi","aud":"jitsi","sub":"*","room":"*","exp":1e999}`)
	f.Add("..", `{"iss":"jitsi","aud":"jitsi","sub":"*","room":"a","context":{"user":{"id":{"a":[1]},"moderator":"true"},"features":{"x":true}}}`)
	f.Add("eyJhbGciOiJub25lIn0.e30.", `{"exp":-1,"nbf":"x"}`)
	v := verifier(f, p, nil)
	f.Fuzz(func(t *testing.T, raw, claims string) {
		_, err := v.Verify(context.Background(), raw, "")
		require.IsType(t, Refusal(""), err)
		g, err := v.Verify(context.Background(), signRaw(t, claims), "acme")
		if err != nil {
			require.IsType(t, Refusal(""), err)
			return
		}
		g.Covers("room", "acme")
		id := g.Identity()
		for _, s := range []string{id.UserID, id.GroupID, id.Name, id.Email, id.Avatar} {
			require.LessOrEqual(t, len(s), maxText)
			require.NotContains(t, s, "\x00")
		}
		require.LessOrEqual(t, len(id.Features), maxFeatures)
	})
}

// signRaw signs a body that may be no JSON.
func signRaw(t testing.TB, claims string) string {
	method := jwt.SigningMethodHS256
	parts := jwt.New(method)
	head, err := parts.SigningString()
	require.NoError(t, err)
	head, _, _ = strings.Cut(head, ".")
	text := head + "." + parts.EncodeSegment([]byte(claims))
	sig, err := method.Sign(text, []byte(secret))
	require.NoError(t, err)
	return text + "." + parts.EncodeSegment(sig)
}
