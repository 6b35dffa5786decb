package conference

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// network is one that visitors have while it is up.
type network struct{ up chan struct{} }

func (n *network) dial(ctx context.Context, kind, addr string) (net.Conn, error) {
	select {
	case <-n.up:
		return new(net.Dialer).DialContext(ctx, kind, addr)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// closeNetwork keeps visitors that are cut from now on away until up is closed.
func closeNetwork(s *Swarm) *network {
	n := &network{up: make(chan struct{})}
	for _, v := range s.Visitors() {
		v.o.login.Dial = n.dial // read by its goroutine after Cut only
	}
	return n
}

// cutScenario has five visitors in the room and one speaker.
func cutScenario(t *testing.T) (*Scenario, *fakeNode, *MainRoom, Speaker) {
	t.Helper()
	s, node, main := newScenario(t, false)
	s.Swarm.outages.least, s.Swarm.outages.most = 0, time.Millisecond
	speaker := begin(t, s, main)
	require.NoError(t, s.Swarm.Join(testContext(t), 5, 0))
	return s, node, main, speaker
}

// What is said on both sides of an outage, and during it, reaches everybody
// once: heard by who was away, and heard of it.
func TestAVisitorComesBackAsIfItHadNotBeenAway(t *testing.T) {
	for name, cut := range map[string]func(*Visitor) error{"closed": (*Visitor).Cut, "half-open": (*Visitor).CutHalfOpen} {
		t.Run(name, func(t *testing.T) {
			s, _, main, speaker := cutScenario(t)
			ctx := testContext(t)
			v := s.Swarm.Visitors()[0]
			for round := range 3 {
				net := closeNetwork(s.Swarm)
				require.NoError(t, v.Chat())
				require.NoError(t, cut(v))
				require.ErrorIs(t, v.Cut(), errAway)
				for range 7 {
					require.NoError(t, speaker.Chat(ctx))
					require.NoError(t, v.Chat())
				}
				require.Equal(t, round+1, s.Swarm.Progress().Resumptions.Cuts)
				close(net.up)
				require.NoError(t, s.Swarm.Drain(ctx))
				require.NoError(t, main.Drain(ctx))
			}
			require.Equal(t, Tally{Delivered: 3 * 8}, main.Heard())
			require.NoError(t, s.Swarm.Leave(ctx))
			rep := new(Report)
			s.Swarm.fill(rep, 5)
			require.Equal(t, Tally{Delivered: 5 * (2 + 3*(7+8))}, rep.Delivery.Tally, "the speaker, the focus, the lines")
			require.Equal(t, 3, rep.Resumed.Cuts)
			require.Equal(t, 3, rep.Resumed.Resumed)
			require.EqualValues(t, 3, rep.Resumed.Took.Count)
			require.Equal(t, 5, rep.Visitors.Left)
			require.ErrorIs(t, v.Cut(), errGone)
		})
	}
}

// Every kind of fault must be found, or the zeros above mean nothing.
func TestFaultsOfAResumptionAreFound(t *testing.T) {
	for name, c := range map[string]struct {
		fault faults
		says  bool  // the visitor says a line during the outage
		want  Tally // of the visitors, faults only
		main  Tally
		err   string // of the one that was cut
	}{
		"none":                            {says: true},
		"a stanza is lost":                {fault: faults{skip: 1}, want: Tally{Lost: 1}},
		"a stanza is replayed twice":      {fault: faults{skip: -1}, want: Tally{Duplicate: 1}},
		"a line is asked for again":       {fault: faults{deny: 1}, want: Tally{Duplicate: 5}, main: Tally{Duplicate: 1}},
		"an unsaid line is acknowledged":  {fault: faults{deny: -1}, says: true, want: Tally{Lost: 5}, main: Tally{Lost: 1}},
		"more is acknowledged than sent":  {fault: faults{deny: -1}, err: "acknowledged \"3\" stanzas, 1 before, of 2 sent"},
		"an acknowledgement is withdrawn": {fault: faults{deny: 2}, err: "acknowledged \"0\" stanzas, 1 before, of 2 sent"},
		"the session is not known":        {fault: faults{refuse: true}, err: errRefused.Error() + ": item-not-found"},
		"another's session is resumed":    {fault: faults{other: "else"}, err: "another session was resumed"},
	} {
		t.Run(name, func(t *testing.T) {
			s, node, main, speaker := cutScenario(t)
			ctx := testContext(t)
			v := s.Swarm.Visitors()[0]
			// The join is acknowledged, the line is not, though it has arrived.
			require.NoError(t, v.o.client.ws.write(ackRequest))
			require.NoError(t, poll(ctx, func() error { return acked(v, 1) }))
			require.NoError(t, v.Chat())
			require.NoError(t, s.Swarm.Drain(ctx))
			require.NoError(t, main.Drain(ctx))
			node.mu.Lock()
			node.faults = c.fault
			node.mu.Unlock()
			net := closeNetwork(s.Swarm)
			require.NoError(t, v.Cut())
			for range 3 {
				require.NoError(t, speaker.Chat(ctx))
			}
			// The others have got it: so the node has sent it.
			require.NoError(t, poll(ctx, func() error { return missing(s.Swarm.Visitors()[1:]) }))
			if c.says {
				require.NoError(t, v.Chat())
			}
			close(net.up)
			require.NoError(t, poll(ctx, func() error { return back(v) }))
			if c.err == "" {
				require.NoError(t, poll(ctx, func() error { return found(s, main, c.want, c.main) }))
				return
			}
			rep := new(Report)
			s.Swarm.fill(rep, 5)
			require.ErrorContains(t, v.o.ending().Err, c.err)
			require.Contains(t, strings.Join(rep.verdict(), "\n"), "0 of 1 sessions were resumed")
			require.Contains(t, strings.Join(rep.verdict(), "\n"), "1 visitors' sessions broke: after a lost connection")
		})
	}
}

func acked(v *Visitor, h uint32) error {
	v.o.client.mu.Lock()
	defer v.o.client.mu.Unlock()
	if v.o.client.acked != h {
		return errGone
	}
	return nil
}

func missing(visitors []*Visitor) error {
	for _, v := range visitors {
		if v.missing() > 0 {
			return errGone
		}
	}
	return nil
}

// back is nil when the visitor has a connection again, or has ended.
func back(v *Visitor) error {
	if _, over := v.Ended(); v.away() && !over {
		return errAway
	}
	return nil
}

// found is nil when the faults of the visitors and of main are those.
func found(s *Scenario, main *MainRoom, visitors, heard Tally) error {
	rep := new(Report)
	s.Swarm.fill(rep, 5)
	got, atMain := rep.Delivery.Tally, main.Heard()
	got.Delivered, atMain.Delivered = 0, 0
	if got != visitors || atMain != heard {
		return fmt.Errorf("visitors got: %s; main got: %s", got.faultText(), atMain.faultText())
	}
	return nil
}

func TestVisitorsLoseTheirNetworkWhileEverybodyTalks(t *testing.T) {
	s, _, _ := newScenario(t, false)
	s.Swarm.outages.least, s.Swarm.outages.most = time.Millisecond, 20*time.Millisecond
	s.Cuts = 50
	seen := make(chan Resumptions, 1000)
	s.Watch, s.WatchEvery = func(s Snapshot) { seen <- s.Resumptions }, 10*time.Millisecond
	rep := s.Run(testContext(t))
	require.Empty(t, rep.Problems)
	require.Positive(t, rep.Resumed.Cuts)
	require.Equal(t, rep.Resumed.Cuts, rep.Resumed.Resumed)
	require.EqualValues(t, rep.Resumed.Cuts, rep.Resumed.Took.Count)
	require.NotEmpty(t, seen)
	var table bytes.Buffer
	require.NoError(t, rep.WriteTable(&table))
	require.Regexp(t, `lost connections +resumed \d+ of \d+, p50 \S+, .* p99 `, table.String())
}

// A visitor that leaves while it has no network has left when it is back; one
// whose swarm is closed does not come back.
func TestTheEndDuringAnOutage(t *testing.T) {
	s, _, _, _ := cutScenario(t)
	ctx := testContext(t)
	net := closeNetwork(s.Swarm)
	first, second := s.Swarm.Visitors()[0], s.Swarm.Visitors()[1]
	require.NoError(t, first.Cut())
	require.NoError(t, second.CutHalfOpen())
	left := make(chan error, 1)
	go func() { left <- first.Leave(ctx) }()
	require.NoError(t, poll(ctx, func() error {
		if first.present() {
			return errAway
		}
		return nil
	}))
	close(net.up)
	require.NoError(t, <-left)
	require.NoError(t, s.Swarm.Drain(ctx))

	closeNetwork(s.Swarm)
	require.NoError(t, second.Cut())
	s.Swarm.Close()
	end, over := second.Ended()
	require.True(t, over)
	require.ErrorIs(t, end.Err, context.Canceled)
}

func TestASessionWithoutAnIDCannotBeCut(t *testing.T) {
	url, _ := scripted(t, selfJoined)
	swarm := NewSwarm(SwarmOptions{URL: url, Domain: fakeDomain, Room: scriptRoom, Ledger: NewLedger(), Timeout: testTime})
	defer swarm.Close()
	require.NoError(t, swarm.Join(testContext(t), 1, 0))
	require.ErrorIs(t, swarm.Visitors()[0].Cut(), errNotResumable)
	require.Zero(t, swarm.Progress().Resumptions.Cuts)
}

// The age of what waited for a resumption, on the way to the receiver or from
// the speaker, is no latency of the node.
func TestWhatWaitedForAConnectionIsNotMeasured(t *testing.T) {
	l := NewLedger()
	speaker, listener := l.Add(RoleVisitor, "speaker"), NewTracker(l, RoleVisitor)
	listener.Joined(Now())
	got := func(st Stamp) bool { return listener.Got(st, "speaker") }
	require.True(t, got(speaker.Publish(Chat)))
	missed := speaker.Publish(Chat)
	listener.Resumed(Now())
	require.False(t, got(missed), "during the listener's outage")
	require.True(t, got(speaker.Publish(Chat)))
	speaker.waits()
	held := speaker.Publish(Chat)
	require.False(t, got(held), "during the speaker's outage")
	held = speaker.Publish(Chat)
	speaker.resumed()
	require.False(t, got(held))
	require.True(t, got(speaker.Publish(Chat)))
	require.Equal(t, Tally{Delivered: 6}, listener.Tally())
}
