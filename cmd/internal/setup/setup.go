package setup

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"vnode/cmd/internal/config"
	"vnode/cmd/internal/setup/files"
	"vnode/cmd/internal/setup/prosodyconf"
)

// Plan is what to change, and what is to be told.
type Plan struct {
	*files.Plan
	// Notes are what an operator has to do or should know, in words.
	Notes []string
	// Next are the last steps, those that this plan makes necessary.
	Next []Step

	ofNginx func(path string) bool
}

// Step is a command to run when the files are in place.
type Step struct {
	Args []string
	Why  string
	of   stepKind
}

// stepKind is what a step is about.
type stepKind int

const (
	stepSystemd stepKind = iota
	stepProsody
	stepJicofo
	stepNginx
	stepCheck
)

func (s Step) String() string { return strings.Join(s.Args, " ") }

func (pl *planner) note(format string, args ...any) {
	pl.notes = append(pl.notes, fmt.Sprintf(format, args...))
}

// planner makes a Plan.
type planner struct {
	o        *Options
	world    *world
	ports    Ports
	plan     *files.Plan
	nodes    []node
	gone     []int // taken away
	recalled bool  // an earlier run was told the answers
	notes    []string

	password string
}

// Make looks at the machine and plans what o asks for. It writes nothing. ctx
// bounds the programs it runs (hocon, on a copy).
func Make(ctx context.Context, o *Options) (*Plan, error) {
	pl := &planner{o: o, plan: files.NewPlan(o.path(), o.path("etc/vnode/backup"), o.Force)}
	if err := pl.recall(); err != nil {
		return nil, err
	}
	var err error
	if pl.ports, err = o.ports(); err != nil {
		return nil, err
	}
	if pl.world, err = o.look(); err != nil {
		return nil, err
	}
	// What was not given was read from main's configuration.
	found := Answers{MainDomain: pl.world.mainDomain, RoomPrefix: pl.world.roomPrefix}
	if err := found.validateNames(); err != nil {
		return nil, err
	}
	for _, part := range []func() error{
		pl.planSecrets, pl.planNodes, pl.planUnit, pl.planProsody,
		func() error { return pl.planJicofo(ctx) },
		pl.planNginx, pl.planPieces, pl.remember,
	} {
		if err := part(); err != nil {
			return nil, err
		}
	}
	return &Plan{Plan: pl.plan, Notes: pl.notes, Next: pl.next(), ofNginx: pl.ofNginx}, nil
}

func (pl *planner) answersFile() string { return pl.o.path("etc/vnode/setup.toml") }

func (pl *planner) recall() error {
	text, err := os.ReadFile(pl.answersFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		pl.recalled = true
		err = pl.o.recall(text)
	}
	if err != nil {
		return fmt.Errorf("what an earlier run was told: %w; correct %s or remove it", err, pl.answersFile())
	}
	return pl.o.Validate()
}

func (pl *planner) remember() error {
	if len(pl.nodes) == 0 {
		return pl.plan.Remove(pl.answersFile(), false)
	}
	answers := pl.o.Answers
	answers.MainDomain, answers.RoomPrefix = pl.world.mainDomain, pl.world.roomPrefix
	text, err := toml.Marshal(answers)
	if err != nil {
		return err
	}
	return pl.plan.Own(pl.answersFile(), "#", "# What setup was told: the next run need not be told again.\n"+string(text), 0o644)
}

func (pl *planner) passwordFile() string   { return pl.o.path("etc/vnode/focus-password") }
func (pl *planner) turnSecretFile() string { return pl.o.path("etc/vnode/turn-secret") }

// turnPasswordFile holds the password of TURN servers that have one for everybody.
func (pl *planner) turnPasswordFile() string { return pl.o.path("etc/vnode/turn-password") }

// turn says which credentials nodes have for TURN servers: made of the secret, or one
// for everybody.
func (pl *planner) turn() (secret, password bool) {
	w := pl.world
	secret = w.turnSecret != "" && len(w.turnServices) > 0
	return secret, !secret && w.turnPassword != "" && len(w.turnServices) > 0
}

// planSecrets plans the files of secrets, readable by their owner alone.
func (pl *planner) planSecrets() error {
	o := pl.o
	if o.RemoveAll {
		for _, path := range []string{pl.turnSecretFile(), pl.turnPasswordFile()} {
			if err := pl.plan.Remove(path, true); err != nil {
				return err
			}
		}
		return pl.plan.Remove(pl.passwordFile(), true)
	}
	from := pl.passwordFile()
	if o.FocusPasswordFile != "" {
		from = o.FocusPasswordFile
	}
	text, err := os.ReadFile(from)
	switch {
	case errors.Is(err, fs.ErrNotExist) && o.FocusPasswordFile == "":
		pl.password = rand.Text()
	case err != nil:
		return fmt.Errorf("focus password: %w", err)
	default:
		pl.password = strings.TrimRight(string(text), "\r\n")
	}
	if pl.password == "" || strings.ContainsAny(pl.password, "\r\n") {
		return fmt.Errorf("focus password: %s must hold one line with the password; remove it to have one made", from)
	}
	pl.plan.Hide(pl.password)
	if _, password := pl.turn(); password {
		pl.plan.Hide(pl.world.turnPassword)
		if err := pl.plan.Secret(pl.turnPasswordFile(), pl.world.turnPassword); err != nil {
			return err
		}
	}
	if pl.world.turnSecret != "" {
		pl.plan.Hide(pl.world.turnSecret)
		if err := pl.plan.Secret(pl.turnSecretFile(), pl.world.turnSecret); err != nil {
			return err
		}
	}
	return pl.plan.Secret(pl.passwordFile(), pl.password)
}

// credential is a file that systemd hands to the nodes, and the variable by which
// they find their copy.
type credential struct{ Name, Variable, Path string }

func (pl *planner) credentials() []credential {
	variable := config.EnvName
	all := []credential{{"focus-password", variable("focus-password-file"), pl.passwordFile()}}
	if pl.o.CertificateFile != "" {
		all = append(all, credential{"certificate", variable("certificate-file"), pl.o.CertificateFile},
			credential{"key", variable("key-file"), pl.o.KeyFile})
	}
	secret, password := pl.turn()
	if password {
		all = append(all, credential{"turn-password", variable("turn-password-file"), pl.turnPasswordFile()})
	}
	if secret {
		all = append(all, credential{"turn-secret", variable("turn-secret-file"), pl.turnSecretFile()})
	}
	return all
}

func (pl *planner) unitPath() string { return pl.o.path("etc/systemd/system/vnode@.service") }

func (pl *planner) dropInPath() string {
	return pl.o.path("etc/systemd/system/vnode@.service.d/setup.conf")
}

// packagedUnits are where packages have the unit, by both names of /usr/lib.
func (pl *planner) packagedUnits() []string {
	return []string{pl.o.path("usr/lib/systemd/system/vnode@.service"), pl.o.path("lib/systemd/system/vnode@.service")}
}

// packagedUnit is the unit of an installed package, "" without one.
func (pl *planner) packagedUnit() string {
	for _, path := range pl.packagedUnits() {
		if exists(path) {
			return path
		}
	}
	return ""
}

// planUnit plans a drop-in with what is this machine's own. The unit is the
// package's: one of set-up's would hide it for ever, so it is written only where
// there is no package, and goes when there is.
func (pl *planner) planUnit() error {
	if len(pl.nodes) == 0 {
		return errors.Join(pl.plan.Remove(pl.unitPath(), false), pl.plan.Remove(pl.dropInPath(), false))
	}
	packaged := pl.packagedUnit() != ""
	data := map[string]any{
		"Etc": pl.o.path("etc/vnode"), "Binary": pl.o.Binary, "Default": pl.o.path("etc/default/vnode"), "Credentials": pl.credentials(),
		"Other": packaged && (pl.o.Binary != packagedBinary || pl.o.Prefix != ""),
	}
	text, err := render("dropin", data)
	if err != nil {
		return err
	}
	if err := pl.plan.Own(pl.dropInPath(), "#", text, 0o644); err != nil {
		return err
	}
	if packaged {
		return pl.retireUnit()
	}
	if text, err = render("unit", data); err != nil {
		return err
	}
	return pl.plan.Own(pl.unitPath(), "#", text, 0o644)
}

// retireUnit plans that a unit of an earlier set-up goes, which hides the package's.
func (pl *planner) retireUnit() error {
	path := pl.unitPath()
	if pl.plan.Untouched(path) || pl.o.Force {
		return pl.plan.Remove(path, false)
	}
	if exists(path) {
		pl.note("%s hides the unit of the package, %s, and so will it hide newer ones. Move what you changed to a file in %s and remove it; -force removes it and keeps a copy.",
			path, pl.packagedUnit(), filepath.Dir(pl.dropInPath()))
	}
	return nil
}

// next are the steps that the plan makes necessary: a program whose files do not
// change goes on undisturbed, and so do its conferences.
func (pl *planner) next() (steps []Step) {
	add := func(of stepKind, why string, args ...string) {
		steps = append(steps, Step{Args: args, Why: why, of: of})
	}
	nodes := func(why string, numbers []int, command ...string) {
		if len(numbers) == 0 {
			return
		}
		for _, n := range numbers {
			command = append(command, "vnode@"+string(id(n)))
		}
		add(stepSystemd, why, append([]string{"systemctl"}, command...)...)
	}
	nodes("stop what was taken away", pl.gone, "stop")
	if pl.plan.Changes(pl.below("etc/systemd")) {
		add(stepSystemd, "tell systemd", "systemctl", "daemon-reload")
	}
	fresh, stale, told := pl.startable()
	nodes("start the nodes", fresh, "enable", "--now")
	nodes("their configuration has changed; their conferences end", stale, "try-restart")
	nodes("tell them of one another; nobody notices", told, "try-reload-or-restart")
	if pl.plan.Changes(pl.ofProsody) {
		add(stepProsody, "tell main; its conferences end", "systemctl", "restart", "prosody")
	}
	if pl.plan.Changes(pl.ofJicofo) {
		add(stepJicofo, "tell jicofo", "systemctl", "restart", "jicofo")
	}
	if pl.plan.Changes(pl.ofNginx) {
		add(stepNginx, "see whether nginx takes it", "nginx", "-t")
		add(stepNginx, "tell nginx", "systemctl", "reload", "nginx")
	}
	if len(steps) == 0 {
		return nil
	}
	for _, nd := range pl.nodes {
		add(stepCheck, "see whether all fits", pl.o.Binary, "check", "-config", nd.Path)
	}
	return steps
}

// startable are the nodes to start, which are new, those to start again, since what
// they read at their start changes, and those that take the change as they run.
func (pl *planner) startable() (fresh, stale, told []int) {
	common := pl.plan.Changes(func(path string) bool {
		return path == pl.unitPath() || path == pl.dropInPath() || path == pl.passwordFile() || path == pl.turnSecretFile() || path == pl.turnPasswordFile()
	})
	for _, nd := range pl.nodes {
		switch {
		case pl.plan.Makes(nd.Path):
			fresh = append(fresh, nd.Number)
		case common:
			stale = append(stale, nd.Number)
		case !pl.plan.Changes(func(path string) bool { return path == nd.Path }):
		case pl.otherNodesAlone(nd):
			told = append(told, nd.Number)
		default:
			stale = append(stale, nd.Number)
		}
	}
	return fresh, stale, told
}

// otherNodesAlone reports whether nothing changes for a node but which others it
// knows.
func (pl *planner) otherNodesAlone(nd node) bool {
	text, err := os.ReadFile(nd.Path)
	if err != nil {
		return false
	}
	old, err := parseConfig(text)
	if err != nil {
		return false
	}
	before, after := *old, *nd.cfg
	before.OtherNodes, after.OtherNodes = nil, nil
	a, err := toml.Marshal(before)
	b, err2 := toml.Marshal(after)
	return err == nil && err2 == nil && bytes.Equal(a, b)
}

// below reports whether a path is below a directory of the system.
func (pl *planner) below(dir string) func(path string) bool {
	dir = pl.o.path(dir) + "/"
	return func(path string) bool { return strings.HasPrefix(path, dir) }
}

func (pl *planner) ofProsody(path string) bool {
	return pl.below("etc/prosody")(path) || slices.ContainsFunc(pl.world.prosody, func(f *prosodyconf.File) bool { return f.Path == path })
}

func (pl *planner) ofJicofo(path string) bool {
	if pl.world.jicofo == "" {
		return false
	}
	real, err := filepath.EvalSymlinks(pl.world.jicofo)
	return err == nil && path == real || strings.HasPrefix(path, filepath.Dir(pl.world.jicofo)+"/")
}
