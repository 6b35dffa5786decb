package token

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"vnode/internal/guard"
)

// Bounds of what is asked of a server that has one document for each key: whoever
// connects names them.
const (
	// fetchRate bounds how many keys are asked for, a second; fetchBurst at once.
	fetchRate, fetchBurst = 20, 40
	// maxWanted bounds how many keys wait to be asked for.
	maxWanted = 1024
	// servedFor is how long it is held against an address that a key was asked
	// for on its behalf.
	servedFor = time.Minute
)

// asker is the key of an address in a context.
type asker struct{}

// From returns a context for [Verifier.Verify] that names the address which the
// token comes from, as the client is counted under. Keys that nobody knows are
// asked for on behalf of the addresses in turns, so that one of them cannot keep
// the others waiting. Without an address, or with an invalid one, all share one.
func From(ctx context.Context, addr netip.Addr) context.Context {
	return context.WithValue(ctx, asker{}, addr)
}

// turns decides which key is asked for next: one for the address that was served
// least, and of these the one that most ask for. A made-up key id is asked for
// once; one that is new at the issuer comes again and again.
type turns struct {
	// Static after construction.
	guard *guard.Guard // or after KeepIn
	limit *rate.Limiter
	fetch func(kid string) ([]any, error)

	mu     sync.Mutex // guards what follows
	wanted map[string]*want
	served map[netip.Addr]int // since since
	since  time.Time
	going  bool // run is
}

// want is a key that somebody waits for.
type want struct {
	kid  string
	done chan struct{} // closed when the answer is there

	// Guarded by turns.mu.
	by    netip.Addr // the least served of those who ask
	asks  int
	taken bool // is being fetched

	// Written before done is closed.
	keys []any
	err  error
}

func newTurns(fetch func(kid string) ([]any, error)) *turns {
	return &turns{
		limit: rate.NewLimiter(fetchRate, fetchBurst), fetch: fetch,
		wanted: make(map[string]*want), served: make(map[netip.Addr]int), since: time.Now(),
	}
}

// get has a key fetched and waits for that, for a bounded time.
func (t *turns) get(ctx context.Context, kid string) ([]any, error) {
	w := t.ask(ctx, kid)
	patience := time.NewTimer(fetchTimeout)
	defer patience.Stop()
	select {
	case <-w.done:
		return w.keys, w.err
	case <-ctx.Done():
	case <-patience.C:
	}
	t.leave(w)
	select {
	case <-w.done: // just now
		return w.keys, w.err
	default:
		return nil, errNoKey
	}
}

// ask notes that somebody wants a key.
func (t *turns) ask(ctx context.Context, kid string) *want {
	by, _ := ctx.Value(asker{}).(netip.Addr)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget()
	w := t.wanted[kid]
	if w == nil {
		t.makeRoom()
		w = &want{kid: kid, by: by, done: make(chan struct{})}
		t.wanted[kid] = w
	}
	w.asks++
	if t.served[by] < t.served[w.by] {
		w.by = by
	}
	if !t.going {
		t.going = true
		go t.guard.Task(t.run)
	}
	return w
}

// leave is the end of the wait for a key that was not there in time. When nobody
// waits any more it is not asked for.
func (t *turns) leave(w *want) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if w.asks--; w.asks == 0 && !w.taken && t.wanted[w.kid] == w {
		delete(t.wanted, w.kid)
	}
}

// forget lets addresses begin anew from time to time. mu is held.
func (t *turns) forget() {
	if now := time.Now(); now.Sub(t.since) >= servedFor {
		clear(t.served)
		t.since = now
	}
}

// makeRoom gives up the key that would be the last to be asked for when too many
// wait. mu is held.
func (t *turns) makeRoom() {
	if len(t.wanted) < maxWanted {
		return
	}
	var last *want
	for _, w := range t.wanted {
		if !w.taken && (last == nil || t.before(last, w)) {
			last = w
		}
	}
	if last != nil {
		delete(t.wanted, last.kid)
		last.err = errNoKey
		close(last.done)
	}
}

// before reports whether a is asked for before b. mu is held.
func (t *turns) before(a, b *want) bool {
	if x, y := t.served[a.by], t.served[b.by]; x != y {
		return x < y
	}
	return a.asks > b.asks
}

// run asks for keys, at the rate that is allowed, until none is wanted.
func (t *turns) run() {
	for t.more() {
		if wait := t.limit.Reserve().Delay(); wait > 0 {
			time.Sleep(wait)
		}
		if w := t.next(); w != nil {
			go t.serve(w)
		}
	}
}

// more reports whether a key waits for its turn; else run ends.
func (t *turns) more() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range t.wanted {
		if !w.taken {
			return true
		}
	}
	t.going = false
	return false
}

// next takes the key whose turn it is; nil when nobody waits any more.
func (t *turns) next() *want {
	t.mu.Lock()
	defer t.mu.Unlock()
	var first *want
	for _, w := range t.wanted {
		if !w.taken && (first == nil || t.before(w, first)) {
			first = w
		}
	}
	if first == nil {
		return nil
	}
	first.taken = true
	t.served[first.by]++
	return first
}

// serve fetches a key and tells those who wait.
func (t *turns) serve(w *want) {
	defer t.answered(w)
	w.err = errNoKey // if there is a panic
	defer t.guard.Recover(guard.Task, fetching)
	w.keys, w.err = t.fetch(w.kid)
}

// fetching is the owner of panics over what an issuer's server answers.
const fetching = guard.Named("token keys")

func (t *turns) answered(w *want) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.wanted, w.kid)
	close(w.done)
}
