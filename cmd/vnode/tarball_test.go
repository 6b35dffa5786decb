package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What `make tarball` packs is the same for the same sources, belongs to root,
// and has everything in it that a Debian machine needs.
func TestTarball(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "vnode")
	require.NoError(t, os.WriteFile(binary, []byte("a program"), 0o600))
	pack := func(umask string) []byte {
		out := t.TempDir()
		cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", "umask "+umask+`; exec "$0" "$@"`, "../../.ci/tarball", binary, "1.2.3", "amd64", out)
		said, err := cmd.CombinedOutput()
		require.NoError(t, err, string(said))
		b, err := os.ReadFile(strings.TrimSpace(string(said)))
		require.NoError(t, err)
		return b
	}
	first := pack("022")
	require.Equal(t, first, pack("077"), "the packer's umask does not matter")

	unzipped, err := gzip.NewReader(strings.NewReader(string(first)))
	require.NoError(t, err)
	modes := make(map[string]int64)
	for r := tar.NewReader(unzipped); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		require.Zero(t, h.Uid+h.Gid, h.Name)
		modes[h.Name] = h.Mode
	}
	for name, mode := range map[string]int64{
		"usr/bin/vnode": 0o755, "lib/systemd/system/vnode@.service": 0o644, "usr/share/man/man1/vnode.1.gz": 0o644,
		"usr/share/doc/vnode/copyright": 0o644, "usr/share/doc/vnode/examples/vnode.toml": 0o644, "etc/vnode/": 0o755,
		"usr/share/doc/vnode/OPERATING.md": 0o644, "usr/share/doc/vnode/monitoring/vnode-alerts.yml": 0o644, "usr/share/": 0o755,
	} {
		require.Equal(t, mode, modes[name], name)
	}
}
