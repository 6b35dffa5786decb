package token

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"vnode/internal/guard"
)

// Times of a key set. It says itself how long it is good, within bounds.
const (
	setLife    = 6 * time.Hour // when it does not say
	minSetLife = time.Minute
	maxSetLife = 24 * time.Hour
	setPause   = 3 * time.Second  // between requests for keys it does not have
	setRetry   = 10 * time.Second // after a failure
)

// KeySet is a document with all keys: a JWK set (RFC 7517 §5), or an object
// whose names are key ids and whose values are certificates in PEM form.
type KeySet struct {
	// Static after construction.
	url    string
	client *http.Client
	log    *slog.Logger
	guard  *guard.Guard
	flight singleflight.Group

	mu    sync.Mutex // guards what follows
	keys  map[string][]any
	until time.Time        // it is good
	next  time.Time        // it may be fetched again
	noted map[leftOut]bool // keys that were left out, in the log already

	requests uint64 // that have begun
}

// NewKeySet returns the keys of the document at an http or https URL. It is
// fetched with client when a token wants a key and it is not there, or is no
// longer good; each request takes at most 5 s.
func NewKeySet(url string, client *http.Client, log *slog.Logger) *KeySet {
	return &KeySet{url: url, client: client, log: log}
}

// KeepIn has g keep panics in over what the document says. It must come before the
// first token.
func (s *KeySet) KeepIn(g *guard.Guard) { s.guard = g }

// Keys implements Keys.
func (s *KeySet) Keys(ctx context.Context, kid string) ([]any, error) {
	if kid == "" {
		return nil, errNoKeyID
	}
	keys, before := s.look(ctx, kid)
	if keys == nil && s.begun() == before {
		keys, _ = s.look(ctx, kid) // the document was asked for before this key was
	}
	if keys != nil {
		return keys, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys == nil {
		return nil, errNoKey
	}
	return nil, errUnknownKey
}

// look looks a key up, in a document that is fetched anew if the key is not there or
// the document is no longer good. It also says how many requests had begun before.
func (s *KeySet) look(ctx context.Context, kid string) (keys []any, before uint64) {
	before = s.begun()
	keys, wanted, after := s.kept(kid)
	if wanted && (after <= 0 || keys == nil && after <= setPause) && pause(ctx, after) {
		select {
		case <-s.flight.DoChan("", func() (any, error) { s.refresh(kid); return nil, nil }):
			keys, _, _ = s.kept(kid)
		case <-ctx.Done():
		}
	}
	return keys, before
}

// begun is how many requests have begun.
func (s *KeySet) begun() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// Expire has the document fetched again for the next token. When that fails, what
// was there goes on to be used.
func (s *KeySet) Expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until, s.next = time.Time{}, time.Time{}
}

// pause waits before a request, if it must. Whoever connects names keys; one that
// is new at the issuer must be found soon, whatever others name. So all keys that
// are not known are looked for at once, in a document that is fetched every few
// seconds, and who names one waits for that.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// kept looks a key up, and says whether the document should be fetched for it, and
// after how long it may be.
func (s *KeySet) kept(kid string) (keys []any, wanted bool, after time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	keys = s.keys[kid]
	return keys, keys == nil || !now.Before(s.until), s.next.Sub(now)
}

// refresh fetches the document, unless one that was fetched meanwhile has the key
// or it is too early. When that fails the old one goes on to be used.
func (s *KeySet) refresh(kid string) {
	defer s.guard.Recover(guard.Task, fetching)
	if _, wanted, after := s.kept(kid); !wanted || after > 0 {
		return
	}
	known := false
	defer func() {
		if !known { // after a panic, which is not to come again at once
			s.later()
		}
	}()
	s.mu.Lock()
	s.requests++
	s.mu.Unlock()
	body, life, err := get(s.client, s.url)
	var keys map[string][]any
	if err == nil {
		var out []leftOut
		keys, out, err = parseSet(body)
		s.note(out)
	}
	known = true
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if err != nil {
		s.next = now.Add(setRetry)
		s.log.Warn("token keys not fetched", "server", redacted(s.url), "error", err)
		return
	}
	if life == 0 {
		life = setLife
	}
	s.next = now.Add(setPause)
	s.keys, s.until = keys, now.Add(min(max(life, minSetLife), maxSetLife))
}

func (s *KeySet) later() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = time.Now().Add(setRetry)
}

// leftOut is a key of a set that cannot be used, and why.
type leftOut struct{ kid, because string }

// parseSet reads a document. Keys of other kinds, or that are secret, are left
// out: a set may hold more than is for us.
func parseSet(body []byte) (map[string][]any, []leftOut, error) {
	doc, err := parseObject(bytes.TrimPrefix(body, []byte("\ufeff"))) // some write a byte order mark
	if err != nil {
		return nil, nil, fmt.Errorf("token: key set: %w", err)
	}
	keys := make(map[string][]any)
	var out []leftOut
	if _, ok := doc["keys"]; ok {
		list, err := member[[]json.RawMessage](doc, "keys")
		if err != nil || list == nil {
			return nil, nil, fmt.Errorf("token: key set: %w", cmp.Or(err, errNoKeys))
		}
		for _, raw := range *list {
			kid, k, err := parseJWK(raw)
			if err != nil {
				out = append(out, leftOut{kid, err.Error()})
				continue
			}
			keys[kid] = append(keys[kid], k)
		}
		return keys, out, nil
	}
	for _, kid := range slices.Sorted(maps.Keys(doc)) {
		text, err := member[string](doc, kid)
		if err != nil || text == nil {
			continue // not a certificate, nor meant as one
		}
		k, err := parsePEM([]byte(*text))
		if err != nil {
			out = append(out, leftOut{kid, err.Error()})
			continue
		}
		keys[kid] = k
	}
	return keys, out, nil
}

// maxNoted bounds how many keys that were left out are remembered and logged.
const maxNoted = 64

// note logs keys that were left out, each once for each reason as long as it is in
// the document.
func (s *KeySet) note(out []leftOut) {
	out = out[:min(len(out), maxNoted)]
	now := make(map[leftOut]bool, len(out))
	for _, o := range out {
		now[o] = true
	}
	s.mu.Lock()
	before := s.noted
	s.noted = now
	s.mu.Unlock()
	for _, o := range out {
		if !before[o] {
			s.log.Info("key of a key set left out", "server", redacted(s.url), "kid", o.kid, "reason", o.because)
		}
	}
}
