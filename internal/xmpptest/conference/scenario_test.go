package conference

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// newScenario returns a small conference between a simulated main and a node
// that is a fake.
func newScenario(t *testing.T, dialback bool) (*Scenario, *fakeNode, *MainRoom) {
	t.Helper()
	ctx := testContext(t)
	node := newFakeNode(t, dialback)
	ledger := NewLedger()
	l := listen(t)
	main, err := NewMain(MainOptions{
		Domain: "meet.jitsi", Node: fakeDomain, NodeAddr: node.s2s.Addr().String(), Listener: l,
		Dialback: dialback, Log: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), testTime)
		defer cancel()
		require.NoError(t, main.Close(ctx))
	})
	node.openToMain(l.Addr().String())
	focus, err := DialFocus(ctx, FocusOptions{
		Addr: node.c2s.Addr().String(), JID: fakeFocus, Password: "secret", Plain: true,
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), testTime)
		defer cancel()
		require.NoError(t, focus.Close(ctx))
	})
	conference := main.Room("demo", ledger)
	room := "demo@" + fakeRooms
	swarm := NewSwarm(SwarmOptions{URL: node.url, Domain: fakeDomain, Room: room, Ledger: ledger, Timeout: testTime})
	t.Cleanup(swarm.Close)
	return &Scenario{
		Name: "test", Conference: conference, Focus: focus, Room: room, Swarm: swarm, Ledger: ledger,
		Participants: 3, Visitors: 10, Talk: 300 * time.Millisecond, Updates: 100, Lines: 50, VisitorLines: 50, Changes: 10,
	}, node, conference
}

func TestAConferenceFromItsBeginToItsEnd(t *testing.T) {
	for name, dialback := range map[string]bool{"by SASL EXTERNAL": false, "by dialback": true} {
		t.Run(name, func(t *testing.T) {
			s, _, _ := newScenario(t, dialback)
			seen := make(chan Snapshot, 1000)
			s.Watch, s.WatchEvery = func(s Snapshot) { seen <- s }, 10*time.Millisecond
			rep := s.Run(testContext(t))
			require.Empty(t, rep.Problems)
			require.Equal(t, map[string]int{fakeEnd: 10}, rep.Visitors.Destroyed)
			require.Positive(t, rep.Delivery.Latency.Count)
			require.Positive(t, rep.Visitors.JoinsPerSecond)
			require.Equal(t, rep.Main.Lines, rep.Main.Tally.Delivered)
			require.NotEmpty(t, seen)
		})
	}
}

// Every kind of fault must be found, or the zeros above mean nothing.
func TestFaultsOfANodeAreFound(t *testing.T) {
	for name, c := range map[string]struct {
		fault func(n int) faults
		want  Tally
	}{
		"none":         {func(int) faults { return faults{} }, Tally{Delivered: 35}},
		"lost":         {func(n int) faults { return faults{drop: n} }, Tally{Delivered: 34, Lost: 1}},
		"duplicate":    {func(n int) faults { return faults{double: n} }, Tally{Delivered: 35, Duplicate: 1}},
		"out of order": {func(n int) faults { return faults{swap: n} }, Tally{Delivered: 35, OutOfOrder: 1}},
		"misaddressed": {func(n int) faults { return faults{misaddress: n} }, Tally{Delivered: 34, Lost: 1, Misaddressed: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			s, node, main := newScenario(t, false)
			ctx := testContext(t)
			speaker := begin(t, s, main)
			require.NoError(t, s.Swarm.Join(ctx, 5, 0))
			node.mu.Lock()
			node.faults = c.fault(node.sent + 7) // the second line, to the second visitor
			node.mu.Unlock()
			for range 5 {
				require.NoError(t, speaker.Chat(ctx))
			}
			// However long it takes: what is lost is only what never comes.
			require.NoError(t, poll(ctx, func() error {
				var got uint64
				for _, v := range s.Swarm.Visitors() {
					got += v.Tally().Delivered
				}
				if got < c.want.Delivered {
					return errGone
				}
				return nil
			}))
			waiting, cancel := context.WithTimeout(ctx, testTime)
			if c.want.Lost > 0 {
				waiting, cancel = context.WithTimeout(ctx, waitTime)
			}
			defer cancel()
			require.Equal(t, c.want.Lost == 0, s.Swarm.Drain(waiting) == nil)
			require.NoError(t, s.Swarm.Leave(ctx))
			rep := new(Report)
			s.Swarm.fill(rep, 5)
			require.Equal(t, c.want, rep.Delivery.Tally)
		})
	}
}

// begin opens the room on both sides, with one participant.
func begin(t *testing.T, s *Scenario, main *MainRoom) Speaker {
	t.Helper()
	ctx := testContext(t)
	speaker, err := main.Join(ctx)
	require.NoError(t, err)
	_, err = s.Focus.CreateRoom(ctx, s.Room, s.Ledger)
	require.NoError(t, err)
	require.NoError(t, main.ConnectVNode(ctx))
	return speaker
}

func TestAnInterruptedRunReports(t *testing.T) {
	s, _, _ := newScenario(t, false)
	ctx, cancel := context.WithCancel(testContext(t))
	s.Talk = time.Hour
	s.Watch = func(s Snapshot) {
		if s.Joined == 10 && s.Tally.Delivered > 100 {
			cancel()
		}
	}
	s.WatchEvery = 10 * time.Millisecond
	rep := s.Run(ctx)
	require.Contains(t, strings.Join(rep.Problems, "\n"), "interrupted")
	require.Equal(t, 10, rep.Visitors.Joined)
	require.Greater(t, rep.Delivery.Tally.Delivered, uint64(100))
}

func TestVisitorsLeaveByThemselves(t *testing.T) {
	s, node, main := newScenario(t, false)
	ctx := testContext(t)
	speaker, err := main.Join(ctx)
	require.NoError(t, err)
	require.NoError(t, speaker.Chat(ctx), "before the node is connected: history")
	room, err := s.Focus.CreateRoom(ctx, s.Room, s.Ledger)
	require.NoError(t, err)
	require.NoError(t, main.ConnectVNode(ctx))
	// History comes on a stream of its own: connect may overtake it.
	require.NoError(t, poll(ctx, func() error {
		if node.remembered() == 0 {
			return errors.New("no history yet")
		}
		return nil
	}))
	require.NoError(t, s.Swarm.Join(ctx, 5, 0))
	require.NoError(t, speaker.Update(ctx))
	require.NoError(t, room.Update(ctx))
	for _, v := range s.Swarm.Visitors() {
		require.NoError(t, v.Chat())
	}
	require.NoError(t, s.Swarm.Drain(ctx))
	require.NoError(t, main.Drain(ctx))
	require.NoError(t, s.Swarm.Leave(ctx))
	for _, v := range s.Swarm.Visitors() {
		end, over := v.Ended()
		require.True(t, over)
		require.Equal(t, End{Left: true}, end)
		got := v.Tally()
		require.Zero(t, got.Faults())
		require.EqualValues(t, 1, got.History)
		require.ErrorIs(t, v.Chat(), errGone)
	}
	require.NoError(t, poll(ctx, func() error {
		if now, _ := room.Visitors(); now != 0 {
			return errGone
		}
		return nil
	}))
	require.EqualValues(t, 5, main.Heard().Delivered)
	require.NoError(t, room.Leave(ctx))
	require.NoError(t, main.Close(ctx))
	require.ErrorIs(t, speaker.Chat(ctx), errGone, speaker.Nick())
	require.ErrorIs(t, speaker.Update(ctx), errGone)
}
