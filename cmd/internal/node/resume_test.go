package node

import (
	"bytes"
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/internal/xmpptest/conference"
)

// conferenceToCut is a node with a simulated main and thirty visitors.
type conferenceToCut struct {
	node    *running
	room    *conference.MainRoom
	focus   *conference.FocusRoom
	speaker conference.Speaker
	swarm   *conference.Swarm
}

func newConferenceToCut(t *testing.T) *conferenceToCut {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ledger := conference.NewLedger()
	c := &conferenceToCut{node: start(t, testConfig(t, ln.Addr().String()))}
	c.room = c.node.simulatedMain(ln).Room("demo", ledger)
	c.speaker, err = c.room.Join(t.Context())
	require.NoError(t, err)
	c.focus, err = c.node.focus().CreateRoom(t.Context(), demoRoom, ledger)
	require.NoError(t, err)
	require.NoError(t, c.room.ConnectVNode(t.Context()))
	c.swarm = c.node.swarm(ledger)
	require.NoError(t, c.swarm.Join(t.Context(), visitorsToCut, 0))
	return c
}

const visitorsToCut = 30

func cut(v *conference.Visitor, halfOpen bool) error {
	if halfOpen {
		return v.CutHalfOpen()
	}
	return v.Cut()
}

// Every visitor loses its network once, every second one without the node
// being told; all say something before, during and after it, and main talks
// on. Everything is heard once and in order on both sides, and nobody is seen
// to leave.
func TestVisitorsThatLoseTheirNetworkMissNothing(t *testing.T) {
	c := newConferenceToCut(t)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	for i, v := range c.swarm.Visitors() {
		require.NoError(t, v.Chat())
		require.NoError(t, cut(v, i%2 == 1))
		require.NoError(t, v.Chat())
		require.NoError(t, c.speaker.Chat(ctx))
		require.NoError(t, c.speaker.Update(ctx))
	}
	c.settled(ctx, t, visitorsToCut)
	// Once more, all at once: the acknowledged part of a session is gone now.
	for i, v := range c.swarm.Visitors() {
		require.NoError(t, cut(v, i%2 == 0))
	}
	for range 20 {
		require.NoError(t, c.speaker.Chat(ctx))
	}
	require.NoError(t, c.focus.Update(ctx))
	for _, v := range c.swarm.Visitors() {
		require.NoError(t, v.Chat())
	}
	c.settled(ctx, t, 2*visitorsToCut)

	require.EqualValues(t, visitorsToCut*3, c.room.Heard().Delivered)
	require.NoError(t, c.swarm.Leave(ctx))
	require.Eventually(t, func() bool { now, _ := c.focus.Visitors(); return now == 0 }, 20*time.Second, 5*time.Millisecond)
	require.Empty(t, c.room.Faults())
}

// settled waits until everything has arrived, and checks that it did so once
// and in order, that so many sessions were resumed, and that the focus has seen
// nobody leave or come again.
func (c *conferenceToCut) settled(ctx context.Context, t *testing.T, resumed int) {
	t.Helper()
	require.NoError(t, c.swarm.Drain(ctx))
	require.NoError(t, c.room.Drain(ctx))
	for i, v := range c.swarm.Visitors() {
		end, over := v.Ended()
		require.False(t, over, "visitor %d: %v", i, end.Err)
		got := v.Tally()
		require.Zero(t, got.Faults(), "visitor %d: %+v", i, got)
	}
	heard := c.room.Heard()
	require.Zero(t, heard.Faults(), "main: %+v", heard)
	p := c.swarm.Progress().Resumptions
	require.Equal(t, resumed, p.Cuts)
	require.Equal(t, resumed, p.Resumed)
	now, ever := c.focus.Visitors()
	require.Equal(t, visitorsToCut, now)
	require.Equal(t, visitorsToCut, ever)
}

// A conference that ends while visitors have no network ends for them too:
// they are told when they are back.
func TestTheEndOfAConferenceWaitsForThoseWhoAreAway(t *testing.T) {
	c := newConferenceToCut(t)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	require.NoError(t, c.swarm.Drain(ctx))
	for i, v := range c.swarm.Visitors() {
		require.NoError(t, cut(v, i%2 == 1))
	}
	require.NoError(t, c.room.DisconnectVNode(ctx))
	require.NoError(t, c.swarm.WaitEnd(ctx))
	for i, v := range c.swarm.Visitors() {
		end, _ := v.Ended()
		require.Equal(t, conference.End{Destroyed: true, Reason: "Conference ended."}, end, "visitor %d", i)
	}
	<-c.focus.Out()
}

// A whole scenario in which connections are lost all the time.
func TestAScenarioWithLostConnections(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	node := start(t, testConfig(t, ln.Addr().String()))
	ledger := conference.NewLedger()
	meeting := node.simulatedMain(ln).Room("demo", ledger)
	scenario := conference.Scenario{
		Name: t.Name(), Conference: meeting, Focus: node.focus(), Room: demoRoom, Swarm: node.swarm(ledger), Ledger: ledger,
		Participants: 3, Visitors: visitorsToCut, JoinRate: 50, Talk: 3 * time.Second,
		Updates: 20, Lines: 20, VisitorLines: 40, Changes: 1, Cuts: 20, Drain: 30 * time.Second,
	}
	report := scenario.Run(t.Context())
	var table bytes.Buffer
	require.NoError(t, report.WriteTable(&table))
	t.Log("\n" + table.String())
	require.Empty(t, report.Problems)
	require.Positive(t, report.Resumed.Cuts)
	require.Empty(t, meeting.Faults())
	node.stop()
}
