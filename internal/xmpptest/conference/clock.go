package conference

import (
	"context"
	"time"
)

// epoch anchors the clock of stamps.
var epoch = time.Now()

// Now is the clock of stamps: nanoseconds since 1970, but advancing with the
// monotonic clock from the process's start, so that a step of the wall clock
// neither loses nor invents latency.
func Now() int64 { return epoch.UnixNano() + int64(time.Since(epoch)) }

// Sleep blocks for d, or until ctx ends, whose error it then returns. Nothing or
// less is over at once.
func Sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
