package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vnode/cmd/internal/config"
)

var update = flag.Bool("update", false, "write docs/man anew")

const manDirectory = "../../docs/man"

// roff escapes text for the manual page.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return s
}

// manual is vnode(8), from the texts of -help and the default file.
func manual(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(`.\" Written by a test from the help texts: go test ./cmd/vnode -run TestManualPages -update
.TH VNODE 8
.SH NAME
vnode \- visitor node for Jitsi Meet
.SH SYNOPSIS
.B vnode
.RI [ flags ]
.br
.B vnode
.I command
.RI [ flags ]
.SH DESCRIPTION
Serves the visitors of Jitsi Meet conferences: a drop\-in for one visitor
prosody. It needs no configuration beside the node's id. Every flag is also a
key of the configuration file and, as VNODE_MAIN_DOMAIN, an environment
variable; flags win over the environment, the environment over the file.
.SH COMMANDS
`)
	for _, c := range commands {
		fmt.Fprintf(&b, ".TP\n.BR vnode\\-%s (8)\n%s\n", roff(c.name), roff(c.summary))
	}
	b.WriteString(".SH FLAGS\n")
	flags, _, err := load([]string{"-id", "1"})
	require.NoError(t, err)
	flags.VisitAll(func(f *flag.Flag) {
		value, usage := flag.UnquoteUsage(f)
		fmt.Fprintf(&b, ".TP\n.BI \\-%s \" %s\"\n%s\n", roff(f.Name), roff(value), roff(usage))
	})
	b.WriteString(`.SH SIGNALS
.TP
.B SIGTERM
Drains: no new conferences, those there are go on for drain\-timeout, then all
ends, spread over drain\-spread.
.TP
.B SIGINT
Ends at once, with a reason to everybody. So does a second SIGTERM.
.TP
.B SIGHUP
Reads the configuration and certificates anew.
.SH EXIT STATUS
.TP
.B 0
It ended as it was told to.
.TP
.B 1
It could not run, or could not end in time.
.TP
.B 2
It was told something wrong: a flag, a key of the file, an environment variable.
.SH FILES
.TP
.I /etc/vnode/NAME.toml
Configuration of the unit vnode@NAME.
.TP
.I /var/lib/vnode
Certificates, the focus password, the admin token, and what was learned of main.
.SH EXAMPLES
`)
	for _, example := range examples(t) {
		fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(example[0]), roff(example[1]))
	}
	b.WriteString(".SH SEE ALSO\n")
	for _, c := range commands {
		fmt.Fprintf(&b, ".BR vnode\\-%s (8),\n", roff(c.name))
	}
	b.WriteString(".BR prosody (8),\n.I /usr/share/doc/vnode\n")
	return b.String()
}

// commandManual is the manual page of a command, from the text of its -help.
func commandManual(t *testing.T, c command) string {
	t.Helper()
	var help bytes.Buffer
	require.Zero(t, run([]string{c.name, "-help"}, &help, &help))
	text, _, _ := strings.Cut(help.String(), "Flags:\n")
	flags := flagsIn(help.String())
	var b strings.Builder
	fmt.Fprintf(&b, ".\\\" Written by a test from the help texts: go test ./cmd/vnode -run TestManualPages -update\n")
	fmt.Fprintf(&b, ".TH VNODE\\-%s 8\n.SH NAME\nvnode\\-%s \\- %s\n", roff(strings.ToUpper(c.name)), roff(c.name), roff(c.summary))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B vnode %s\n", roff(c.name))
	if len(flags) > 0 {
		b.WriteString(".RI [ flags ]\n")
	}
	b.WriteString(".SH DESCRIPTION\n")
	for paragraph := range strings.SplitSeq(strings.Trim(text, "\n"), "\n\n") {
		var lines []string
		for line := range strings.SplitSeq(paragraph, "\n") {
			lines = append(lines, roff(line))
		}
		written := strings.Join(lines, "\n")
		if strings.HasPrefix(paragraph, " ") {
			written = ".nf\n" + written + "\n.fi"
		}
		fmt.Fprintf(&b, ".PP\n%s\n", written)
	}
	if len(flags) > 0 {
		b.WriteString(".SH FLAGS\n")
	}
	for _, f := range flags {
		fmt.Fprintf(&b, ".TP\n.BI \\-%s \" %s\"\n%s\n", roff(f.Name), roff(f.Value), roff(f.Usage))
	}
	b.WriteString(".SH SEE ALSO\n.BR vnode (8)\n")
	return b.String()
}

// examples are those of -help: a command, and what it is for.
func examples(t *testing.T) (list [][2]string) {
	t.Helper()
	var help bytes.Buffer
	require.Zero(t, run([]string{"-help"}, &help, &help))
	for _, m := range regexp.MustCompile(`(?m)^  (vnode .*)\n((?:        .*\n)+)`).FindAllStringSubmatch(help.String(), -1) {
		list = append(list, [2]string{m[1], strings.Join(strings.Fields(m[2]), " ")})
	}
	require.Greater(t, len(list), 2)
	return list
}

// The manual pages have every flag and every command, as -help has them.
func TestManualPages(t *testing.T) {
	pages := map[string]string{"vnode.8": manual(t)}
	for _, c := range commands {
		pages["vnode-"+c.name+".8"] = commandManual(t, c)
	}
	if *update {
		require.NoError(t, os.MkdirAll(manDirectory, 0o755))
	}
	for name, want := range pages {
		path := filepath.Join(manDirectory, name)
		if *update {
			require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
		}
		have, err := os.ReadFile(path)
		require.NoError(t, err, "run this test with -update")
		require.Equal(t, want, string(have), "%s is stale: run this test with -update", path)
	}
	there, err := os.ReadDir(manDirectory)
	require.NoError(t, err)
	require.Len(t, there, len(pages), "a page of a command that is no more")
	for key := range strings.SplitSeq(config.Default, "\n") {
		if key, _, ok := strings.Cut(key, " = "); ok && !strings.HasPrefix(key, "#") {
			require.Contains(t, pages["vnode.8"], `.BI \-`+roff(key)+` "`)
		}
	}
	require.Contains(t, pages["vnode-setup.8"], `.BI \-dry\-run "`)
}
