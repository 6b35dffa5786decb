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

// packed is an archive that .ci/tarball made of a program.
func packed(t *testing.T, umask string) (path string) {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "vnode")
	require.NoError(t, os.WriteFile(binary, []byte("a program"), 0o600))
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", "umask "+umask+`; exec "$0" "$@"`, "../../.ci/tarball", binary, "1.2.3", "amd64", t.TempDir())
	said, err := cmd.CombinedOutput()
	require.NoError(t, err, string(said))
	return strings.TrimSpace(string(said))
}

// What `make tarball` packs is the same for the same sources, belongs to root,
// and has everything in it that a Debian machine needs: files below /usr alone.
func TestTarball(t *testing.T) {
	first, err := os.ReadFile(packed(t, "022"))
	require.NoError(t, err)
	second, err := os.ReadFile(packed(t, "077"))
	require.NoError(t, err)
	require.Equal(t, first, second, "the packer's umask does not matter")

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
		require.EqualValues(t, tar.TypeReg, h.Typeflag, "%s: a directory would replace a symbolic link", h.Name)
		require.True(t, strings.HasPrefix(h.Name, "usr/"), "%s: /lib, /bin and /sbin are symbolic links on Debian", h.Name)
		modes[h.Name] = h.Mode
	}
	for name, mode := range map[string]int64{
		"usr/bin/vnode": 0o755, "usr/lib/systemd/system/vnode@.service": 0o644, "usr/share/man/man8/vnode.8.gz": 0o644, "usr/share/man/man8/vnode-setup.8.gz": 0o644,
		"usr/share/doc/vnode/copyright": 0o644, "usr/share/doc/vnode/examples/vnode.toml": 0o644,
		"usr/share/doc/vnode/OPERATING.md": 0o644, "usr/share/doc/vnode/monitoring/vnode-alerts.yml": 0o644,
	} {
		require.Equal(t, mode, modes[name], name)
	}
}

// The README's command leaves the links of a machine alone: those of a merged
// /usr, and those that an operator made.
func TestTarballKeepsLinks(t *testing.T) {
	archive := packed(t, "022")
	root := t.TempDir()
	links := map[string]string{"lib": "usr/lib", "bin": "usr/bin", "sbin": "usr/sbin", "lib64": "usr/lib64",
		"usr/share": "../big/share", "usr/lib/systemd/system": "../../../big/units", "etc/vnode": "../big/vnode"}
	for _, dir := range []string{"usr/bin", "usr/sbin", "usr/lib/systemd", "usr/lib64", "etc", "big/share", "big/units", "big/vnode"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	for link, target := range links {
		require.NoError(t, os.Symlink(target, filepath.Join(root, link)))
	}
	loader := filepath.Join(root, "lib64/ld-linux-x86-64.so.2")
	require.NoError(t, os.WriteFile(loader, nil, 0o600))
	out, err := exec.CommandContext(t.Context(), "tar", "-C", root, "-xzf", archive).CombinedOutput()
	require.NoError(t, err, string(out))
	for link, target := range links {
		at, err := os.Readlink(filepath.Join(root, link))
		require.NoError(t, err, "/%s is no link any more", link)
		require.Equal(t, target, at)
	}
	require.FileExists(t, loader)
	for _, path := range []string{"bin/vnode", "lib/systemd/system/vnode@.service", "usr/share/doc/vnode/README.md"} {
		require.FileExists(t, filepath.Join(root, path))
	}
}
