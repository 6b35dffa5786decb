package main

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vnode/internal/xmpptest/jitsi"
	"vnode/internal/xmpptest/needs"
)

// typed is a command that a document has its readers type.
type typed struct{ document, command string }

// programs begin what is a command; other code is a name, a path or an option.
var programs = regexp.MustCompile(`^(sudo |TOKEN=\$\(sudo )?(\S*/)?(vnode|bench|make|go|systemctl|journalctl|nginx|prosody|prosodyctl|hocon|curl|apt-get|docker|kubectl|helm|skopeo|install|tar|ss|ssh|chmod|chown|kill|cat|ethtool|rm|git|cp|mv|ln) `)

// typedCommands are all commands of the documents: in code blocks a line each,
// in the text whatever begins with a program and says more than its name.
func typedCommands(t *testing.T) (all []typed) {
	t.Helper()
	shell := regexp.MustCompile("(?ms)^ *```(?:sh)?\n(.*?)^ *```")
	continued := regexp.MustCompile(`(\||\\)\n\s*`)
	texts := documents(t)
	for _, path := range slices.Sorted(maps.Keys(texts)) {
		text := texts[path]
		add := func(s string) {
			s = strings.TrimSpace(regexp.MustCompile(`\s{2,}.*$`).ReplaceAllString(strings.TrimSpace(s), ""))
			if programs.MatchString(s+" ") && strings.Contains(s, " ") {
				all = append(all, typed{filepath.Base(path), s})
			}
		}
		for _, block := range shell.FindAllStringSubmatch(text, -1) {
			for line := range strings.Lines(continued.ReplaceAllString(block[1], "$1 ")) {
				add(line)
			}
		}
		rest := regexp.MustCompile("(?ms)^ *```.*?^ *```").ReplaceAllString(text, "")
		for _, code := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(rest, -1) {
			add(strings.Join(strings.Fields(code[1]), " "))
		}
	}
	return all
}

// How the commands of the documents are tried: the first pattern that matches
// counts. What is run, is run on an installation below a directory.
var trials = []struct {
	pattern string
	run     bool
	because string // for what is only parsed
}{
	{`^sudo vnode setup .*-start$|^tar |^make (tarball|deb) && sudo `, false, "it changes the machine; TestTarballKeepsLinks, make test-deb and TestStart do it elsewhere"},
	{`^(sudo )?vnode (setup|config|version|account|completion)\b`, true, ""},
	{`^(sudo )?vnode check`, true, ""},
	{`^(sudo )?vnode health`, false, "it asks a running node; TestHealth does"},
	{`^(bin/)?vnode -(id|config)`, false, "it runs until it is stopped; TestService runs it"},
	{`^make build && install`, false, "it installs; the two halves are tried apart"},
	{`^make `, true, ""},
	{`^go (build|test)`, false, "the build that runs this test does the same"},
	{`^go tool pprof`, false, "it needs a node under load"},
	{`^(hocon|install -d) `, true, ""},
	{`^prosodyctl about$`, true, ""},
	{`^prosodyctl `, false, "it needs a running Prosody, and 0.12 has no shell in Debian's package"},
	{`^nginx -t$`, true, ""},
	{`^nginx keeps`, false, "it is a sentence"},
	{`^(bin/)?bench `, false, "it loads the machine for minutes; cmd/bench tests its flags"},
	{`^(systemctl|journalctl) `, false, "it needs systemd; the unit is verified by TestUnit"},
	{`^(TOKEN=|curl )`, false, "it asks a running node; the operator's API is tested in cmd/internal/node"},
	{`^(ss|ssh|ethtool|kill) `, false, "it looks at a real machine or kills a program"},
	{`^(docker|kubectl|helm|skopeo) `, false, "it needs containers; TestContainerPieces reads what it is given, and .ci/chart renders the chart"},
	{`^(sudo )?apt-get `, false, "it installs"},
	{`^(chmod|rm|cat) `, false, "it needs the file that was found"},
}

// Every command of every document can be parsed by a shell, and is run where a
// test can: those of set-up, check and configuration, the Makefile's as a dry
// run, and the programs of others that only look.
func TestDocumentedCommandsRun(t *testing.T) {
	needs.Programs(t, "nginx", "prosodyctl", "hocon", "make")
	sandbox := newSandbox(t)
	count := 0
	done := map[string]bool{}
	for _, c := range typedCommands(t) {
		if done[c.command] {
			continue
		}
		done[c.command] = true
		t.Run(c.document+" "+c.command, func(t *testing.T) {
			out, err := exec.CommandContext(t.Context(), "bash", "-nc", placeholders.ReplaceAllString(c.command, "X")).CombinedOutput()
			require.NoError(t, err, string(out))
			for _, trial := range trials {
				if !regexp.MustCompile(trial.pattern).MatchString(c.command) {
					continue
				}
				require.True(t, trial.run != (trial.because != ""), "run, or say why not")
				if trial.run {
					count++
					sandbox.try(t, c.command)
				}
				return
			}
			t.Fatalf("%s has a command that this test does not know: add it to trials", c.document)
		})
	}
	require.Greater(t, count, 15)
}

// No document has a reader start a server by asking for its version: Debian's
// prosody knows no --version.
func TestNoDocumentStartsProsodyByChance(t *testing.T) {
	for path, text := range documents(t) {
		for _, code := range codeIn(text) {
			require.NotRegexp(t, `(?m)(^|[\s`+"`"+`;&|])(\S*/)?prosody( |$)-*(version|v|V)\b`, code, path)
		}
	}
}

// placeholders are what a reader replaces.
var placeholders = regexp.MustCompile(`…|\bFILE\b|\bHOST\b|\bMAIN\b`)

// sandbox is an installation below a directory, with shims of the programs that
// would look at the machine's own.
type sandbox struct {
	root *jitsi.Root
	bin  string
}

func newSandbox(t *testing.T) *sandbox {
	t.Helper()
	program, err := jitsi.Build(t.Context(), t.TempDir())
	require.NoError(t, err)
	s := &sandbox{root: jitsi.Install(t, jitsi.Options{}), bin: t.TempDir()}
	for name, script := range map[string]string{
		// check finds faults where nothing runs: it has to look and to report.
		"vnode": `case $1 in
version) ;;
*) [ $# = 1 ] && exec "` + program + `" "$1" -help ;;
esac
case $1 in
setup) shift; exec "` + program + `" setup -prefix "$ROOT" "$@" ;;
check) "` + program + `" "$@"; [ $? -le 1 ]; exit ;;
account) shift; echo secret | "` + program + `" account someone@meet.example.com; exit ;;
config) case " $* " in *" -check "*) exec "` + program + `" config -check "$ROOT/etc/vnode/v1.toml" ;; esac ;;
esac
exec "` + program + `" "$@"`,
		"sudo":       `exec "$@"`,
		"nginx":      `exec "` + mustLook(t, "nginx") + `" "$@" -p "$ROOT" -c "$ROOT/etc/nginx/nginx.conf"`,
		"make":       `exec "` + mustLook(t, "make") + `" -n -C ../.. "$@" COUNT=1`,
		"prosodyctl": `exec timeout 30 "` + mustLook(t, "prosodyctl") + `" --config "$ROOT/etc/prosody/prosody.cfg.lua" "$@"`,
	} {
		require.NoError(t, os.WriteFile(filepath.Join(s.bin, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	}
	return s
}

// try runs a command on an installation with eight nodes: one before may have taken
// some away.
func (s *sandbox) try(t *testing.T, command string) {
	t.Helper()
	s.run(t, "vnode setup -nodes 8")
	s.run(t, command)
}

func mustLook(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		path = "/usr/sbin/" + program
	}
	require.FileExists(t, path)
	return path
}

func (s *sandbox) run(t *testing.T, command string) {
	t.Helper()
	command = regexp.MustCompile(` N\b`).ReplaceAllString(command, " 8")
	command = regexp.MustCompile(`(^|[\s=])/(etc|var)/`).ReplaceAllString(command, "${1}$$ROOT/$2/")
	if strings.Contains(command, "systemctl") {
		command, _, _ = strings.Cut(command, "systemctl")
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "bash", "-euc", command)
	cmd.Env = append(os.Environ(), "ROOT="+s.root.Dir, "PATH="+s.bin+":"+os.Getenv("PATH"))
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Run(), "%s\n%s", command, &out)
}

// Whatever is not yes is no, also when nobody answers.
func TestQuestions(t *testing.T) {
	for answer, want := range map[string]bool{"y\n": true, "Yes\n": true, "yes": true, "n\n": false, "\n": false, "": false, "true\n": false, "yesterday\n": false} {
		var out bytes.Buffer
		require.Equal(t, want, yes(strings.NewReader(answer), &out, "Really?"), "%q", answer)
		require.Contains(t, out.String(), "Really? [y/N] ")
	}
}
