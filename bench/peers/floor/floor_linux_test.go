package floor

import (
	"context"
	"flag"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"vnode/internal/xmpptest/conference"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a floor until the test ends and returns the address of its room.
func serve(t *testing.T, o Options) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, o) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	return "ws://" + l.Addr().String() + "/"
}

const (
	domain = "floor.test"
	room   = "room@conference.floor.test"
)

// Whoever comes late finds every speaker's newest presence, and nobody hears of
// visitors.
func TestRoom(t *testing.T) {
	url := serve(t, Options{Domain: domain, Speakers: 2})
	ledger := conference.NewLedger()
	local := conference.NewLocal(conference.LocalOptions{URL: url, Domain: domain, Room: room, Ledger: ledger})
	defer func() { require.NoError(t, local.Close(t.Context())) }()
	first, err := local.Join(t.Context())
	require.NoError(t, err)
	second, err := local.Join(t.Context())
	require.NoError(t, err)
	swarm := conference.NewSwarm(conference.SwarmOptions{URL: url, Domain: domain, Room: room, Ledger: ledger})
	defer swarm.Close()
	for range 3 {
		require.NoError(t, swarm.Join(t.Context(), 1, 0))
		require.NoError(t, first.Update(t.Context()))
		require.NoError(t, second.Chat(t.Context()))
		require.NoError(t, second.Update(t.Context()))
	}
	require.NoError(t, second.Leave(t.Context()))
	require.NoError(t, swarm.Drain(t.Context()))
	got := swarm.Progress().Tally
	require.Zero(t, got.Faults(), "%+v", got)
	require.NoError(t, swarm.Leave(t.Context()))
	require.Empty(t, local.Faults())
}

// A visitor that goes without a word is no reason to stop.
func TestReceiverThatIsGone(t *testing.T) {
	url := serve(t, Options{Domain: domain, Speakers: 1})
	ledger := conference.NewLedger()
	local := conference.NewLocal(conference.LocalOptions{URL: url, Domain: domain, Room: room, Ledger: ledger})
	defer func() { require.NoError(t, local.Close(t.Context())) }()
	speaker, err := local.Join(t.Context())
	require.NoError(t, err)
	gone := conference.NewSwarm(conference.SwarmOptions{URL: url, Domain: domain, Room: room, Ledger: ledger})
	require.NoError(t, gone.Join(t.Context(), 2, 0))
	gone.Close()
	there := conference.NewSwarm(conference.SwarmOptions{URL: url, Domain: domain, Room: room, Ledger: ledger})
	defer there.Close()
	require.NoError(t, there.Join(t.Context(), 2, 0))
	for range 10 {
		require.NoError(t, speaker.Chat(t.Context()))
	}
	require.NoError(t, there.Drain(t.Context()))
	got := there.Progress().Tally
	require.Zero(t, got.Faults(), "%+v", got)
}

func TestCommandLine(t *testing.T) {
	flags := flag.NewFlagSet("floor", flag.ContinueOnError)
	run := Command(flags)
	require.NoError(t, flags.Parse([]string{"-listen", "tcp:256.0.0.1:1"}))
	require.ErrorContains(t, run(t.Context()), "floor: listen")
	require.NoError(t, flags.Parse([]string{"-listen", "tcp:127.0.0.1:0"}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, run(ctx))
}
