package setup

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"vnode/cmd/internal/setup/files"
)

// ownNginx is the file in conf.d that is setup's alone.
const ownNginx = "vnode.conf"

var (
	vnodeMap      = regexp.MustCompile(`(?m)^[ \t]*map\s+\$arg_vnode\s+\$(\w+)\s*\{`)
	mapEntry      = regexp.MustCompile(`(?m)^[ \t]*(\S+)\s+(\S+);`)
	upstreamBlock = regexp.MustCompile(`(?m)^[ \t]*upstream\s+(\S+)\s*\{[^}]*?\bserver\s+([^;\s]+)`)
	nginxComment  = regexp.MustCompile(`(?m)#[^\n]*`)
)

// blank replaces comments by spaces, so that offsets stay and what is commented
// out is not seen.
func blank(text string) string {
	return nginxComment.ReplaceAllStringFunc(text, func(s string) string { return strings.Repeat(" ", len(s)) })
}

// nginxPiece is what the template gets.
type nginxPiece struct {
	Nodes   []node
	Prosody string
	Map     bool
}

// planNginx plans the upstreams in an own file, and the nodes in the map of the
// site where that lacks them: the official one names v1 to v8.
func (pl *planner) planNginx() error {
	w := pl.world
	if !w.nginx {
		return nil
	}
	own := pl.o.path("etc/nginx/conf.d", ownNginx)
	if len(pl.nodes) == 0 {
		if err := pl.plan.Remove(own, false); err != nil {
			return err
		}
	}
	if w.site == "" {
		if len(pl.nodes) > 0 {
			pl.note("nginx has no site with a location for xmpp-websocket: put %s into its http block and %s into the server block that browsers reach.",
				pl.piece("nginx-http.conf"), pl.piece("nginx-locations.conf"))
		}
		return nil
	}
	text, err := os.ReadFile(w.site)
	if err != nil {
		return err
	}
	clean, err := files.CutBlocks(w.site, "#", string(text))
	if err != nil {
		return err
	}
	if len(pl.nodes) == 0 {
		return pl.plan.Edit(w.site, []byte(clean))
	}
	piece, err := pl.nginxPiece(clean)
	if err != nil {
		return err
	}
	clean = pl.extendMap(clean, &piece)
	if err := pl.plan.Edit(w.site, []byte(clean)); err != nil {
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
func (pl *planner) nginxPiece(site string) (nginxPiece, error) {
	known, err := pl.upstreams(site)
	if err != nil {
		return nginxPiece{}, err
	}
	var piece nginxPiece
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
	return piece, nil
}

// upstreams are those of the site and of all other files of nginx but ours.
func (pl *planner) upstreams(site string) (map[string]string, error) {
	known := map[string]string{}
	texts := []string{site}
	for _, pattern := range []string{"etc/nginx/conf.d/*.conf", "etc/nginx/sites-enabled/*"} {
		paths, err := filepath.Glob(pl.o.path(pattern))
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			if filepath.Base(path) == ownNginx {
				continue
			}
			// What nginx cannot read it complains of itself.
			if text, err := os.ReadFile(path); err == nil {
				texts = append(texts, string(text))
			}
		}
	}
	for _, text := range texts {
		for _, m := range upstreamBlock.FindAllStringSubmatch(blank(text), -1) {
			known[m[1]] = m[2]
		}
	}
	return known, nil
}

// extendMap puts nodes that the site's map lacks into it. A site without a map
// gets one in the own file, and a note: its locations are not ours to change.
func (pl *planner) extendMap(site string, piece *nginxPiece) string {
	seen := blank(site)
	at := vnodeMap.FindStringSubmatchIndex(seen)
	variable := "prosody_node"
	if at == nil {
		piece.Map = true
		// The map names all nodes, whoever defines their upstreams.
	} else {
		variable = seen[at[2]:at[3]]
	}
	if !strings.Contains(seen, "http://$"+variable+"/") {
		pl.note("The locations of http-bind and xmpp-websocket in %s do not ask $%s: replace them by those in %s.",
			pl.world.site, variable, pl.piece("nginx-locations.conf"))
	}
	if at == nil {
		return site
	}
	body, _, _ := strings.Cut(seen[at[1]:], "}")
	var has []string
	for _, m := range mapEntry.FindAllStringSubmatch(body, -1) {
		has = append(has, m[1])
	}
	var lines []string
	for _, nd := range pl.nodes {
		if !slices.Contains(has, nd.ID) {
			lines = append(lines, fmt.Sprintf("%s %s;", nd.ID, nd.ID))
		}
	}
	if len(lines) == 0 {
		return site
	}
	return files.InsertAll(site, []files.Insertion{{After: at[1], Block: files.Block("#", "nodes", "    ", lines)}})
}
