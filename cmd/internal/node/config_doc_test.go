package node

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vnode/cmd/internal/config"
)

const configurationHead = `# Configuration

Every setting is a key of a TOML file (` + "`-config FILE` or `VNODE_CONFIG`" + `), an
environment variable and a flag. The built-in default comes first, then the
file, then the environment, then flags. A file needs only the lines it changes;
` + "`vnode config -print`" + ` prints one with all of them, ` + "`vnode config -check FILE`" + ` says
what is wrong with one. An unknown key is refused, and the nearest one named.
` + "`vnode config -effective -config /etc/vnode/v3.toml`" + ` prints every setting that is in force and
where it is from. Without ` + "`-config`" + ` it reads the environment alone, as in a
container. It leaves out secrets.

SIGHUP (` + "`systemctl reload`" + `) reads everything anew. What a running node can take it
takes, at once and whole; the log says what changed and which keys wait for a
restart. A file with a mistake changes nothing.

In the place of a docker-jitsi-meet visitor prosody (` + "`PROSODY_MODE=visitors`" + `) a
node takes that container's variables, ports and names; they are named with each
key, and ` + "`VNODE_…`" + ` wins over them. ` + "`JICOFO_AUTH_PASSWORD`, `TURN_CREDENTIALS`" + ` hold what
otherwise is in files; ` + "`ENABLE_AUTH`, `ENABLE_GUESTS`, `ENABLE_RECORDING` and\n`ENABLE_TRANSCRIPTIONS`" + ` decide which domains of main take part. A
variable of that container that a node cannot honour is refused or warned about by
its name; [MIGRATING](MIGRATING.md#variables-of-docker-jitsi-meet) lists them. A
variable or a flag that is misspelt is refused, and the nearest one named.

This page is written by a test from
[default.toml](../cmd/internal/config/default.toml), and fails when it is stale:
` + "`go test ./cmd/internal/node -run TestConfigurationIsDocumented -update`" + `.
`

// paragraph is a comment of the default file and the keys below it.
type paragraph struct {
	section string // "" when it goes on
	text    []string
	lines   []string
}

// paragraphs takes the default file apart.
func paragraphs(text string) (list []paragraph) {
	for block := range strings.SplitSeq(text, "\n\n") {
		var p paragraph
		for line := range strings.SplitSeq(strings.TrimSpace(block), "\n") {
			switch {
			case strings.HasPrefix(line, "# ----"):
				p.section = strings.Trim(line, "# -")
			case strings.HasPrefix(line, "#"):
				p.text = append(p.text, strings.TrimSpace(line[1:]))
			case line != "":
				p.lines = append(p.lines, line)
			}
		}
		list = append(list, p)
	}
	return list
}

func configuration(text string) (page string, keys []string) {
	var b strings.Builder
	b.WriteString(configurationHead)
	for _, p := range paragraphs(text)[1:] { // the first is of the file as a whole
		if p.section != "" {
			fmt.Fprintf(&b, "\n## %s\n", p.section)
		}
		if len(p.lines) == 0 {
			if len(p.text) > 0 {
				fmt.Fprintf(&b, "\n%s\n", strings.Join(p.text, "\n"))
			}
			continue
		}
		var names, notes []string
		for _, l := range p.lines {
			key, _, _ := strings.Cut(l, " = ")
			keys = append(keys, key)
			names = append(names, "`"+key+"`")
			notes = append(notes, note(key))
		}
		fmt.Fprintf(&b, "\n### %s\n\n%s\n\n```toml\n%s\n```\n\n%s\n", strings.Join(names, ", "), strings.ReplaceAll(strings.Join(p.text, "\n"), "<", "&lt;"), strings.Join(p.lines, "\n"), strings.Join(notes, "\n"))
	}
	return b.String(), keys
}

// note tells a key's other names and when a change takes effect.
func note(key string) string {
	s := fmt.Sprintf("- `-%s`, `%s`", key, config.EnvName(key))
	if docker := config.DockerNames(key); len(docker) > 0 {
		s += "; Docker: `" + strings.Join(docker, "`, `") + "`"
	}
	if slices.Contains(config.Reloadable(), key) {
		return s + "; reload"
	}
	return s + "; restart"
}

// Every key of the default is in docs/CONFIGURATION.md as it is explained
// there.
func TestConfigurationIsDocumented(t *testing.T) {
	want, keys := configuration(config.Default)
	for _, k := range config.Reloadable() {
		require.Contains(t, keys, k)
	}
	path := filepath.Join(docs, "CONFIGURATION.md")
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
	}
	have, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, want, string(have), "docs/CONFIGURATION.md is stale: run this test with -update")
}
