package admission

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func address(n int) netip.Addr {
	if n == 0 {
		return netip.Addr{}
	}
	return netip.AddrFrom4([4]byte{192, 0, 2, byte(n)})
}

func came(t *turn) bool {
	select {
	case <-t.come:
		return true
	default:
		return false
	}
}

// Turns go round among the addresses, and each of those that have none is one.
func TestTurnsGoRound(t *testing.T) {
	var l line
	waiting := map[string]*turn{}
	for _, who := range []struct {
		name string
		addr int
	}{{"a1", 1}, {"a2", 1}, {"a3", 1}, {"b1", 2}, {"x", 0}, {"y", 0}, {"b2", 2}, {"b3", 2}} {
		waiting[who.name] = l.push(address(who.addr))
	}
	waiting["b2"].remove()
	for _, next := range []string{"a1", "b1", "x", "y", "a2", "b3", "a3"} {
		l.pop()
		require.True(t, came(waiting[next]), next)
	}
	require.Zero(t, l.len())
	require.Empty(t, l.rows)
	require.Empty(t, l.deeper)
	require.False(t, came(waiting["b2"]))
}

// Whoever joins a line, and others leave and come, knows its place.
func TestPlaceInLine(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		var l line
		var there []*turn
		for range random.IntN(60) {
			switch random.IntN(5) {
			case 0:
				if l.len() > 0 {
					l.pop()
				}
			case 1:
				if len(there) > 0 {
					if last := there[len(there)-1]; !came(last) {
						last.remove()
						there = there[:len(there)-1]
					}
				}
			default:
				there = append(there, l.push(address(random.IntN(5))))
			}
		}
		addr := address(random.IntN(5))
		place, before := l.ahead(addr, 1000), l.len()
		me := l.push(addr)
		popped := 0
		for ; !came(me); popped++ {
			l.pop()
		}
		// Who is in the middle of a round may be one turn from it for each
		// address.
		require.InDelta(t, place+1, popped, 5)
		require.LessOrEqual(t, popped, before+1)
	}
}

// One address alone has all turns; as soon as others come, it has no more than
// each of them, however many it sends, and they hardly wait.
func TestOneAddressDoesNotTakeAllTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate, patience = 100, 2 * time.Second
		g := NewGate(Limits{Connections: 1 << 20, PerAddress: 1 << 20, Rate: rate})
		in := make(chan netip.Addr, 1<<16)
		var refused [256]atomic.Int32
		come := func(n int) (waited time.Duration) {
			start := time.Now()
			if g.Enter(context.Background(), address(n), Join, patience) != nil {
				refused[n].Add(1)
				return 0
			}
			in <- address(n)
			return time.Since(start)
		}
		storm := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
				for range 10 {
					go come(1)
				}
			}
		}
		storm(5 * time.Second)
		require.InDelta(t, 5*rate, len(in), 0.2*rate, "all turns")
		for len(in) > 0 {
			<-in
		}
		go storm(5 * time.Second)
		longest := time.Duration(0)
		for range 20 { // others come ten at a time, one after the other
			for n := range 10 {
				longest = max(longest, come(2+n))
			}
			time.Sleep(100 * time.Millisecond)
		}
		for n := range 10 {
			require.Zero(t, refused[2+n].Load())
		}
		require.Less(t, longest, 50*time.Millisecond)
		require.Positive(t, refused[1].Load())
		time.Sleep(10 * time.Second)
	})
}
