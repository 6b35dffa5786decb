package token

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/stretchr/testify/require"
)

// web is a key server: what it says at a path, and what it was asked.
type web struct {
	mu     sync.Mutex
	pages  map[string][]byte // guarded by mu, like the rest
	maxAge string
	status int // in place of an answer
	hang   bool
	asked  []string
}

func (w *web) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	w.asked = append(w.asked, r.URL.Path)
	page, ok := w.pages[r.URL.Path]
	status, hang := w.status, w.hang
	h := http.Header{}
	if w.maxAge != "" {
		h.Set("Cache-Control", "public, max-age="+w.maxAge)
	}
	w.mu.Unlock()
	if hang {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	switch {
	case status == 0 && ok:
		status = http.StatusOK
	case status == 0:
		status = http.StatusNotFound
	}
	return &http.Response{StatusCode: status, Status: fmt.Sprint(status), Header: h, Body: io.NopCloser(bytes.NewReader(page))}, nil
}

func (w *web) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

func (w *web) requests() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.asked)
}

func pemPath(kid string) string { return fmt.Sprintf("/keys/%x.pem", sha256.Sum256([]byte(kid))) }

func TestKeyServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &web{pages: map[string][]byte{pemPath("a/1"): pairs()["RS256"].public, pemPath("bad"): []byte("no key")}}
		s := NewKeyServer("https://keys.example/keys/", &http.Client{Transport: w}, slog.New(slog.DiscardHandler))
		v := verifier(t, pairs()["RS256"], func(c *Config) { c.Keys = s })
		verify := func(kid any) error {
			_, err := v.Verify(context.Background(), sign(t, pairs()["RS256"], body(nil), m{"kid": kid}), "")
			return err
		}
		require.NoError(t, verify("a/1"))
		require.NoError(t, verify("a/1"))
		require.Equal(t, 1, w.requests(), "kept")
		require.Equal(t, errNoKeyID, verify(nil))
		require.Equal(t, errUnknownKey, verify(strings.Repeat("k", 300)))
		require.Equal(t, errUnknownKey, verify("b"))
		require.Equal(t, errUnknownKey, verify("b"))
		require.Equal(t, 2, w.requests(), "its absence is kept")
		require.Equal(t, errNoKey, verify("bad"))

		time.Sleep(absentLife)
		w.set(func() { w.pages[pemPath("b")] = pairs()["RS256"].public })
		require.NoError(t, verify("b"), "it is there now")

		time.Sleep(keyLife)
		w.set(func() { w.status = http.StatusInternalServerError })
		require.NoError(t, verify("a/1"), "better an old key than none")
		before := w.requests()
		require.NoError(t, verify("a/1"))
		require.Equal(t, before, w.requests(), "and not asked for each time")

		time.Sleep(errorLife)
		w.set(func() { w.status, w.hang = 0, true })
		start := time.Now()
		require.Equal(t, errNoKey, verify("slow"))
		require.Equal(t, fetchTimeout, time.Since(start))

		w.set(func() { w.hang = false; delete(w.pages, pemPath("a/1")) })
		time.Sleep(errorLife)
		require.Equal(t, errUnknownKey, verify("a/1"), "the server has withdrawn it")
	})
}

// Whoever connects names keys: they cost a bounded rate of requests and bounded
// memory, and those that are there stay.
func TestMadeUpKeyIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &web{pages: map[string][]byte{pemPath("good"): pairs()["RS256"].public}}
		s := NewKeyServer("https://keys.example/keys", &http.Client{Transport: w}, slog.New(slog.DiscardHandler))
		_, err := s.Keys(context.Background(), "good")
		require.NoError(t, err)
		began := time.Now()
		var all sync.WaitGroup
		for i := range 5000 {
			all.Go(func() {
				_, err := s.Keys(context.Background(), fmt.Sprint(i))
				require.Error(t, err)
			})
		}
		synctest.Wait()
		require.LessOrEqual(t, len(s.turns.wanted), maxWanted)
		all.Wait()
		took := time.Since(began)
		require.LessOrEqual(t, took, fetchTimeout)
		require.LessOrEqual(t, w.requests(), fetchBurst+1+int(took.Seconds()*fetchRate))
		_, err = s.Keys(context.Background(), "good")
		require.NoError(t, err)
		time.Sleep(10 * time.Minute)
		for i := range 5000 {
			_, _ = s.Keys(context.Background(), fmt.Sprint("x", i))
		}
		require.LessOrEqual(t, s.absent.order.Len(), maxAbsent)
		require.Len(t, s.absent.byID, s.absent.order.Len())
		time.Sleep(time.Second)
		require.Empty(t, s.turns.wanted)
		require.False(t, s.turns.going, "no goroutine is left")
	})
}

// A key that is new at the issuer is found within seconds, while others name keys
// that are not there as fast as they can: one address, many networks, or all by
// one proxy that is not believed, when more than one client has the new key.
func TestANewKeyIsFoundDuringAFlood(t *testing.T) {
	client := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}) }
	for name, c := range map[string]struct {
		flooder func(i int) netip.Addr
		mine    netip.Addr
		asks    int
	}{
		"from one address": {func(int) netip.Addr { return client(1) }, client(2), 1},
		"from a hundred":   {func(i int) netip.Addr { return client(i % 100) }, client(500), 1},
		"by one proxy":     {func(int) netip.Addr { return netip.Addr{} }, netip.Addr{}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &web{pages: map[string][]byte{}}
				s := NewKeyServer("https://keys.example/keys", &http.Client{Transport: w}, slog.New(slog.DiscardHandler))
				ctx, stop := context.WithCancel(t.Context())
				var all sync.WaitGroup
				for i := range 300 {
					all.Go(func() {
						for n := 0; ctx.Err() == nil; n++ {
							_, _ = s.Keys(From(ctx, c.flooder(i)), fmt.Sprintf("made up %d %d", i, n))
							time.Sleep(100 * time.Millisecond)
						}
					})
				}
				time.Sleep(20 * time.Second) // the burst is long gone
				w.set(func() { w.pages[pemPath("new")] = pairs()["RS256"].public })
				began := time.Now()
				var mine sync.WaitGroup
				for range c.asks {
					mine.Go(func() {
						_, err := s.Keys(From(t.Context(), c.mine), "new")
						require.NoError(t, err)
					})
				}
				mine.Wait()
				require.Less(t, time.Since(began), 2*time.Second)
				stop()
				all.Wait()
			})
		})
	}
}

// The same of a set, which is one document: it is fetched every few seconds at
// most, and who names a key that it does not have waits for that.
func TestANewKeyOfASetIsFoundDuringAFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &web{pages: map[string][]byte{"/jwks": jwks(t, map[string]string{"old": "RS256"})}}
		s := NewKeySet("https://keys.example/jwks", &http.Client{Transport: w}, slog.New(slog.DiscardHandler))
		ctx, stop := context.WithCancel(t.Context())
		var all sync.WaitGroup
		began := time.Now()
		for i := range 300 {
			all.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					_, _ = s.Keys(ctx, fmt.Sprintf("made up %d %d", i, n))
					time.Sleep(50 * time.Millisecond)
				}
			})
		}
		time.Sleep(time.Minute)
		_, err := s.Keys(t.Context(), "old")
		require.NoError(t, err)
		w.set(func() { w.pages["/jwks"] = jwks(t, map[string]string{"old": "RS256", "new": "ES256"}) })
		asked := time.Now()
		_, err = s.Keys(t.Context(), "new")
		require.NoError(t, err, "it is not refused first")
		require.LessOrEqual(t, time.Since(asked), setPause)
		stop()
		all.Wait()
		require.LessOrEqual(t, w.requests(), 2+int(time.Since(began)/setPause))
	})
}

func TestOneRequestForManyWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &web{hang: true}
		s := NewKeyServer("https://keys.example/keys", &http.Client{Transport: w}, slog.New(slog.DiscardHandler))
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				_, err := s.Keys(context.Background(), "k")
				require.Equal(t, errNoKey, err)
			})
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := s.Keys(ctx, "k")
		require.Equal(t, errNoKey, err)
		require.Equal(t, time.Second, time.Since(start), "a client waits no longer than it is allowed to")
		wg.Wait()
		require.Equal(t, 1, w.requests())
	})
}

func jwks(t *testing.T, keys map[string]string) []byte {
	t.Helper()
	var list []json.RawMessage
	for kid, alg := range keys {
		block, _ := pem.Decode(pairs()[alg].public)
		public, err := x509.ParsePKIXPublicKey(block.Bytes)
		require.NoError(t, err)
		k, err := jwkset.NewJWKFromKey(public, jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: kid}})
		require.NoError(t, err)
		raw, err := json.Marshal(k.Marshal())
		require.NoError(t, err)
		list = append(list, raw)
	}
	list = append(list, json.RawMessage(`{"kty":"oct","kid":"symmetric","k":"`+base64.RawURLEncoding.EncodeToString([]byte(secret))+`"}`),
		json.RawMessage(`{"kty":"future","kid":"f"}`), json.RawMessage(`7`))
	b, err := json.Marshal(m{"keys": list})
	require.NoError(t, err)
	return b
}

func TestKeySet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &web{pages: map[string][]byte{"/jwks": jwks(t, map[string]string{"r": "RS256", "e": "ES256", "d": "EdDSA"})}, maxAge: "600"}
		s := NewKeySet("https://keys.example/jwks", &http.Client{Transport: w}, slog.New(slog.DiscardHandler))
		v := verifier(t, pairs()["RS256"], func(c *Config) { c.Keys, c.Algorithms = s, Algorithms })
		verify := func(alg, kid string) error {
			_, err := v.Verify(context.Background(), sign(t, pairs()[alg], body(nil), m{"kid": kid}), "")
			return err
		}
		require.NoError(t, verify("RS256", "r"))
		require.NoError(t, verify("ES256", "e"))
		require.NoError(t, verify("EdDSA", "d"))
		require.Equal(t, errUnknownKey, verify("HS256", "symmetric"), "a published secret is none")
		require.Equal(t, Refusal("there is no key for the token's signature algorithm"), verify("ES256", "r"))
		require.Equal(t, errNoKeyID, verify("RS256", ""))
		require.Equal(t, errUnknownKey, verify("RS256", "new"))
		require.Equal(t, 3, w.requests(), "each was looked for anew")

		w.set(func() { w.pages["/jwks"] = jwks(t, map[string]string{"new": "RS256"}) })
		require.NoError(t, verify("RS256", "new"), "keys roll over at once")
		require.Equal(t, 4, w.requests())
		require.Equal(t, errUnknownKey, verify("RS256", "r"), "and old ones go")
		require.Equal(t, 5, w.requests())

		time.Sleep(10 * time.Minute)
		w.set(func() { w.status = http.StatusBadGateway })
		require.NoError(t, verify("RS256", "new"), "the old set is better than none")
		require.Equal(t, 6, w.requests())
		require.NoError(t, verify("RS256", "new"))
		require.Equal(t, 6, w.requests())
		require.Equal(t, errUnknownKey, verify("RS256", "r"), "a server that is down is not waited for")
		require.Equal(t, 6, w.requests())
	})
}

func TestKeySetThatIsNotThere(t *testing.T) {
	for name, page := range map[string]string{"no JSON": "<html>", "no list": `{"keys":7}`, "too large": strings.Repeat(" ", maxBody+1)} {
		s := NewKeySet("https://keys.example/jwks", &http.Client{Transport: &web{pages: map[string][]byte{"/jwks": []byte(page)}}}, slog.New(slog.DiscardHandler))
		_, err := s.Keys(t.Context(), "k")
		require.Equal(t, errNoKey, err, name)
	}
}

// The form that names certificates by key id.
func TestKeySetOfCertificates(t *testing.T) {
	doc, err := json.Marshal(m{"r": string(pairs()["RS256"].public), "x": "no key", "n": 5})
	require.NoError(t, err)
	keys, _, err := parseSet(doc)
	require.NoError(t, err)
	require.Len(t, keys, 1)
	require.Len(t, keys["r"], 1)
}

func TestKeyFiles(t *testing.T) {
	both := append(append([]byte("a comment\n"), pairs()["RS256"].public...), pairs()["ES256"].public...)
	keys, algorithms, err := FileKeys(both)
	require.NoError(t, err)
	require.Equal(t, []string{"RS256", "ES256"}, algorithms)
	require.Len(t, keys, 2)
	for want, content := range map[string]string{
		"empty":            "\n",
		"not a public key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}})),
		"PEM block":        string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte{1}})),
		"no key in PEM":    "-----BEGIN nonsense",
	} {
		_, _, err := FileKeys([]byte(content))
		require.ErrorContains(t, err, want)
	}
	require.False(t, fits("HS256", errors.New("no key")))
}

// What was fetched is asked for again when it is said to have changed, and goes
// on to be used when that fails.
func TestExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &web{pages: map[string][]byte{pemPath("a"): pairs()["RS256"].public}}
		s := NewKeyServer("https://keys.example/keys", &http.Client{Transport: w}, slog.New(slog.DiscardHandler))
		keys := func(k Keys) error { _, err := k.Keys(t.Context(), "a"); return err }
		require.NoError(t, keys(s))
		w.set(func() { w.status = http.StatusInternalServerError })
		s.Expire()
		require.NoError(t, keys(s))
		require.Equal(t, 2, w.requests())
		w.set(func() { w.status = 0; delete(w.pages, pemPath("a")) })
		s.Expire()
		require.Equal(t, errUnknownKey, keys(s), "withdrawn")

		page, err := json.Marshal(map[string]string{"a": string(pairs()["RS256"].public)})
		require.NoError(t, err)
		w.set(func() { w.pages["/set"] = page })
		set := NewKeySet("https://keys.example/set", &http.Client{Transport: w}, slog.New(slog.DiscardHandler))
		require.NoError(t, keys(set))
		w.set(func() { w.status = http.StatusInternalServerError })
		set.Expire()
		require.NoError(t, keys(set))
		w.set(func() { w.status = 0; w.pages["/set"] = []byte("{}") })
		set.Expire()
		require.Error(t, keys(set), "withdrawn")
	})
}
