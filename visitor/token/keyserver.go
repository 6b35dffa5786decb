package token

import (
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"vnode/internal/guard"
)

// Bounds of a key server's cache.
const (
	maxKeys    = 256
	maxAbsent  = 1024
	keyLife    = time.Hour        // before it is asked for again
	absentLife = time.Minute      // the same of a key that is not there
	errorLife  = 10 * time.Second // the same of one that could not be fetched
)

// KeyServer is a server in the layout of ASAP: URL/sha256(kid).pem, in
// hexadecimal. What it gives is kept for an hour, and longer when it does not
// answer then.
type KeyServer struct {
	// Static after construction.
	url    string
	client *http.Client
	log    *slog.Logger
	turns  *turns

	mu     sync.Mutex // guards what follows
	known  cache
	absent cache
}

// NewKeyServer returns the keys of the server at an http or https URL. Requests
// are made with client, each within 5 s, and only when a token wants a key.
func NewKeyServer(url string, client *http.Client, log *slog.Logger) *KeyServer {
	s := &KeyServer{
		url: strings.TrimSuffix(url, "/"), client: client, log: log,
		known: newCache(maxKeys), absent: newCache(maxAbsent),
	}
	s.turns = newTurns(s.fetch)
	return s
}

// KeepIn has g keep panics in over what the server answers. It must come before the
// first token.
func (s *KeyServer) KeepIn(g *guard.Guard) { s.turns.guard = g }

// Keys implements Keys.
func (s *KeyServer) Keys(ctx context.Context, kid string) ([]any, error) {
	switch {
	case kid == "":
		return nil, errNoKeyID
	case len(kid) > maxKeyID:
		return nil, errUnknownKey
	}
	keys, fresh, err := s.kept(kid)
	if fresh {
		return keys, err
	}
	fetched, err := s.turns.get(ctx, kid)
	if err != nil {
		return orStale(keys, err)
	}
	return fetched, nil
}

// Expire has each key fetched again when a token wants it next. When that fails,
// what was there goes on to be used.
func (s *KeyServer) Expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for el := s.known.order.Front(); el != nil; el = el.Next() {
		el.Value.(*entry).until = time.Time{}
	}
	s.absent = newCache(maxAbsent)
}

// orStale prefers what was right an hour ago to nothing, unless the server says
// that it is no longer.
func orStale(stale []any, err error) ([]any, error) {
	if stale != nil && err != errUnknownKey {
		return stale, nil
	}
	return nil, err
}

// kept looks a key up among those fetched, and those that were not there. What
// is not fresh may be nil.
func (s *KeyServer) kept(kid string) (keys []any, fresh bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	e := s.known.get(kid)
	if e != nil && now.Before(e.until) {
		return e.keys, true, nil
	}
	if a := s.absent.get(kid); a != nil && now.Before(a.until) {
		if e != nil {
			return e.keys, true, nil // it could not be fetched anew
		}
		return nil, true, a.err
	}
	if e != nil {
		keys = e.keys
	}
	return keys, false, nil
}

// fetch asks the server for a key and keeps the answer.
func (s *KeyServer) fetch(kid string) ([]any, error) {
	known := false
	defer func() {
		if !known { // after a panic, which is not to come again at once
			s.unreadable(kid)
		}
	}()
	sum := sha256.Sum256([]byte(kid))
	body, _, err := get(s.client, s.url+"/"+hex.EncodeToString(sum[:])+".pem")
	var keys []any
	if err == nil {
		keys, err = parsePEM(body)
	}
	known = true
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		s.absent.drop(kid)
		s.known.put(&entry{kid: kid, keys: keys, until: time.Now().Add(keyLife)})
		return keys, nil
	case errors.Is(err, errAbsent):
		s.known.drop(kid)
		s.absent.put(&entry{kid: kid, err: errUnknownKey, until: time.Now().Add(absentLife)})
		return nil, errUnknownKey
	}
	s.log.Warn("token key not fetched", "server", redacted(s.url), "error", err)
	s.absent.put(&entry{kid: kid, err: errNoKey, until: time.Now().Add(errorLife)})
	return nil, errNoKey
}

func (s *KeyServer) unreadable(kid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.absent.put(&entry{kid: kid, err: errNoKey, until: time.Now().Add(errorLife)})
}

// entry is what is known of a key id.
type entry struct {
	kid   string
	keys  []any
	err   error
	until time.Time
}

// cache holds the entries used most recently.
type cache struct {
	atMost int
	byID   map[string]*list.Element
	order  *list.List // of *entry, the latest used first
}

func newCache(atMost int) cache {
	return cache{atMost: atMost, byID: make(map[string]*list.Element), order: list.New()}
}

func (c *cache) get(kid string) *entry {
	el := c.byID[kid]
	if el == nil {
		return nil
	}
	c.order.MoveToFront(el)
	return el.Value.(*entry)
}

func (c *cache) put(e *entry) {
	c.drop(e.kid)
	if c.order.Len() >= c.atMost {
		c.drop(c.order.Back().Value.(*entry).kid)
	}
	c.byID[e.kid] = c.order.PushFront(e)
}

func (c *cache) drop(kid string) {
	if el := c.byID[kid]; el != nil {
		c.order.Remove(el)
		delete(c.byID, kid)
	}
}
