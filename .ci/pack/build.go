package main

import (
	"bytes"
	"compress/gzip"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Build are the programs and texts that the packages have in common.
type Build struct {
	// Programs are the paths of the built programs, by architecture.
	Programs map[string]string
	// Bash and Zsh are completions.
	Bash, Zsh []byte
	// Modules are those that are linked into the programs.
	Modules []Module
}

// build compiles the program for each architecture below stage.
func (r *Release) build(stage string) (*Build, error) {
	b := &Build{Programs: map[string]string{}}
	for _, arch := range r.Arches {
		path := filepath.Join(stage, arch, "vnode")
		if err := r.compile(arch, path); err != nil {
			return nil, err
		}
		b.Programs[arch] = path
	}
	host := filepath.Join(stage, "vnode")
	if err := r.compile("", host); err != nil {
		return nil, err
	}
	for shell, text := range map[string]*[]byte{"bash": &b.Bash, "zsh": &b.Zsh} {
		out, err := exec.Command(host, "completion", shell).Output()
		if err != nil {
			return nil, fmt.Errorf("vnode completion %s: %w", shell, err)
		}
		*text = out
	}
	info, err := buildinfo.ReadFile(b.Programs[r.Arches[0]])
	if err != nil {
		return nil, err
	}
	b.Modules, err = r.modules(info)
	return b, err
}

// compile builds the program so that neither this machine nor the directory shows in
// it; arch "" is this machine's.
func (r *Release) compile(arch, path string) error {
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -buildid= -X vnode/cmd/internal/build.stamped="+r.Git, "-o", path, "./cmd/vnode")
	cmd.Dir = r.Root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOAMD64=v1", "GOARM64=v8.0")
	if arch != "" {
		cmd.Env = append(cmd.Env, "GOOS=linux", "GOARCH="+arch)
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go build for %s: %w\n%s", arch, err, &errs)
	}
	return nil
}

// file is a file of the packages: a copy of one in the checkout, or text.
type file struct {
	to   string // without the leading slash
	from string // path; "": text
	text []byte
	mode os.FileMode
}

// files are what a machine gets below /usr.
func (r *Release) files(b *Build, arch string) ([]file, error) {
	const doc = "usr/share/doc/vnode/"
	all := []file{
		{to: "usr/bin/vnode", from: b.Programs[arch], mode: 0o755},
		{to: "usr/lib/systemd/system/vnode@.service", from: r.path("docs/packaging/vnode@.service")},
		{to: "usr/share/bash-completion/completions/vnode", text: b.Bash},
		{to: "usr/share/zsh/vendor-completions/_vnode", text: b.Zsh},
		{to: doc + "examples/vnode.toml", from: r.path("cmd/internal/config/default.toml")},
		{to: doc + "examples/vnode@.socket", from: r.path("docs/packaging/vnode@.socket")},
		{to: doc + "examples/kubernetes.yaml", from: r.path("docs/packaging/kubernetes/vnode.yaml")},
		{to: doc + "copyright", text: r.copyright(b.Modules)},
	}
	for _, pattern := range []string{"README.md", "SECURITY.md", "docs/*.md"} {
		err := r.each(pattern, func(path string) error {
			name := filepath.Base(path)
			if path == r.path("docs/README.md") {
				name = "INDEX.md" // the README beside it is the project's
			}
			all = append(all, file{to: doc + name, from: path})
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	chart, err := r.chart("usr/share/vnode/chart/")
	if err != nil {
		return nil, err
	}
	all = append(all, chart...)
	for _, pattern := range []string{"docs/images/*", "docs/monitoring/*"} {
		err := r.each(pattern, func(path string) error {
			all = append(all, file{to: doc + strings.TrimPrefix(path, r.path("docs")+"/"), from: path})
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	err = r.each("docs/man/*.8", func(path string) error {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		packed, err := zipped(text)
		all = append(all, file{to: "usr/share/man/man8/" + filepath.Base(path) + ".gz", text: packed})
		return err
	})
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(r.path("CHANGELOG.md"))
	if err != nil {
		return nil, err
	}
	packed, err := zipped(text)
	return append(all, file{to: doc + "CHANGELOG.md.gz", text: packed}), err
}

func (r *Release) path(name string) string { return filepath.Join(r.Root, name) }

// each calls do for the files that match a pattern; that there is none is an error.
func (r *Release) each(pattern string, do func(path string) error) error {
	found, err := filepath.Glob(r.path(pattern))
	if err != nil || len(found) == 0 {
		return fmt.Errorf("%s: no such file (%w)", pattern, err)
	}
	for _, path := range found {
		if err := do(path); err != nil {
			return err
		}
	}
	return nil
}

// content reads a file.
func (f file) content() ([]byte, error) {
	if f.from == "" {
		return f.text, nil
	}
	return os.ReadFile(f.from)
}

func (f file) permissions() os.FileMode {
	if f.mode == 0 {
		return 0o644
	}
	return f.mode
}

// zipped compresses as Debian wants it: at its best, without a name or a time.
func zipped(text []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	err = w.Close()
	return b.Bytes(), err
}
