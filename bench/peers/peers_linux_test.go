package peers

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"vnode/bench/peers/floor"
	"vnode/internal/child"
	"vnode/internal/xmpptest/conference"
	"vnode/internal/xmpptest/needs"
)

// selfFloor makes the test's program the floor.
const selfFloor = "peers-test-floor"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == selfFloor {
		os.Exit(runFloor(os.Args[2:]))
	}
	goleak.VerifyTestMain(m)
}

func runFloor(args []string) int {
	flags := flag.NewFlagSet("floor", flag.ExitOnError)
	run := floor.Command(flags)
	_ = flags.Parse(args) // which exits
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// options are good for every kind.
func options(t *testing.T) Options {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	return Options{Self: []string{self, selfFloor}, Speakers: speakers, VNode: buildVNode(t)}
}

func buildVNode(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "vnode")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, "vnode/cmd/vnode").CombinedOutput()
	require.NoError(t, err, string(out))
	return path
}

const speakers, visitors, rounds = 3, 4, 5

// Every server does the same work: what speakers say reaches every visitor
// once, in order, and visitors do not hear of one another.
func TestEveryServerServesTheSameRoom(t *testing.T) {
	o := options(t)
	for _, k := range Kinds() {
		t.Run(k.Name, func(t *testing.T) {
			if strings.HasPrefix(k.Name, "prosody") || k.Name == "ejabberd" {
				needs.Programs(t, "prosody")
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			s, err := k.Start(ctx, o)
			if errors.Is(err, ErrNotInstalled) {
				require.Regexp(t, `apt-get install --no-install-recommends (prosody|ejabberd)$`, err.Error(), "who lacks a server is told how to get it")
				return
			}
			require.NoError(t, err)
			stopped := false
			defer func() {
				if !stopped {
					require.NoError(t, s.Stop(ctx))
				}
			}()
			serve(ctx, t, s)

			u, err := s.Usage()
			require.NoError(t, err)
			require.Positive(t, u.RSS)
			pid, family := s.proc.PID(), s.helpers
			require.NoError(t, s.Stop(ctx))
			stopped = true
			require.ErrorIs(t, syscall.Kill(-pid, 0), syscall.ESRCH, "the process group is gone")
			for _, r := range family {
				require.False(t, r.alive(), "helpers are gone")
			}
			require.NoDirExists(t, s.dir)
			_, err = s.Usage()
			require.ErrorContains(t, err, "it has ended")
		})
	}
}

func serve(ctx context.Context, t *testing.T, s *Server) {
	t.Helper()
	ledger := conference.NewLedger()
	st, err := s.Open(ctx, speakers, ledger)
	require.NoError(t, err)
	require.Len(t, st.Speakers, speakers)
	swarm := conference.NewSwarm(conference.SwarmOptions{URL: s.URL, Domain: s.Domain, Room: s.Room, Ledger: ledger, Dial: s.Dial(), NoAcks: true})
	defer swarm.Close()
	require.NoError(t, swarm.Join(ctx, visitors, 0))
	for range rounds {
		for _, p := range st.Speakers {
			require.NoError(t, p.Update(ctx))
			require.NoError(t, p.Chat(ctx))
		}
	}
	require.NoError(t, swarm.Drain(ctx))
	progress := swarm.Progress()
	require.Zero(t, progress.Tally.Faults(), "%+v", progress.Tally)
	require.GreaterOrEqual(t, progress.Tally.Delivered, uint64(visitors*speakers*rounds*2))
	require.NoError(t, st.Close(ctx))
}

// Who lacks a server learns how to get it; nothing is installed.
func TestMissingServers(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := find("prosody", "prosody-that-is-nowhere")
	require.ErrorIs(t, err, ErrNotInstalled)
	require.EqualError(t, err, "prosody is not installed: as root, apt-get install --no-install-recommends prosody")
	k, err := FindKind("ejabberd")
	require.NoError(t, err)
	_, err = k.Start(t.Context(), Options{})
	require.ErrorIs(t, err, ErrNotInstalled, "no Erlang in PATH")
	require.ErrorContains(t, err, "ejabberd is not installed")
}

func TestUnknownServer(t *testing.T) {
	_, err := FindKind("openfire")
	require.EqualError(t, err, `no server "openfire"; there are vnode, vnode/unix, prosody, prosody-default-gc, ejabberd, floor, floor/unix`)
}

func TestPrograms(t *testing.T) {
	for name, why := range map[string]string{"vnode": "not named", "floor": "not named"} {
		k, err := FindKind(name)
		require.NoError(t, err)
		_, err = k.Start(t.Context(), Options{})
		require.ErrorContains(t, err, why)
	}
}

// A server that does not come up leaves its last words and nothing else.
func TestServerThatEndsAtOnce(t *testing.T) {
	o := Options{Self: []string{"/bin/sh", "-c", "echo no room for me; exit 3"}}
	k, err := FindKind("floor")
	require.NoError(t, err)
	_, err = k.Start(t.Context(), o)
	require.ErrorIs(t, err, child.ErrNotListening)
	require.ErrorContains(t, err, "exit status 3")
	require.ErrorContains(t, err, "no room for me")
}

func TestStartEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	k, err := FindKind("floor")
	require.NoError(t, err)
	_, err = k.Start(ctx, Options{Self: []string{"/bin/sh", "-c", "sleep 60 & wait"}})
	require.ErrorIs(t, err, context.Canceled)
}

// What a server started goes with it, whatever group it went to.
func TestHelpersEndToo(t *testing.T) {
	dir := t.TempDir()
	p, err := start(command{program: "/bin/sh", args: []string{"-c", "setsid sleep 300 & sleep 300"}, dir: dir})
	require.NoError(t, err)
	var helpers family
	require.Eventually(t, func() bool {
		helpers = descendants(p.PID())
		return len(helpers) == 2
	}, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, p.stop(t.Context()))
	for _, r := range helpers {
		require.False(t, r.alive())
	}
}

func TestPinning(t *testing.T) {
	var set unix.CPUSet
	require.NoError(t, unix.SchedGetaffinity(0, &set))
	core := 0
	for !set.IsSet(core) {
		core++
	}
	p, err := start(command{program: "/bin/sh", args: []string{"-c", "grep Cpus_allowed_list /proc/self/status"}, dir: t.TempDir(), cores: []int{core}})
	require.NoError(t, err)
	<-p.Done()
	require.Equal(t, fmt.Sprintf("Cpus_allowed_list:\t%d", core), p.LogTail())
}

func TestUsageSince(t *testing.T) {
	before := Usage{Total: 4 * time.Second, User: time.Second, System: 3 * time.Second}
	after := Usage{Total: 8 * time.Second, User: 2 * time.Second, System: 6 * time.Second}
	cpu, kernel := after.Since(before)
	require.Equal(t, 4*time.Second, cpu)
	require.InDelta(t, 0.75, kernel, 1e-9)
	_, kernel = before.Since(before)
	require.Zero(t, kernel)
	own, err := OwnUsage()
	require.NoError(t, err)
	require.InDelta(t, own.User+own.System, own.Total, float64(5*time.Second), "both clocks tell the same")
}
