package node

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/cmd/internal/admin"
	"vnode/muc/room"
)

// inn is rooms with guests, and the door of their focus.
type inn struct {
	mu      sync.Mutex
	guests  []int // of each room
	made    time.Time
	untold  bool // the focus has yet to hear of an end
	full    bool // lets no focus in
	focuses int  // that are logged in
	alone   bool // no other node can take over
	endedAt []time.Time
}

func (i *inn) RefuseAdmins(on bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.full = on
}

func (i *inn) others(context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.alone {
		return errors.New("no other node can take over")
	}
	return nil
}

// isAlone sets whether no other node can take over.
func (i *inn) isAlone(on bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.alone = on
}

func (i *inn) EndAdmins() (open int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	open, i.focuses = i.focuses, 0
	return open
}

func (i *inn) Idle() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.guests) == 0 && !i.untold
}

// opens is a room that the focus makes, with so many guests.
func (i *inn) opens(guests int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.guests, i.made = append(i.guests, guests), time.Now()
}

func (i *inn) loggedIn() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.focuses
}

func (i *inn) EndSome(n int) (found int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	found = len(i.guests)
	for range min(n, found) {
		i.guests = i.guests[1:]
		i.endedAt = append(i.endedAt, time.Now())
	}
	return found
}

func (i *inn) Rooms(context.Context) ([]room.Info, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	list := make([]room.Info, len(i.guests))
	for n, g := range i.guests {
		list[n].Visitors, list[n].Made = g, i.made
	}
	return list, nil
}

func (i *inn) left() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.guests)
}

func (i *inn) ends() []time.Time {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.endedAt)
}

func (i *inn) takesNone() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.full
}

func (i *inn) leave() {
	i.mu.Lock()
	defer i.mu.Unlock()
	clear(i.guests)
}

// inDrain runs a test with rooms of so many guests.
func inDrain(t *testing.T, test func(t *testing.T, d *drainer, i *inn), guests ...int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		i := &inn{guests: guests, focuses: 1}
		health := new(admin.Health)
		health.Set(admin.Ready, "")
		d := newDrainer(i, i, health, slog.New(slog.DiscardHandler), func() time.Duration { return 10 * time.Second }, i.others)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go d.run(ctx)
		test(t, d, i)
	})
}

func (d *drainer) state() admin.State {
	s, _ := d.health.Get()
	return s
}

func emptied(d *drainer) bool {
	select {
	case <-d.empty:
		return true
	default:
		return false
	}
}

// An operator drains without a deadline: conferences go on as long as they last,
// jicofo is let in for them, and new ones of its are taken. When the last is gone
// jicofo is sent away, until the drain is called off.
func TestDrainLetsConferencesGoOn(t *testing.T) {
	inDrain(t, func(t *testing.T, d *drainer, i *inn) {
		d.begin(0, "an operator drains the node")
		time.Sleep(time.Hour)
		state, why := d.health.Get()
		require.Equal(t, admin.Draining, state)
		require.Equal(t, "an operator drains the node; 2 conferences with 12 visitors go on, as do those that jicofo begins here meanwhile", why)
		require.False(t, i.takesNone())
		require.Equal(t, 1, i.loggedIn())
		i.opens(0)
		i.leave()
		time.Sleep(visitorExpected - time.Second)
		require.Equal(t, admin.Draining, d.state(), "a visitor of the new room may be on its way")
		time.Sleep(2 * time.Second)
		require.Equal(t, admin.Drained, d.state())
		require.Zero(t, i.left(), "rooms without visitors end")
		require.True(t, i.takesNone())
		require.Zero(t, i.loggedIn())
		require.False(t, emptied(d))
		require.NoError(t, d.cancel())
		require.Equal(t, admin.Ready, d.state())
		require.False(t, i.takesNone())
		time.Sleep(time.Second)
		require.Equal(t, admin.Ready, d.state())
		require.ErrorContains(t, d.cancel(), "does not drain")
	}, 5, 7)
}

// Jicofo is not sent away while it has no other node: one that it is not logged in at
// it would take all the same, and stay with it. That is asked again and again, also
// when jicofo was sent away already.
func TestDrainKeepsJicofoWithoutAnotherNode(t *testing.T) {
	inDrain(t, func(t *testing.T, d *drainer, i *inn) {
		i.isAlone(true)
		d.begin(time.Minute, "an operator drains the node")
		time.Sleep(2 * time.Minute)
		require.Zero(t, i.left())
		state, why := d.health.Get()
		require.Equal(t, admin.Drained, state)
		require.Equal(t, "an operator drains the node; no room is left, but jicofo may begin conferences here: no other node can take over", why)
		require.False(t, i.takesNone())
		require.Equal(t, 1, i.loggedIn())
		i.opens(2)
		time.Sleep(time.Hour)
		require.Equal(t, 1, i.left(), "the deadline was for those of before")
		require.Equal(t, admin.Draining, d.state())
		i.isAlone(false)
		time.Sleep(askAgain + 20*time.Second)
		require.Zero(t, i.left(), "its visitors have somewhere to go now")
		require.True(t, i.takesNone())
		require.Zero(t, i.loggedIn())
		i.isAlone(true)
		time.Sleep(askAgain + time.Second)
		require.False(t, i.takesNone(), "the other node has gone as well")
		require.NoError(t, d.cancel())
		require.Equal(t, admin.Ready, d.state())
		d.finish(0, "the node ends")
		time.Sleep(time.Second)
		require.True(t, emptied(d), "at the end nobody is waited for")
		require.True(t, i.takesNone())
	}, 3)
}

// A room that jicofo makes while it is sent away is lost with its session. It is
// let in to hear of that, and sent away again.
func TestDrainLetsJicofoHearOfALostRoom(t *testing.T) {
	inDrain(t, func(t *testing.T, d *drainer, i *inn) {
		d.begin(0, "an operator drains the node")
		time.Sleep(time.Second)
		require.True(t, i.takesNone())
		i.mu.Lock()
		i.untold = true
		i.mu.Unlock()
		time.Sleep(time.Second)
		require.False(t, i.takesNone())
		i.mu.Lock()
		i.untold, i.focuses = false, 1
		i.mu.Unlock()
		time.Sleep(time.Second)
		require.True(t, i.takesNone())
		require.Zero(t, i.loggedIn())
	})
}

// At the deadline what is left ends, spread over the window.
func TestDrainEndsWhatIsLeft(t *testing.T) {
	guests := make([]int, 200)
	for i := range guests {
		guests[i] = 1
	}
	inDrain(t, func(t *testing.T, d *drainer, i *inn) {
		start := time.Now()
		d.begin(time.Minute, "an operator drains the node")
		time.Sleep(59 * time.Second)
		require.Equal(t, 200, i.left())
		_, why := d.health.Get()
		require.Contains(t, why, "until "+start.Add(time.Minute).Format(time.TimeOnly))
		time.Sleep(12 * time.Second)
		require.Zero(t, i.left())
		require.Equal(t, admin.Drained, d.state())
		ends := i.ends()
		require.InDelta(t, 10, ends[199].Sub(ends[0]).Seconds(), 0.2)
		for n := range 10 { // no second has more than its share
			from := ends[0].Add(time.Duration(n) * time.Second)
			in := 0
			for _, at := range ends {
				if !at.Before(from) && at.Before(from.Add(time.Second)) {
					in++
				}
			}
			require.InDelta(t, 20, in, 3)
		}
	}, guests...)
}

// SIGTERM drains for good; a drain of an operator's before it does not matter,
// and nobody can call it off.
func TestTheEndIsDrainedFor(t *testing.T) {
	inDrain(t, func(t *testing.T, d *drainer, i *inn) {
		d.begin(0, "an operator drains the node")
		time.Sleep(time.Second)
		d.finish(5*time.Second, "the node was told to end")
		require.ErrorContains(t, d.cancel(), "about to end")
		d.begin(time.Hour, "an operator drains the node")
		time.Sleep(4 * time.Second)
		require.False(t, emptied(d))
		time.Sleep(2 * time.Second)
		require.True(t, emptied(d))
		require.Zero(t, i.left())
	}, 3)
	inDrain(t, func(t *testing.T, d *drainer, i *inn) {
		d.finish(time.Hour, "the node was told to end")
		time.Sleep(time.Minute)
		i.leave()
		time.Sleep(time.Second)
		require.True(t, emptied(d), "nobody is waited for who is not there")
	}, 3)
	inDrain(t, func(t *testing.T, d *drainer, i *inn) {
		start := time.Now()
		d.finish(0, "the node was told to end")
		<-d.empty
		require.Less(t, time.Since(start), time.Second)
	})
}

func TestSpreadHurriesWhenTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &inn{guests: make([]int, 1000)}
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		spread(ctx, time.Minute, time.Hour, i.EndSome)
		require.Zero(t, i.left())
		require.Equal(t, time.Second, time.Since(start))
		spread(ctx, time.Minute, time.Hour, i.EndSome) // nothing is left
		require.Equal(t, time.Second, time.Since(start))
		i.guests = make([]int, 3)
		spread(t.Context(), time.Minute, 10*time.Millisecond, i.EndSome)
		require.Less(t, time.Since(start), 1200*time.Millisecond, "a few take no time")
	})
}

// A drain that is called off while rooms end stops there, and the node is ready
// again for good.
func TestDrainIsCalledOffWhileRoomsEnd(t *testing.T) {
	guests := make([]int, 100)
	for i := range guests {
		guests[i] = 1
	}
	inDrain(t, func(t *testing.T, d *drainer, i *inn) {
		d.begin(time.Second, "an operator drains the node")
		time.Sleep(4 * time.Second)
		require.NoError(t, d.cancel())
		left := i.left()
		require.Positive(t, left)
		time.Sleep(time.Minute)
		require.Equal(t, admin.Ready, d.state())
		require.Equal(t, left, i.left())
		require.False(t, i.takesNone())
	}, guests...)
}
