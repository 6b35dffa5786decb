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
	"vnode/muc/room"
)

// draining are the rooms, as a drain sees them.
type draining interface {
	EndSome(n int) (found int)
	Rooms(ctx context.Context) ([]room.Info, error)
	// Idle reports whether jicofo can be sent away.
	Idle() bool
}

// door is where jicofo logs in.
type door interface {
	RefuseAdmins(on bool)
	EndAdmins() (open int)
}

// drainer takes a node out of use. Jicofo cannot be told to use other nodes, only
// be sent away, and it goes on sending visitors to the rooms it has here. So the
// node takes every room it is asked for as long as one is left, and at a deadline
// ends those that are. Once none is left it ends jicofo's session and refuses its
// login until the drain is called off, as long as jicofo can use another node: with
// none at all it would take one for a conference that it is not logged in at, and
// send the visitors there as long as the conference lasts, whatever comes back
// meanwhile. Its methods may be called from any goroutine and do not block.
type drainer struct {
	// Static after construction.
	rooms  draining
	door   door
	health *admin.Health
	log    *slog.Logger
	window func() time.Duration            // the ends of rooms are spread over
	others func(ctx context.Context) error // why no other node can take over
	wake   chan struct{}                   // of capacity 1: something has changed
	empty  chan struct{}                   // closed once a drain for good has emptied the node

	// Owned by run's goroutine.
	asked time.Time // the other nodes, last
	alone error     // what came of it
	spent time.Time // the deadline at which rooms have ended already

	mu sync.Mutex
	// Guarded by mu.
	on       bool
	forGood  bool      // the node ends afterwards
	deadline time.Time // zero for none
	why      string
}

func newDrainer(rooms draining, door door, health *admin.Health, log *slog.Logger, window func() time.Duration, others func(context.Context) error) *drainer {
	return &drainer{rooms: rooms, door: door, health: health, log: log, window: window, others: others, wake: make(chan struct{}, 1), empty: make(chan struct{})}
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
	if !d.on {
		d.door.RefuseAdmins(false)
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
	people, expected := count(rooms, time.Now())
	due := !deadline.IsZero() && !time.Now().Before(deadline)
	if due && !forGood && d.spent.Equal(deadline) && d.isAlone(ctx) { // what began later has nowhere to go
		due, deadline = false, time.Time{}
	}
	switch {
	case (people > 0 || expected && !forGood) && !due:
		d.tell(admin.Draining, remaining(why, len(rooms), people, deadline))
		return true
	case len(rooms) > 0:
		d.log.Info("ending the rooms that are left", "rooms", len(rooms), "visitors", people)
		spread(ctx, d.window(), perRoom, d.endSome)
	}
	if due {
		d.spent = deadline
	}
	alone := !forGood && d.isAlone(ctx)
	d.sendAway(!alone)
	switch {
	case len(rooms) > 0:
	case alone:
		d.tell(admin.Drained, fmt.Sprintf("%s; no room is left, but jicofo may begin conferences here: %v", why, d.alone))
	default:
		d.tell(admin.Drained, why+"; no room is left, and jicofo uses other nodes")
	}
	if forGood {
		d.done()
		return false
	}
	return true
}

// visitorExpected is how long jicofo counts on a visitor that it has sent to a
// room (visitors.vnode-join-latency-interval): its page may still load.
const visitorExpected = time.Minute

// count tells how many visitors are in the rooms, and whether one may be on its
// way to a new room.
func count(rooms []room.Info, now time.Time) (people int, expected bool) {
	for _, r := range rooms {
		people += r.Visitors + r.Queued + r.Held
		expected = expected || !r.Over && now.Sub(r.Made) < visitorExpected
	}
	return people, expected
}

// askAgain is how often a node that drains asks whether another can take over.
const askAgain = 5 * time.Second

// isAlone reports whether jicofo has no other node to use.
func (d *drainer) isAlone(ctx context.Context) bool {
	if now := time.Now(); now.Sub(d.asked) >= askAgain {
		was := d.alone
		d.asked, d.alone = now, d.others(ctx)
		if d.alone != nil && was == nil {
			d.log.Warn("jicofo stays logged in at a node that drains", "why", d.alone)
		}
	}
	return d.alone != nil
}

// sendAway ends jicofo's session if it may and no room is left, and refuses its
// login. A room that it makes meanwhile is lost with the session: then it is let in
// again to hear of that, and sent away in a later step.
func (d *drainer) sendAway(may bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	idle := may && d.on && d.rooms.Idle()
	d.door.RefuseAdmins(idle)
	if idle && d.door.EndAdmins() > 0 {
		d.log.Info("no room is left: jicofo is logged out, and refused until the drain is called off")
	}
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
	until := ""
	if !deadline.IsZero() {
		until = " until " + deadline.Format(time.TimeOnly)
	}
	return fmt.Sprintf("%s; %d conferences with %d visitors go on%s, as do those that jicofo begins here meanwhile", why, rooms, people, until)
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
