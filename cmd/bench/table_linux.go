package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"vnode/bench/report"
)

var tableCommand = command{
	name: "table", summary: "the numbers this project has promised, with verdicts, as Markdown",
	help: `Measures every row of the table in docs/BENCHMARKS.md and prints it: what was
promised, what was measured, whether that is enough, and the command that
measures the row alone. It takes about half an hour; -rows takes some of them.

  bench table -repeat 3 -json table.json > table.md
  bench table -rows 3,6
`,
	setup: func(f *flag.FlagSet) func(context.Context, io.Writer, io.Writer, []string) error {
		var s settings
		s.declare(f)
		repeat := f.Int("repeat", 1, "how often each row is measured; the medians count")
		only := f.String("rows", "", "numbers of rows, separated by commas; empty: all")
		return func(ctx context.Context, out, progress io.Writer, args []string) error {
			rows, err := chosen(*only)
			if err != nil {
				return err
			}
			return s.table(ctx, out, progress, rows, *repeat)
		}
	},
}

// chosen returns the rows with these numbers.
func chosen(list string) ([]row, error) {
	all := rows()
	if list == "" {
		return all, nil
	}
	wanted, err := numbers(list)
	if err != nil {
		return nil, err
	}
	var some []row
	for _, n := range wanted {
		if n != float64(int(n)) || int(n) > len(all) {
			return nil, fmt.Errorf("-rows: there are rows 1 to %d: %w", len(all), errUsage)
		}
		some = append(some, all[int(n)-1])
	}
	return some, nil
}

// table measures the rows and prints them.
func (s *settings) table(ctx context.Context, out, progress io.Writer, rows []row, repeat int) (err error) {
	v, err := s.begin(ctx, out, progress, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	var b strings.Builder
	b.WriteString("| | what | bar | measured | verdict | command |\n|---|---|---|---|---|---|\n")
	missed := 0
	for i := range rows {
		r := &rows[i]
		vd := v.fillRow(ctx, r, repeat)
		if !vd.ok {
			missed++
		}
		fmt.Fprintf(&b, "| %d | %s | %s | %s | %s | `%s` |\n", r.number, r.what, r.bar, vd.measured, vd, r.command)
	}
	v.file.Took = time.Since(v.file.Began)
	v.disturbed()
	fmt.Fprintf(out, "%s, %d cores, %s, %s, %s; %s. %s.\n\n%s", v.file.Machine.CPU, v.file.Machine.Cores, v.file.Machine.OS, v.file.Machine.Go,
		v.file.Version, v.file.Machine.Pinning, v.file.Began.UTC().Format(time.DateOnly), b.String())
	for _, n := range v.file.Notes {
		fmt.Fprintf(out, "\nNote: %s\n", n)
	}
	if err := s.write(v.file); err != nil {
		return err
	}
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted")
	case missed > 0:
		return fmt.Errorf("%d of %d rows are below their bar or not measured", missed, len(rows))
	}
	return nil
}

// fillRow measures one row and judges it. What was wrong in a run is a reason
// to fail: a figure with losses is none.
func (v *session) fillRow(ctx context.Context, r *row, repeat int) verdict {
	if ctx.Err() != nil {
		return verdict{measured: "not measured"}
	}
	before, notes := len(v.file.Runs), len(v.file.Notes)
	for i := range r.steps {
		if p := &r.steps[i].params; p.Profile != "" {
			p.Profile = filepath.Join(v.dir, p.Profile)
		}
	}
	v.repeated(ctx, r.steps, repeat)
	if r.compare != "" {
		v.comparePeers(ctx, r.compare, repeat)
	}
	runs := v.file.Runs[before:]
	vd := r.judge(runs)
	for i := range runs {
		for _, p := range runs[i].Problems {
			vd.ok = false
			v.note("row %d, %s: %s", r.number, runs[i].Scenario, p)
		}
	}
	if vd.measured == "" {
		vd = verdict{measured: "not measured"}
		if len(v.file.Notes) == notes {
			v.note("row %d: what it needs was not measured", r.number)
		}
	}
	return vd
}

// verdict is what became of a row.
type verdict struct {
	measured string
	ok       bool
}

func (v verdict) String() string {
	if v.ok {
		return "met"
	}
	return "**missed**"
}

// pick is a choice of runs.
type pick struct {
	server, scenario, transport string // empty: any
	visitors                    int    // 0: any
	rate                        float64
}

func (p pick) of(runs []report.Run) []report.Run {
	return slices.DeleteFunc(slices.Clone(runs), func(r report.Run) bool {
		return p.server != "" && r.Server != p.server || p.scenario != "" && r.Scenario != p.scenario ||
			p.transport != "" && r.Transport != p.transport || p.visitors != 0 && r.Visitors != p.visitors || p.rate != 0 && r.Rate != p.rate
	})
}

// metric returns the median of a metric; ok is false when no run has it.
func (p pick) metric(runs []report.Run, name string) (float64, bool) {
	var all []float64
	for _, r := range p.of(runs) {
		if v, ok := r.Metrics[name]; ok {
			all = append(all, v)
		}
	}
	return median(all)
}

// limit tells what the first of the runs was stopped by.
func (p pick) limit(runs []report.Run) string {
	for _, r := range p.of(runs) {
		if r.Limit != "" {
			return "; the limit is " + r.Limit
		}
	}
	return ""
}

// p99 returns the median of the runs' p99, in seconds.
func (p pick) p99(runs []report.Run) (float64, bool) {
	var all []float64
	for _, r := range p.of(runs) {
		if r.Latency != nil {
			all = append(all, r.Latency.P99.Seconds())
		}
	}
	return median(all)
}

func median(all []float64) (float64, bool) {
	if len(all) == 0 {
		return 0, false
	}
	slices.Sort(all)
	n := len(all)
	return (all[(n-1)/2] + all[n/2]) / 2, true
}

// ratio returns the median, over repeats, of one pick's metric divided by the
// other's of the same repeat: only those have met the same machine.
func ratio(runs []report.Run, a, b pick, name string) (float64, bool) {
	var all []float64
	for _, x := range a.of(runs) {
		for _, y := range b.of(runs) {
			if xv, yv := x.Metrics[name], y.Metrics[name]; x.Repeat == y.Repeat && xv > 0 && yv > 0 {
				all = append(all, xv/yv)
			}
		}
	}
	return median(all)
}

// saturated reports whether any of the runs is.
func saturated(runs []report.Run) bool {
	return slices.ContainsFunc(runs, func(r report.Run) bool { return r.Saturated != "" })
}

// format writes a figure with its unit.
func format(name string, v float64) string { return report.Describe(name).Format(v) }

func times(v float64) string { return strconv.FormatFloat(v, 'g', 3, 64) + " ×" }
