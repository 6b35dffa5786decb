package check

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"vnode/cmd/internal/setup/nginxconf"
	"vnode/cmd/internal/setup/prosodyconf"
)

// places are the files of the other programs, where this machine has them.
type places struct {
	config  string // the node's, as it is to be named
	prosody []*prosodyconf.File
	jicofo  string            // "" when it is not here
	site    string            // nginx', likewise
	nginx   string            // nginx.conf, likewise
	web     *nginxconf.Config // what nginx reads; nil when that is not known
	root    string
}

func findPlaces(o Options) *places {
	p := &places{config: o.ConfigFile, root: o.Root}
	if p.config == "" {
		p.config = "the node's environment"
	}
	p.prosody, _ = prosodyconf.Load(filepath.Join(o.Root, "etc/prosody/prosody.cfg.lua"), prosodyconf.Source{ // it has no errors
		Read: func(path string) (text, known string, skip bool, err error) {
			real, err := filepath.EvalSymlinks(path)
			if err != nil {
				return "", "", true, nil
			}
			// Who may not read them is told their names only.
			b, err := prosodyconf.ReadFile(real)
			return b, real, err != nil, nil
		},
		Getenv:    os.Getenv,
		Glob:      p.glob,
		Otherwise: filepath.Join(o.Root, "etc/prosody/conf.d/*.cfg.lua"),
	})
	p.jicofo = p.existing("etc/jitsi/jicofo/jicofo.conf")
	p.nginx = p.existing("etc/nginx/nginx.conf")
	if p.nginx != "" {
		// Below the root may be a link to etc: what nginx includes is named by its
		// own path. Who may not read it is told its name only.
		path, err := filepath.EvalSymlinks(p.nginx)
		if err == nil {
			p.web, err = nginxconf.Load(path, nginxconf.Source{Root: strings.TrimSuffix(path, "etc/nginx/nginx.conf")})
		}
		if err != nil {
			p.web = nil
		}
	}
	if p.web != nil {
		if found := p.web.Locations("xmpp-websocket"); len(found) > 0 {
			p.site = found[0].Path
		}
	}
	return p
}

// glob returns the paths that match a pattern of a configuration, which may name
// them as they are without the root.
func (p *places) glob(pattern string) []string {
	if root := filepath.Join("/", p.root); root != "/" && !strings.HasPrefix(pattern, root+"/") {
		pattern = filepath.Join(root, pattern)
	}
	paths, _ := filepath.Glob(pattern) // one that is wrong matches nothing
	return paths
}

func (p *places) existing(path string) string {
	path = filepath.Join(p.root, path)
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// webSite names the file of the public URL's server.
func (p *places) webSite() string {
	if p.site != "" {
		return p.site
	}
	return "nginx' site for the public URL"
}

// prosodyOption names the place of an option of main, host "" for the general
// section, and returns it where it is.
func (p *places) prosodyOption(host, name string) (where string, f *prosodyconf.File, o prosodyconf.Option) {
	if f, o, ok := prosodyconf.Last(p.prosody, host, name); ok {
		return fmt.Sprintf("%s, %s in line %d", f.Path, name, o.Line), f, o
	}
	where = "prosody.cfg.lua on main's machine, " + name
	if len(p.prosody) > 0 {
		where = p.prosody[0].Path + ", " + name + ", which is missing"
	}
	if host != "" {
		where += " of " + host
	}
	return where, nil, prosodyconf.Option{}
}

// mainHost names the file with main's VirtualHost.
func (p *places) mainHost(domain string) string {
	for _, f := range p.prosody {
		if _, ok := f.Host(domain); ok {
			return f.Path
		}
	}
	return fmt.Sprintf("the file with VirtualHost %q on main's machine", domain)
}

// hasModule reports whether main's list for a host has a module; known is false
// when the list is not on this machine.
func (p *places) hasModule(host, module string) (has, known bool) {
	_, f, o := p.prosodyOption(host, "modules_enabled")
	if f == nil || !o.IsTable() {
		return false, false
	}
	return f.Strings(o)[module], true
}

// nginxMap returns where the map of ?vnode= is, "" when there is none.
func (p *places) nginxMap() string {
	if p.web != nil {
		if m, ok := p.web.MapOf("arg_vnode"); ok {
			return fmt.Sprintf("%s, line %d", m.Path, m.Line)
		}
	}
	return ""
}

// nginxUpstream returns where an upstream is, "" when there is none.
func (p *places) nginxUpstream(name string) string {
	if p.web != nil {
		for _, u := range p.web.Upstreams() {
			if u.Name == name {
				return fmt.Sprintf("%s, line %d", u.Path, u.Line)
			}
		}
	}
	return ""
}
