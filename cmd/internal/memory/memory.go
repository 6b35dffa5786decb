// Package memory gives memory back that the runtime would keep for the next storm.
package memory

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// What visitors that come leave behind, of their handshakes and logins, is
// several times what they need as long as they stay. The runtime would keep it
// for the next ones, and at rest nothing makes it collect. So memory that lies
// fallow is given back in a calm moment.
const (
	restEvery = 2 * time.Second
	// calm is what is allocated in that time at most when nothing goes on.
	calm = 2 << 20
	// restWorth is how much must be gained: a share of what is in use, and no
	// less than leastRest. The two collections cost a millisecond of CPU for
	// every 1.5 MB in use; so it is half a per cent of a core at most.
	restWorth = 8
	leastRest = 2 << 20
)

// Names of runtime/metrics.
const (
	heapLive    = "/gc/heap/live:bytes"
	heapObjects = "/memory/classes/heap/objects:bytes"
	heapFree    = "/memory/classes/heap/free:bytes"
	heapAllocs  = "/gc/heap/allocs:bytes"
)

// GiveBack gives fallow memory back in calm moments until ctx ends.
func GiveBack(ctx context.Context) {
	tick := time.NewTicker(restEvery)
	defer tick.Stop()
	m := read()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		before := m
		m = read()
		if m.fallow(before) {
			runtime.GC() // what pools hold goes with the second one
			debug.FreeOSMemory()
			m = read()
		}
	}
}

// usage is what the runtime holds, in bytes.
type usage struct {
	live   uint64 // after the latest collection
	dead   uint64 // allocated since then, or found dead and not reused
	free   uint64 // not returned to the system
	allocs uint64 // ever
}

func read() usage {
	s := []metrics.Sample{{Name: heapLive}, {Name: heapObjects}, {Name: heapFree}, {Name: heapAllocs}}
	metrics.Read(s)
	v := func(i int) uint64 { return s[i].Value.Uint64() }
	m := usage{live: v(0), free: v(2), allocs: v(3)}
	if v(1) > m.live {
		m.dead = v(1) - m.live
	}
	return m
}

// fallow reports whether it is worth a collection to give memory back, and
// nothing is going on that would take it again at once.
func (m usage) fallow(before usage) bool {
	return m.dead+m.free >= max(m.live/restWorth, leastRest) && m.allocs-before.allocs < calm
}
