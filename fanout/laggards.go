package fanout

import (
	"cmp"
	"context"
	"fmt"
	"slices"
)

// Laggard is a session that does not keep up with its room.
type Laggard struct {
	// To is the client's address as [Options] has it.
	To string
	// Lag is how many messages of the log it has not been sent yet.
	Lag uint64
	// Blocked: its connection takes no more bytes at present.
	Blocked bool
}

// worstOfShard is how many laggards a shard names: a room whose visitors all
// lag must not keep it from serving them.
const worstOfShard = 64

// lagging is how many messages behind a session is called a laggard though its
// connection takes bytes: more than one sweep of a large room leaves behind.
const lagging = 32

// laggards is what one shard finds.
type laggards struct {
	worst []Laggard
	count int
}

// Laggards returns the sessions that do not keep up, the worst first and at
// most limit of them, and how many there are; a session without a connection is
// none. Each shard answers in its turn. Laggards blocks until all have, or
// returns ctx's error.
func (b *Broadcaster) Laggards(ctx context.Context, limit int) (worst []Laggard, count int, err error) {
	answers := make(chan laggards, len(b.shards))
	for _, sh := range b.shards {
		sh.post(command{op: opLaggards, laggards: answers})
	}
	for range b.shards {
		select {
		case a := <-answers:
			worst = append(worst, a.worst...)
			count += a.count
		case <-ctx.Done():
			return nil, 0, fmt.Errorf("fanout: waiting for shards: %w", ctx.Err())
		}
	}
	slices.SortFunc(worst, worseFirst)
	return worst[:min(limit, len(worst))], count, nil
}

func worseFirst(a, b Laggard) int {
	return cmp.Or(cmp.Compare(b.Lag, a.Lag), cmp.Compare(a.To, b.To))
}

// laggards looks at every session of the shard: 10,000 take some 50 µs.
func (sh *shard) laggards() laggards {
	var found []Laggard
	for _, s := range sh.sessions {
		if s.link == nil {
			continue
		}
		l := Laggard{Blocked: s.link.blocked}
		if s.log != nil {
			l.Lag = s.log.Head() - s.cursor
		}
		if l.Blocked || l.Lag >= lagging {
			l.To = s.to
			found = append(found, l)
		}
	}
	slices.SortFunc(found, worseFirst)
	return laggards{found[:min(worstOfShard, len(found))], len(found)}
}
