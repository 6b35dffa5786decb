package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os/signal"
	"syscall"

	"vnode/cmd/internal/check"
	"vnode/cmd/internal/config"
)

func runCheck(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("vnode check", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	f, err := check.ParseFlags(flags, args)
	var cfg *config.Config
	if err == nil {
		cfg, err = nodeConfig(f.ConfigFile)
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, check.Help)
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "vnode check: %v\nvnode check -help lists the flags.\n", err)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	tell := func(found check.Finding) { found.WriteText(stdout) }
	if f.JSON {
		tell = func(found check.Finding) { fmt.Fprintf(stderr, "%s: %s\n", found.Check, found.Level) }
	}
	report, err := check.Run(ctx, check.Options{
		Config: cfg, ConfigFile: f.ConfigFile, URL: f.URL, Visitors: f.Visitors, Timeout: f.Timeout,
	}, tell)
	if err != nil {
		fmt.Fprintf(stderr, "vnode check: %v\n", err)
		return exitFailure
	}
	if f.JSON {
		err = report.WriteJSON(stdout)
	} else {
		report.WriteSummary(stdout)
	}
	if err != nil || !report.OK {
		return exitFailure
	}
	return 0
}

// nodeConfig reads a node's configuration as the node does: the environment counts
// there, too, and alone where there is no file.
func nodeConfig(path string) (*config.Config, error) {
	var args []string
	if path != "" {
		args = []string{"-config", path}
	}
	_, cfg, err := load(args)
	return cfg, err
}
