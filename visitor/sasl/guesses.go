package sasl

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

// Guesses counts wrong passwords by address, and for how long an address has
// had too many. Its methods may be called from any goroutine.
type Guesses struct {
	// Static after construction.
	burst   float64
	refill  time.Duration
	atMost  int
	onBlock func()

	mu     sync.Mutex // guards what follows
	byAddr map[netip.Addr]*list.Element
	order  list.List // of *guesser, the latest wrong guess first
}

type guesser struct {
	addr   netip.Addr
	tokens float64 // guesses it has left
	last   time.Time
}

// maxGuessers bounds the table. Beyond it the address that has been quiet for
// longest is forgotten.
const maxGuessers = 8192

// NewGuesses lets an address guess wrongly burst times, and then once in each
// refill. onBlock is called for each login refused for that.
func NewGuesses(burst int, refill time.Duration, onBlock func()) *Guesses {
	return &Guesses{
		burst: float64(burst), refill: refill, atMost: maxGuessers, onBlock: onBlock,
		byAddr: make(map[netip.Addr]*list.Element),
	}
}

// allowed reports whether an address may try a password now.
func (g *Guesses) allowed(addr netip.Addr) bool {
	if !addr.IsValid() {
		return true
	}
	if g.hasGuess(addr) {
		return true
	}
	g.onBlock()
	return false
}

func (g *Guesses) hasGuess(addr netip.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	el := g.byAddr[addr]
	return el == nil || g.left(el.Value.(*guesser), time.Now()) >= 1
}

// try counts a password before it is looked at, as if it were wrong: others may
// be tried on other connections meanwhile. False means that the address has no
// guess left.
func (g *Guesses) try(addr netip.Addr) bool {
	if !addr.IsValid() {
		return true
	}
	ok := g.take(addr, time.Now())
	if !ok {
		g.onBlock()
	}
	return ok
}

func (g *Guesses) take(addr netip.Addr, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	el := g.byAddr[addr]
	if el == nil {
		if len(g.byAddr) >= g.atMost {
			delete(g.byAddr, g.order.Remove(g.order.Back()).(*guesser).addr)
		}
		el = g.order.PushFront(&guesser{addr: addr, tokens: g.burst, last: now})
		g.byAddr[addr] = el
	}
	w := el.Value.(*guesser)
	left := g.left(w, now)
	if left < 1 {
		return false
	}
	w.tokens, w.last = left-1, now
	g.order.MoveToFront(el)
	return true
}

// right takes back what try has counted: the password was right.
func (g *Guesses) right(addr netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	el := g.byAddr[addr]
	if el == nil {
		return
	}
	w := el.Value.(*guesser)
	if w.tokens++; w.tokens >= g.burst {
		g.order.Remove(el)
		delete(g.byAddr, addr)
	}
}

func (g *Guesses) left(w *guesser, now time.Time) float64 {
	return min(g.burst, w.tokens+float64(now.Sub(w.last))/float64(g.refill))
}
