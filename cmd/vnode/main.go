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
	"runtime/debug"
	"syscall"

	"vnode/cmd/internal/config"
	"vnode/cmd/internal/node"
)

// Exit codes: 1 when it cannot run, 2 when it was told something wrong.
const (
	exitFailure = 1
	exitUsage   = 2
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == "version" {
		fmt.Fprintln(stdout, "vnode", version())
		return 0
	}
	flags := flag.NewFlagSet("vnode", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // errors are printed once, below
	cfg, err := config.Load(flags, args, os.LookupEnv)
	switch {
	case errors.Is(err, flag.ErrHelp):
		help(flags, stdout)
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "vnode: %v\nvnode -help lists the flags.\n", err)
		return exitUsage
	}
	if err := serve(cfg, stdout, stderr); err != nil {
		fmt.Fprintf(stderr, "vnode: %v\n", err)
		return exitFailure
	}
	return 0
}

// serve runs the node until a signal or a failure ends it. A second signal
// ends the process at once.
func serve(cfg *config.Config, stdout, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	n, err := node.New(cfg, version(), newLogger(cfg, stderr))
	if err != nil {
		return err
	}
	n.WriteBanner(stdout)
	return n.Run(ctx)
}

func newLogger(cfg *config.Config, w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: cfg.Level()}
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
  vnode version

Flags:
`)
	flags.SetOutput(w)
	flags.PrintDefaults()
}

// version is the module's as the toolchain stamped it, with the revision of a
// build from a checkout.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			v += " " + s.Value[:12]
		}
	}
	return v + " " + info.GoVersion
}
