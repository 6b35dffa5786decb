package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"vnode/bench/report"
)

// benchUnits are the metrics that benchstat is to compare, with the unit and
// factor that suit a benchmark's line.
var benchUnits = []struct {
	metric string
	factor float64
	unit   string
}{
	{report.CPUPerDelivery, 1e9, "cpu-ns/delivery"},
	{report.DeliveriesPerSecond, 1, "deliveries/s"},
	{report.CPUPerJoin, 1e9, "cpu-ns/join"},
	{report.RSSPerSession, 1, "B/session"},
	{report.RelayPerCPUSecond, 1, "relay-B/cpu-s"},
	{report.ResumedPerCPUSecond, 1, "resumed/cpu-s"},
	{report.BatchStanzas, 1, "stanzas/batch"},
	{report.Lost, 1, "lost"},
}

// writeGoBench writes the runs as lines of Go's benchmark format
// (golang.org/x/perf/benchfmt), one for each run.
func writeGoBench(w io.Writer, f *report.File) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "goos: linux\npkg: vnode/cmd/bench\ncpu: %s\n", f.Machine.CPU)
	for i := range f.Runs {
		r := &f.Runs[i]
		if r.Scenario == "ceiling-step" {
			continue
		}
		fmt.Fprintf(b, "BenchmarkSuite/%s/%s/%s/visitors=%d/rate=%.0f\t1", r.Server, r.Scenario, r.Transport, r.Visitors, scheduled(r))
		for _, u := range benchUnits {
			if v, ok := r.Metrics[u.metric]; ok {
				fmt.Fprintf(b, "\t%s %s", strings.TrimSpace(fmt.Sprintf("%.6g", v*u.factor)), u.unit)
			}
		}
		if r.Latency != nil {
			fmt.Fprintf(b, "\t%d p99-ns", r.Latency.P99)
		}
		fmt.Fprintln(b)
	}
	return b.Flush()
}

// scheduled is the rate of a run where it was given, and 0 where it was a
// result: names must be the same in every run.
func scheduled(r *report.Run) float64 {
	if r.Scenario == "relay" || r.Scenario == "ceiling" {
		return 0
	}
	return r.Rate
}
