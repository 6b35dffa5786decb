package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"vnode/cmd/internal/admin"
	"vnode/muc"
)

// draining are the rooms, as a drain sees them.
type draining interface {
	Drain(on bool)
	EndSome(n int) (found int)
	Rooms(ctx context.Context) ([]muc.RoomInfo, error)
}

// drainer takes a node out of use: no new rooms, then, at a deadline, the end
// of those that are left. Its methods may be called from any goroutine and do
// not block.
type drainer struct {
	// Static after construction.
	rooms  draining
	health *admin.Health
	log    *slog.Logger
	window func() time.Duration // the ends of rooms are spread over
	wake   chan struct{}        // of capacity 1: something has changed
	empty  chan struct{}        // closed once a drain for good has emptied the node

	mu sync.Mutex
	// Guarded by mu.
	on       bool
	forGood  bool      // the node ends afterwards
	deadline time.Time // zero for none
	why      string
}

func newDrainer(rooms draining, health *admin.Health, log *slog.Logger, window func() time.Duration) *drainer {
	return &drainer{rooms: rooms, health: health, log: log, window: window, wake: make(chan struct{}, 1), empty: make(chan struct{})}
}

// begin drains; timeout 0 sets no deadline. A later call replaces deadline and
// reason.
func (d *drainer) begin(timeout time.Duration, why string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.forGood {
		return
	}
	d.on, d.why, d.deadline = true, why, time.Time{}
	if timeout > 0 {
		d.deadline = time.Now().Add(timeout)
	}
	d.changed()
}

// finish drains for good: rooms that are left after timeout, which may be 0,
// end.
func (d *drainer) finish(timeout time.Duration, why string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.on, d.forGood, d.why, d.deadline = true, true, why, time.Now().Add(timeout)
	d.changed()
}

// cancel calls a drain off.
func (d *drainer) cancel() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.forGood:
		return errors.New("the node is about to end; its drain cannot be called off")
	case !d.on:
		return errors.New("the node does not drain")
	}
	d.on = false
	d.changed()
	return nil
}

// changed is called with mu held.
func (d *drainer) changed() {
	d.rooms.Drain(d.on)
	if !d.on {
		d.health.Set(admin.Ready, "")
	} else if state, _ := d.health.Get(); state != admin.Drained || d.forGood {
		d.health.Set(admin.Draining, d.why)
	}
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// watchDrain is how often a node that drains looks at its rooms.
const watchDrain = 200 * time.Millisecond

// run watches over drains until ctx ends.
func (d *drainer) run(ctx context.Context) {
	ticker := time.NewTicker(watchDrain)
	defer ticker.Stop()
	for ctx.Err() == nil {
		tick := ticker.C
		if !d.step(ctx) {
			tick = nil // nothing to watch
		}
		select {
		case <-ctx.Done():
		case <-d.wake:
		case <-tick:
		}
	}
}

// step does what is due, and reports whether there is more to watch.
func (d *drainer) step(ctx context.Context) bool {
	d.mu.Lock()
	on, forGood, deadline, why := d.on, d.forGood, d.deadline, d.why
	d.mu.Unlock()
	if !on {
		return false
	}
	rooms, err := d.rooms.Rooms(ctx)
	if err != nil {
		return ctx.Err() == nil
	}
	people := 0
	for _, r := range rooms {
		people += r.Visitors + r.Queued
	}
	switch due := !deadline.IsZero() && !time.Now().Before(deadline); {
	case people > 0 && !due:
		d.tell(admin.Draining, remaining(why, len(rooms), people, deadline))
		return true
	case len(rooms) > 0 && (due || forGood):
		d.log.Info("ending the rooms that are left", "rooms", len(rooms), "visitors", people)
		spread(ctx, d.window(), perRoom, d.endSome)
	}
	d.tell(admin.Drained, why+"; no visitor is left")
	if forGood {
		d.done()
		return false
	}
	return true
}

// tell says how the drain stands, unless it was called off meanwhile.
func (d *drainer) tell(state admin.State, why string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.on {
		d.health.Set(state, why)
	}
}

// endSome ends rooms as [muc.Service.EndSome] does, none once the drain was
// called off.
func (d *drainer) endSome(n int) (found int) {
	d.mu.Lock()
	on := d.on
	d.mu.Unlock()
	if !on {
		return 0
	}
	return d.rooms.EndSome(n)
}

// done tells who waits for the end of a drain for good.
func (d *drainer) done() {
	select {
	case <-d.empty:
	default:
		close(d.empty) // only run's goroutine comes here
	}
}

func remaining(why string, rooms, people int, deadline time.Time) string {
	text := fmt.Sprintf("%s; no new conferences, %d with %d visitors go on", why, rooms, people)
	if !deadline.IsZero() {
		text += " until " + deadline.Format(time.TimeOnly)
	}
	return text
}

// A few ends need not take the whole window.
const (
	perRoom    = 100 * time.Millisecond
	perSession = 5 * time.Millisecond
)

// spread ends what some counts and ends, evenly over window but no longer than
// each takes, in steps of uneven length: clients that come back elsewhere must
// not come all at once, nor in step with another node's. When ctx ends first the
// rest ends at once.
func spread(ctx context.Context, window, each time.Duration, some func(n int) (found int)) {
	all := some(0)
	window = min(window, time.Duration(all)*each)
	start := time.Now()
	for ended := 0; ended < all; {
		due := all
		if passed := time.Since(start); passed < window && ctx.Err() == nil {
			due = 1 + int(float64(all-1)*float64(passed)/float64(window))
		}
		if due > ended {
			some(due - ended)
			ended = due
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(10*time.Millisecond + rand.N(30*time.Millisecond)):
		}
	}
}
