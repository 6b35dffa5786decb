package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"vnode/bench/compare"
	"vnode/bench/lab"
	"vnode/bench/peers"
	"vnode/bench/peers/floor"
	"vnode/bench/report"
	"vnode/cmd/internal/build"
)

var compareCommand = command{
	name: "compare", summary: "other servers on the same work",
	help: `Starts each server in turn, on a core of its own, and gives all the same room,
stanzas and clients: visitors join at once, are idle, and then listen. Servers
that are not installed are left out, and the result says how to get them
(Debian: apt-get install --no-install-recommends prosody ejabberd).

Servers:

` + serverList() + `
The floor is no server: it sends one ready buffer to every visitor with one
system call each.

  bench compare -visitors 2000 -rates 2,60 -repeat 3 -search -html compare.html
`,
	setup: setupCompare,
}

func serverList() string {
	text := ""
	for _, k := range peers.Kinds() {
		text += fmt.Sprintf("  %-20s %s\n", k.Name, k.Title)
	}
	return text
}

// comparing are the flags of compare.
type comparing struct {
	settings
	plan     compare.Plan
	servers  string
	visitors string
	rates    string
}

func setupCompare(f *flag.FlagSet) func(context.Context, io.Writer, io.Writer, []string) error {
	var c comparing
	c.flags(f)
	return func(ctx context.Context, out, progress io.Writer, args []string) error {
		if len(args) > 0 {
			return fmt.Errorf("%q is no flag (%w)", args[0], errUsage)
		}
		if err := c.parse(); err != nil {
			return fmt.Errorf("%w (%w)", err, errUsage)
		}
		return c.run(ctx, out, progress)
	}
}

func (c *comparing) flags(f *flag.FlagSet) {
	c.declare(f)
	f.StringVar(&c.servers, "servers", "vnode,vnode/unix,prosody,ejabberd,floor,floor/unix", "what to compare, separated by commas; the first of our own is the reference")
	f.StringVar(&c.visitors, "visitors", "500", "visitors; several numbers, separated by commas, each on a fresh server")
	f.StringVar(&c.rates, "rates", "2", "stanzas per second into the room; several, separated by commas, one after the other")
	f.IntVar(&c.plan.Repeats, "repeat", 3, "how often each server has its turn")
	f.IntVar(&c.plan.Speakers, "speakers", 30, "participants in the room")
	f.IntVar(&c.plan.Size, "size", 0, "least size of a stanza in bytes; presence has about 1000 anyway")
	f.Float64Var(&c.plan.ChatPart, "chat", 0.25, "part of the stanzas that is chat; the rest is presence")
	f.DurationVar(&c.plan.Talk, "duration", 10*time.Second, "how long each rate is held")
	f.DurationVar(&c.plan.Settle, "settle", 2*time.Second, "how long visitors are idle before memory is read")
	f.DurationVar(&c.plan.JoinLimit, "join-limit", 3*time.Minute, "how long all joins of a server may take")
	f.BoolVar(&c.plan.NoAcks, "no-acks", false, "leave stream management off, which browsers turn on")
	f.BoolVar(&c.plan.Search, "search", false, "also look for the most each server can deliver")
	f.DurationVar(&c.plan.Step, "step", 4*time.Second, "how long each rate of the search is held")
}

// parse reads the lists.
func (c *comparing) parse() error {
	for name := range strings.SplitSeq(c.servers, ",") {
		k, err := peers.FindKind(strings.TrimSpace(name))
		if err != nil {
			return fmt.Errorf("-servers: %w", err)
		}
		c.plan.Kinds = append(c.plan.Kinds, k)
	}
	for n := range strings.SplitSeq(c.visitors, ",") {
		v, err := strconv.Atoi(strings.TrimSpace(n))
		if err != nil || v < 1 {
			return fmt.Errorf("-visitors: %q is no number of visitors", n)
		}
		c.plan.Visitors = append(c.plan.Visitors, v)
	}
	for n := range strings.SplitSeq(c.rates, ",") {
		v, err := strconv.ParseFloat(strings.TrimSpace(n), 64)
		if err != nil || !(v > 0 && v <= 1e6) {
			return fmt.Errorf("-rates: %q is no rate", n)
		}
		c.plan.Rates = append(c.plan.Rates, v)
	}
	if c.plan.ChatPart < 0 || c.plan.ChatPart > 1 {
		return errors.New("-chat: a part is between 0 and 1")
	}
	return nil
}

func (c *comparing) run(ctx context.Context, out, progress io.Writer) (err error) {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "vnode-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if slices.ContainsFunc(c.plan.Kinds, func(k peers.Kind) bool { return strings.HasPrefix(k.Name, "vnode") }) {
		if c.plan.Options.VNode, err = lab.FindNode(ctx, c.vnode, dir); err != nil {
			return err
		}
	}
	cores := lab.SplitCores(c.cores)
	if err := cores.Apply(); err != nil {
		return err
	}
	c.plan.Options.Self, c.plan.Options.Cores, c.plan.LoadCores = []string{self, floorCommand.name}, cores.Node, len(cores.Load)
	machine := lab.Machine(cores)
	machine.Pinning = strings.Replace(machine.Pinning, "node on", "server on", 1)
	file := &report.File{Began: time.Now(), Command: command0(), Version: build.Version(), Machine: machine}
	bar := newCompareBar(progress, c.quiet)
	c.plan.Say = bar.say
	result := c.plan.Run(ctx)
	bar.end()
	file.Runs, file.Notes, file.Servers = append(file.Runs, result.Runs...), append(file.Notes, result.Notes...), result.Versions
	return c.finish(ctx, file, out)
}

func (c *comparing) finish(ctx context.Context, file *report.File, out io.Writer) error {
	file.Took = time.Since(file.Began)
	if err := file.WriteTable(out); err != nil {
		return err
	}
	if err := c.write(file); err != nil {
		return err
	}
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted")
	case slices.ContainsFunc(file.Runs, func(r report.Run) bool { return len(r.Problems) > 0 }):
		return errNotClean
	}
	return nil
}

// floorCommand is how the floor runs: this program again.
var floorCommand = command{
	name: "floor", summary: "the floor alone; compare starts it itself",
	setup: func(f *flag.FlagSet) func(context.Context, io.Writer, io.Writer, []string) error {
		run := floor.Command(f)
		return func(ctx context.Context, _, _ io.Writer, _ []string) error { return run(ctx) }
	},
}

// compareBar shows how far a comparison is, on a terminal only.
type compareBar struct{ bar *progressbar.ProgressBar }

const barParts = 1000

func newCompareBar(out io.Writer, quiet bool) compareBar {
	if f, ok := out.(*os.File); !ok || quiet || !term.IsTerminal(int(f.Fd())) {
		return compareBar{}
	}
	return compareBar{progressbar.NewOptions(barParts, progressbar.OptionSetWriter(out), progressbar.OptionSetWidth(20),
		progressbar.OptionSetPredictTime(true), progressbar.OptionClearOnFinish())}
}

// say is a [compare.Plan]'s Say. A bar that cannot be drawn must not stop the
// test.
func (b compareBar) say(doing string, done float64) {
	if b.bar == nil {
		return
	}
	b.bar.Describe(fmt.Sprintf("%-64.64s", doing))
	_ = b.bar.Set(int(barParts * done))
}

func (b compareBar) end() {
	if b.bar != nil {
		_ = b.bar.Finish()
	}
}
