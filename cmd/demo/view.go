package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"vnode/internal/xmpptest/conference"
)

// view shows the progress: a bar on a terminal, a line now and then elsewhere.
// Its methods are called by one goroutine at a time.
type view struct {
	out     io.Writer
	options options
	began   time.Time
	talking time.Time // zero before all visitors are in
	bar     *progressbar.ProgressBar
}

func newView(out io.Writer, o options) *view {
	v := &view{out: out, options: o, began: time.Now()}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		// Half of the bar is the visitors' joins, the other half their stay.
		v.bar = progressbar.NewOptions(2*o.visitors+1, progressbar.OptionSetWriter(out),
			progressbar.OptionSetWidth(10), progressbar.OptionSetPredictTime(false), progressbar.OptionSetElapsedTime(false))
	}
	return v
}

// every is how often show wants to be called.
func (v *view) every() time.Duration {
	if v.bar != nil {
		return 250 * time.Millisecond
	}
	return 2 * time.Second
}

// show is told how far the scenario is.
func (v *view) show(s conference.Snapshot) {
	const tenth = 100 * time.Microsecond
	seconds, cpu, mb := time.Since(v.began).Seconds(), 100*s.CPU, float64(s.RSS)/(1<<20)
	if v.bar == nil {
		fmt.Fprintf(v.out, "%3.0fs  %s: %d of %d visitors, %d stanzas delivered, latency p50 %s p99 %s, resumed %d of %d, node %.0f%% CPU %.1f MB\n",
			seconds, s.Phase, s.Joined, v.options.visitors, s.Tally.Delivered,
			s.Latency.P50.Round(tenth), s.Latency.P99.Round(tenth), s.Resumptions.Resumed, s.Resumptions.Cuts, cpu, mb)
		return
	}
	// With the bar it has to fit into 80 columns.
	v.bar.Describe(fmt.Sprintf("%d/%d in, %d got, p99 %s, CPU %.0f%%, %.0f MB",
		s.Joined, v.options.visitors, s.Tally.Delivered, s.Latency.P99.Round(tenth), cpu, mb))
	// A bar that cannot be drawn must not stop the demo.
	_ = v.bar.Set(s.Joined + v.stayed(s))
}

// stayed is how much of their stay the visitors have behind them, in visitors.
func (v *view) stayed(s conference.Snapshot) int {
	if s.Joined < v.options.visitors {
		return 0
	}
	if v.talking.IsZero() {
		v.talking = time.Now()
	}
	part := min(1, float64(time.Since(v.talking))/float64(v.options.talk))
	return int(part * float64(v.options.visitors))
}

// done ends the line of the bar.
func (v *view) done() {
	if v.bar != nil {
		_ = v.bar.Exit()
		fmt.Fprintln(v.out)
	}
}
