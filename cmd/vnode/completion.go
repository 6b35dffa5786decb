package main

import (
	"bytes"
	_ "embed"
	"flag"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"text/template"
)

const completionHelp = `vnode completion prints what a shell needs to complete commands and flags. The
Debian package installs it; elsewhere put it where the shell looks.

  vnode completion bash >/etc/bash_completion.d/vnode
  vnode completion zsh >/usr/local/share/zsh/site-functions/_vnode
`

var (
	//go:embed completion.bash.tmpl
	bashCompletion string
	//go:embed completion.zsh.tmpl
	zshCompletion string

	completions = map[string]*template.Template{
		"bash": template.Must(template.New("bash").Parse(bashCompletion)),
		"zsh":  template.Must(template.New("zsh").Funcs(template.FuncMap{"quote": zshQuote}).Parse(zshCompletion)),
	}
)

func runCompletion(args []string, stdout, stderr io.Writer) int {
	if len(args) == 1 && isHelp(args[0]) {
		fmt.Fprint(stdout, completionHelp)
		return 0
	}
	if len(args) != 1 || completions[args[0]] == nil {
		fmt.Fprint(stderr, "vnode completion: name the shell, bash or zsh\nvnode completion -help tells more.\n")
		return exitUsage
	}
	if err := completions[args[0]].Execute(stdout, completable()); err != nil {
		fmt.Fprintf(stderr, "vnode completion: %v\n", err)
		return exitFailure
	}
	return 0
}

// described is a flag as a shell completes it.
type described struct {
	Name, Value, Usage string
	// File: the value is a path. Bool: it may be left out.
	File, Bool bool
}

// completed is a command with its flags; the node itself has no name.
type completed struct {
	Name, Summary string
	Flags         []described
}

// completable are the node itself, then all commands.
func completable() []completed {
	flags, _, _ := load([]string{"-help"}) // registers the flags, and ends with flag.ErrHelp
	node := completed{}
	flags.VisitAll(func(f *flag.Flag) {
		value, usage := flag.UnquoteUsage(f)
		node.Flags = append(node.Flags, describe(f.Name, value, usage))
	})
	all := []completed{node}
	for _, c := range commands {
		var help bytes.Buffer
		c.run([]string{"-help"}, &help, io.Discard)
		all = append(all, completed{c.name, c.summary, flagsIn(help.String())})
	}
	return all
}

var helpFlag = regexp.MustCompile(`(?m)^  -([a-z][a-z0-9-]*)(?: (\S+))?\n    \t(.*)$`)

// flagsIn are the flags in the text of -help, as [flag.FlagSet.PrintDefaults]
// writes them.
func flagsIn(help string) (all []described) {
	for _, m := range helpFlag.FindAllStringSubmatch(help, -1) {
		all = append(all, describe(m[1], m[2], m[3]))
	}
	return all
}

func describe(name, value, usage string) described {
	return described{Name: name, Value: value, Usage: usage,
		File: slices.Contains([]string{"file", "directory", "program"}, value),
		Bool: value == ""}
}

// zshQuote escapes what is special in a specification of zsh's _arguments, which
// stands in single quotes.
func zshQuote(s string) string {
	return strings.NewReplacer(`'`, `'\''`, `[`, `\[`, `]`, `\]`, `:`, `\:`).Replace(s)
}
