package compare

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"vnode/bench/peers"
	"vnode/bench/peers/floor"
	"vnode/bench/report"
)

// selfFloor makes the test's program the floor.
const selfFloor = "compare-test-floor"

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

func options(t *testing.T) peers.Options {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	return peers.Options{Self: []string{self, selfFloor}}
}

func kinds(t *testing.T, names ...string) (all []peers.Kind) {
	t.Helper()
	for _, n := range names {
		k, err := peers.FindKind(n)
		require.NoError(t, err)
		all = append(all, k)
	}
	return all
}

// Two servers take turns; each run has what the report needs, and nothing was
// lost.
func TestServersTakeTurns(t *testing.T) {
	o := options(t)
	o.VNode = filepath.Join(t.TempDir(), "vnode")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", o.VNode, "vnode/cmd/vnode").CombinedOutput()
	require.NoError(t, err, string(out))
	var last float64
	p := Plan{
		Kinds: kinds(t, "vnode", "floor/unix"), Options: o, Repeats: 2, Visitors: []int{20}, Speakers: 3,
		Rates: []float64{50}, ChatPart: 0.25, Talk: 200 * time.Millisecond, Settle: 20 * time.Millisecond, LoadCores: 64,
		Say: func(doing string, done float64) {
			require.NotEmpty(t, doing)
			require.GreaterOrEqual(t, done, last)
			require.LessOrEqual(t, done, 1.0)
			last = done
		},
	}
	r := p.Run(t.Context())
	require.Empty(t, r.Notes)
	var order []string
	for i := range r.Runs {
		run := &r.Runs[i]
		order = append(order, fmt.Sprintf("%d %s %s", run.Repeat, run.Subject(), run.Scenario))
		require.Empty(t, run.Problems)
		require.Equal(t, 20, run.Visitors)
		require.Positive(t, run.Metrics[report.ServerCPU])
		switch run.Scenario {
		case scenarioJoin:
			require.Positive(t, run.Metrics[report.CPUPerJoin])
			require.Positive(t, run.Metrics[report.BytesPerJoin])
			require.Contains(t, run.Metrics, report.RSSPerSession)
			require.EqualValues(t, 20, run.Joins.Count)
		case scenarioSteady:
			require.Positive(t, run.Metrics[report.CPUPerDelivery])
			require.Zero(t, run.Metrics[report.Lost])
			require.EqualValues(t, 20*10, run.Latency.Count, "every visitor got everything that was said")
			require.Greater(t, run.Bytes, 300)
		}
	}
	require.Equal(t, []string{
		"1 vnode join-storm", "1 vnode steady", "1 floor/unix join-storm", "1 floor/unix steady",
		"2 floor/unix join-storm", "2 floor/unix steady", "2 vnode join-storm", "2 vnode steady",
	}, order)
	require.Contains(t, r.Versions["vnode"], "vnode")
}

// The search ends with the highest throughput, whoever could not follow.
func TestSearch(t *testing.T) {
	p := Plan{
		Kinds: kinds(t, "floor"), Options: options(t), Visitors: []int{10}, Rates: []float64{20_000}, Search: true,
		Talk: 50 * time.Millisecond, Step: 50 * time.Millisecond, Settle: 10 * time.Millisecond, LoadCores: 64,
	}
	r := p.Run(t.Context())
	require.Empty(t, r.Notes)
	last := r.Runs[len(r.Runs)-1]
	require.Equal(t, scenarioSearch, last.Scenario)
	require.Positive(t, last.Metrics[report.DeliveriesPerSecond])
	for _, run := range r.Runs[:len(r.Runs)-1] {
		if run.Scenario == scenarioStep {
			require.LessOrEqual(t, run.Metrics[report.DeliveriesPerSecond], last.Metrics[report.DeliveriesPerSecond])
		}
	}
}

// What was measured before an interruption is reported, and that there was one.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := Plan{
		Kinds: kinds(t, "floor"), Options: options(t), Visitors: []int{5}, Rates: []float64{10, 11}, Settle: 10 * time.Millisecond, Talk: time.Hour,
		Say: func(doing string, _ float64) {
			if doing == "floor, repeat 1 of 1: 5 visitors, 10 stanzas/s" {
				cancel()
			}
		},
	}
	r := p.Run(ctx)
	require.Len(t, r.Runs, 1)
	require.Equal(t, scenarioJoin, r.Runs[0].Scenario)
	require.Len(t, r.Notes, 1)
	require.Contains(t, r.Notes[0], "Cut short")
}

// A server that is not here is left out of every repeat, and said so once.
func TestMissingServer(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	r := Plan{Kinds: kinds(t, "ejabberd"), Repeats: 3}.Run(t.Context())
	require.Empty(t, r.Runs)
	require.Equal(t, []string{"ejabberd's MUC was left out: ejabberd: ejabberd is not installed: as root, apt-get install --no-install-recommends ejabberd."}, r.Notes)
}

func TestJudge(t *testing.T) {
	m := &measurement{comparison: &comparison{}}
	for name, c := range map[string]struct {
		talk, drained, late time.Duration
		undelivered         error
		want                string
	}{
		"kept up":             {10 * time.Second, 900 * time.Millisecond, 0, nil, ""},
		"a long talk's rest":  {time.Minute, 5 * time.Second, 0, nil, ""},
		"behind":              {10 * time.Second, 2 * time.Second, 0, nil, "the server was behind: the rest took 2s to arrive, while it used 0.50 cores"},
		"never arrived":       {10 * time.Second, drainLimit, 0, context.DeadlineExceeded, "not everything had arrived 30s after the last word"},
		"the load was behind": {10 * time.Second, 0, time.Second, nil, "the load test was 1s late"},
	} {
		t.Run(name, func(t *testing.T) {
			r := report.Run{Metrics: map[string]float64{report.ServerCPU: 0.5}}
			m.judge(&r, c.talk, c.drained, c.late, c.undelivered)
			if c.want == "" {
				require.Empty(t, r.Saturated)
				return
			}
			require.Contains(t, r.Saturated, c.want)
		})
	}
	r := report.Run{Saturated: "the load test had no CPU left"}
	m.judge(&r, time.Second, time.Hour, time.Hour, nil)
	require.Equal(t, "the load test had no CPU left", r.Saturated, "the server is not blamed for it")
}

func TestBetter(t *testing.T) {
	run := func(rate, throughput float64, saturated string, problems ...string) report.Run {
		return report.Run{Scenario: scenarioSteady, Rate: rate, Saturated: saturated, Problems: problems,
			Metrics: map[string]float64{report.DeliveriesPerSecond: throughput}}
	}
	best := better(report.Run{Scenario: scenarioSearch}, run(1, 100, "", "lost: 1"))
	best = better(best, run(4, 400, "the server was behind"))
	best = better(best, run(2, 200, ""))
	require.Equal(t, report.Run{Scenario: scenarioSearch, Rate: 4, Problems: []string{"lost: 1"},
		Metrics: map[string]float64{report.DeliveriesPerSecond: 400}}, best)
}

func TestRotation(t *testing.T) {
	var order []string
	for repeat := 1; repeat <= 3; repeat++ {
		for _, k := range rotated(kinds(t, "vnode", "floor"), repeat) {
			order = append(order, k.Name)
		}
	}
	require.Equal(t, []string{"vnode", "floor", "floor", "vnode", "vnode", "floor"}, order)
	require.Empty(t, rotated(nil, 2))
}
