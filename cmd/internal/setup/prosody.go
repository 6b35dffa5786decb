package setup

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"vnode/cmd/internal/setup/files"
	"vnode/cmd/internal/setup/prosodyconf"
)

// ownProsody is the file that is setup's alone, in conf.avail and by a link in
// conf.d.
const ownProsody = "vnode.cfg.lua"

// globalModules are those of main's general part, as the official README lists
// them.
var globalModules = []string{"s2s_bidi", "certs_s2soutinjection", "s2sout_override", "s2s_whitelist"}

// target is where main reaches one domain of a node.
type target struct {
	Host, IP, Address string
	Port              int
}

func (pl *planner) targets() (all []target) {
	for _, nd := range pl.nodes {
		// The component of polls has a domain of its own.
		for _, host := range []string{nd.Rooms, nd.Host, "polls." + nd.Host} {
			all = append(all, target{Host: host, IP: nd.IP, Port: nd.S2S, Address: net.JoinHostPort(nd.IP, strconv.Itoa(nd.S2S))})
		}
	}
	return all
}

// prosodyPiece is what the templates get.
type prosodyPiece struct {
	Targets                          []target
	Overrides, Injections, Whitelist bool
	Component, AutoPromote, Modules  bool
	MainDomain, FocusJID, RoomPrefix string
}

func (pl *planner) completePiece() prosodyPiece {
	return prosodyPiece{Targets: pl.targets(), Overrides: true, Injections: true, Whitelist: true, Component: true, AutoPromote: pl.o.PromoteFreely,
		MainDomain: pl.world.mainDomain, FocusJID: pl.world.focusJID, RoomPrefix: pl.world.roomPrefix}
}

// planProsody plans main's side: an own file, and blocks in the lists of others
// that cannot be continued elsewhere.
func (pl *planner) planProsody() error {
	w := pl.world
	if len(w.prosody) == 0 {
		return nil
	}
	if w.mainFile == nil && len(pl.nodes) == 0 {
		return pl.ownProsody(prosodyPiece{})
	}
	if w.mainFile == nil {
		pl.note("Prosody is installed but has no VirtualHost %q. If main is on another machine, put %s there; else name it with -main-domain.",
			w.mainDomain, pl.piece("prosody.cfg.lua"))
		return nil
	}
	piece := pl.completePiece()
	edits := map[*prosodyconf.File][]files.Insertion{}
	if len(pl.nodes) > 0 {
		pl.addModules(edits)
		piece.Overrides = pl.addToTable(edits, "s2sout_override", func(t target) (string, []string) {
			return fmt.Sprintf("[%q] = %q;", t.Host, "tcp://"+t.Address), []string{"tcp://" + t.Address}
		})
		piece.Injections = pl.addToTable(edits, "s2s_connect_overrides", func(t target) (string, []string) {
			return fmt.Sprintf("[%q] = { %q, %d };", t.Host, t.IP, t.Port), []string{t.IP, strconv.Itoa(t.Port)}
		})
		piece.Whitelist = pl.addToTable(edits, "s2s_whitelist", func(t target) (string, []string) {
			return strconv.Quote(t.Host) + ";", nil
		})
		for _, f := range w.prosody {
			if _, ok := f.Host("visitors." + w.mainDomain); ok {
				piece.Component = false
			}
		}
		if piece.Component {
			pl.askPromotion()
			piece.AutoPromote = pl.o.PromoteFreely
		}
		pl.adviseProsody()
		for _, why := range w.unread {
			pl.note("A configuration of Prosody could not be run to see what it says, only read: %s. Look whether the changes fit.", why)
		}
	}
	for _, f := range w.prosody {
		if err := pl.plan.Edit(f.Path, []byte(files.InsertAll(f.Text, edits[f]))); err != nil {
			return err
		}
	}
	return pl.ownProsody(piece)
}

// askPromotion lets the operator decide, once, what the component of visitors does
// with a raised hand. Without an answer the safe way is taken, and told.
func (pl *planner) askPromotion() {
	o := pl.o
	switch {
	case o.given["promote-without-consent"] || pl.recalled:
	case o.Ask != nil:
		o.PromoteFreely = o.Ask("A visitor who raises a hand wants to speak. May visitors become participants without a moderator's consent?")
	default:
		pl.note("A visitor who raises a hand becomes a participant when a moderator agrees. Without moderators nobody can: run setup again with -promote-without-consent to let everybody speak.")
	}
}

func (pl *planner) ownProsody(piece prosodyPiece) error {
	file, link := pl.o.path("etc/prosody/conf.avail", ownProsody), pl.o.path("etc/prosody/conf.d", ownProsody)
	if len(pl.nodes) == 0 {
		pl.plan.Unlink(link, file)
		return pl.plan.Remove(file, false)
	}
	text, err := render("prosody.cfg.lua", piece)
	if err != nil {
		return err
	}
	if err := pl.plan.Own(file, "--", text, 0o644); err != nil {
		return err
	}
	return pl.plan.Symlink(link, file)
}

// addModules adds to the two lists of modules. A list cannot be continued in
// another file: Prosody takes the last assignment whole.
func (pl *planner) addModules(edits map[*prosodyconf.File][]files.Insertion) {
	for _, list := range []struct {
		host string
		want []string
	}{{"", globalModules}, {pl.world.mainDomain, []string{"visitors"}}} {
		f, o, ok := pl.world.somewhere(list.host, "modules_enabled")
		if !ok || !o.IsTable() {
			pl.note("No modules_enabled of %s was found: add the modules %s there.", section(list.host), strings.Join(list.want, ", "))
			continue
		}
		has := f.Strings(o)
		var lines, missing []string
		for _, m := range list.want {
			if !has[m] {
				lines, missing = append(lines, strconv.Quote(m)+";"), append(missing, m)
			}
		}
		if len(missing) > 0 && o.Open == 0 {
			pl.note("%s, modules_enabled of %s in line %d, is computed: add the modules %s there.", f.Path, section(list.host), o.Line, strings.Join(missing, ", "))
			continue
		}
		pl.addBlock(edits, f, o, "modules of "+section(list.host), lines)
	}
}

func section(host string) string {
	if host == "" {
		return "the general section"
	}
	return host
}

func (pl *planner) addBlock(edits map[*prosodyconf.File][]files.Insertion, f *prosodyconf.File, o prosodyconf.Option, name string, lines []string) {
	if len(lines) > 0 {
		edits[f] = append(edits[f], files.Insertion{After: o.Open, Block: files.Block("--", name, "\t", lines)})
	}
}

// addToTable adds the nodes to a table that somebody else's file sets already,
// such as one made by hand for visitor prosodies. entry makes a line and says
// what the value of one that is there must hold. It reports whether there is no
// such table, so that the own file has to set it.
func (pl *planner) addToTable(edits map[*prosodyconf.File][]files.Insertion, name string, entry func(target) (line string, holds []string)) bool {
	f, o, ok := pl.world.somewhere("", name)
	if !ok || !o.IsTable() {
		return true
	}
	has := f.Strings(o)
	var lines []string
	for _, t := range pl.targets() {
		line, holds := entry(t)
		switch {
		case !has[t.Host]:
			lines = append(lines, line)
		case !holdsAll(o.Entry(t.Host), holds):
			pl.note("%s, %s in line %d, has another address for %s. Change it to: %s", f.Path, name, o.Line, t.Host, line)
		}
	}
	if len(lines) > 0 && o.Open == 0 {
		pl.note("%s, %s in line %d, is computed: add there: %s", f.Path, name, o.Line, strings.Join(lines, " "))
		return false
	}
	pl.addBlock(edits, f, o, name, lines)
	return false
}

func holdsAll(value string, all []string) bool {
	for _, s := range all {
		if !strings.Contains(value, s) {
			return false
		}
	}
	return true
}

// s2sRate finds the rate in what is said of s2sin, in lower case.
func s2sRate(limits string) string {
	for part := range strings.FieldsSeq(strings.ToLower(limits)) {
		if rate, ok := strings.CutPrefix(part, "rate="); ok {
			return rate
		}
	}
	return ""
}

// adviseProsody tells what only an operator should change.
func (pl *planner) adviseProsody() {
	if f, o, ok := pl.world.somewhere("", "modules_disabled"); ok && o.IsTable() && f.Strings(o)["s2s"] {
		pl.note("%s, modules_disabled in line %d, turns s2s off: take \"s2s\" out of it, or main can neither reach nodes nor be reached.", f.Path, o.Line)
	}
	if f, o, ok := pl.world.somewhere("", "limits"); ok && o.IsTable() {
		if rate := s2sRate(o.Entry("s2sin")); strings.HasSuffix(rate, "kb/s") || strings.HasSuffix(rate, "b/s") && !strings.ContainsAny(rate, "mg") {
			pl.note("%s, limits in line %d, lets servers send %s only. Raise s2sin's rate to \"10mb/s\", or visitors' chat and hands come late.", f.Path, o.Line, rate)
		}
	}
}
