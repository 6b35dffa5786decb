package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/google/licensecheck"
)

// Module is a Go module that is linked into the program.
type Module struct {
	Path, Version, Sum string
	// License is its SPDX identifier, Text the licence itself, Notice what the
	// Apache licence wants to be passed on.
	License, Text, Notice string
}

// licensed bounds from what part of a file that is recognised as a licence it is one.
const licensed = 75

// modules reads the licences of the modules that a program was built of. One
// without a licence that is known is an error: it must not be shipped unseen.
func (r *Release) modules(info *debug.BuildInfo) ([]Module, error) {
	var all []Module
	for _, dep := range info.Deps {
		if dep.Replace != nil {
			dep = dep.Replace
		}
		m := Module{Path: dep.Path, Version: dep.Version, Sum: dep.Sum}
		dir, err := r.directory(m)
		if err != nil {
			return nil, err
		}
		if err := m.read(dir); err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b Module) int { return strings.Compare(a.Path, b.Path) })
	return all, nil
}

// directory is where Go keeps the sources of a module.
func (r *Release) directory(m Module) (string, error) {
	cmd := exec.Command("go", "mod", "download", "-json", m.Path+"@"+m.Version)
	cmd.Dir = r.Root
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go mod download %s: %w", m.Path, err)
	}
	var found struct{ Dir string }
	err = json.Unmarshal(out, &found)
	return found.Dir, err
}

func (m *Module) read(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := strings.ToUpper(e.Name())
		if e.IsDir() || !(strings.HasPrefix(name, "LICEN") || strings.HasPrefix(name, "COPYING") || strings.HasPrefix(name, "NOTICE")) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		if strings.HasPrefix(name, "NOTICE") {
			m.Notice = string(text)
			continue
		}
		found := licensecheck.Scan(text)
		if found.Percent < licensed || len(found.Match) == 0 || m.License != "" {
			continue
		}
		m.License, m.Text = found.Match[0].ID, string(text)
	}
	if m.License == "" {
		return fmt.Errorf("%s %s: no licence that is known; look at %s", m.Path, m.Version, dir)
	}
	return nil
}

var copyrightLine = regexp.MustCompile(`(?im)^\W*(copyright (?:\(c\)|©|[0-9]|the ).*)$`)

// copyright is Debian's machine-readable file: the licence of the program, by
// reference, and those of the modules that are linked into it, in full.
func (r *Release) copyright(modules []Module) []byte {
	var b bytes.Buffer
	b.WriteString(`Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: vnode
Comment: The program is linked statically. The modules of Go that it contains follow
 by their paths.

Files: *
Copyright: the authors of vnode
License: Apache-2.0
`)
	for _, m := range modules {
		holders := copyrightLine.FindAllString(m.Text, -1)
		for i := range holders {
			holders[i] = strings.TrimSpace(holders[i])
		}
		if m.License == "Apache-2.0" || len(holders) == 0 {
			holders = []string{"the authors of " + m.Path}
		}
		fmt.Fprintf(&b, "\nFiles: %s/*\nCopyright: %s\nLicense: %s\n", m.Path, strings.Join(holders, "\n "), m.licenseName())
		if m.License != "Apache-2.0" {
			b.WriteString(indented(m.Text))
		}
		if m.Notice != "" {
			fmt.Fprintf(&b, "Comment:\n%s", indented(m.Notice))
		}
	}
	b.WriteString(`
License: Apache-2.0
 On Debian systems the full text of the Apache License, version 2.0, is in
 /usr/share/common-licenses/Apache-2.0.
`)
	return b.Bytes()
}

// licenseName is unique for each text: two modules rarely have the same one, with
// the same holders.
func (m Module) licenseName() string {
	if m.License == "Apache-2.0" {
		return m.License
	}
	return m.License + "~" + strings.ReplaceAll(m.Path, "/", "-")
}

// indented is a text as a field of a Debian control file.
func indented(text string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.TrimSpace(text)) {
		line = strings.TrimRight(line, "\r\n\t ")
		if line == "" {
			line = "."
		}
		b.WriteString(" " + line + "\n")
	}
	return b.String()
}
