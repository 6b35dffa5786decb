package setup

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// hocon is the tool of that name (Debian's ruby-hocon, which Jitsi's script
// uses) at work on a copy of jicofo.conf.
type hocon struct {
	program, path string // path: the original, for errors
	dir, file     string
	values        map[string]any // of the object jicofo, as the file has them
	ctx           context.Context
	cancel        context.CancelFunc
}

// placeholder stands for the password where others could see it: in the
// arguments of a running program.
const placeholder = "vnode-focus-password-goes-here"

func newHocon(ctx context.Context, program, path, text string) (*hocon, error) {
	dir, err := os.MkdirTemp("", "vnode-jicofo-") // 0700
	if err != nil {
		return nil, err
	}
	h := &hocon{program: program, path: path, dir: dir, file: filepath.Join(dir, "jicofo.conf")}
	h.ctx, h.cancel = context.WithTimeout(ctx, time.Minute)
	err = os.WriteFile(h.file, []byte(text), 0o600)
	if err == nil {
		err = h.read()
	}
	if err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

func (h *hocon) close() {
	h.cancel()
	// What is left of a private directory in /tmp harms nobody.
	_ = os.RemoveAll(h.dir)
}

func (h *hocon) run(args ...string) ([]byte, error) {
	cmd := exec.CommandContext(h.ctx, h.program, append([]string{"-f", h.file}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("hocon cannot work on %s: %w: %s; correct the file first", h.path, err, firstLine(stderr.String()))
	}
	return out, nil
}

func (h *hocon) read() error {
	out, err := h.run("--json", "get", "jicofo")
	if err != nil {
		return err
	}
	if err := json.Unmarshal(out, &h.values); err != nil {
		return fmt.Errorf("%s: the object jicofo, as hocon reads it: %w", h.path, err)
	}
	return nil
}

// value returns what is at a path below jicofo, nil if nothing is.
func (h *hocon) value(path string) any {
	var at any = h.values
	for key := range strings.SplitSeq(path, ".") {
		object, ok := at.(map[string]any)
		if !ok {
			return nil
		}
		at = object[key]
	}
	return at
}

func (h *hocon) unset(path string) error {
	if h.value(path) == nil {
		return nil
	}
	_, err := h.run("unset", "jicofo."+path)
	return err
}

// otherVisitors reports whether there are visitor nodes besides those gone.
func (h *hocon) otherVisitors(gone []int) bool {
	all, _ := h.value("xmpp.visitors").(map[string]any)
	for key := range all {
		if !slices.ContainsFunc(gone, func(n int) bool { return string(id(n)) == key }) {
			return true
		}
	}
	return false
}

// grouped puts settings below an object that does not exist yet into one: each
// run of the tool takes long.
func (h *hocon) grouped(wanted []setting) (all []setting) {
	for _, s := range wanted {
		at := strings.LastIndexByte(s.Path, '.')
		parent, field := s.Path[:at], setting{s.Path[at+1:], s.value}
		last := len(all) - 1
		switch {
		case h.value(parent) != nil:
			all = append(all, s)
		case last >= 0 && all[last].Path == parent:
			all[last].value = append(all[last].value.([]setting), field)
		default:
			all = append(all, setting{parent, []setting{field}})
		}
	}
	return all
}

// apply sets what is not so yet, for setting the same again may move it by a
// space, and returns the new text.
func (h *hocon) apply(wanted []setting, password string) ([]byte, error) {
	for _, s := range h.grouped(wanted) {
		if sameValue(s.value, h.value(s.Path)) {
			continue
		}
		hidden := strings.ReplaceAll(hoconValue(s.value), hoconString(password), hoconString(placeholder))
		if _, err := h.run("set", "jicofo."+s.Path, hidden); err != nil {
			return nil, err
		}
	}
	text, err := os.ReadFile(h.file)
	return bytes.ReplaceAll(text, []byte(hoconString(placeholder)), []byte(hoconString(password))), err
}
