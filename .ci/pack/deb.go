package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
)

const description = `visitor node for Jitsi Meet
A Jitsi conference with a very large audience keeps its speakers on one main
Prosody and spreads the read-only audience, the visitors, over extra XMPP
servers. vnode takes the place of such a visitor prosody: it has the same
domains, the same ports and the same protocol.
.
"vnode setup" configures the nodes of a machine, and Prosody, jicofo and nginx
around them.`

// deb makes the Debian packages.
func (r *Release) deb(b *Build) (made []string, err error) {
	for _, arch := range r.Arches {
		path, err := r.debFor(b, arch)
		if err != nil {
			return nil, err
		}
		made = append(made, path)
	}
	return made, nil
}

func (r *Release) debFor(b *Build, arch string) (string, error) {
	stage, err := os.MkdirTemp("", "vnode-deb-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(stage)
	all, err := r.debFiles(b, arch)
	if err != nil {
		return "", err
	}
	scripts := r.path("docs/packaging/debian")
	info := &nfpm.Info{
		Name: "vnode", Arch: arch, Platform: "linux", Version: r.Debian, VersionSchema: "none",
		Section: "net", Priority: "optional", Maintainer: r.Maintainer, Description: description, MTime: r.Time,
	}
	info.Recommends = []string{"ca-certificates", "ruby-hocon"}
	info.Suggests = []string{"jicofo", "nginx", "prosody"}
	info.Deb.Compression = "xz"
	info.Scripts.PostInstall = filepath.Join(scripts, "postinst")
	info.Scripts.PreRemove = filepath.Join(scripts, "prerm")
	info.Scripts.PostRemove = filepath.Join(scripts, "postrm")
	for i, f := range all {
		source := f.from
		if source == "" {
			source = filepath.Join(stage, fmt.Sprint(i))
			if err := os.WriteFile(source, f.text, 0o600); err != nil {
				return "", err
			}
		}
		kind := files.TypeFile
		if strings.HasPrefix(f.to, "etc/") {
			kind = files.TypeConfig
		}
		info.Contents = append(info.Contents, &files.Content{Source: source, Destination: "/" + f.to, Type: kind,
			FileInfo: &files.ContentFileInfo{Owner: "root", Group: "root", Mode: f.permissions(), MTime: r.Time}})
	}
	info.DisableGlobbing = true
	if err := nfpm.PrepareForPackager(info, "deb"); err != nil {
		return "", err
	}
	var packed bytes.Buffer
	if err := deb.Default.Package(info, &packed); err != nil {
		return "", err
	}
	path := filepath.Join(r.Out, fmt.Sprintf("vnode_%s_%s.deb", r.Debian, arch))
	return path, os.WriteFile(path, packed.Bytes(), 0o644)
}

// debFiles are those that a Debian package has: the archive's, and what Debian wants.
func (r *Release) debFiles(b *Build, arch string) ([]file, error) {
	all, err := r.files(b, arch)
	if err != nil {
		return nil, err
	}
	log, err := r.debianChangelog()
	if err != nil {
		return nil, err
	}
	return append(all,
		file{to: "etc/default/vnode", from: r.path("docs/packaging/debian/default")},
		file{to: "usr/share/lintian/overrides/vnode", from: r.path("docs/packaging/debian/lintian-overrides")},
		file{to: "usr/share/doc/vnode/changelog.gz", text: log},
	), nil
}

var markdown = regexp.MustCompile("[`*]")

// debianChangelog is the newest section of CHANGELOG.md as Debian has it.
func (r *Release) debianChangelog() ([]byte, error) {
	text, err := os.ReadFile(r.path("CHANGELOG.md"))
	if err != nil {
		return nil, err
	}
	_, section, _ := strings.Cut(string(text), "\n## ")
	section, _, _ = strings.Cut(section, "\n## ")
	var b strings.Builder
	fmt.Fprintf(&b, "vnode (%s) stable; urgency=medium\n\n", r.Debian)
	for _, entry := range entries(section) {
		b.WriteString(wrapped("  * ", "    ", entry))
	}
	fmt.Fprintf(&b, "\n -- %s  %s\n", r.Maintainer, r.Time.Format("Mon, 02 Jan 2006 15:04:05 -0700"))
	return zipped([]byte(b.String()))
}

// entries are the points of a list, each in one line and without Markdown's marks.
func entries(section string) (all []string) {
	inside := false
	for line := range strings.Lines(section) {
		line = markdown.ReplaceAllString(strings.TrimSpace(line), "")
		switch {
		case strings.HasPrefix(line, "- "):
			inside = true
			all = append(all, line[2:])
		case inside && line != "":
			all[len(all)-1] += " " + line
		default:
			inside = false
		}
	}
	if len(all) == 0 {
		return []string{"See CHANGELOG.md.gz."}
	}
	return all
}

// wrapped is a text in lines of at most 78 characters.
func wrapped(first, next, text string) string {
	var b strings.Builder
	line := first
	for word := range strings.FieldsSeq(text) {
		if len(line)+len(word) > 78 && strings.TrimSpace(line) != "" {
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			line = next
		}
		line += word + " "
	}
	b.WriteString(strings.TrimRight(line, " ") + "\n")
	return b.String()
}
