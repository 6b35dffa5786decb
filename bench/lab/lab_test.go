//go:build linux

package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"vnode/bench/report"
	"vnode/internal/child"
	"vnode/internal/port"
	"vnode/internal/xmpptest/conference"
	"vnode/internal/xmpptest/needs"
	"vnode/internal/xmpptest/prosody"
)

// program is the node's, built once.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "vnode-lab-")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(dir, "vnode")
	if out, err := exec.Command("go", "build", "-o", program, "vnode/cmd/vnode").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the node: %v\n%s", err, out)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// small makes an experiment short, so that it proves that it works and not what
// a node costs.
func small(e Experiment) Params {
	p := e.Default
	p.Visitors, p.Participants, p.Duration = 12, 3, 300*time.Millisecond
	if p.Rate > 0 {
		p.Rate = 50
	}
	return p
}

func measureSmall(t *testing.T, l *Lab, name, transport string) []report.Run {
	t.Helper()
	e, err := Find(name)
	require.NoError(t, err)
	p := small(e)
	p.Transport = transport
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	runs, err := l.Run(ctx, e, p)
	require.NoError(t, err)
	require.NotEmpty(t, runs)
	for _, r := range runs {
		require.Empty(t, r.Problems, "%s by %s", r.Scenario, transport)
		require.Equal(t, transport, r.Transport)
		require.Contains(t, r.Metrics, report.Lost)
		require.Zero(t, r.Metrics[report.Lost])
	}
	return runs
}

// Every experiment runs against a real node, loses nothing and has the figures
// it is for.
func TestEveryExperimentMeasures(t *testing.T) {
	l := &Lab{Program: program, Seed: 1}
	for name, want := range map[string][]string{
		"idle":            {report.RSSPerSession, report.KernelTCPMemory},
		"steady":          {report.CPUPerDelivery, report.DeliveriesPerSecond, report.ServerCPU, report.LoadCPU, report.BatchStanzas},
		"join-storm":      {report.CPUPerJoin, report.JoinsPerCPUSecond, report.BytesPerJoin},
		"reconnect-storm": {report.ResumedPerSecond, report.ResumedPerCPUSecond},
		"stalled":         {report.RSSGrowth, report.OthersP99, report.BaselineP99, report.StalledEnded},
		"relay":           {report.RelayBytesPerSecond, report.RelayPerCPUSecond},
		"flood":           {report.CPUPerDelivery},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they mostly wait
			runs := measureSmall(t, l, name, "tcp")
			last := runs[len(runs)-1]
			for _, m := range want {
				require.Contains(t, last.Metrics, m)
			}
		})
	}
}

func TestEveryTransportDelivers(t *testing.T) {
	l := &Lab{Program: program}
	for _, transport := range []string{"unix", "xmpp", "bosh"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel() // they mostly wait
			r := measureSmall(t, l, "steady", transport)[0]
			require.EqualValues(t, 12, r.Joins.Count)
			require.NotZero(t, r.Latency.Count)
			require.Positive(t, r.Bytes)
		})
	}
}

// A node that runs is measured, left running, and can be measured again.
func TestANodeThatRuns(t *testing.T) {
	t.Parallel() // it mostly waits
	held, err := port.Hold()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, held.Close()) })
	main, err := net.Listen("tcp4", held.String())
	require.NoError(t, err)
	n := &node{dir: t.TempDir(), main: main}
	require.NoError(t, n.start(t.Context(), program, nil))
	t.Cleanup(func() { _ = n.stop() })
	address := main.Addr().String()
	require.NoError(t, main.Close()) // it is bench's turn to listen there
	require.Equal(t, n.PID, Listener(n.Focus.Addr))
	l := &Lab{Target: &n.Target, MainListen: address}
	for range 2 {
		measureSmall(t, l, "steady", "tcp")
	}
	select {
	case <-n.process.Done():
		t.Fatal("the node has ended")
	default:
	}
}

// A room of a real main Prosody, which the node and the focus join.
func TestARealMain(t *testing.T) {
	needs.Programs(t, "prosody")
	t.Parallel() // it mostly waits
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	ports, err := port.HoldAll(4)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ports.Close()) })
	s2s, c2s, web, admin := ports[0].String(), ports[1].String(), ports[2].String(), ports[3].String()
	main, err := prosody.Start(ctx, prosody.Options{
		MainDomain: mainDomain, Bidi: true, Nodes: map[string]netip.AddrPort{"v" + nodeID: netip.MustParseAddrPort(s2s)},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, main.Stop(context.Background())) })
	dir := t.TempDir()
	secret := filepath.Join(dir, "password")
	require.NoError(t, os.WriteFile(secret, []byte("secret"), 0o600))
	vnode, err := child.Start(child.Command{Program: program, Log: filepath.Join(dir, "log"), Args: []string{
		"-id", nodeID, "-s2s", s2s, "-c2s", c2s, "-http", web, "-admin", admin, "-main-domain", mainDomain,
		"-main-s2s", main.S2SAddr().String(), "-state-dir", dir, "-focus-password-file", secret,
	}})
	require.NoError(t, err)
	t.Cleanup(vnode.Kill)
	for _, a := range []string{s2s, c2s, web} {
		require.NoError(t, vnode.Listens(ctx, "tcp", a))
	}
	l := &Lab{
		Target: &Target{
			URL: nodeURLs(web, c2s, ""), Domain: nodeDomain, Prefix: prefix, Main: mainDomain,
			Focus: Focus{Addr: c2s, JID: focusJID, Password: "secret"}, Admin: Admin{Addr: admin}, PID: vnode.PID(),
		},
		Conference: func(ctx context.Context, ledger *conference.Ledger) (conference.Conference, error) {
			return conference.NewLive(ctx, conference.LiveOptions{
				URL: main.WebSocketURL(), Domain: main.MainDomain(), Room: roomName + "@" + main.RoomsDomain(),
				Component: main.VisitorsDomain(), VNode: "v" + nodeID, Ledger: ledger,
				Focus: conference.FocusOptions{Addr: main.C2SAddr().String(), JID: focusJID, Password: main.FocusPassword()},
			})
		},
	}
	measureSmall(t, l, "steady", "tcp")
}

// What was measured before an interruption is reported.
func TestAnInterruptionKeepsWhatWasMeasured(t *testing.T) {
	t.Parallel() // it mostly waits
	e, err := Find("steady")
	require.NoError(t, err)
	p := small(e)
	p.Duration = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l := &Lab{Program: program, Doing: func(what string, _ time.Duration) {
		if what == "steady: 12 visitors, 50 stanzas/s" {
			time.AfterFunc(warmUp+500*time.Millisecond, cancel)
		}
	}}
	runs, err := l.Run(ctx, e, p)
	require.NoError(t, err)
	require.Len(t, runs, 1)
	require.Contains(t, runs[0].Problems, "interrupted")
	require.NotZero(t, runs[0].Metrics[report.DeliveriesPerSecond])
}

func TestANodeThatDoesNotStart(t *testing.T) {
	t.Parallel() // it mostly waits
	e, err := Find("idle")
	require.NoError(t, err)
	_, err = (&Lab{Program: "false"}).Run(t.Context(), e, small(e))
	require.ErrorContains(t, err, "ended before it listened")
	_, err = (&Lab{Program: "./no-such-program"}).Run(t.Context(), e, small(e))
	require.ErrorContains(t, err, "no-such-program")
	p := small(e)
	p.Visitors = 1 << 40
	_, err = (&Lab{Program: program}).Run(t.Context(), e, p)
	require.ErrorContains(t, err, "open files")
	_, err = Find("nothing")
	require.ErrorContains(t, err, "steady")
}

// What a node says when it does not start is what helps: here that no socket
// can have so long a path.
func TestWhyANodeDoesNotStartIsTold(t *testing.T) {
	long := filepath.Join(t.TempDir(), strings.Repeat("x", 100))
	require.NoError(t, os.Mkdir(long, 0o700))
	t.Setenv("TMPDIR", long)
	e, err := Find("idle")
	require.NoError(t, err)
	_, err = (&Lab{Program: program}).Run(t.Context(), e, small(e))
	require.ErrorContains(t, err, "that of a socket has at most")
}

// A focus that may not log in is told so.
func TestAWrongPasswordIsTold(t *testing.T) {
	t.Parallel() // it mostly waits
	n, err := startNode(t.Context(), program, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = n.stop() })
	f := n.Focus
	f.Password = "wrong"
	_, err = dialFocus(t.Context(), f)
	require.ErrorContains(t, err, "not-authorized")
	f.JID = "nobody"
	_, err = dialFocus(t.Context(), f)
	require.ErrorContains(t, err, "no full JID")
	f = n.Focus
	f.Addr = n.S2S
	_, err = dialFocus(t.Context(), f)
	require.Error(t, err)
}

// The CPU clock and the times of /proc are of the same process and rise.
func TestSamplesAreOfTheProcess(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	busy, err := child.Start(child.Command{Program: "sh", Args: []string{"-c", "while :; do :; done"}, Log: log})
	require.NoError(t, err)
	defer busy.Kill()
	p := newProbe(busy.PID(), Admin{})
	first, err := p.take(t.Context())
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		s, err := p.take(t.Context())
		require.NoError(t, err)
		return s.cpu-first.cpu > 50*time.Millisecond && s.user > first.user && s.rss > 0 && s.own > 0
	}, 20*time.Second, 10*time.Millisecond)
	busy.Kill()
	_, err = p.take(t.Context())
	require.ErrorContains(t, err, "is gone")
}

func TestCoresAreSplit(t *testing.T) {
	require.Equal(t, "not pinned", SplitCores(0).String())
	require.Equal(t, "not pinned", SplitCores(1<<10).String())
	require.Equal(t, "node on core 0,1, load test on core 3", Cores{Node: []int{0, 1}, Load: []int{3}}.String())
	require.NoError(t, Cores{}.Apply(), "nothing to pin")
}

func TestTheMachineIsDescribed(t *testing.T) {
	m := Machine(Cores{})
	require.NotEmpty(t, m.OS)
	require.NotEmpty(t, m.Go)
	require.Positive(t, m.Cores)
	require.Positive(t, m.Memory)
}
