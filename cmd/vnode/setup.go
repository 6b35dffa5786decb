package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/term"

	"vnode/cmd/internal/build"
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
	o.Version = build.Version()
	if !o.DryRun && term.IsTerminal(int(os.Stdin.Fd())) {
		o.Ask = func(question string) bool { return yes(os.Stdin, stdout, question) }
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := setup.Run(ctx, o, stdout); err != nil {
		fmt.Fprintf(stderr, "vnode setup: %v\n", err)
		return exitFailure
	}
	return 0
}

// yes asks a question. Whatever is not yes is no.
func yes(from io.Reader, to io.Writer, question string) bool {
	fmt.Fprintf(to, "%s [y/N] ", question)
	answer, err := bufio.NewReader(from).ReadString('\n')
	if err != nil && answer == "" {
		fmt.Fprintln(to)
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes"
}
