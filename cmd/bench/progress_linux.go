package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress shows a bar with the time that is left, on a terminal only. Its
// unit is a tenth of a second of the estimate. Its methods are safe for
// concurrent use.
type progress struct {
	// Static after construction.
	out     io.Writer
	visible bool

	mu sync.Mutex
	// Guarded by mu.
	bar   *progressbar.ProgressBar
	began time.Time     // of the step
	done  time.Duration // of the plan, before the step
	takes time.Duration // the step, as estimated
	stop  chan struct{}
	ended chan struct{}
}

const progressUnit = 100 * time.Millisecond

func newProgress(out io.Writer, quiet bool) *progress {
	f, ok := out.(*os.File)
	return &progress{out: out, visible: !quiet && ok && term.IsTerminal(int(f.Fd()))}
}

// plan begins a bar of that length.
func (p *progress) plan(total time.Duration) {
	if !p.visible {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bar = progressbar.NewOptions64(int64(total/progressUnit)+1, progressbar.OptionSetWriter(p.out), progressbar.OptionSetWidth(20),
		progressbar.OptionSetPredictTime(true), progressbar.OptionThrottle(progressUnit), progressbar.OptionClearOnFinish())
	p.done, p.takes = 0, 0
	p.stop, p.ended = make(chan struct{}), make(chan struct{})
	go p.run(p.stop, p.ended)
}

// run moves the bar between two calls of step.
func (p *progress) run(stop, ended chan struct{}) {
	defer close(ended)
	tick := time.NewTicker(2 * progressUnit)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			p.mu.Lock()
			part := min(time.Since(p.began), p.takes)
			_ = p.bar.Set64(int64((p.done + part) / progressUnit)) // a bar that cannot be drawn must not stop the test
			p.mu.Unlock()
		case <-stop:
			return
		}
	}
}

// step begins the next part of the plan.
func (p *progress) step(takes time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += p.takes
	p.began, p.takes = time.Now(), takes
}

// doing says what happens.
func (p *progress) doing(what string, _ time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		p.bar.Describe(fmt.Sprintf("%-48.48s", what))
	}
}

// end removes the bar.
func (p *progress) end() {
	p.mu.Lock()
	bar, stop, ended := p.bar, p.stop, p.ended
	p.mu.Unlock()
	if bar == nil {
		return
	}
	if stop != nil {
		close(stop)
		<-ended
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = bar.Finish()
	p.bar, p.stop = nil, nil
}

// compared is told how far a comparison is: as a plan of its own, in parts of
// its work.
func (p *progress) compared(doing string, done float64) {
	const parts = 1000
	if !p.visible {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar == nil {
		p.bar = progressbar.NewOptions(parts, progressbar.OptionSetWriter(p.out), progressbar.OptionSetWidth(20),
			progressbar.OptionSetPredictTime(true), progressbar.OptionThrottle(progressUnit), progressbar.OptionClearOnFinish())
	}
	p.bar.Describe(fmt.Sprintf("%-48.48s", doing))
	_ = p.bar.Set(int(done * parts)) // a bar that cannot be drawn must not stop the test
}
