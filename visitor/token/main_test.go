package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "a secret of thirty-two bytes, ok"

// pair is a key to sign with and the file that verifies it.
type pair struct {
	alg     string
	private any
	public  []byte
}

// pairs are made once: RSA takes its time.
var pairs = sync.OnceValue(func() map[string]pair {
	all := map[string]pair{"HS256": {"HS256", []byte(secret), []byte(secret + "\n")}}
	add := func(alg string, key crypto.Signer, err error) {
		if err != nil {
			panic(err)
		}
		der, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			panic(err)
		}
		all[alg] = pair{alg, key, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})}
	}
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	add("RS256", r, err)
	e, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	add("ES256", e, err)
	e3, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	add("ES384", e3, err)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	add("EdDSA", ed, err)
	return all
})

type m = map[string]any

// body is a good token's, with changes; a nil value takes a claim out.
func body(changes m) jwt.MapClaims {
	c := jwt.MapClaims{
		"iss": "jitsi", "aud": "jitsi", "sub": "meet.jitsi", "room": "Stage", "exp": time.Now().Add(time.Hour).Unix(),
	}
	for k, v := range changes {
		if c[k] = v; v == nil {
			delete(c, k)
		}
	}
	return c
}

// sign makes a token; header changes its header likewise.
func sign(t testing.TB, p pair, claims jwt.Claims, header m) string {
	t.Helper()
	tok := jwt.NewWithClaims(jwt.GetSigningMethod(p.alg), claims)
	for k, v := range header {
		if tok.Header[k] = v; v == nil {
			delete(tok.Header, k)
		}
	}
	s, err := tok.SignedString(p.private)
	require.NoError(t, err)
	return s
}

// verifier accepts what body makes, signed by the pair.
func verifier(t testing.TB, p pair, change func(*Config)) *Verifier {
	t.Helper()
	keys, algorithms, err := FileKeys(p.public)
	require.NoError(t, err)
	cfg := Config{
		Keys: keys, Algorithms: algorithms, Issuers: []string{"jitsi"}, Audiences: []string{"jitsi"},
		Domains: []string{"meet.jitsi"},
	}
	if change != nil {
		change(&cfg)
	}
	v, err := New(cfg)
	require.NoError(t, err)
	return v
}
