package admission

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Limits bound who is inside. All are set.
type Limits struct {
	// Connections is how many there are at once, PerAddress how many of one
	// client address.
	Connections, PerAddress int
	// Rate is the highest rate of logins, in logins a second. However late
	// the node is, it lets in [MinRate].
	Rate int
}

// MinRate is the lowest rate of logins, in logins a second.
const MinRate = 10

// Kind is what a connection wants.
type Kind uint8

const (
	// Join is a login for a new session.
	Join Kind = iota
	// Resume is a login for a session that is there.
	Resume
	// Exempt counts as a connection, and waits for nobody: the focus. A few
	// are let in when there is no room for others.
	Exempt
)

// reserve is how many connections there may be above the limit that are exempt:
// visitors must not keep the focus out.
const reserve = 64

// Limit names what refuses a connection.
type Limit string

const (
	Connections Limit = "connections"
	PerAddress  Limit = "per_address"
	Rate        Limit = "rate"
)

// AllLimits is the closed set of limits, for metrics.
var AllLimits = []Limit{Connections, PerAddress, Rate}

// Refusal is why a connection is not let in, and when to try again.
type Refusal struct {
	Limit Limit
	After time.Duration // at least a second
}

// Gate lets connections in. Its methods may be called from any goroutine; only
// Enter blocks.
type Gate struct {
	// Static after construction.
	limits Limits

	worst atomic.Int64 // the longest delay observed since the latest Adapt

	mu     sync.Mutex // guards what follows
	inside tally
	// arrived is connections that have not said yet whom they are for, or are
	// not for one client: all of HTTP that are no WebSocket. They are counted on
	// their own: a session of BOSH is inside besides.
	arrived tally
	proxied int // of those that have arrived, by proxies that are believed
	pace    pace
	armed   bool // a timer is set for the next turn
}

// NewGate returns a Gate through which nobody has come yet.
func NewGate(l Limits) *Gate {
	return &Gate{limits: l, inside: newTally(), arrived: newTally(), pace: newPace(l.Rate, time.Now())}
}

// tally counts connections.
type tally struct {
	all       int
	addresses map[netip.Addr]int // of valid addresses
}

func newTally() tally { return tally{addresses: make(map[netip.Addr]int)} }

func (t *tally) add(addr netip.Addr) {
	t.all++
	if addr.IsValid() {
		t.addresses[addr]++
	}
}

func (t *tally) remove(addr netip.Addr) {
	t.all--
	if n := t.addresses[addr]; n > 1 {
		t.addresses[addr] = n - 1
	} else {
		delete(t.addresses, addr)
	}
}

// Arrive counts a connection that has not said anything yet, or refuses it. The
// limits are those of Enter, on a count of their own; nobody waits. Proxies that
// are believed, whose address is given as invalid, have as many connections of
// their own, so that strangers who connect beside them keep nobody out. What has
// arrived is taken out by Depart: before Enter, if it gets that far.
func (g *Gate) Arrive(addr netip.Addr) *Refusal {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !addr.IsValid() {
		if g.proxied >= g.limits.Connections {
			return &Refusal{Connections, retryFull}
		}
		g.proxied++
		g.arrived.add(addr)
		return nil
	}
	switch {
	case g.arrived.all-g.proxied >= g.limits.Connections:
		return &Refusal{Connections, retryFull}
	case g.arrived.addresses[addr] >= g.limits.PerAddress:
		return &Refusal{PerAddress, retryFull}
	}
	g.arrived.add(addr)
	return nil
}

// Depart takes out who has arrived.
func (g *Gate) Depart(addr netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !addr.IsValid() {
		g.proxied--
	}
	g.arrived.remove(addr)
}

// Enter counts a connection in, or refuses it. It waits for its turn, but for no
// longer than about patience, nor than ctx: then it is refused too. Turns go
// round among the addresses that wait. Addresses that are not valid are not
// counted. What is let in is taken out again by Leave.
func (g *Gate) Enter(ctx context.Context, addr netip.Addr, kind Kind, patience time.Duration) *Refusal {
	t, refusal := g.Try(addr, kind, patience)
	if t == nil {
		return refusal
	}
	return t.Wait(ctx.Done(), nil)
}

// Try is Enter without the waiting: who must wait gets a turn, and has to Wait
// for it.
func (g *Gate) Try(addr netip.Addr, kind Kind, patience time.Duration) (*Turn, *Refusal) {
	t, refusal := g.register(addr, kind, patience)
	if t == nil {
		return nil, refusal
	}
	return &Turn{g, addr, t, 2 * patience}, nil // the node may become slower
}

// Turn is the place in line of a connection that [Gate.Try] could not let in at
// once.
type Turn struct {
	gate    *Gate
	addr    netip.Addr
	turn    *turn
	longest time.Duration
}

// Wait waits as [Gate.Enter] does, or until one of the channels is closed. nil
// ones are not looked at.
func (t *Turn) Wait(gone, end <-chan struct{}) *Refusal {
	timer := time.NewTimer(t.longest)
	defer timer.Stop()
	select {
	case <-t.turn.come:
		return nil
	case <-timer.C:
	case <-gone:
	case <-end:
	}
	return t.gate.giveUp(t.addr, t.turn)
}

// register counts a connection, whose place others must not take while it waits.
func (g *Gate) register(addr netip.Addr, kind Kind, patience time.Duration) (t *turn, refusal *Refusal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.inside.all >= g.limits.Connections && (kind != Exempt || g.inside.all >= g.limits.Connections+reserve):
		return nil, &Refusal{Connections, retryFull}
	case addr.IsValid() && g.inside.addresses[addr] >= g.limits.PerAddress:
		return nil, &Refusal{PerAddress, retryFull}
	}
	g.pace.pass(time.Now())
	if kind != Exempt {
		var ok bool
		if t, ok = g.pace.enter(addr, kind, patience); !ok {
			return nil, &Refusal{Rate, g.pace.retry()}
		}
	}
	g.inside.add(addr)
	g.arm()
	return t, nil
}

// giveUp takes out who has waited for too long, unless its turn has come just
// now.
func (g *Gate) giveUp(addr netip.Addr, t *turn) *Refusal {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-t.come:
		return nil
	default:
	}
	t.remove()
	g.inside.remove(addr)
	return &Refusal{Rate, g.pace.retry()}
}

// arm sees to it that the next one's turn comes.
func (g *Gate) arm() {
	next, ok := g.pace.next()
	if !ok || g.armed {
		return
	}
	g.armed = true
	time.AfterFunc(next, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.armed = false
		g.pace.pass(time.Now())
		g.arm()
	})
}

// retryFull is when to try again after a limit that nobody knows the end of.
const retryFull = 5 * time.Second

// Leave takes a connection out.
func (g *Gate) Leave(addr netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside.remove(addr)
}

// Inside is how many connections there are, and how many addresses they are
// counted under.
func (g *Gate) Inside() (connections, addresses int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inside.all, len(g.inside.addresses)
}

// Arrived is the same of those that have only arrived.
func (g *Gate) Arrived() (connections, addresses int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.arrived.all, len(g.arrived.addresses)
}

// Observe tells of a delay: how long something took that takes no time on a node
// that is not busy.
func (g *Gate) Observe(delay time.Duration) {
	for {
		worst := g.worst.Load()
		if int64(delay) <= worst || g.worst.CompareAndSwap(worst, int64(delay)) {
			return
		}
	}
}

// Adapt sets the rate of logins by the longest delay observed since it was
// called last, and returns both. It is to be called every [Interval].
func (g *Gate) Adapt() (rate float64, delay time.Duration) {
	delay = time.Duration(g.worst.Swap(0))
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pace.adapt(time.Now(), delay)
	return g.pace.rate, delay
}

// Key is the address a client is counted under: its /64 for IPv6, which is what
// one customer has. It is invalid for loopback, where all that comes through a
// proxy comes from.
func Key(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if !addr.IsValid() || addr.IsLoopback() {
		return netip.Addr{}
	}
	if addr.Is6() {
		if p, err := addr.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return addr
}
