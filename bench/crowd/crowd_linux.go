package crowd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"vnode/internal/xmpptest/conference"
)

// Options describes a crowd.
type Options struct {
	// URL is where the server is: ws://, http:// for BOSH, or xmpp://, each also
	// with +unix and a socket, as ws+unix:///run/v3.sock:/xmpp-websocket; wss://
	// and https:// cost a goroutine a visitor.
	URL    string
	Domain string // of the visitors, e.g. v3.meet.jitsi
	Room   string // bare JID, e.g. demo@conference.v3.meet.jitsi
	Ledger *conference.Ledger
	NoAcks bool // leave stream management (XEP-0198) off
	TLS    *tls.Config
	Loops  int // goroutines that receive; default 1
}

// Crowd is the visitors of one room. Its methods are safe for concurrent use.
type Crowd struct {
	// Static after construction.
	opt   Options
	addr  address
	ip    netip.AddrPort // of the server; zero for a unix socket
	loops []*loop
	wg    sync.WaitGroup

	since atomic.Int64 // begin of the window that is measured

	mu sync.Mutex
	// Guarded by mu.
	clients []*client
}

// New returns a crowd without visitors. Close it.
func New(o Options) (*Crowd, error) {
	a, err := parseAddress(o.URL)
	if err != nil {
		return nil, err
	}
	c := &Crowd{opt: o, addr: a}
	if a.unix == "" {
		tcp, err := net.ResolveTCPAddr("tcp", a.host)
		if err != nil {
			return nil, fmt.Errorf("server: %w", err)
		}
		c.ip = tcp.AddrPort()
		c.ip = netip.AddrPortFrom(c.ip.Addr().Unmap(), c.ip.Port())
	}
	for range max(1, o.Loops) {
		l, err := newLoop(c)
		if err != nil {
			c.Close()
			return nil, err
		}
		c.loops = append(c.loops, l)
		c.wg.Go(l.run)
	}
	return c, nil
}

// Group says into which distribution a visitor's measurements go.
type Group uint8

// The groups.
const (
	Steady Group = iota // what is measured
	Guests              // who disturbs it: stalled, or part of a storm
	groups
)

// Join describes visitors that come.
type Join struct {
	N         int
	PerSecond float64 // begun per second, on schedule; 0: all at once
	Parallel  int     // most joins under way; default 512
	Group     Group
}

// Join lets visitors join. It blocks until each is in or has failed, or ctx
// ends; the error tells of the first that failed and how many did. A join's
// time counts from when it was due.
func (c *Crowd) Join(ctx context.Context, j Join) error {
	return c.begin(ctx, j.N, j.PerSecond, j.Parallel, "visitors could not join", func(int) *client {
		c.mu.Lock()
		defer c.mu.Unlock()
		n := len(c.clients)
		v := newClient(c, c.loops[n%len(c.loops)], n, j.Group)
		c.clients = append(c.clients, v)
		return v
	})
}

// Resume lets every visitor whose connection was cut resume its session
// (XEP-0198 §5), at most parallel at once.
func (c *Crowd) Resume(ctx context.Context, parallel int) error {
	var away []*client
	for _, v := range c.all() {
		if v.is(stageAway) {
			away = append(away, v)
		}
	}
	return c.begin(ctx, len(away), 0, parallel, "sessions were not resumed", func(i int) *client { return away[i] })
}

// begin connects n clients.
func (c *Crowd) begin(ctx context.Context, n int, perSecond float64, parallel int, what string, next func(int) *client) error {
	if parallel <= 0 {
		parallel = 512
	}
	slots := make(chan struct{}, parallel)
	results := make(chan error, n)
	start := conference.Now()
	begun := 0
	var stopped error
	for ; begun < n && stopped == nil; begun++ {
		due := start
		if perSecond > 0 {
			due += int64(float64(begun) / perSecond * float64(time.Second))
			if stopped = conference.Sleep(ctx, time.Duration(due-conference.Now())); stopped != nil {
				break
			}
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			stopped = ctx.Err()
		}
		if stopped != nil {
			break
		}
		v := next(begun)
		v.start(ctx, due, func(err error) { results <- err; <-slots })
	}
	failed := 0
	var first error
	for range begun {
		select {
		case err := <-results:
			if err != nil {
				failed++
				first = cmpErr(first, err)
			}
		case <-ctx.Done():
			return fmt.Errorf("%d of %d visitors had not come to an end: %w", begun-len(results), n, ctx.Err())
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d %s, the first: %w", failed, n, what, first)
	}
	return stopped
}

func cmpErr(first, err error) error {
	if first != nil {
		return first
	}
	return err
}

func (c *Crowd) all() []*client {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clients[:len(c.clients):len(c.clients)]
}

// Nicks returns the occupant nicks of the visitors that are in the room.
func (c *Crowd) Nicks() []string {
	var nicks []string
	c.each(func(v *client) {
		if v.stage == stageIn {
			nicks = append(nicks, v.nick)
		}
	})
	return nicks
}

// each calls f for every visitor, with its loop's mutex held.
func (c *Crowd) each(f func(*client)) {
	for _, v := range c.all() {
		v.loop.mu.Lock()
		f(v)
		v.loop.mu.Unlock()
	}
}

// Chat lets the visitor with that number, modulo their count, say one line that
// was due at the given time. It reports whether one could.
func (c *Crowd) Chat(n int, due int64, size int) bool {
	all := c.all()
	if len(all) == 0 {
		return false
	}
	return all[n%len(all)].chat(due, size)
}

// Stall makes every n-th visitor stop to read, as one whose network is stuck;
// it returns how many. They count as [Guests] from here on.
func (c *Crowd) Stall(every int) (n int) {
	c.each(func(v *client) {
		if v.stage == stageIn && v.number%every == 0 {
			v.stalled, v.group = true, Guests
			n++
		}
	})
	return n
}

// Unstall lets them read again.
func (c *Crowd) Unstall() {
	c.each(func(v *client) {
		if v.stalled {
			v.stalled, v.late = false, true
			v.readable()
		}
	})
}

// Cut breaks every n-th visitor's connection without a word; it returns how
// many. Those resume with [Crowd.Resume].
func (c *Crowd) Cut(every int) (n int) {
	c.each(func(v *client) {
		if v.stage == stageIn && v.number%every == 0 && v.smID != "" {
			v.cut()
			n++
		}
	})
	return n
}

// Leave lets all visitors leave the room and close their streams, and waits
// until the server has closed every connection or ctx has ended.
func (c *Crowd) Leave(ctx context.Context) error {
	c.each((*client).leave)
	return c.wait(ctx, func(v *client) bool { return v.stage == stageDead || v.stage == stageAway }, "visitors have not been let go")
}

// Drain waits until every visitor in the room has got the newest of every
// source, or ctx has ended. Nobody may publish meanwhile.
func (c *Crowd) Drain(ctx context.Context) error {
	want := c.newest()
	return c.wait(ctx, func(v *client) bool { return v.stage != stageIn || v.stalled || v.has(want) }, "visitors wait for stanzas")
}

// wait polls until ok holds for every visitor.
func (c *Crowd) wait(ctx context.Context, ok func(*client) bool, what string) error {
	isDone := func(v *client) bool {
		v.loop.mu.Lock()
		defer v.loop.mu.Unlock()
		return ok(v)
	}
	waiting := c.all()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		// One that waits is enough to go on: the load test must not spend the
		// core on looking.
		for len(waiting) > 0 && isDone(waiting[0]) {
			waiting = waiting[1:]
		}
		if len(waiting) == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			n := 0
			for _, v := range waiting {
				if !isDone(v) {
					n++
				}
			}
			return fmt.Errorf("%d %s: %w", n, what, ctx.Err())
		}
	}
}

// Close cuts what is still connected and waits for the goroutines.
func (c *Crowd) Close() {
	for _, l := range c.loops {
		l.stop()
	}
	c.wg.Wait()
}

// errClosed is what a visitor ends with when its crowd does.
var errClosed = errors.New("the crowd is closed")
