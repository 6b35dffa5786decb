//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"vnode/bench/lab"
	"vnode/bench/report"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func invoke(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var o, e bytes.Buffer
	code = run(ctx, args, &o, &e)
	return code, o.String(), e.String()
}

func TestHelpTeaches(t *testing.T) {
	code, out, errs := invoke(t, "-help")
	require.Zero(t, code)
	require.Empty(t, errs)
	for _, c := range commands() {
		require.Contains(t, out, c.name)
		require.Contains(t, out, c.summary)
		if c.name != "" {
			code, help, _ := invoke(t, c.name, "-help")
			require.Zero(t, code, c.name)
			require.Contains(t, help, c.summary)
			require.Contains(t, help, "Flags:")
		}
	}
	require.Contains(t, out, "bench run steady")
	_, help, _ := invoke(t, "run", "-help")
	for _, e := range lab.Experiments() {
		require.Contains(t, help, e.Name)
	}
	code, out, _ = invoke(t, "version")
	require.Zero(t, code)
	require.Contains(t, out, "go1.")
}

func TestMistakesAreOneLineAndExit2(t *testing.T) {
	for args, want := range map[string]string{
		"dance":                     `no command "dance"`,
		"-transports carrier":       `transport "carrier" is none of`,
		"-no-such-flag":             "flag provided but not defined",
		"extra -short":              `no command "extra"`,
		"run":                       "name one scenario",
		"run dance":                 `no scenario "dance"`,
		"run steady -visitors 0":    "must be above 0",
		"run steady -chat 2":        "between 0 and 1",
		"run steady -rate -1":       "below 0",
		"run steady -target foo":    "begins with none of",
		"run steady -target ws://x": "-focus",
		"run steady -target ws://x -focus y -focus-password-file z": "-s2s",
		"growth -rates a":         `"a" is no number`,
		"table -rows 99":          "there are rows 1 to",
		"table -rows 0":           "no number above 0",
		"profile -transport post": "is none of",
	} {
		code, out, errs := invoke(t, strings.Fields(args)...)
		require.Equal(t, exitUsage, code, args)
		require.Empty(t, out, args)
		require.Contains(t, errs, want, args)
		require.LessOrEqual(t, strings.Count(errs, "\n"), 2, args)
	}
}

func buildNode(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "vnode")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, "vnode/cmd/vnode").CombinedOutput()
	require.NoError(t, err, string(out))
	return path
}

// One small run, from flags to files.
func TestARunIsPrintedAndWritten(t *testing.T) {
	dir := t.TempDir()
	result, lines, page := filepath.Join(dir, "r.json"), filepath.Join(dir, "r.txt"), filepath.Join(dir, "r.html")
	code, out, errs := invoke(t, "run", "steady", "-vnode", buildNode(t), "-cores", "0", "-visitors", "10", "-rate", "40", "-duration", "300ms",
		"-transports", "tcp,unix", "-json", result, "-gobench", lines, "-html", page)
	require.Zero(t, code, "%s%s", out, errs)
	require.Empty(t, errs, "no progress where there is no terminal")
	require.Contains(t, out, "CPU per delivery")
	b, err := os.ReadFile(result)
	require.NoError(t, err)
	var f report.File
	require.NoError(t, json.Unmarshal(b, &f))
	require.Len(t, f.Runs, 2)
	require.Equal(t, []string{"tcp", "unix"}, []string{f.Runs[0].Transport, f.Runs[1].Transport})
	require.NotEmpty(t, f.Machine.CPU+f.Machine.OS)
	for _, n := range f.Notes {
		require.Contains(t, n, "Other processes used")
	}
	b, err = os.ReadFile(lines)
	require.NoError(t, err)
	require.Contains(t, string(b), "BenchmarkSuite/vnode/steady/tcp/visitors=10/rate=40\t1\t")
	require.Contains(t, string(b), " cpu-ns/delivery")
	b, err = os.ReadFile(page)
	require.NoError(t, err)
	require.Contains(t, string(b), "</html>")
}

// An interrupted suite writes what it has and says so.
func TestAnInterruptedSuiteReports(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	result := filepath.Join(t.TempDir(), "r.json")
	var out, errs bytes.Buffer
	code := run(ctx, []string{"-short", "-vnode", "true", "-cores", "0", "-json", result}, &out, &errs)
	require.Equal(t, exitFailure, code)
	require.Contains(t, errs.String(), "interrupted")
	require.Contains(t, out.String(), "scenarios were not run")
	_, err := os.Stat(result)
	require.NoError(t, err)
}

func TestANodeThatFailsIsToldAndTheOthersGoOn(t *testing.T) {
	code, out, errs := invoke(t, "run", "steady", "-vnode", "false", "-cores", "0", "-transports", "tcp,unix", "-visitors", "1")
	require.Equal(t, exitFailure, code)
	require.Equal(t, 2, strings.Count(out, "ended before it listened"))
	require.Contains(t, errs, "went wrong")
}

func runsWith(server, scenario, transport string, repeat int, metrics map[string]float64) report.Run {
	return report.Run{Server: server, Scenario: scenario, Transport: transport, Repeat: repeat, Metrics: metrics}
}

// Verdicts compare within a repeat, and know a bar from what misses it.
func TestVerdicts(t *testing.T) {
	cpu := func(v float64) map[string]float64 { return map[string]float64{report.CPUPerDelivery: v} }
	floor := []report.Run{
		runsWith("vnode", "steady", "tcp", 1, cpu(6e-6)), runsWith("floor", "steady", "tcp", 1, cpu(5e-6)),
		// A machine that is twice as slow in one repeat changes no ratio.
		runsWith("vnode", "steady", "tcp", 2, cpu(12e-6)), runsWith("floor", "steady", "tcp", 2, cpu(10e-6)),
	}
	require.Equal(t, verdict{"1.2 ×", true}, floorRow().judge(floor))
	floor[1].Metrics[report.CPUPerDelivery], floor[3].Metrics[report.CPUPerDelivery] = 3e-6, 6e-6
	require.Equal(t, verdict{"2 ×", false}, floorRow().judge(floor))
	require.Equal(t, "**missed**", verdict{}.String())

	against := []report.Run{
		runsWith("vnode", "steady", "tcp", 1, cpu(10e-6)), runsWith("vnode", "steady", "unix", 1, cpu(5e-6)),
		runsWith("prosody", "steady", "tcp", 1, cpu(150e-6)), runsWith("ejabberd", "steady", "tcp", 1, cpu(110e-6)),
	}
	v := costAgainstPeers().judge(against)
	require.True(t, v.ok, v.measured)
	require.Contains(t, v.measured, "tcp: 10.0 µs, 1/15 of prosody's")
	require.Contains(t, v.measured, "unix: 5.00 µs, 1/22 of ejabberd's")
	require.False(t, costAgainstPeers().judge(against[:3]).ok, "without ejabberd nothing is proved")
	require.Empty(t, costAgainstPeers().judge(nil).measured)

	cost := []report.Run{runsWith("vnode", "steady", "tcp", 1, cpu(6e-6)), runsWith("vnode", "steady", "unix", 1, cpu(3e-6))}
	require.True(t, costRow().judge(cost).ok)
	cost[1].Saturated = "the load test had no CPU"
	v = costRow().judge(cost)
	require.False(t, v.ok, "a saturated run proves nothing")
	require.Contains(t, v.measured, "the load test had no CPU")

	top := runsWith("vnode", "ceiling", "tcp", 1, map[string]float64{report.DeliveriesPerSecond: 2.1e6})
	top.Latency, top.Limit = &report.Distribution{P99: 40 * time.Millisecond}, "the server's, at 1200 stanzas/s"
	require.Equal(t, verdict{"2.10 M/s, p99 40.0 ms; the limit is the server's, at 1200 stanzas/s", true}, ceilingRow().judge([]report.Run{top}))

	text, ok := curve([]float64{10e-6, 8e-6, 9e-6})
	require.True(t, ok, text)
	_, ok = curve([]float64{8e-6, 10e-6})
	require.False(t, ok)
	_, ok = curve([]float64{8e-6, 0})
	require.False(t, ok, "what was not measured is not flat")
}

// Every row names a command that exists.
func TestRowsHaveCommands(t *testing.T) {
	for i, r := range rows() {
		require.Equal(t, i+1, r.number)
		if r.compare != "" {
			plan, err := planOf(r.compare)
			require.NoError(t, err, r.what)
			require.NotEmpty(t, plan.Kinds, r.what)
			require.Equal(t, 30, plan.Speakers, r.what)
		} else {
			require.NotEmpty(t, r.steps, r.what)
		}
		require.Empty(t, r.judge(nil).measured, r.what)
		words := strings.Fields(r.command)
		require.Equal(t, "bench", words[0])
		found := false
		for _, c := range commands() {
			found = found || c.name == words[1]
		}
		require.True(t, found, r.command)
	}
}

// The document promises what the command judges.
func TestTheDocumentHasTheRows(t *testing.T) {
	b, err := os.ReadFile("../../docs/BENCHMARKS.md")
	require.NoError(t, err)
	for _, r := range rows() {
		require.Contains(t, string(b), fmt.Sprintf("| %d | %s | %s | `%s` |\n", r.number, r.what, r.bar, r.command))
	}
	for _, e := range lab.Experiments() {
		require.Contains(t, string(b), "| `"+e.Name+"` |")
	}
}

func TestMedianAndNumbers(t *testing.T) {
	m, ok := median([]float64{3, 1, 2})
	require.True(t, ok)
	require.EqualValues(t, 2, m)
	m, _ = median([]float64{4, 1, 2, 3})
	require.EqualValues(t, 2.5, m)
	_, ok = median(nil)
	require.False(t, ok)
	n, err := numbers(" 1, 2.5,")
	require.NoError(t, err)
	require.Equal(t, []float64{1, 2.5}, n)
}

// A command profiles its own process, whatever it does, and says so when it
// cannot.
func TestTheLoadTestIsProfiled(t *testing.T) {
	did := 0
	c := command{name: "x", setup: func(*flag.FlagSet) func(context.Context, io.Writer, io.Writer, []string) error {
		return func(context.Context, io.Writer, io.Writer, []string) error { did++; return nil }
	}}
	path := filepath.Join(t.TempDir(), "own.pprof")
	require.Zero(t, c.run(t.Context(), []string{"-cpuprofile", path}, io.Discard, io.Discard))
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.HasPrefix(b, []byte{0x1f, 0x8b}), "gzip, as pprof reads it")
	var errs bytes.Buffer
	require.Equal(t, exitFailure, c.run(t.Context(), []string{"-cpuprofile", t.TempDir()}, io.Discard, &errs))
	require.Contains(t, errs.String(), "CPU profile")
	require.Equal(t, 1, did)
}
