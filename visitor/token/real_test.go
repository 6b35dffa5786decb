package token

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// Claims that people put into tokens, besides good ones, and that a main Prosody
// lets in. What only describes may be of any type.
func TestWhatDescribesNeverDecides(t *testing.T) {
	v := verifier(t, pairs()["HS256"], func(c *Config) { c.Domains = []string{"meet.jitsi"} })
	const good = `"iss":"jitsi","aud":"jitsi",`
	for _, more := range []string{
		`"sub":"*","room":"*","context":{"user":[]}`,
		`"sub":"*","room":"*","context":{"user":{"name":"A"},"features":[]}`,
		`"sub":"*","room":"*","context":[]`,
		`"sub":"*","room":"*","context":"{\"user\":{\"id\":\"7\"}}"`,
		`"sub":"*","room":"*","context":7`,
		`"sub":"*","room":"*","context":null`,
		`"sub":"*","room":"*","context":{"user":"Ann","group":[],"tenant":{},"room":"stage","features":"all"}`,
		`"sub":"*","room":"*","context":{"user":{"id":{"a":[1]},"name":[[]],"moderator":{}},"room":{"regex":[]},"features":{"x":{},"y":[]}}`,
		`"sub":"*","room":"*","iat":"yesterday","jti":{},"nonce":[1],"exp2":"x"`,
		`"sub":"meet.jitsi","room":"stage","NBF":99999999999`,
		`"sub":"meet.jitsi","room":"stage","Exp":1,"EXP":1`,
	} {
		g, err := v.Verify(t.Context(), signRaw(t, "{"+good+more+"}"), "")
		require.NoError(t, err, more)
		require.True(t, g.Covers("stage", ""), more)
	}
	require.Equal(t, "A", identityOf(t, v, `{`+good+`"sub":"*","room":"*","context":{"user":{"name":"A"},"features":[]}}`).Name)
	require.Empty(t, identityOf(t, v, `{`+good+`"sub":"*","room":"*","context":{"User":{"name":"A"},"user":{"Name":"B","NAME":"C"}}}`).Name)
	require.False(t, identityOf(t, v, `{`+good+`"sub":"*","room":"*","context":{"user":{"Moderator":true}}}`).Moderator)
}

// Where any issuer, audience or tenant is accepted, only that the claim is there
// counts, as for the main Prosody.
func TestClaimsThatAreComparedWithNothing(t *testing.T) {
	any := verifier(t, pairs()["HS256"], func(c *Config) {
		c.Issuers, c.Audiences, c.AnyTenant = []string{Any}, []string{Any}, true
	})
	some := verifier(t, pairs()["HS256"], nil)
	for _, claims := range []string{
		`"iss":"x","aud":[],"sub":"acme"`, `"iss":"x","aud":7,"sub":"acme"`, `"iss":"x","aud":{},"sub":"acme"`, `"iss":"x","aud":"","sub":"acme"`,
		`"iss":7,"aud":"x","sub":"acme"`, `"iss":[],"aud":"x","sub":"acme"`, `"iss":"","aud":"x","sub":7`, `"iss":null,"aud":"x","sub":{}`, `"iss":"x","aud":null,"sub":""`,
	} {
		token := signRaw(t, `{"room":"stage",`+claims+`}`)
		g, err := any.Verify(t.Context(), token, "")
		require.NoError(t, err, claims)
		require.True(t, g.Covers("stage", "other"), claims)
		require.False(t, g.Covers("secret", ""), claims)
		_, err = some.Verify(t.Context(), token, "")
		require.IsType(t, Refusal(""), err, claims)
	}
	for _, claims := range []string{`"aud":"x","sub":"y"`, `"iss":"x","sub":"y"`, `"iss":"x","aud":"x"`, `"ISS":"x","aud":"x","sub":"y"`} {
		_, err := any.Verify(t.Context(), signRaw(t, `{"room":"stage",`+claims+`}`), "")
		require.IsType(t, Refusal(""), err, claims)
	}
}

func identityOf(t *testing.T, v *Verifier, claims string) *Identity {
	t.Helper()
	g, err := v.Verify(t.Context(), signRaw(t, claims), "")
	require.NoError(t, err)
	return g.Identity()
}

// A claim is known by its exact name, so nobody opens another room with a second
// spelling.
func TestClaimsMatchByTheirExactName(t *testing.T) {
	v := verifier(t, pairs()["HS256"], nil)
	for claims, room := range map[string]string{
		`"sub":"meet.jitsi","room":"stage","Room":"Saal 5"`:                          "stage",
		`"sub":"meet.jitsi","room":"other","ROOM":"*"`:                               "other",
		`"ROOM":"*","sub":"meet.jitsi","room":"other"`:                               "other",
		`"sub":"meet.jitsi","SUB":"*","room":"other"`:                                "other",
		`"sub":"meet.jitsi","room":"*","room":"other"`:                               "other",
		`"sub":"meet.jitsi","room":"other","context":{"ROOM":{"regex":true}}`:        "other",
		`"sub":"meet.jitsi","room":"[a-z]+","Context":{"room":{"regex":true}}`:       "[a-z]+",
		`"sub":"meet.jitsi","room":"[a-z]+","context":{"room":{"Regex":true}}`:       "[a-z]+",
		`"sub":"meet.jitsi","room":"\u006fther","\u0052oom":"*","\u017F\u0075b":"*"`: "other",
	} {
		g, err := v.Verify(t.Context(), signRaw(t, `{"iss":"jitsi","aud":"jitsi",`+claims+`}`), "")
		require.NoError(t, err, claims)
		require.True(t, g.Covers(room, ""), claims)
		require.False(t, g.Covers("secret", ""), claims)
		require.False(t, g.Covers(room, "acme"), claims)
	}
	for _, claims := range []string{
		`"SUB":"*","room":"*","iss":"jitsi","aud":"jitsi"`,
		`"sub":"*","ROOM":"*","iss":"jitsi","aud":"jitsi"`,
		`"sub":"*","room":"*","ISS":"jitsi","aud":"jitsi"`,
		`"sub":"*","room":"*","iss":"jitsi","Aud":"jitsi"`,
		`"sub":"*","room":"*","iss":"jitsi","aud":"jitsi","exp":1,"Exp":99999999999`,
	} {
		_, err := v.Verify(t.Context(), signRaw(t, "{"+claims+"}"), "")
		require.IsType(t, Refusal(""), err, claims)
	}
}

// Key sets that identity providers publish: one key each, usable or left out with
// a line in the log.
func TestKeysThatPeopleHave(t *testing.T) {
	p := pairs()["RS256"]
	public := p.private.(*rsa.PrivateKey).Public().(*rsa.PublicKey)
	n := base64.RawURLEncoding.EncodeToString(public.N.Bytes())
	plain := base64.StdEncoding.EncodeToString(public.N.Bytes())
	for jwk, reason := range map[string]string{
		`"kty":"RSA","n":"%s","e":"AQAB"`: "",
		`"kty":"RSA","n":"%s","e":"AQAB","x5t":"OTlmNzM0MTVkZTcyN2ZhNWZkYjc0ZDA1ZmIzMWI1OGY5NGIx","x5c":["x"]`: "",
		`"kty":"RSA","n":"%s","e":"AQAB","x5t":7,"x5c":{},"x5t#S256":[],"x5u":"::"`:                            "",
		`"kty":"RSA","n":"` + plain + `","e":"AQAB"`:                                                           "",
		`"kty":"RSA","n":"` + strings.TrimRight(plain, "=") + `","e":"AQAB="`:                                  "",
		`"kty":"RSA","n":"%s","e":"AQAB","use":"SIG"`:                                                          "",
		`"kty":"RSA","n":"%s","e":"AQAB","use":"Signature","key_ops":"verify","alg":"rs256"`:                   "",
		`"kty":"rsa","n":"%s","e":"AQAB","key_ops":["VERIFY","verify","verify"],"ext":"yes"`:                   "",
		`"kty":"RSA","n":"%s","e":"AQAB","d":null,"use":null,"key_ops":null,"x5c":null,"alg":null`:             "",
		`"kty":"RSA","n":"%s","e":"AQAB","alg":"ES256","crv":"P-256","x":"?"`:                                  "",
		`"kty":"RSA","n":" %s\n","e":"AQAB"`:                                                                   "",
		`"kty":"RSA","n":"` + plain[:76] + `\r\n` + plain[76:] + `","e":"AAEAAQ=="`:                            "",
		`"KTY":"EC","kty":"RSA","N":"x","n":"%s","E":"x","e":"AQAB","USE":"enc"`:                               "",
		`"kty":"RSA","e":"AQAB"`:                                           `it has no member \"n\"`,
		`"kty":"RSA","N":"%s","e":"AQAB"`:                                  `it has no member \"n\"`,
		`"kty":"RSA","n":"%s","e":"AQAB","use":"Enc"`:                      "it is for encryption",
		`"kty":"RSA","n":"%s","e":"AQAB","d":"AQAB"`:                       "it is a private key",
		`"kty":"RSA","n":"?","e":"AQAB"`:                                   "n: illegal base64",
		`"kty":"RSA","n":7,"e":"AQAB"`:                                     "n: json: cannot unmarshal number",
		`"kty":"RSA","n":"AQAB","e":"AQAB"`:                                "RSA key of less than 2048 bits",
		`"kty":"EC","crv":"P-256","x":"AQAB","y":"AQAB"`:                   "",
		`"kty":"oct","k":"c2VjcmV0"`:                                       `keys of type \"OCT\" are not used`,
		`"kty":"OKP","crv":"Ed25519"`:                                      `it has no member \"x\"`,
		`"kty":"OKP","crv":"X25519","x":"` + strings.Repeat("A", 43) + `"`: "unusable kind of key",
	} {
		t.Run(jwk, func(t *testing.T) {
			if strings.Contains(jwk, "%s") {
				jwk = fmt.Sprintf(jwk, n)
			}
			if strings.Contains(jwk, `"kty":"EC"`) {
				reason = "not on curve"
			}
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				w := &web{pages: map[string][]byte{"/jwks": []byte(`{"keys":[{"kid":"k1",` + jwk + `}]}`)}}
				s := NewKeySet("https://keys.example/jwks", &http.Client{Transport: w}, slog.New(slog.NewTextHandler(&log, nil)))
				v := verifier(t, p, func(c *Config) { c.Keys = s })
				_, err := v.Verify(context.Background(), sign(t, p, body(nil), m{"kid": "k1"}), "")
				if reason == "" {
					require.NoError(t, err)
					require.Empty(t, log.String())
					return
				}
				require.Equal(t, errUnknownKey, err)
				require.Contains(t, log.String(), "kid=k1")
				require.Contains(t, log.String(), reason)
				lines := strings.Count(log.String(), "\n")
				s.Expire()
				_, err = v.Verify(context.Background(), sign(t, p, body(nil), m{"kid": "k1"}), "")
				require.Equal(t, errUnknownKey, err)
				require.Equal(t, lines, strings.Count(log.String(), "\n"), "said once")
			})
		})
	}
}

// Keys on curves are written in as many ways.
func TestKeysOnCurvesThatPeopleHave(t *testing.T) {
	ec := pairs()["ES256"].private.(*ecdsa.PrivateKey)
	point, err := ec.PublicKey.Bytes()
	require.NoError(t, err)
	x, y := point[1:33], point[33:]
	ed := pairs()["EdDSA"].private.(ed25519.PrivateKey).Public().(ed25519.PublicKey)
	url, std := base64.RawURLEncoding.EncodeToString, base64.StdEncoding.EncodeToString
	zero := func(b []byte) []byte { return append([]byte{0}, b...) }
	for jwk, alg := range map[string]string{
		`"kty":"EC","crv":"P-256","x":"` + std(x) + `","y":"` + std(y) + `"`:                                   "ES256",
		`"kty":"ec","crv":"p-256","x":"` + url(x) + `","y":"` + url(y) + `","x5c":7,"use":"SIG"`:               "ES256",
		`"kty":"EC","crv":"P-256","x":"` + url(zero(x)) + `","y":"` + url(zero(y)) + `","alg":"RS256","n":"?"`: "ES256",
		`"kty":"OKP","crv":"Ed25519","x":"` + std(ed) + `","y":"x"`:                                            "EdDSA",
		`"kty":"okp","crv":"ED25519","x":"` + url(ed) + `","alg":7`:                                            "EdDSA",
	} {
		keys, out, err := parseSet([]byte("\ufeff{\"keys\":[{\"kid\":\"k1\"," + jwk + "}]}"))
		require.NoError(t, err, jwk)
		require.Empty(t, out, jwk)
		v := verifier(t, pairs()[alg], func(c *Config) { c.Keys = static(keys["k1"]) })
		_, err = v.Verify(t.Context(), sign(t, pairs()[alg], body(nil), nil), "")
		require.NoError(t, err, jwk)
	}
}

// One bad entry costs no other.
func TestABadKeyCostsNoOther(t *testing.T) {
	var doc map[string][]json.RawMessage
	require.NoError(t, json.Unmarshal(jwks(t, map[string]string{"r": "RS256", "e": "ES256", "o": "EdDSA"}), &doc))
	list := append([]json.RawMessage{[]byte(`null`), []byte(`[]`), []byte(`{"kid":7,"kty":"RSA"}`), []byte(`{}`)}, doc["keys"]...)
	b, err := json.Marshal(m{"keys": list})
	require.NoError(t, err)
	keys, out, err := parseSet(b)
	require.NoError(t, err)
	require.Len(t, keys, 3)
	require.Len(t, out, len(list)-3)
}
