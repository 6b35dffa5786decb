package setup

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"vnode/cmd/internal/setup/files"
)

// setting is a path of jicofo.conf and its value: a string, a number, a truth
// value, or settings of an object.
type setting struct {
	Path  string
	value any
}

// Value is the value in HOCON, an object's on several lines.
func (s setting) Value() string {
	fields, ok := s.value.([]setting)
	if !ok {
		return hoconValue(s.value)
	}
	var b strings.Builder
	b.WriteString("{\n")
	for _, f := range fields {
		fmt.Fprintf(&b, "    %s = %s\n", f.Path, hoconValue(f.value))
	}
	return b.String() + "  }"
}

// hoconValue is a value on one line, objects in it on one each.
func hoconValue(v any) string {
	switch v := v.(type) {
	case string:
		return hoconString(v)
	case []setting:
		fields := make([]string, len(v))
		sep, end := ", ", " "
		for i, f := range v {
			fields[i] = f.Path + " = " + hoconValue(f.value)
			if _, nested := f.value.([]setting); nested {
				sep, end = "\n", "\n"
			}
		}
		return "{" + end + strings.Join(fields, sep) + end + "}"
	}
	return fmt.Sprint(v)
}

// sameValue reports whether what hocon prints as JSON says the same.
func sameValue(v, printed any) bool {
	fields, ok := v.([]setting)
	if !ok {
		return fmt.Sprint(v) == fmt.Sprint(printed)
	}
	object, ok := printed.(map[string]any)
	if !ok || len(object) != len(fields) {
		return false
	}
	for _, f := range fields {
		if !sameValue(f.value, object[f.Path]) {
			return false
		}
	}
	return true
}

// ownJicofo is the file that jicofo.conf includes where there is no hocon.
const ownJicofo = "vnode.conf"

// bridgeSettings let a bridge serve visitors apart, as the official script has
// them.
var bridgeSettings = []setting{
	{"bridge.selection-strategy", "VisitorSelectionStrategy"},
	{"bridge.visitor-selection-strategy", "RegionBasedBridgeSelectionStrategy"},
	{"bridge.participant-selection-strategy", "RegionBasedBridgeSelectionStrategy"},
	{"bridge.topology-strategy", "VisitorTopologyStrategy"},
}

func (pl *planner) jicofoSettings(password string) []setting {
	all := append(bridgeSettings[:len(bridgeSettings):len(bridgeSettings)], setting{"visitors.enabled", true})
	if n := pl.o.MaxParticipants; n > 0 {
		all = append(all, setting{"visitors.max-participants", n})
	}
	if n := pl.o.VisitorsPerNode; n > 0 {
		all = append(all, setting{"visitors.max-visitors-per-node", n})
	}
	for _, nd := range pl.nodes {
		all = append(all, setting{"xmpp.visitors." + nd.ID, []setting{
			{"enabled", true},
			{"conference-service", nd.Rooms},
			{"hostname", nd.IP},
			{"port", nd.C2S},
			{"domain", nd.cfg.AuthDomain},
			{"xmpp-domain", nd.Host},
			{"username", "focus"},
			{"password", password},
			{"disable-certificate-verification", true},
		}})
	}
	return all
}

// hoconString quotes as JSON does, which HOCON takes over.
func hoconString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteString(`\` + string(r))
		case r < ' ':
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// planJicofo plans jicofo.conf: by hocon, as the official script does, or by an
// include.
func (pl *planner) planJicofo(ctx context.Context) error {
	path := pl.world.jicofo
	if path == "" {
		return nil
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(real)
	if err != nil {
		return fmt.Errorf("jicofo's configuration: %w; run it as root", err)
	}
	clean, err := files.CutBlocks(real, "//", string(text))
	if err != nil {
		return err
	}
	own := filepath.Join(filepath.Dir(path), ownJicofo)
	hocon, err := exec.LookPath("hocon")
	switch {
	case clean != string(text) || exists(own): // begun with an include: go on so
		return pl.jicofoInclude(real, own, clean)
	case err == nil:
		return pl.jicofoByHocon(ctx, hocon, real, clean)
	case len(pl.nodes) == 0:
		pl.note("hocon is not installed: take the visitors of the removed nodes out of %s by hand.", path)
		return nil
	}
	return pl.jicofoInclude(real, own, clean)
}

// jicofoInclude writes an own file, which replaces what jicofo.conf says of the
// same keys, and its include. A plain name is looked up beside jicofo.conf. Not
// include file("…"): the hocon tool loses its last parenthesis when it sets
// something else.
func (pl *planner) jicofoInclude(path, own, clean string) error {
	if len(pl.nodes) == 0 {
		if err := pl.plan.Remove(own, true); err != nil {
			return err
		}
		return pl.plan.Edit(path, []byte(clean))
	}
	if strings.HasPrefix(strings.TrimSpace(hoconComment.ReplaceAllString(clean, "")), "{") {
		pl.note("%s is one object in braces: put the line include %q before its last brace.", path, ownJicofo)
	} else {
		block := files.Block("//", "visitors", "", []string{fmt.Sprintf("include %q", ownJicofo)})
		if clean != "" && !strings.HasSuffix(clean, "\n") {
			clean, block = clean+"\n", files.Broken(block)
		}
		clean += block
	}
	text, err := render("jicofo.conf", map[string]any{"Settings": pl.jicofoSettings(pl.password)})
	if err != nil {
		return err
	}
	// It holds the password: it is as readable as jicofo.conf itself, but
	// not for everybody.
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if err := pl.plan.OwnLike(own, "//", text, info.Mode().Perm()&^0o007, path); err != nil {
		return err
	}
	return pl.plan.Edit(path, []byte(clean))
}

var hoconComment = regexp.MustCompile(`(?m)^\s*(//|#).*$`)

// jicofoByHocon lets the tool change a copy and plans the result.
func (pl *planner) jicofoByHocon(ctx context.Context, program, path, text string) error {
	h, err := newHocon(ctx, program, path, text)
	if err != nil {
		return err
	}
	defer h.close()
	for _, n := range pl.gone {
		if err := h.look("xmpp.visitors." + string(id(n))); err != nil {
			return err
		}
		if err := h.unset("xmpp.visitors." + string(id(n))); err != nil {
			return err
		}
	}
	var wanted []setting
	if len(pl.nodes) > 0 {
		wanted = pl.jicofoSettings(pl.password)
	} else if len(pl.gone) > 0 && !h.otherVisitors(pl.gone) {
		wanted = []setting{{"visitors.enabled", false}}
		pl.note("jicofo.bridge in %s keeps its strategies for visitors, which do no harm without any. A copy of the file as it was is in %s.", path, pl.o.path("etc/vnode/backup"))
	}
	for _, nd := range pl.nodes {
		if err := h.look("xmpp.visitors." + nd.ID); err != nil {
			return err
		}
	}
	changed, err := h.apply(wanted, pl.password)
	if err != nil {
		return err
	}
	return pl.plan.Edit(path, changed)
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}
