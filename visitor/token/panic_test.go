package token

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"vnode/internal/guard"
)

// fatal is a web whose answers meet a panic while it is set.
type fatal struct {
	*web
	set atomic.Bool
}

func (f *fatal) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := f.web.RoundTrip(r)
	if f.set.Load() {
		panic("a fault of the program")
	}
	return resp, err
}

// A panic over what an issuer's server answers is a key that cannot be fetched: the
// client is refused, the server is asked again in a while, and that may go on for
// ever. It does not end the process.
func TestPanicOverAKey(t *testing.T) {
	pair := pairs()["RS256"]
	for name, keys := range map[string]func(*http.Client, *guard.Guard) Keys{
		"key server": func(c *http.Client, g *guard.Guard) Keys {
			s := NewKeyServer("https://keys.example/keys", c, slog.New(slog.DiscardHandler))
			s.KeepIn(g)
			return s
		},
		"key set": func(c *http.Client, g *guard.Guard) Keys {
			s := NewKeySet("https://keys.example/jwks", c, slog.New(slog.DiscardHandler))
			s.KeepIn(g)
			return s
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				g := guard.New(slog.New(slog.NewTextHandler(&log, nil)), prometheus.NewRegistry(), func(int) { t.Error("the process ends") })
				set, err := json.Marshal(m{"a": string(pair.public)})
				require.NoError(t, err)
				w := &fatal{web: &web{pages: map[string][]byte{pemPath("a"): pair.public, "/jwks": set}}}
				v := verifier(t, pair, func(c *Config) { c.Keys = keys(&http.Client{Transport: w}, g) })
				verify := func() error {
					_, err := v.Verify(context.Background(), sign(t, pair, body(nil), m{"kid": "a"}), "")
					return err
				}
				w.set.Store(true)
				for range 600 { // each second
					require.Equal(t, errNoKey, verify())
					time.Sleep(time.Second)
				}
				require.LessOrEqual(t, w.requests(), 100, "one in some seconds")
				require.Equal(t, 1, strings.Count(log.String(), " stack="))
				w.set.Store(false)
				time.Sleep(setRetry)
				require.NoError(t, verify())
			})
		})
	}
}
