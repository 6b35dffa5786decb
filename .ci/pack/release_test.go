package main

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Two builds of one commit, in directories of other names, give the same bytes; the
// checksums are those of what is there. It takes minutes: make test-release runs it.
func TestReleaseTwice(t *testing.T) {
	if os.Getenv("TEST_RELEASE") == "" {
		t.Skip("it builds everything twice; make test-release runs it")
	}
	var outs []string
	for _, name := range []string{"one", "another/deeper"} {
		checkout := filepath.Join(t.TempDir(), name)
		_, err := git("../..", "clone", "-q", "--no-hardlinks", mustAbs(t, "../.."), checkout)
		require.NoError(t, err)
		out := t.TempDir()
		require.NoError(t, run([]string{"-release", "-root", checkout, "-out", out}))
		outs = append(outs, out)
	}
	made, err := os.ReadDir(outs[0])
	require.NoError(t, err)
	require.Len(t, made, 2+2+3+1+1+1, "archives, packages, images, chart, SBOM, checksums")
	for _, e := range made {
		first, err := os.ReadFile(filepath.Join(outs[0], e.Name()))
		require.NoError(t, err)
		second, err := os.ReadFile(filepath.Join(outs[1], e.Name()))
		require.NoError(t, err)
		require.True(t, bytes.Equal(first, second), e.Name())
	}
	sums, err := os.ReadFile(filepath.Join(outs[0], "SHA256SUMS"))
	require.NoError(t, err)
	lines := 0
	for s := bufio.NewScanner(strings.NewReader(string(sums))); s.Scan(); lines++ {
		_, name, ok := strings.Cut(s.Text(), "  ")
		require.True(t, ok)
		require.FileExists(t, filepath.Join(outs[0], name))
	}
	require.Equal(t, len(made)-1, lines)

	// A tree with changes makes no release.
	dirty := filepath.Join(t.TempDir(), "dirty")
	_, err = git("../..", "clone", "-q", mustAbs(t, "../.."), dirty)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dirty, "README.md"), nil, 0o600))
	require.ErrorContains(t, run([]string{"-release", "-root", dirty, "-out", t.TempDir()}), "the tree has changes")
}

func mustAbs(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	require.NoError(t, err)
	return abs
}
