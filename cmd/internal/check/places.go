package check

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"vnode/cmd/internal/setup/prosodyconf"
)

// places are the files of the other programs, where this machine has them.
type places struct {
	config  string // the node's, as it is to be named
	prosody []*prosodyconf.File
	jicofo  string // "" when it is not here
	site    string // nginx', likewise
	nginx   string // nginx.conf, likewise
	root    string
}

func findPlaces(o Options) *places {
	p := &places{config: o.ConfigFile, root: o.Root}
	if p.config == "" {
		p.config = "the node's configuration"
	}
	p.prosody, _ = prosodyconf.Load(filepath.Join(o.Root, "etc/prosody/prosody.cfg.lua"), prosodyconf.Source{ // it has no errors
		Read: func(path string) (text, known string, skip bool, err error) {
			real, err := filepath.EvalSymlinks(path)
			if err != nil {
				return "", "", true, nil
			}
			// Who may not read them is told their names only.
			b, err := os.ReadFile(real)
			return string(b), real, err != nil, nil
		},
		Glob:      p.glob,
		Otherwise: filepath.Join(o.Root, "etc/prosody/conf.d/*.cfg.lua"),
	})
	p.jicofo = p.existing("etc/jitsi/jicofo/jicofo.conf")
	p.nginx = p.existing("etc/nginx/nginx.conf")
	p.site = p.findSite()
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

var webSocketLocation = regexp.MustCompile(`(?m)^[ \t]*location\s+[^{]*xmpp-websocket`)

func (p *places) findSite() string {
	for _, pattern := range []string{"etc/nginx/sites-enabled/*", "etc/nginx/conf.d/*.conf"} {
		paths, _ := filepath.Glob(filepath.Join(p.root, pattern)) // the pattern is good
		for _, path := range paths {
			real, err := filepath.EvalSymlinks(path)
			if err != nil {
				continue
			}
			if text, err := os.ReadFile(real); err == nil && webSocketLocation.Match(text) {
				return real
			}
		}
	}
	return ""
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

// nginxBlock returns where the first match in nginx' files is, "" when it is in none.
func (p *places) nginxBlock(pattern *regexp.Regexp) string {
	for _, glob := range []string{"etc/nginx/conf.d/*.conf", "etc/nginx/sites-enabled/*"} {
		paths, _ := filepath.Glob(filepath.Join(p.root, glob)) // the pattern is good
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				continue
			}
			if at := pattern.FindIndex(text); at != nil {
				real, err := filepath.EvalSymlinks(path)
				if err == nil {
					path = real
				}
				return fmt.Sprintf("%s, line %d", path, strings.Count(string(text[:at[0]]), "\n")+1)
			}
		}
	}
	return ""
}
