package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os/signal"
	"syscall"

	"vnode/cmd/internal/setup"
)

func runSetup(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("vnode setup", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	o, err := setup.ParseFlags(flags, args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, setup.Help)
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "vnode setup: %v\nvnode setup -help lists the flags.\n", err)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := setup.Run(ctx, o, stdout); err != nil {
		fmt.Fprintf(stderr, "vnode setup: %v\n", err)
		return exitFailure
	}
	return 0
}
