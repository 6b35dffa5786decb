package setup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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
	unresolved    []string       // objects of which values knows only that they are there
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

// read finds out what the file says of the objects that setup changes. The tool
// sets values in a file that is empty, or that has substitutions (${VAR}), but it
// prints no object with one.
func (h *hocon) read() error {
	values, err := h.get("jicofo")
	switch {
	case err == nil:
		h.values = values
		return nil
	case !errors.Is(err, errUnresolved):
		return err
	}
	h.values = map[string]any{}
	for _, path := range []string{"bridge", "visitors", "xmpp.visitors"} {
		object, err := h.get("jicofo." + path)
		switch {
		case errors.Is(err, errUnresolved):
			object = map[string]any{} // it is there: it must not be replaced
			h.unresolved = append(h.unresolved, path)
		case err != nil:
			return err
		case object == nil:
			continue
		}
		h.put(path, object)
	}
	return nil
}

// errUnresolved: an object holds substitutions.
var errUnresolved = errors.New("it has substitutions")

// get returns an object, nil if there is none.
func (h *hocon) get(path string) (object map[string]any, err error) {
	out, err := h.run("--json", "get", path)
	switch {
	case err != nil && strings.Contains(err.Error(), "Can't find the given path"):
		return nil, nil
	case err != nil && (strings.Contains(err.Error(), "not resolved") || strings.Contains(err.Error(), "unresolved substitutions")):
		return nil, errUnresolved
	case err != nil:
		return nil, err
	}
	if err := json.Unmarshal(out, &object); err != nil {
		return nil, fmt.Errorf("%s: the object %s, as hocon reads it: %w", h.path, path, err)
	}
	return object, nil
}

// look reads what the file says of a node, where it was not seen with the others.
func (h *hocon) look(path string) error {
	if !slices.Contains(h.unresolved, "xmpp.visitors") || h.value(path) != nil {
		return nil
	}
	object, err := h.get("jicofo." + path)
	switch {
	case errors.Is(err, errUnresolved):
		object = map[string]any{}
	case err != nil:
		return err
	case object == nil:
		return nil
	}
	h.put(path, object)
	return nil
}

// put notes an object below jicofo.
func (h *hocon) put(path string, object map[string]any) {
	at := h.values
	keys := strings.Split(path, ".")
	for _, key := range keys[:len(keys)-1] {
		next, ok := at[key].(map[string]any)
		if !ok {
			next = map[string]any{}
			at[key] = next
		}
		at = next
	}
	at[keys[len(keys)-1]] = object
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

// otherVisitors reports whether there are, or may be, visitor nodes besides those
// gone.
func (h *hocon) otherVisitors(gone []int) bool {
	all, _ := h.value("xmpp.visitors").(map[string]any)
	if slices.Contains(h.unresolved, "xmpp.visitors") {
		return true // some of them cannot be printed
	}
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

// current is what a setting is; nil also for a substitution.
func (h *hocon) current(path string) (v any, err error) {
	if at := strings.LastIndexByte(path, '.'); at < 0 || !slices.Contains(h.unresolved, path[:at]) || h.value(path) != nil {
		return h.value(path), nil
	}
	out, err := h.run("--json", "get", "jicofo."+path)
	if err != nil { // it is not there, or cannot be printed
		return nil, nil
	}
	if err := json.Unmarshal(out, &v); err != nil {
		return nil, fmt.Errorf("%s: %s, as hocon reads it: %w", h.path, path, err)
	}
	return v, nil
}

// apply sets what is not so yet, for setting the same again may move it by a
// space, and returns the new text.
func (h *hocon) apply(wanted []setting, password string) ([]byte, error) {
	for _, s := range h.grouped(wanted) {
		now, err := h.current(s.Path)
		if err != nil {
			return nil, err
		}
		if sameValue(s.value, now) {
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
