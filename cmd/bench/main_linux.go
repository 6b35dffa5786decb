package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"syscall"

	"vnode/cmd/internal/build"
)

// Exit codes: 1 when something could not be measured or was wrong, 2 when the
// command was told something wrong.
const (
	exitFailure = 1
	exitUsage   = 2
)

// command is one of bench's commands.
type command struct {
	name    string // "" for the one that runs without a name
	summary string
	help    string
	// setup declares flags and returns what runs once they are parsed.
	setup func(f *flag.FlagSet) func(ctx context.Context, out, progress io.Writer, args []string) error
}

func commands() []command {
	return []command{suiteCommand, runCommand, growthCommand, tableCommand, profileCommand, compareCommand, reportCommand, floorCommand}
}

const overview = `bench loads a visitor node and measures it: cost and time of every delivery, with
nothing lost, doubled or out of order. Alone it runs the standard suite against a
node that it starts itself.

Usage:

  bench [flags]                the standard suite, about six minutes
  bench -short                 the short one, about one
%s  bench version

Examples:

  bench -transports tcp,unix -json result.json
  bench run steady -visitors 10000 -rate 50
  bench run steady -target ws://127.0.0.1:52803/xmpp-websocket -s2s 127.0.0.1:52693 \
      -focus 127.0.0.1:52223 -focus-password-file focus.txt -main-listen 127.0.0.1:5269
  bench profile -rate 200 -o cpu.pprof && go tool pprof -top cpu.pprof

bench COMMAND -help tells more. While it measures, keep the machine quiet: other
work on the same cores shows in every figure.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once; a node it has started dies with
	// it.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, out, errs io.Writer) int {
	name := ""
	if len(args) > 0 && len(args[0]) > 0 && args[0][0] != '-' {
		name, args = args[0], args[1:]
	}
	switch name {
	case "version":
		fmt.Fprintln(out, "bench", build.Version())
		return 0
	case "help":
		name, args = "", []string{"-help"}
	}
	for _, c := range commands() {
		if c.name == name {
			return c.run(ctx, args, out, errs)
		}
	}
	fmt.Fprintf(errs, "bench: no command %q\nbench -help lists them.\n", name)
	return exitUsage
}

// errUsage is wrapped by what a user can mend by other arguments.
var errUsage = errors.New("see -help")

func (c *command) run(ctx context.Context, args []string, out, errs io.Writer) int {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(io.Discard) // errors are printed once, below
	do := c.setup(f)
	own := f.String("cpuprofile", "", "write a CPU profile of the load test itself to this file")
	args, err := parse(f, args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		c.usage(f, out)
		return 0
	case err == nil:
		err = profiled(*own, func() error { return do(ctx, out, errs, args) })
	default:
		err = fmt.Errorf("%w (%w)", err, errUsage)
	}
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUsage):
		fmt.Fprintln(errs, "bench:", err)
		return exitUsage
	}
	fmt.Fprintln(errs, "bench:", err)
	return exitFailure
}

// profiled calls do, and takes a CPU profile of this process meanwhile if path
// names a file for it.
func profiled(path string, do func() error) (err error) {
	if path == "" {
		return do()
	}
	f, err := os.Create(filepath.Clean(path))
	if err != nil {
		return fmt.Errorf("CPU profile: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := pprof.StartCPUProfile(f); err != nil {
		return fmt.Errorf("CPU profile: %w", err)
	}
	defer pprof.StopCPUProfile()
	return do()
}

// parse takes flags before and behind the arguments, and returns these.
func parse(f *flag.FlagSet, args []string) (rest []string, err error) {
	for {
		if err := f.Parse(args); err != nil {
			return nil, err
		}
		args = f.Args()
		if len(args) == 0 {
			return rest, nil
		}
		rest, args = append(rest, args[0]), args[1:]
	}
}

func (c *command) usage(f *flag.FlagSet, out io.Writer) {
	if c.name == "" {
		list := ""
		for _, c := range commands() {
			if c.name != "" {
				list += fmt.Sprintf("  bench %-22s %s\n", c.name, c.summary)
			}
		}
		fmt.Fprintf(out, overview, list)
	} else {
		fmt.Fprintf(out, "bench %s: %s\n\n%s", c.name, c.summary, c.help)
	}
	fmt.Fprintln(out, "\nFlags:")
	f.SetOutput(out)
	f.PrintDefaults()
}
