package child

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"vnode/internal/port"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func run(t *testing.T, program string, args ...string) (*Process, error) {
	return Start(Command{Program: program, Args: args, Log: filepath.Join(t.TempDir(), "log")})
}

func TestAChildIsStoppedOrItsFailureTold(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		want   string
	}{
		"clean":             {`trap 'exit 0' TERM; echo up; while :; do sleep 0.01; done`, ""},
		"unclean":           {`trap 'exit 3' TERM; echo up; while :; do sleep 0.01; done`, "exit status 3"},
		"deaf":              {`trap '' TERM; echo up; while :; do sleep 0.01; done`, "was killed"},
		"ended before":      {`echo up`, "ended by itself: exit status 0"},
		"ended with status": {`echo up; exit 4`, "ended by itself: exit status 4"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := run(t, "sh", "-c", c.script)
			require.NoError(t, err)
			require.Eventually(t, func() bool { return p.LogTail() == "up" }, 10*time.Second, time.Millisecond)
			if strings.Contains(c.want, "by itself") {
				<-p.Done()
			}
			limit := 10 * time.Second
			if name == "deaf" {
				limit = 100 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			err = p.Stop(ctx)
			if c.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.want)
			}
			<-p.Done()
		})
	}
	_, err := run(t, "./no-such-program")
	require.Error(t, err)
}

func TestANodeThatEndsAtOnceIsNotWaitedFor(t *testing.T) {
	p, err := run(t, "sh", "-c", "exit 1")
	require.NoError(t, err)
	held, err := port.Hold()
	require.NoError(t, err)
	defer held.Close()
	l, err := net.Listen("tcp", held.String())
	require.NoError(t, err)
	require.NoError(t, p.Listens(t.Context(), "tcp", l.Addr().String()))
	require.NoError(t, l.Close())
	require.ErrorIs(t, p.Listens(t.Context(), "tcp", l.Addr().String()), ErrNotListening)
}
