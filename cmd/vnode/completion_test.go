package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vnode/internal/xmpptest/needs"
)

func completionOf(t *testing.T, shell string) string {
	t.Helper()
	var out, errs bytes.Buffer
	require.Zero(t, run([]string{"completion", shell}, &out, &errs), errs.String())
	path := filepath.Join(t.TempDir(), "_vnode")
	require.NoError(t, os.WriteFile(path, out.Bytes(), 0o600))
	return path
}

// bash completes commands, their flags and the node's, and paths where a flag
// takes one.
func TestCompletionOfBash(t *testing.T) {
	needs.Programs(t, "bash")
	script := completionOf(t, "bash")
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "v3.toml"), nil, 0o600))
	for line, want := range map[string]string{
		"ch":                            "check",
		"-main-s":                       "-main-s2s",
		"check -vis":                    "-visitors",
		"check -main-s":                 "",
		"setup -remo":                   "-remove",
		"completion z":                  "zsh",
		"-id 3 -focus-pass":             "-focus-password-file",
		"-config " + dir + "/v":         dir + "/v3.toml",
		"check -config " + dir + "/":    dir + "/v3.toml",
		"setup -nodes 8 -certificate v": "",
	} {
		words := "vnode " + line
		cmd := exec.CommandContext(t.Context(), "bash", "-euc", `source "$1"; COMP_WORDS=($2); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _vnode; echo "${COMPREPLY[*]}"`, "bash", script, words)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		require.Equal(t, want, strings.TrimSpace(string(out)), line)
	}
}

// Every command and flag is completed by both shells, with the texts of -help.
func TestCompletionIsWhole(t *testing.T) {
	for _, shell := range []string{"bash", "zsh"} {
		text, err := os.ReadFile(completionOf(t, shell))
		require.NoError(t, err)
		all := completable()
		require.Len(t, all, len(commands)+1)
		require.Greater(t, len(all[0].Flags), 50)
		for _, c := range all {
			require.Contains(t, string(text), c.Name)
			for _, f := range c.Flags {
				require.Contains(t, string(text), "-"+f.Name)
			}
		}
	}
}

// zsh loads the function, and completes with it at a terminal of its own.
func TestCompletionOfZsh(t *testing.T) {
	needs.Programs(t, "zsh")
	script := completionOf(t, "zsh")
	session := `
zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z "PS1=; fpath=($1 \$fpath); autoload -Uz compinit; compinit -u -D; echo REA''DY"
zpty -r -m z line '*READY*'
zpty -w -n z "vnode $2"$'\t'
zpty -r -m z line "*vnode $3 *" && print -r -- "$line"
`
	for line, want := range map[string]string{"chec": "check", "check -visi": "check -visitors", "-id 3 -main-gr": "-id 3 -main-grace"} {
		out, err := exec.CommandContext(t.Context(), "env", "TERM=dumb", "timeout", "30", "zsh", "-fc", session, "zsh", filepath.Dir(script), line, want).CombinedOutput()
		require.NoError(t, err, string(out))
		require.Contains(t, string(out), "vnode "+want+" ", line)
	}
}
