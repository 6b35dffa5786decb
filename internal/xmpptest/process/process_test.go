package process

import (
	"context"
	"net"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"vnode/internal/port"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLogIsWaitedFor(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	p := Run(t, "shell", exec.Command("sh", "-c", "echo one; read x; echo two"))
	require.NoError(t, p.WaitLog(ctx, "one"))
	gone := Run(t, "gone", exec.Command("sh", "-c", "echo last words; exit 3"))
	require.ErrorContains(t, gone.WaitLog(ctx, "never said"), "last words")
	require.Contains(t, gone.Log(), "last words")
	short, stop := context.WithCancel(ctx)
	stop()
	require.ErrorIs(t, Run(t, "silent", exec.Command("sleep", "60")).WaitLog(short, "x"), context.Canceled)
}

func TestStopIsPoliteThenNot(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	polite := Run(t, "polite", exec.Command("sh", "-c", "trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done"))
	require.NoError(t, polite.WaitLog(ctx, "ready"))
	require.NoError(t, polite.Stop(ctx))
	deaf := Run(t, "deaf", exec.Command("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"))
	require.NoError(t, deaf.WaitLog(ctx, "ready"))
	past, stop := context.WithDeadline(ctx, time.Now())
	defer stop()
	require.ErrorContains(t, deaf.Stop(past), "does not end")
}

func TestWaitListen(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	held, err := port.Hold()
	require.NoError(t, err)
	defer held.Close()
	ln, err := net.Listen("tcp", held.String())
	require.NoError(t, err)
	p := Run(t, "sleep", exec.Command("sleep", "60"))
	require.NoError(t, p.WaitListen(ctx, ln.Addr().String()))
	require.NoError(t, ln.Close())
	require.NoError(t, p.Kill())
	require.ErrorContains(t, p.WaitListen(ctx, ln.Addr().String()), "sleep ended")
	_, err = Start("none", exec.Command("/nonexistent"))
	require.Error(t, err)
}
