package main

import (
	"errors"
	"flag"
	"fmt"
	"io"

	"vnode/cmd/internal/config"
)

const configHelp = `vnode config prints the default configuration, with what each key means, or
checks a file without starting anything.

  vnode config -print >/etc/vnode/v3.toml
        a file to begin with; keep the lines you change
  vnode config -check /etc/vnode/v3.toml
        says everything that is wrong with it; exit code 2 if anything is

Flags:
`

func runConfig(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("vnode config", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	show := flags.Bool("print", false, "print the default configuration, annotated TOML")
	check := flags.String("check", "", "check a configuration `file`")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, configHelp)
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		return 0
	case err == nil && (flags.NArg() > 0 || *show == (*check != "")):
		err = errors.New("say -print, or -check FILE")
	}
	if err != nil {
		fmt.Fprintf(stderr, "vnode config: %v\nvnode config -help tells more.\n", err)
		return exitUsage
	}
	if *show {
		fmt.Fprint(stdout, config.Default)
		return 0
	}
	if err := config.Check(*check); err != nil {
		fmt.Fprintf(stderr, "vnode config: %v\n", err)
		return exitUsage
	}
	fmt.Fprintln(stdout, *check+": nothing is wrong with it")
	return 0
}
