package compare

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"vnode/bench/peers"
	"vnode/bench/report"
)

// Plan describes a comparison.
type Plan struct {
	Kinds    []peers.Kind
	Options  peers.Options
	Repeats  int       // default 1
	Visitors []int     // one fresh server for each; default 500
	Speakers int       // participants of the room; default 30
	Rates    []float64 // stanzas per second into the room, each for Talk
	Size     int       // of a presence in bytes, at least; see [vnode/bench.Speaker]
	ChatPart float64   // of what is said, in [0, 1]; the rest is presence
	Talk     time.Duration
	Settle   time.Duration // idle before memory is read; default 2 s
	NoAcks   bool          // leave stream management (XEP-0198) off

	// Search looks for the highest rate each server can follow, in steps of
	// Step.
	Search bool
	Step   time.Duration

	// JoinLimit ends the joins of one server; default three minutes.
	JoinLimit time.Duration
	// LoadCores is how many cores the load test may use.
	LoadCores int
	// Say is called with what is going on, and the part of the work that is
	// done in [0, 1], from one goroutine; nil: never.
	Say func(doing string, done float64)
}

func (p *Plan) defaults() {
	p.Repeats = max(p.Repeats, 1)
	if p.Speakers <= 0 {
		p.Speakers = 30
	}
	if len(p.Visitors) == 0 {
		p.Visitors = []int{500}
	}
	for _, d := range []struct {
		of    *time.Duration
		value time.Duration
	}{{&p.Talk, 10 * time.Second}, {&p.Settle, 2 * time.Second}, {&p.Step, 4 * time.Second}, {&p.JoinLimit, 3 * time.Minute}} {
		if *d.of <= 0 {
			*d.of = d.value
		}
	}
	p.LoadCores = max(p.LoadCores, 1)
	p.Options.Speakers = p.Speakers
}

// comparison is a plan under way.
type comparison struct {
	Plan
	Result
	missing map[string]bool // kinds that are not installed
	done    int             // servers
	part    float64         // of the one under way
}

// Result is what came of a comparison.
type Result struct {
	Runs     []report.Run
	Notes    []string          // what could not be measured, and why
	Versions map[string]string // of the servers, by name
}

// Run carries the plan out. It returns what was measured also when ctx ends
// early, with a note that says so; what could not be measured is in the notes
// and in the runs' problems. No server is left running.
func (p Plan) Run(ctx context.Context) Result {
	p.defaults()
	c := &comparison{Plan: p, missing: make(map[string]bool), Result: Result{Versions: make(map[string]string)}}
	for repeat := 1; repeat <= c.Repeats; repeat++ {
		for _, n := range c.Visitors {
			for _, k := range rotated(c.Kinds, repeat) {
				if ctx.Err() == nil && !c.missing[k.Name] {
					c.measure(ctx, k, n, repeat)
				}
				c.done, c.part = c.done+1, 0
			}
		}
	}
	if ctx.Err() != nil {
		c.Notes = append(c.Notes, fmt.Sprintf("Cut short: %v. Only what had been measured until then is reported.", context.Cause(ctx)))
	}
	return c.Result
}

// rotated lets another one begin in each repeat: who comes first finds a
// machine that has rested.
func rotated(kinds []peers.Kind, repeat int) []peers.Kind {
	if len(kinds) == 0 {
		return nil
	}
	i := (repeat - 1) % len(kinds)
	return append(slices.Clone(kinds[i:]), kinds[:i]...)
}

// measure runs one fresh server through everything.
func (c *comparison) measure(ctx context.Context, k peers.Kind, visitors, repeat int) {
	c.say("%s, repeat %d of %d: starting", k.Name, repeat, c.Repeats)
	s, err := k.Start(ctx, c.Options)
	switch {
	case errors.Is(err, peers.ErrNotInstalled):
		c.missing[k.Name] = true
		c.Notes = append(c.Notes, fmt.Sprintf("%s was left out: %v.", k.Title, err))
		return
	case err != nil:
		c.failed(ctx, k, err)
		return
	}
	c.Versions[s.Name] = s.Version
	m := &measurement{comparison: c, server: s, visitors: visitors, repeat: repeat}
	err = m.run(ctx)
	// Also when it was cut short nothing may stay.
	err = errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
	if err != nil {
		c.failed(ctx, k, err)
	}
}

func (c *comparison) failed(ctx context.Context, k peers.Kind, err error) {
	if ctx.Err() == nil {
		c.Notes = append(c.Notes, fmt.Sprintf("%s: %s", k.Title, strings.TrimSpace(err.Error())))
	}
}

func (c *comparison) say(format string, args ...any) {
	if c.Say != nil {
		c.Say(fmt.Sprintf(format, args...), (float64(c.done)+c.part)/float64(c.Repeats*len(c.Visitors)*max(len(c.Kinds), 1)))
	}
}
