package main

import (
	"errors"
	"flag"
	"fmt"
	"io"

	"vnode/cmd/internal/config"
)

const configHelp = `vnode config prints the default configuration, with what each key means, checks a
file without starting anything, or prints the configuration that is in force.

  vnode config -print >/etc/vnode/v3.toml
        a file to begin with; keep the lines you change
  vnode config -check /etc/vnode/v3.toml
        says everything that is wrong with it; exit code 2 if anything is
  vnode config -effective -config /etc/vnode/v3.toml
        every setting, with where it is from: the file, a variable of the
        environment, the default; without -config the environment alone counts.
        Secrets are left out

Flags:
`

func runConfig(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("vnode config", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	show := flags.Bool("print", false, "print the default configuration, annotated TOML")
	check := flags.String("check", "", "check a configuration `file`")
	effective := flags.Bool("effective", false, "print what is in force, and where each setting is from")
	file := flags.String("config", "", "the node's configuration `file`, with -effective (default: VNODE_CONFIG, if set)")
	err := config.ParseFlags(flags, args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, configHelp)
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		return 0
	case err == nil && (flags.NArg() > 0 || count(*show, *check != "", *effective) != 1):
		err = errors.New("say -print, -check FILE or -effective")
	case err == nil && *file != "" && !*effective:
		err = errors.New("-config goes with -effective")
	}
	if err != nil {
		fmt.Fprintf(stderr, "vnode config: %v\nvnode config -help tells more.\n", err)
		return exitUsage
	}
	if *show {
		fmt.Fprint(stdout, config.Default)
		return 0
	}
	if *effective {
		return printEffective(*file, stdout, stderr)
	}
	if err := config.Check(*check); err != nil {
		fmt.Fprintf(stderr, "vnode config: %v\n", err)
		return exitUsage
	}
	fmt.Fprintln(stdout, *check+": nothing is wrong with it")
	return 0
}

// printEffective prints the configuration as the node would read it.
func printEffective(file string, stdout, stderr io.Writer) int {
	cfg, err := nodeConfig(file)
	if err != nil {
		fmt.Fprintf(stderr, "vnode config: %v\n", err)
		return exitUsage
	}
	if err := cfg.WriteEffective(stdout); err != nil {
		fmt.Fprintf(stderr, "vnode config: %v\n", err)
		return exitFailure
	}
	for _, w := range cfg.Warnings {
		fmt.Fprintf(stderr, "warning: %s %s\n", w.Name, w.Text)
	}
	return 0
}

// count returns how many are true.
func count(all ...bool) (n int) {
	for _, is := range all {
		if is {
			n++
		}
	}
	return n
}
