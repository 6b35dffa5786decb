package setup

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"vnode/cmd/internal/setup/files"
	"vnode/cmd/internal/setup/nginxconf"
)

// ownNginx is the file in conf.d that is setup's alone.
const ownNginx = "vnode.conf"

// nginxPiece is what the template gets.
type nginxPiece struct {
	Nodes   []node // that need an upstream
	All     []node // in the map
	Prosody string
	Map     bool
}

// readNginx returns a file without what setup itself wrote.
func readNginx(path string) (string, error) {
	if filepath.Base(path) == ownNginx {
		return "", fs.ErrNotExist
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	return files.CutBlocks(path, "#", string(b))
}

// findNginx reads what nginx reads, and finds the site that serves the public
// WebSocket URL; else one that is there and not enabled.
func (w *world) findNginx(o *Options) error {
	main := o.path("etc/nginx/nginx.conf")
	w.nginx = exists(main)
	if !w.nginx {
		return nil
	}
	from := nginxconf.Source{Root: o.path(), Read: readNginx}
	var err error
	if w.web, err = nginxconf.Load(main, from); err != nil {
		return fmt.Errorf("nginx's configuration: %w", err)
	}
	if found := w.web.Locations(webSocketPath); len(found) > 0 {
		w.site = found[0].Path
		return nil
	}
	available, _ := filepath.Glob(o.path("etc/nginx/sites-available/*.conf")) // the pattern is good
	for _, path := range available {
		c, err := nginxconf.Load(path, from)
		if err != nil {
			continue // nginx does not read it either
		}
		if found := c.Locations(webSocketPath); len(found) > 0 {
			w.site, w.web = found[0].Path, c
			return nil
		}
	}
	return nil
}

const webSocketPath = "xmpp-websocket"

// planNginx plans the upstreams in an own file, and the nodes in the map that
// lacks them: the official one names v1 to v8.
func (pl *planner) planNginx() error {
	w := pl.world
	if !w.nginx {
		return nil
	}
	own := pl.o.path("etc/nginx/conf.d", ownNginx)
	for _, path := range w.web.Files() {
		if filepath.Base(path) == ownNginx {
			continue
		}
		clean, err := w.web.Text(path)
		if err != nil {
			return err
		}
		if err := pl.plan.Edit(path, []byte(clean)); err != nil {
			return err
		}
	}
	if len(pl.nodes) == 0 {
		return pl.plan.Remove(own, false)
	}
	for _, why := range w.web.Errors {
		pl.note("A part of nginx's configuration could not be read: %s. Look whether the changes fit.", why)
	}
	if w.site == "" {
		pl.note("nginx has no site with a location for xmpp-websocket: put %s into its http block and %s into the server block that browsers reach.",
			pl.piece("nginx-http.conf"), pl.piece("nginx-locations.conf"))
		return nil
	}
	piece := pl.nginxPiece()
	if err := pl.extendMap(&piece); err != nil {
		return err
	}
	if len(piece.Nodes) == 0 && !piece.Map {
		return pl.plan.Remove(own, false)
	}
	conf, err := render("nginx-http.conf", piece)
	if err != nil {
		return err
	}
	return pl.plan.Own(own, "#", conf, 0o644)
}

// nginxPiece leaves out the upstreams that others define: two of a name are an
// error.
func (pl *planner) nginxPiece() (piece nginxPiece) {
	piece.All = pl.nodes
	known := map[string]string{}
	for _, u := range pl.world.web.Upstreams() {
		known[u.Name] = u.Server
	}
	for _, nd := range pl.nodes {
		at, ok := known[nd.ID]
		switch {
		case !ok:
			piece.Nodes = append(piece.Nodes, nd)
		case at != nd.HTTP:
			pl.note("nginx's upstream %s is %s. Change it to: server %s;", nd.ID, at, nd.HTTP)
		}
	}
	if _, ok := known["prosody"]; !ok {
		piece.Prosody = "127.0.0.1:5280"
	}
	return piece
}

// extendMap puts nodes that the map lacks into it. A configuration without a map
// gets one in the own file, and a note: its locations are not ours to change.
func (pl *planner) extendMap(piece *nginxPiece) error {
	web := pl.world.web
	m, ok := web.MapOf("arg_vnode")
	if !ok {
		m.Variable = "prosody_node"
		piece.Map = true
	}
	asked := regexp.MustCompile(`\$(` + m.Variable + `\b|\{` + m.Variable + `\})`)
	if !slices.ContainsFunc(web.Locations(webSocketPath), func(l nginxconf.Location) bool { return asked.MatchString(l.ProxyPass) }) {
		pl.note("The locations of http-bind and xmpp-websocket in %s do not ask $%s: replace them by those in %s.",
			pl.world.site, m.Variable, pl.piece("nginx-locations.conf"))
	}
	if !ok {
		return nil
	}
	var lines []string
	for _, nd := range pl.nodes {
		if _, has := m.Entries[nd.ID]; !has {
			lines = append(lines, fmt.Sprintf("%s %s;", nd.ID, nd.ID))
		}
	}
	if len(lines) == 0 {
		return nil
	}
	text, err := web.Text(m.Path)
	if err != nil {
		return err
	}
	at, err := nginxconf.Inside(text, "map", "$arg_vnode", "$"+m.Variable)
	if err != nil {
		pl.note("%s, line %d: add to the map of $arg_vnode: %s", m.Path, m.Line, strings.Join(lines, " "))
		return nil
	}
	text = files.InsertAll(text, []files.Insertion{{After: at, Block: files.Block("#", "nodes", "    ", lines)}})
	return pl.plan.Edit(m.Path, []byte(text))
}

// nginxTime is how long nginx -t may take: it looks names up in the DNS.
const nginxTime = 30 * time.Second

// ofNginx reports whether a file is one that nginx reads.
func (pl *planner) ofNginx(path string) bool {
	return strings.HasPrefix(path, pl.o.path("etc/nginx")+"/") || pl.world.web != nil && slices.Contains(pl.world.web.Files(), path)
}

// testNginx lets nginx look at what was written. If it refuses that, the files are
// put back as they were; the error says what nginx says. Without an nginx there is
// nothing to ask.
func (p *Plan) testNginx(ctx context.Context, o *Options) error {
	if !p.Changes(p.ofNginx) {
		return nil
	}
	said, err := nginxTest(ctx, o)
	if err == nil {
		return nil
	}
	if err := p.Revert(p.ofNginx); err != nil {
		return fmt.Errorf("nginx refuses its configuration: %s\nand the old one could not be put back: %w", said, err)
	}
	p.Next = slices.DeleteFunc(p.Next, func(s Step) bool { return s.of == stepNginx })
	hint := "Everything else is in place. Put the pieces in by hand: " + o.path("etc/vnode/pieces", "nginx-http.conf") + " and " + o.path("etc/vnode/pieces", "nginx-locations.conf")
	if before, err := nginxTest(ctx, o); err != nil {
		hint = "It refused the old configuration too: " + before + "\nCorrect that, then run setup again"
	}
	return fmt.Errorf("nginx refuses what was written, so its files are as they were before: %s\n%s", said, hint)
}

// nginxTest is nginx -t. err is nil also when there is no nginx to run.
func nginxTest(ctx context.Context, o *Options) (said string, err error) {
	program, err := exec.LookPath("nginx")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/nginx"); err != nil {
			return "", nil
		}
	}
	args := []string{"-t"}
	if o.Prefix != "" {
		args = []string{"-t", "-e", "stderr", "-p", o.Prefix, "-c", o.path("etc/nginx/nginx.conf")}
	}
	ctx, cancel := context.WithTimeout(ctx, nginxTime)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}
