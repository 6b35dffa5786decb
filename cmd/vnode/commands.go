package main

import (
	"fmt"
	"io"
	"slices"

	"vnode/cmd/internal/build"
)

// command is what `vnode NAME` does instead of running a node. run returns the
// exit code.
type command struct {
	name, summary string
	run           func(args []string, stdout, stderr io.Writer) int
}

// commands are all of them, in the order -help lists them. One of them lists them,
// which Go's rules of initialisation allow a function only.
var commands []command

func init() {
	commands = []command{
		{"config", "print the default configuration, or check a file", runConfig},
		{"setup", "configure nodes, and Prosody, jicofo and nginx around them", runSetup},
		{"check", "go and look whether everything around a node fits", runCheck},
		{"health", "ask a running node whether it works", runHealth},
		{"account", "make a line of the accounts file from a password", runAccount},
		{"completion", "print the completion of commands and flags for a shell", runCompletion},
		{"version", "print the version and end", runVersion},
	}
}

func commandNames() (all []string) {
	for _, c := range commands {
		all = append(all, c.name)
	}
	return all
}

func commandNamed(name string) (command, bool) {
	if name == "-version" || name == "--version" {
		name = "version"
	}
	for _, c := range commands {
		if c.name == name {
			return c, true
		}
	}
	return command{}, false
}

const versionHelp = `vnode version prints the version: what make stamped into the program, else the
revision of the sources, else a checksum of the program; and the version of Go.
`

func runVersion(args []string, stdout, _ io.Writer) int {
	if len(args) == 1 && isHelp(args[0]) {
		fmt.Fprint(stdout, versionHelp)
		return 0
	}
	fmt.Fprintln(stdout, "vnode", build.Version())
	return 0
}

// isHelp reports whether an argument asks for help, as package flag has it.
func isHelp(arg string) bool { return slices.Contains([]string{"-help", "--help", "-h"}, arg) }
