package setup

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"vnode/cmd/internal/setup/files"
	"vnode/cmd/internal/setup/nginxconf"
	"vnode/cmd/internal/setup/prosodyconf"
)

// world is what setup finds on the machine.
type world struct {
	prosody    []*prosodyconf.File // in the order in which Prosody reads them; without our blocks
	unread     []string            // why files of these could not be run
	mainFile   *prosodyconf.File   // the one with main's VirtualHost; nil when not found
	mainDomain string
	roomPrefix string
	focusJID   string

	turnServices               []string
	turnSecret                 string
	turnUsername, turnPassword string // for everybody

	jicofo string // path of jicofo.conf, "" when not found
	rest   rest
	site   string            // path of the nginx site with /xmpp-websocket, likewise
	nginx  bool              // there is an nginx
	web    *nginxconf.Config // what it reads; nil when there is none
}

func (o *Options) look() (*world, error) {
	w := &world{mainDomain: o.MainDomain, roomPrefix: o.RoomPrefix}
	if err := w.findProsody(o); err != nil {
		return nil, err
	}
	if path := o.path("etc/jitsi/jicofo/jicofo.conf"); exists(path) {
		w.jicofo = path
	}
	w.findREST()
	return w, w.findNginx(o)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// findProsody reads main's configuration and takes from it what was not given.
func (w *world) findProsody(o *Options) error {
	var err error
	w.prosody, err = prosodyconf.Load(o.path("etc/prosody/prosody.cfg.lua"), prosodyconf.Source{
		Read: readProsody, Otherwise: o.path("etc/prosody/conf.d/*.cfg.lua"), Getenv: os.Getenv,
		Glob: func(pattern string) []string { return o.glob(pattern) },
	})
	if err != nil {
		return err
	}
	for _, f := range w.prosody {
		if f.Err != nil {
			w.unread = append(w.unread, f.Err.Error())
		}
	}
	if _, base, ok := w.somewhere("", "muc_mapper_domain_base"); ok && w.mainDomain == "" {
		w.mainDomain = base.Value
	}
	if _, prefix, ok := w.somewhere("", "muc_mapper_domain_prefix"); ok && w.roomPrefix == "" {
		w.roomPrefix = prefix.Value
	}
	w.defaults()
	for _, f := range w.prosody {
		if h, ok := f.Host(w.mainDomain); ok && !h.Component {
			w.mainFile = f
		}
	}
	if w.mainFile != nil {
		w.readMain()
	}
	w.readTURN()
	return nil
}

// readProsody reads one file without what setup itself wrote.
func readProsody(path string) (text, known string, skip bool, err error) {
	if filepath.Base(path) == ownProsody {
		return "", "", true, nil
	}
	// conf.d is full of links to conf.avail. A file is edited where it is.
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", "", true, nil
	}
	if err != nil {
		return "", "", false, err
	}
	b, err := prosodyconf.ReadFile(real)
	if errors.Is(err, fs.ErrPermission) {
		return "", "", false, fmt.Errorf("main's configuration: %w; run it as root", err)
	}
	if err != nil {
		return "", "", false, fmt.Errorf("main's configuration: %w", err)
	}
	clean, err := files.CutBlocks(real, "--", b)
	return clean, real, false, err
}

// glob returns the paths that match a pattern of a configuration, which may name
// them as they are without the prefix.
func (o *Options) glob(pattern string) []string {
	if root := o.path(); root != "/" && !strings.HasPrefix(pattern, root+"/") {
		pattern = filepath.Join(root, pattern)
	}
	paths, _ := filepath.Glob(pattern) // one that is wrong matches nothing
	return paths
}

func (w *world) defaults() {
	if w.mainDomain == "" {
		w.mainDomain = "meet.jitsi"
	}
	if w.roomPrefix == "" {
		w.roomPrefix = "conference"
	}
	w.focusJID = "focus@auth." + w.mainDomain
}

// readMain finds the focus: Jitsi's set-up makes it the admin of main's host.
func (w *world) readMain() {
	f, admins, ok := w.somewhere(w.mainDomain, "admins")
	if !ok || !admins.IsTable() {
		return
	}
	var found []string
	for s := range f.Strings(admins) {
		if strings.HasPrefix(s, "focus") {
			found = append(found, s)
		}
	}
	slices.Sort(found)
	if len(found) > 0 {
		w.focusJID = found[0]
	}
}

// readTURN takes over what main tells its participants (XEP-0215), by its own module
// or by the one that Jitsi's documents had before 2021.
func (w *world) readTURN() {
	for _, module := range []struct{ services, secret string }{
		{"external_services", "external_service_secret"}, {"turncredentials", "turncredentials_secret"},
	} {
		if _, secret, ok := w.ofMain(module.secret); ok && !strings.HasPrefix(secret.Value, "__") {
			w.turnSecret = secret.Value
		}
		f, services, ok := w.ofMain(module.services)
		if !ok || !services.IsTable() {
			continue
		}
		for _, s := range f.Records(services) {
			w.addTURN(s)
		}
		if len(w.turnServices) > 0 {
			return
		}
	}
}

func (w *world) addTURN(s map[string]string) {
	if s["type"] == "" || s["host"] == "" {
		return
	}
	host := s["host"]
	if a, err := netip.ParseAddr(host); err == nil && a.Is6() {
		host = "[" + host + "]"
	}
	uri := s["type"] + ":" + host
	if s["port"] != "" {
		uri += ":" + s["port"]
	}
	// RFC 7064 has no transport for stun.
	if s["transport"] != "" && strings.HasPrefix(s["type"], "turn") {
		uri += "?transport=" + s["transport"]
	}
	w.turnServices = append(w.turnServices, uri)
	if secret := s["secret"]; secret != "" && secret != "true" && secret != "false" && w.turnSecret == "" {
		w.turnSecret = secret
	}
	if s["username"] != "" && s["password"] != "" && w.turnUsername == "" {
		w.turnUsername, w.turnPassword = s["username"], s["password"]
	}
}

// ofMain is somewhere for an option of main's host, or else of the general section.
func (w *world) ofMain(name string) (*prosodyconf.File, prosodyconf.Option, bool) {
	if f, o, ok := w.somewhere(w.mainDomain, name); ok {
		return f, o, true
	}
	return w.somewhere("", name)
}

// somewhere returns the assignment of an option of a host that counts, the last
// one, and the file it is in.
func (w *world) somewhere(host, name string) (*prosodyconf.File, prosodyconf.Option, bool) {
	return prosodyconf.Last(w.prosody, host, name)
}
