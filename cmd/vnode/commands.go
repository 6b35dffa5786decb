package main

import (
	"fmt"
	"io"

	"vnode/cmd/internal/build"
)

// command is what `vnode NAME` does instead of running a node. run returns the
// exit code.
type command struct {
	name, summary string
	run           func(args []string, stdout, stderr io.Writer) int
}

// commands are all of them, in the order -help lists them.
var commands = []command{
	{"config", "print the default configuration, or check a file", runConfig},
	{"setup", "configure nodes, and Prosody, jicofo and nginx around them", runSetup},
	{"check", "go and look whether everything around a node fits", runCheck},
	{"account", "make a line of the accounts file from a password", runAccount},
	{"version", "print the version and end", runVersion},
}

func commandNamed(name string) (command, bool) {
	for _, c := range commands {
		if c.name == name {
			return c, true
		}
	}
	return command{}, false
}

func runVersion(_ []string, stdout, _ io.Writer) int {
	fmt.Fprintln(stdout, "vnode", build.Version())
	return 0
}
