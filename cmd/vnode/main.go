// Command vnode is a visitor node for Jitsi Meet: it replaces a visitor
// prosody.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"vnode/cmd/internal/build"
	"vnode/cmd/internal/config"
	"vnode/cmd/internal/node"
	"vnode/cmd/internal/systemd"
)

// Exit codes: 1 when it cannot run, 2 when it was told something wrong.
const (
	exitFailure = 1
	exitUsage   = 2
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		c, ok := commandNamed(args[0])
		switch {
		case ok:
			return c.run(args[1:], stdout, stderr)
		case !strings.HasPrefix(args[0], "-"):
			fmt.Fprintf(stderr, "vnode: unknown command %q; the nearest is %q. Flags begin with a dash, such as -id 3.\nvnode -help lists both.\n",
				args[0], config.Nearest(args[0], commandNames()))
			return exitUsage
		}
	}
	flags, cfg, err := load(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		help(flags, stdout)
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "vnode: %v\nvnode -help lists the flags.\n", err)
		return exitUsage
	}
	if err := serve(cfg, args, stdout, stderr); err != nil {
		fmt.Fprintf(stderr, "vnode: %v\n", err)
		return exitFailure
	}
	return 0
}

func load(args []string) (*flag.FlagSet, *config.Config, error) {
	flags := flag.NewFlagSet("vnode", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // errors are printed once, by run
	if err := config.CheckNames(os.Environ()); err != nil {
		return flags, nil, err
	}
	cfg, err := config.Load(flags, args, os.LookupEnv)
	return flags, cfg, err
}

// serve runs the node until SIGINT, SIGTERM or a failure ends it. SIGTERM lets
// conferences go on for drain-timeout, SIGINT does not; a second signal waits
// for nobody, and a third kills the process. SIGHUP reloads the configuration.
func serve(cfg *config.Config, args []string, stdout, stderr io.Writer) error {
	removePID, err := systemd.WritePID()
	if err != nil {
		return err
	}
	defer removePID()
	level := new(slog.LevelVar)
	log := newLogger(cfg, level, stderr)
	for _, w := range cfg.Warnings {
		log.Warn("configuration: "+w.Name+" "+w.Text, "setting", w.Name)
	}
	n, err := node.New(cfg, build.Version(), log, level)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		for {
			select {
			case s := <-signals:
				obey(s, ctx, n, args, log, cancel)
			case <-ended:
				return
			}
		}
	}()
	n.WriteBanner(stdout)
	return n.Run(ctx)
}

// obey does what a signal asks for. end ends ctx, with which the node ends.
func obey(s os.Signal, ctx context.Context, n *node.Node, args []string, log *slog.Logger, end func()) {
	switch {
	case s == syscall.SIGHUP:
		reload(n, args, log)
	case s == syscall.SIGTERM && ctx.Err() == nil:
		end()
	default:
		end()
		n.Hurry()
		signal.Reset(syscall.SIGINT, syscall.SIGTERM)
	}
}

// reload applies the configuration anew.
func reload(n *node.Node, args []string, log *slog.Logger) {
	_, cfg, err := load(args)
	if err == nil {
		err = n.Reload(cfg)
	}
	if err != nil {
		log.Error("the configuration was not reloaded; the node goes on with the old one", "error", err)
	}
}

func newLogger(cfg *config.Config, level slog.Leveler, w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if cfg.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

func help(flags *flag.FlagSet, w io.Writer) {
	fmt.Fprint(w, `vnode serves the visitors of Jitsi Meet conferences: a drop-in for one visitor
prosody. It needs no configuration beside the node's id.

  vnode -id 3 -port 52693
        node v3.meet.jitsi for a main Prosody on this machine
  vnode -id 3 -main-s2s 10.0.0.5:5269 -http 0.0.0.0:52803
        for a main Prosody elsewhere, behind an nginx elsewhere
  vnode -config /etc/vnode/v3.toml
        every flag is also a key of the file and, as VNODE_MAIN_DOMAIN, an
        environment variable; flags win over the environment over the file

Commands (vnode COMMAND -help tells more):
`)
	for _, c := range commands {
		fmt.Fprintf(w, "  %-10s %s\n", c.name, c.summary)
	}
	fmt.Fprint(w, "\nFlags:\n")
	flags.SetOutput(w)
	flags.PrintDefaults()
}
