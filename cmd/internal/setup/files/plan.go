// Package files plans changes of files, shows them and makes them: own files
// whole, in those of others blocks between marks.
package files

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/pmezard/go-difflib/difflib"
)

// Plan is a list of changes, made whole before anything is written.
type Plan struct {
	// Static after construction.
	root   string
	backup string // directory
	force  bool

	changes []change
	kept    []string
	secrets []string
}

// NewPlan makes an empty plan for files below root. Copies of others' files go
// below the directory backup, under the path they have below root; force
// overwrites own files that were changed by hand.
func NewPlan(root, backup string, force bool) *Plan {
	return &Plan{root: root, backup: backup, force: force}
}

// Hide keeps a text out of all that is shown.
func (p *Plan) Hide(secret string) { p.secrets = append(p.secrets, secret) }

// Kept are own files left alone since somebody changed them.
func (p *Plan) Kept() []string { return p.kept }

// change is one file.
type change struct {
	path     string
	old, new []byte // nil: there is none
	mode     fs.FileMode
	link     string // target of a symbolic link; then new is nil
	foreign  bool   // somebody else's: it is copied before it is changed
	copy     string // where to; found out when first asked for
	secret   bool   // its contents are not shown
	owner    string // a path whose owner the file gets; empty: whoever runs this
}

// Read returns what will be at path.
func (p *Plan) Read(path string) ([]byte, error) {
	if i := p.index(path); i >= 0 {
		if p.changes[i].new == nil {
			return nil, fs.ErrNotExist
		}
		return p.changes[i].new, nil
	}
	return os.ReadFile(path)
}

func (p *Plan) index(path string) int {
	return slices.IndexFunc(p.changes, func(c change) bool { return c.path == path })
}

// Own plans a file that is setup's alone. text lacks the first line, a comment
// that begins with comment. A file that somebody changed is kept, unless forced.
func (p *Plan) Own(path, comment, text string, mode fs.FileMode) error {
	return p.put(change{path: path, new: stamp(comment, text), mode: mode})
}

// OwnLike is Own for a file that belongs to the owner of the file like.
func (p *Plan) OwnLike(path, comment, text string, mode fs.FileMode, like string) error {
	return p.put(change{path: path, new: stamp(comment, text), mode: mode, owner: like})
}

// Secret plans a file with a secret, readable by its owner alone and never
// shown. It has no first line and is always written.
func (p *Plan) Secret(path, value string) error {
	return p.put(change{path: path, new: []byte(value + "\n"), mode: 0o600, secret: true})
}

// put plans an own file.
func (p *Plan) put(c change) error {
	old, err := os.ReadFile(c.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	c.old = old
	if err == nil {
		if bytes.Equal(old, c.new) && !(c.secret && readable(c.path)) {
			return nil
		}
		if !c.secret && !p.force && !untouched(old) {
			p.kept = append(p.kept, c.path)
			return nil
		}
	}
	p.changes = append(p.changes, c)
	return nil
}

// readable reports whether others than its owner can read a file.
func readable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Perm()&0o077 != 0
}

// Remove plans that an own file goes. One that somebody changed is copied
// first.
func (p *Plan) Remove(path string, secret bool) error {
	old, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	p.changes = append(p.changes, change{path: path, old: old, secret: secret, foreign: !secret && !untouched(old)})
	return nil
}

// Untouched reports whether a file is there and as setup wrote it.
func (p *Plan) Untouched(path string) bool {
	b, err := os.ReadFile(path)
	return err == nil && untouched(b)
}

// Symlink plans a symbolic link.
func (p *Plan) Symlink(path, target string) error {
	at, err := os.Readlink(path)
	switch {
	case err == nil && at == target:
		return nil
	case err == nil || !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s is in the way of a link to %s; move it away", path, target)
	}
	p.changes = append(p.changes, change{path: path, link: target})
	return nil
}

// Unlink plans that a symbolic link goes, if it points to target.
func (p *Plan) Unlink(path, target string) {
	if at, err := os.Readlink(path); err == nil && at == target {
		p.changes = append(p.changes, change{path: path, old: []byte("-> " + target + "\n")})
	}
}

// Edit plans new contents for somebody else's file. Edits of one file add up.
func (p *Plan) Edit(path string, contents []byte) error {
	if i := p.index(path); i >= 0 {
		p.changes[i].new = contents
		if bytes.Equal(p.changes[i].old, contents) {
			p.changes = slices.Delete(p.changes, i, i+1)
		}
		return nil
	}
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if bytes.Equal(old, contents) {
		return nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	p.changes = append(p.changes, change{path: path, old: old, new: contents, mode: info.Mode().Perm(), foreign: true, owner: path})
	return nil
}

// Empty reports whether nothing would change.
func (p *Plan) Empty() bool { return len(p.changes) == 0 }

// Changes reports whether a file will change of which in says that it counts.
func (p *Plan) Changes(in func(path string) bool) bool {
	return slices.ContainsFunc(p.changes, func(c change) bool { return in(c.path) })
}

// Makes reports whether path is made where there is nothing now.
func (p *Plan) Makes(path string) bool {
	i := p.index(path)
	return i >= 0 && p.changes[i].old == nil && p.changes[i].new != nil
}

// Revert puts back what was there before Apply, for the files that count.
func (p *Plan) Revert(in func(path string) bool) error {
	for _, c := range slices.Backward(p.changes) {
		if !in(c.path) {
			continue
		}
		var err error
		switch {
		case c.old == nil || c.link != "":
			if err = os.Remove(c.path); errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
		default:
			old := c
			old.new = c.old
			if old.mode == 0 {
				old.mode = 0o644
			}
			err = writeFile(old)
		}
		if err != nil {
			return fmt.Errorf("put back %s: %w", c.path, err)
		}
	}
	p.changes = slices.DeleteFunc(p.changes, func(c change) bool { return in(c.path) })
	return nil
}

// WriteDiff shows every change as a unified diff, secrets blotted out.
func (p *Plan) WriteDiff(w io.Writer) error {
	for _, c := range p.changes {
		if c.link != "" {
			fmt.Fprintf(w, "+++ %s -> %s\n", c.path, c.link)
			continue
		}
		from, to := c.path, c.path
		if c.old == nil {
			from = "/dev/null"
		}
		if c.new == nil {
			to = "/dev/null"
		}
		if c.secret {
			fmt.Fprintf(w, "--- %s\n+++ %s\n(a secret, mode %04o, not shown)\n", from, to, c.mode)
			continue
		}
		err := difflib.WriteUnifiedDiff(w, difflib.UnifiedDiff{
			A: p.lines(c.old), B: p.lines(c.new), FromFile: from, ToFile: to, Context: 3,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

const blot = "********"

// othersSecret is the value of what is called a password or secret, in the
// languages of Prosody, jicofo and TOML. What changes has lines around it.
var othersSecret = regexp.MustCompile(`(?i)((?:password|secret)\w*["'\]]*\s*[=:]\s*)("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|[^\s"';,]+)`)

func (p *Plan) lines(b []byte) []string {
	if len(b) == 0 {
		return nil
	}
	text := string(b)
	for _, s := range p.secrets {
		text = strings.ReplaceAll(text, s, blot)
	}
	text = othersSecret.ReplaceAllString(text, "${1}"+blot)
	return difflib.SplitLines(strings.TrimSuffix(text, "\n"))
}

// WriteSummary lists the changes, a line each; verb is "was" or "would be".
func (p *Plan) WriteSummary(w io.Writer, verb string) {
	for i := range p.changes {
		c := &p.changes[i]
		what := "changed"
		switch {
		case c.link != "" || c.old == nil:
			what = "written"
		case c.new == nil:
			what = "removed"
		}
		note := ""
		if c.foreign {
			p.findCopy(c)
			note = ", a copy is " + c.copy
		}
		fmt.Fprintf(w, "%s %s %s%s\n", c.path, verb, what, note)
	}
}

// Apply writes everything. It stops at the first error, which names the file;
// running setup again goes on from there.
func (p *Plan) Apply() error {
	for i := range p.changes {
		if err := p.apply(&p.changes[i]); err != nil {
			if errors.Is(err, fs.ErrPermission) {
				return fmt.Errorf("%w; run it as root, or try it out with -prefix DIR", err)
			}
			return err
		}
	}
	return nil
}

func (p *Plan) apply(c *change) error {
	if c.foreign {
		if err := p.save(c); err != nil {
			return fmt.Errorf("backup of %s: %w", c.path, err)
		}
	}
	if c.new == nil && c.link == "" {
		if err := os.Remove(c.path); err != nil {
			return err
		}
		p.removeEmpty(filepath.Dir(c.path))
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(c.path), 0o755); err != nil {
		return err
	}
	if c.link != "" {
		return os.Symlink(c.link, c.path)
	}
	return writeFile(*c)
}

// removeEmpty removes directories of ours that hold nothing any more.
func (p *Plan) removeEmpty(dir string) {
	ours := filepath.Dir(p.backup)
	for dir == ours || strings.HasPrefix(dir, ours+"/") {
		if os.Remove(dir) != nil {
			return // it holds something
		}
		dir = filepath.Dir(dir)
	}
}

// findCopy finds a name for the copy of a file: the path it has below root, with
// a number if another copy is there, which may be of the file as it was before
// setup ever ran. The same one need not be kept twice.
func (p *Plan) findCopy(c *change) {
	if c.copy != "" {
		return
	}
	first := filepath.Join(p.backup, strings.TrimPrefix(c.path, p.root))
	c.copy = first
	for n := 2; ; n++ {
		there, err := os.ReadFile(c.copy)
		if err != nil || bytes.Equal(there, c.old) {
			return // what cannot be read cannot be written either, and says why
		}
		c.copy = first + "." + strconv.Itoa(n)
	}
}

// save copies the file as it was, below the backup directory and out of reach of
// any wildcard Include.
func (p *Plan) save(c *change) error {
	info, err := os.Stat(c.path)
	if err != nil {
		return err
	}
	p.findCopy(c)
	if err := os.MkdirAll(filepath.Dir(c.copy), 0o700); err != nil {
		return err
	}
	return writeFile(change{path: c.copy, new: c.old, mode: info.Mode().Perm(), owner: c.path})
}

// writeFile replaces a file whole, or not at all.
func writeFile(c change) error {
	f, err := os.CreateTemp(filepath.Dir(c.path), ".vnode-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once it is renamed
	_, err = f.Write(c.new)
	err = errors.Join(err, f.Chmod(c.mode), own(f, c.owner), f.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", c.path, err)
	}
	return os.Rename(f.Name(), c.path)
}

// own gives f to the owner of the file like. Who is not root owns both.
func own(f *os.File, like string) error {
	if like == "" || os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(like)
	if err != nil {
		return err
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return f.Chown(int(s.Uid), int(s.Gid))
}
