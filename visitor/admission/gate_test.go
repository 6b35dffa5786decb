package admission

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConnectionsAreCounted(t *testing.T) {
	g := NewGate(Limits{Connections: 4, PerAddress: 2, Rate: 1000})
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	enter := func(addr netip.Addr) Limit {
		refusal := g.Enter(t.Context(), addr, Join, 0)
		if refusal == nil {
			return ""
		}
		require.GreaterOrEqual(t, refusal.After, time.Second)
		return refusal.Limit
	}
	require.Empty(t, enter(a))
	require.Empty(t, enter(a))
	require.Equal(t, PerAddress, enter(a))
	require.Empty(t, enter(b))
	require.Empty(t, enter(netip.Addr{}), "not counted under an address")
	require.Equal(t, Connections, enter(netip.Addr{}))
	g.Leave(a)
	g.Leave(netip.Addr{})
	require.Empty(t, enter(a))
	n, addresses := g.Inside()
	require.Equal(t, 3, n)
	require.Equal(t, 2, addresses)
	for _, addr := range []netip.Addr{a, a, b} {
		g.Leave(addr)
	}
	n, addresses = g.Inside()
	require.Zero(t, n)
	require.Zero(t, addresses)
}

// A node full of visitors lets its focus in, which would have them served.
func TestTheFocusComesIntoAFullNode(t *testing.T) {
	g := NewGate(Limits{Connections: 2, PerAddress: 5, Rate: 1000})
	for range 2 {
		require.Nil(t, g.Enter(t.Context(), netip.Addr{}, Join, 0))
	}
	require.Equal(t, Connections, g.Enter(t.Context(), netip.Addr{}, Join, 0).Limit)
	for range reserve {
		require.Nil(t, g.Enter(t.Context(), netip.Addr{}, Exempt, 0))
	}
	require.Equal(t, Connections, g.Enter(t.Context(), netip.Addr{}, Exempt, 0).Limit, "so many, and no more")
}

func TestKey(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8:0:1:2::3": "2001:db8:0:1::",
		"fe80::1%eth0": "fe80::", "127.0.0.1": "invalid IP", "::1": "invalid IP",
	} {
		require.Equal(t, want, Key(netip.MustParseAddr(in)).String())
	}
	require.False(t, Key(netip.Addr{}).IsValid())
}

// node plays a node that can serve so many logins a second: those it has let in
// and not yet served make it late.
type node struct {
	t        *testing.T
	g        *Gate
	capacity float64 // a second

	mu      sync.Mutex
	queue   float64 // guarded by mu, like the rest
	worst   time.Duration
	joined  int
	resumed int
	refused int
	longest time.Duration // a resumption has waited
}

// second plays a second in which so many come, evenly.
func (n *node) second(joins, resumes int) {
	n.mu.Lock()
	n.joined, n.resumed, n.refused, n.worst = 0, 0, 0, 0
	n.mu.Unlock()
	steps := int(time.Second / Interval)
	for i := range steps {
		come := func(kind Kind, k int) {
			for range (k*(i+1))/steps - (k*i)/steps {
				go n.come(kind)
			}
		}
		come(Resume, resumes)
		come(Join, joins)
		time.Sleep(Interval)
		synctest.Wait()
		n.mu.Lock()
		n.queue = max(0, n.queue-n.capacity*Interval.Seconds())
		delay := time.Duration(n.queue / n.capacity * float64(time.Second))
		n.worst = max(n.worst, delay)
		n.g.Observe(delay)
		n.mu.Unlock()
		n.g.Adapt()
	}
	synctest.Wait() // for who was let in last
}

func (n *node) come(kind Kind) {
	start := time.Now()
	refusal := n.g.Enter(context.Background(), netip.Addr{}, kind, 2*time.Second)
	n.mu.Lock()
	defer n.mu.Unlock()
	require.LessOrEqual(n.t, time.Since(start), 4*time.Second)
	if refusal != nil {
		require.Equal(n.t, Rate, refusal.Limit)
		require.LessOrEqual(n.t, refusal.After, maxRetry+time.Second)
		n.refused++
		return
	}
	n.queue++
	if kind == Resume {
		n.longest = max(n.longest, time.Since(start))
		n.resumed++
	} else {
		n.joined++
	}
	n.g.Leave(netip.Addr{})
}

// A storm of 2,500 a second meets nodes of different strength: each lets in what
// it can serve, stays on time, and tells the others to come again.
func TestJoinStorm(t *testing.T) {
	for _, capacity := range []float64{30, 100, 400, 1500} {
		t.Run(fmt.Sprint(capacity, " a second"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &node{t: t, g: NewGate(Limits{Connections: 1 << 20, PerAddress: 1, Rate: 2000}), capacity: capacity}
				for range 12 {
					n.second(2500, 0) // it finds its rate
				}
				defer time.Sleep(5 * time.Second) // until those who wait have had their turn
				var joined int
				var worst time.Duration
				for range 8 {
					n.second(2500, 0)
					joined += n.joined
					worst = max(worst, n.worst)
					require.Positive(t, n.refused)
				}
				mean := float64(joined) / 8
				require.Greater(t, mean, 0.5*capacity, "it does what it can")
				require.Less(t, mean, 1.1*capacity, "and no more")
				require.Less(t, worst, 400*time.Millisecond, "who is inside notices little")
			})
		})
	}
}

// Many who were cut off come back while others want to join: they come first,
// the others get what is left.
func TestResumptionsComeFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &node{t: t, g: NewGate(Limits{Connections: 1 << 20, PerAddress: 1, Rate: 2000}), capacity: 300}
		defer time.Sleep(5 * time.Second)
		for range 10 {
			n.second(2000, 0)
		}
		var joined, resumed int
		for range 10 {
			n.second(2000, 100)
			joined += n.joined
			resumed += n.resumed
		}
		require.Equal(t, 1000, resumed, "every one")
		require.Less(t, n.longest, 500*time.Millisecond, "nearly at once")
		require.Greater(t, joined, 1000)
		n.second(2000, 2000)
		n.second(2000, 2000)
		require.Greater(t, n.resumed, 5*n.joined)
		require.Less(t, n.worst, 400*time.Millisecond)
	})
}

// A node that is late for other reasons still lets some in, and one that is on
// time again soon lets in many.
func TestRateFallsAndRises(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(Limits{Connections: 1 << 20, PerAddress: 1, Rate: 2000})
		adapt := func(delay time.Duration, times int) (rate float64) {
			for range times {
				for range 1000 {
					g.Enter(t.Context(), netip.Addr{}, Join, 0)
				}
				time.Sleep(Interval)
				g.Observe(delay)
				rate, _ = g.Adapt()
			}
			return rate
		}
		require.EqualValues(t, MinRate, adapt(time.Second, 20))
		require.EqualValues(t, MinRate, adapt(late-1, 20), "in between nothing changes")
		require.Greater(t, adapt(0, 30), 130.0)
		require.EqualValues(t, 2000, adapt(0, 100), "up to the limit")
	})
}

// Without a storm nobody waits, and the rate is left alone.
func TestQuietNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(Limits{Connections: 1 << 20, PerAddress: 1, Rate: 2000})
		for range 100 {
			for range 5 {
				require.Nil(t, g.Enter(t.Context(), netip.Addr{}, Join, 0))
			}
			time.Sleep(Interval)
			rate, _ := g.Adapt()
			require.EqualValues(t, startRate, rate)
		}
	})
}

// Connections that have only arrived are counted under the same limits, apart
// from those inside.
func TestArrivals(t *testing.T) {
	g := NewGate(Limits{Connections: 4, PerAddress: 2, Rate: 1000})
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	require.Nil(t, g.Arrive(a))
	require.Nil(t, g.Arrive(a))
	require.Equal(t, PerAddress, g.Arrive(a).Limit)
	require.Nil(t, g.Enter(t.Context(), a, Exempt, 0))
	require.Nil(t, g.Arrive(b))
	require.Nil(t, g.Arrive(b))
	refusal := g.Arrive(netip.MustParseAddr("192.0.2.3"))
	require.Equal(t, Connections, refusal.Limit)
	require.Positive(t, refusal.After)
	for range 4 {
		require.Nil(t, g.Arrive(netip.Addr{}), "a proxy that is believed has connections of its own")
	}
	require.Equal(t, Connections, g.Arrive(netip.Addr{}).Limit)
	all, addresses := g.Arrived()
	require.Equal(t, []int{8, 2}, []int{all, addresses})
	for _, addr := range []netip.Addr{a, a, b, b, {}, {}, {}, {}} {
		g.Depart(addr)
	}
	all, addresses = g.Arrived()
	require.Zero(t, all)
	require.Zero(t, addresses)
	all, _ = g.Inside()
	require.Equal(t, 1, all)
}
