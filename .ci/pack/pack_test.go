package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/blakesmith/ar"
	"github.com/stretchr/testify/require"
	"github.com/ulikunitz/xz"
)

// sample is a release of this checkout with a program that is none: packing is
// tested without waiting for the compiler.
func sample(t *testing.T) (*Release, *Build) {
	t.Helper()
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	r := &Release{Root: root, Out: t.TempDir(), Arches: []string{"amd64", "arm64"}, Maintainer: "M <m@example.org>",
		Version: Version{Git: "v1.2.3", Debian: "1.2.3", Chart: "1.2.3", Time: time.Unix(1_700_000_000, 0).UTC()}}
	b := &Build{Programs: map[string]string{}, Bash: []byte("complete"), Zsh: []byte("#compdef vnode"), Modules: []Module{
		{Path: "example.org/mit", Version: "v1.0.0", License: "MIT", Text: "MIT License\n\nCopyright (c) 2020 A. Uthor\n\nPermission is granted.\n"},
		{Path: "example.org/apache", Version: "v2.0.0", License: "Apache-2.0", Text: "Apache License", Notice: "made by B"},
	}}
	for _, arch := range r.Arches {
		b.Programs[arch] = filepath.Join(t.TempDir(), "vnode")
		require.NoError(t, os.WriteFile(b.Programs[arch], []byte("program for "+arch), 0o600))
	}
	return r, b
}

// entry is a member of an archive.
type entry struct {
	tar.Header
	text []byte
}

func unpacked(t *testing.T, from io.Reader) map[string]entry {
	t.Helper()
	all := map[string]entry{}
	for r := tar.NewReader(from); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		text, err := io.ReadAll(r)
		require.NoError(t, err)
		all[h.Name] = entry{*h, text}
	}
}

// The archive belongs to root and has all that a Debian machine needs: files below
// /usr alone.
func TestTarball(t *testing.T) {
	r, b := sample(t)
	made, err := r.tarball(b)
	require.NoError(t, err)
	require.Len(t, made, 2)
	require.Equal(t, "vnode-v1.2.3-linux-amd64.tar.gz", filepath.Base(made[0]))
	f, err := os.Open(made[0])
	require.NoError(t, err)
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	require.NoError(t, err)
	all := unpacked(t, unzipped)
	for name, h := range all {
		require.Zero(t, h.Uid+h.Gid, name)
		require.EqualValues(t, tar.TypeReg, h.Typeflag, "%s: a directory would replace a symbolic link", name)
		require.True(t, strings.HasPrefix(name, "usr/"), "%s: /lib, /bin and /sbin are symbolic links on Debian", name)
	}
	for name, mode := range map[string]int64{
		"usr/bin/vnode": 0o755, "usr/lib/systemd/system/vnode@.service": 0o644,
		"usr/share/man/man8/vnode.8.gz": 0o644, "usr/share/man/man8/vnode-setup.8.gz": 0o644,
		"usr/share/doc/vnode/copyright": 0o644, "usr/share/doc/vnode/examples/vnode.toml": 0o644,
		"usr/share/doc/vnode/OPERATING.md": 0o644, "usr/share/doc/vnode/monitoring/vnode-alerts.yml": 0o644,
		"usr/share/bash-completion/completions/vnode": 0o644, "usr/share/zsh/vendor-completions/_vnode": 0o644,
	} {
		require.Contains(t, all, name)
		require.Equal(t, mode, all[name].Mode, name)
	}
	require.Equal(t, "program for amd64", string(all["usr/bin/vnode"].text))
}

// The README's command leaves the links of a machine alone: those of a merged
// /usr, and those that an operator made.
func TestTarballKeepsLinks(t *testing.T) {
	r, b := sample(t)
	made, err := r.tarball(b)
	require.NoError(t, err)
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
	out, err := exec.CommandContext(t.Context(), "tar", "-C", root, "-xzf", made[0]).CombinedOutput()
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

// debian reads a package: what dpkg is told, and what it unpacks.
func debian(t *testing.T, path string) (control, data map[string]entry) {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	var names []string
	for r := ar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			require.Equal(t, []string{"debian-binary", "control.tar.gz", "data.tar.xz"}, names)
			return control, data
		}
		require.NoError(t, err)
		names = append(names, h.Name)
		switch h.Name {
		case "control.tar.gz":
			zip, err := gzip.NewReader(r)
			require.NoError(t, err)
			control = unpacked(t, zip)
		case "data.tar.xz":
			zip, err := xz.NewReader(r)
			require.NoError(t, err)
			data = unpacked(t, zip)
		}
	}
}

// A package says what it is, has its scripts, and gives root everything that the
// archive has, and what Debian wants besides.
func TestDeb(t *testing.T) {
	r, b := sample(t)
	made, err := r.deb(b)
	require.NoError(t, err)
	require.Equal(t, "vnode_1.2.3_amd64.deb", filepath.Base(made[0]))
	require.Equal(t, "vnode_1.2.3_arm64.deb", filepath.Base(made[1]))
	control, data := debian(t, made[1])
	for _, line := range []string{"Package: vnode\n", "Version: 1.2.3\n", "Architecture: arm64\n", "Maintainer: M <m@example.org>\n", "Description: visitor node for Jitsi Meet\n"} {
		require.Contains(t, string(control["./control"].text), line)
	}
	require.NotContains(t, string(control["./control"].text), "Depends:", "the program is static")
	require.Equal(t, "/etc/default/vnode\n", string(control["./conffiles"].text))
	for _, script := range []string{"./postinst", "./prerm", "./postrm"} {
		require.EqualValues(t, 0o755, control[script].Mode&0o777, script)
		cmd := exec.CommandContext(t.Context(), "sh", "-n")
		cmd.Stdin = bytes.NewReader(control[script].text)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s: %s", script, out)
	}
	require.Equal(t, "program for arm64", string(data["./usr/bin/vnode"].text))
	files, err := r.debFiles(b, "arm64")
	require.NoError(t, err)
	for _, f := range files {
		h, ok := data["./"+f.to]
		require.True(t, ok, f.to)
		require.Equal(t, "root", h.Uname, f.to)
		require.EqualValues(t, f.permissions(), h.Mode&0o777, f.to)
		require.Contains(t, string(control["./md5sums"].text)+string(control["./conffiles"].text), f.to)
	}
	for name := range data {
		require.NotRegexp(t, `^\./(bin|sbin|lib)`, name, "a link on machines with a merged /usr")
	}
}

// The chart runs the image of its release.
func TestChart(t *testing.T) {
	r, b := sample(t)
	made, err := r.helm(b)
	require.NoError(t, err)
	f, err := os.Open(made[0])
	require.NoError(t, err)
	defer f.Close()
	zip, err := gzip.NewReader(f)
	require.NoError(t, err)
	all := unpacked(t, zip)
	require.Contains(t, string(all["vnode/Chart.yaml"].text), "\nversion: 1.2.3\nappVersion: \"v1.2.3\"\n")
	require.Contains(t, all, "vnode/templates/statefulset.yaml")
	require.Contains(t, all, "vnode/values.schema.json")
}

// The changelog has the newest section of ours, in lines that Debian's tools take.
func TestDebianChangelog(t *testing.T) {
	r, _ := sample(t)
	packed, err := r.debianChangelog()
	require.NoError(t, err)
	zip, err := gzip.NewReader(bytes.NewReader(packed))
	require.NoError(t, err)
	text, err := io.ReadAll(zip)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(text), "vnode (1.2.3) stable; urgency=medium\n\n  * "), string(text))
	require.True(t, strings.HasSuffix(string(text), "\n -- M <m@example.org>  Tue, 14 Nov 2023 22:13:20 +0000\n"), string(text))
	for line := range strings.Lines(string(text)) {
		require.LessOrEqual(t, len([]rune(line)), 80, line)
	}
	require.Equal(t, []string{"one two three", "four"}, entries("\n- `one` two\n  *three*\n\nno point\n- four\n"))
}

// dpkg must find a newer commit newer.
func TestDebianVersion(t *testing.T) {
	at := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	last := ""
	for _, c := range []struct{ git, want, chart string }{
		{"0123abc", "0~git20261201.120000.0123abc", "0.0.0-git.0123abc"},
		{"v1.2.0-rc1", "1.2.0~rc1", "1.2.0-rc1"},
		{"v1.2.0-rc1-3-g0123abc", "1.2.0~rc1+3.0123abc", "1.2.0-rc1+3.0123abc"},
		{"v1.2.0", "1.2.0", "1.2.0"},
		{"v1.2.0-14-g0123abc", "1.2.0+14.0123abc", "1.2.0+14.0123abc"},
		{"v1.2.0-14-g0123abc-dirty", "1.2.0+14.0123abc+dirty", "1.2.0+14.0123abc.dirty"},
		{"v1.2.1", "1.2.1", "1.2.1"},
	} {
		require.Equal(t, c.chart, chartVersionOf(c.git))
		have := debianVersion(c.git, at)
		require.Equal(t, c.want, have)
		if dpkg, err := exec.LookPath("dpkg"); err == nil && last != "" {
			require.NoError(t, exec.CommandContext(t.Context(), dpkg, "--compare-versions", last, "lt", have).Run(), "%s < %s", last, have)
		}
		last = have
	}
}

// The licences of what is linked are passed on: the Apache licence by reference,
// with its notices, others in full.
func TestCopyright(t *testing.T) {
	r, b := sample(t)
	text := string(r.copyright(b.Modules))
	require.Contains(t, text, "\nFiles: example.org/mit/*\nCopyright: Copyright (c) 2020 A. Uthor\nLicense: MIT~example.org-mit\n MIT License\n .\n Copyright (c) 2020 A. Uthor\n")
	require.Contains(t, text, "\nFiles: example.org/apache/*\nCopyright: the authors of example.org/apache\nLicense: Apache-2.0\nComment:\n made by B\n")
	require.Contains(t, text, "/usr/share/common-licenses/Apache-2.0")
}

// Packing twice gives the same bytes, whatever the umask and the directory.
func TestPackingTwiceIsTheSame(t *testing.T) {
	r, b := sample(t)
	other := *r
	other.Out = t.TempDir()
	for _, k := range kinds {
		first, err := k.make(r, b)
		require.NoError(t, err)
		second, err := k.make(&other, b)
		require.NoError(t, err)
		for i := range first {
			one, err := os.ReadFile(first[i])
			require.NoError(t, err)
			two, err := os.ReadFile(second[i])
			require.NoError(t, err)
			require.True(t, bytes.Equal(one, two), first[i])
		}
	}
}
