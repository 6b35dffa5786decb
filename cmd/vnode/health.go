package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"vnode/cmd/internal/check"
	"vnode/cmd/internal/config"
)

const healthHelp = `vnode health asks a running node, at its admin address, whether it works. The
exit code is 0 when it does and 1 when it does not, for the health check of a
container without a shell. The address is that of the configuration, which is
read as the node reads it: the file, the environment.

  vnode health
        whether every part of the node answers (/healthz)
  vnode health -ready
        whether it takes new conferences (/readyz)

Flags:
`

func runHealth(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("vnode health", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	file := flags.String("config", "", "the node's configuration `file` (default: VNODE_CONFIG, if set)")
	ready := flags.Bool("ready", false, "ask whether the node takes new conferences")
	timeout := flags.Duration("timeout", 6*time.Second, "how long the node has to answer, a `duration`")
	err := config.ParseFlags(flags, args)
	var cfg *config.Config
	if err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q: name the configuration with -config", flags.Arg(0))
	}
	if err == nil {
		cfg, err = nodeConfig(*file)
	}
	if err == nil && cfg.AdminOff() {
		err = errors.New("the node has no admin listener to ask; set admin to an address")
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, healthHelp)
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "vnode health: %v\nvnode health -help lists the flags.\n", err)
		return exitUsage
	}
	ctx, cancel := context.WithTimeout(context.Background(), *timeout)
	defer cancel()
	health, err := check.AskHealth(ctx, cfg.Admin, *ready)
	if err != nil {
		fmt.Fprintf(stderr, "vnode health: %v\n", err)
		return exitFailure
	}
	fmt.Fprintln(stdout, health)
	if !health.OK {
		return exitFailure
	}
	return 0
}
