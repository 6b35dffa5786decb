package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"vnode/bench/lab"
)

var suiteCommand = command{
	summary: "the standard suite",
	setup: func(f *flag.FlagSet) func(context.Context, io.Writer, io.Writer, []string) error {
		var s settings
		s.declare(f)
		short := f.Bool("short", false, "a tenth of the visitors and of the time: what still works, not what it costs")
		transports := f.String("transports", "tcp,unix", "how visitors connect, of tcp, unix, bosh, xmpp")
		repeat := f.Int("repeat", 1, "how often everything is measured, in turn")
		return func(ctx context.Context, out, progress io.Writer, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("no argument %q is known: %w", args[0], errUsage)
			}
			steps, err := suite(strings.Split(*transports, ","), *short)
			if err != nil {
				return err
			}
			return s.steps(ctx, out, progress, nil, steps, *repeat)
		}
	},
}

// steps measures and reports.
func (s *settings) steps(ctx context.Context, out, progress io.Writer, target *lab.Target, steps []step, repeat int) (err error) {
	v, err := s.begin(ctx, out, progress, target)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	v.repeated(ctx, steps, repeat)
	return v.finish(ctx)
}

// repeated measures the steps several times, in turn: what the machine does
// besides then falls on all of them.
func (v *session) repeated(ctx context.Context, steps []step, repeat int) {
	repeat = max(1, repeat)
	for i := range repeat {
		if i > 0 && ctx.Err() != nil {
			v.note("interrupted: %d of %d repeats were not begun", repeat-i, repeat)
			return
		}
		before := len(v.file.Runs)
		v.measure(ctx, steps)
		for j := range v.file.Runs[before:] {
			v.file.Runs[before+j].Repeat = i + 1
		}
	}
}

// suite is the standard suite: what depends on the transport once for each.
func suite(transports []string, short bool) ([]step, error) {
	var steps []step
	add := func(name, transport string, change func(*lab.Params)) error {
		e, err := lab.Find(name)
		if err != nil {
			return err
		}
		p := e.Default
		p.Transport = transport
		if change != nil {
			change(&p)
		}
		if short {
			p.Visitors, p.Duration = max(50, p.Visitors/10), min(p.Duration, 10*time.Second)/5
		}
		steps = append(steps, step{e, p})
		return nil
	}
	rate := func(r float64) func(*lab.Params) { return func(p *lab.Params) { p.Rate = r } }
	var errs []error
	for _, t := range transports {
		errs = append(errs, checkTransport(t), add("idle", t, nil), add("steady", t, rate(2)), add("steady", t, rate(60)),
			add("steady", t, rate(200)), add("join-storm", t, nil))
		if t == "tcp" || t == "unix" {
			errs = append(errs, add("reconnect-storm", t, nil))
		}
	}
	first := transports[0]
	for _, name := range []string{"stalled", "relay", "flood", "ceiling"} {
		errs = append(errs, add(name, first, nil))
	}
	return steps, errors.Join(errs...)
}

func checkTransport(t string) error {
	switch t {
	case "tcp", "unix", "bosh", "xmpp":
		return nil
	}
	return fmt.Errorf("transport %q is none of tcp, unix, bosh, xmpp: %w", t, errUsage)
}

var growthCommand = command{
	name: "growth", summary: "cost against visitors and against rate",
	help: `Measures steady delivery with more and more visitors, and with a higher and
higher rate. The cost of a delivery should stay or fall: batches grow with both.

  bench growth
  bench growth -visitors 500,5000,19500 -rates "" -rate 10
`,
	setup: func(f *flag.FlagSet) func(context.Context, io.Writer, io.Writer, []string) error {
		var s settings
		s.declare(f)
		g := growth{}
		f.StringVar(&g.visitors, "visitors", growthVisitors, "numbers of visitors, at -rate")
		f.StringVar(&g.rates, "rates", growthRates, "stanzas per second, with 2000 visitors")
		f.Float64Var(&g.rate, "rate", 20, "stanzas per second while visitors grow")
		f.StringVar(&g.transport, "transport", "tcp", "how visitors connect: tcp, unix, bosh or xmpp")
		f.DurationVar(&g.duration, "duration", 8*time.Second, "of each measurement")
		return func(ctx context.Context, out, progress io.Writer, _ []string) error {
			steps, err := g.steps()
			if err != nil {
				return err
			}
			return s.steps(ctx, out, progress, nil, steps, 1)
		}
	},
}

// What growth is measured over. 19,500 and not 20,000: the usual hard limit of
// open files is 20,000, and a node needs some of its own.
const (
	growthVisitors = "500,2000,5000,10000,19500"
	growthRates    = "1,5,20,60,200,500,1500"
)

type growth struct {
	visitors, rates, transport string
	rate                       float64
	duration                   time.Duration
}

func (g *growth) steps() ([]step, error) {
	if err := checkTransport(g.transport); err != nil {
		return nil, err
	}
	e, err := lab.Find("steady")
	if err != nil {
		return nil, err
	}
	visitors, err := numbers(g.visitors)
	if err != nil {
		return nil, err
	}
	rates, err := numbers(g.rates)
	if err != nil {
		return nil, err
	}
	p := e.Default
	p.Transport, p.Duration, p.Rate = g.transport, g.duration, g.rate
	// Chat alone: at a high rate a node leaves presences out for who lags, and
	// the cost of a delivery would be of another work at each rate.
	p.ChatShare, p.Bytes = 1, 900
	var steps []step
	for _, n := range visitors {
		p.Visitors = int(n)
		steps = append(steps, step{e, p})
	}
	p.Visitors = e.Default.Visitors
	for _, r := range rates {
		p.Rate = r
		steps = append(steps, step{e, p})
	}
	return steps, nil
}

func numbers(list string) ([]float64, error) {
	var all []float64
	for _, text := range strings.Split(list, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || n <= 0 {
			return nil, fmt.Errorf("%q is no number above 0: %w", text, errUsage)
		}
		all = append(all, n)
	}
	return all, nil
}
