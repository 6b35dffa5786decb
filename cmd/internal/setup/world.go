package setup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"vnode/cmd/internal/setup/files"
	"vnode/cmd/internal/setup/prosodyconf"
)

// world is what setup finds on the machine.
type world struct {
	prosody    []*prosodyconf.File // prosody.cfg.lua first, then what conf.d includes; without our blocks
	mainFile   *prosodyconf.File   // the one with main's VirtualHost; nil when not found
	mainDomain string
	roomPrefix string
	focusJID   string

	turnServices []string
	turnSecret   string

	jicofo string // path of jicofo.conf, "" when not found
	site   string // path of the nginx site with /xmpp-websocket, likewise
	nginx  bool   // there is an nginx
}

func (o *Options) look() (*world, error) {
	w := &world{mainDomain: o.MainDomain, roomPrefix: o.RoomPrefix}
	if err := w.findProsody(o); err != nil {
		return nil, err
	}
	if path := o.path("etc/jitsi/jicofo/jicofo.conf"); exists(path) {
		w.jicofo = path
	}
	w.nginx = exists(o.path("etc/nginx/nginx.conf"))
	var err error
	w.site, err = findSite(o)
	return w, err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// findProsody reads main's configuration and takes from it what was not given.
func (w *world) findProsody(o *Options) error {
	paths := []string{o.path("etc/prosody/prosody.cfg.lua")}
	included, err := filepath.Glob(o.path("etc/prosody/conf.d/*.cfg.lua"))
	if err != nil {
		return err
	}
	for _, path := range append(paths, included...) {
		if filepath.Base(path) == ownProsody {
			continue
		}
		// conf.d is full of links to conf.avail. A file is edited where it is.
		real, err := filepath.EvalSymlinks(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		text, err := os.ReadFile(real)
		if err != nil {
			return fmt.Errorf("main's configuration: %w; run it as root", err)
		}
		clean, err := files.CutBlocks(real, "--", string(text))
		if err != nil {
			return err
		}
		w.prosody = append(w.prosody, prosodyconf.Parse(real, clean))
	}
	for _, f := range w.prosody {
		base, ok := f.Option("", "muc_mapper_domain_base")
		if ok && w.mainDomain == "" {
			w.mainDomain = base.Value
		}
		if prefix, ok := f.Option("", "muc_mapper_domain_prefix"); ok && w.roomPrefix == "" {
			w.roomPrefix = prefix.Value
		}
	}
	w.defaults()
	for _, f := range w.prosody {
		if h, ok := f.Host(w.mainDomain); ok && !h.Component {
			w.mainFile = f
			w.readMain(f)
		}
		w.readTURN(f)
	}
	return nil
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
func (w *world) readMain(f *prosodyconf.File) {
	admins, ok := f.Option(w.mainDomain, "admins")
	if !ok || admins.Open == 0 {
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

// readTURN takes over what main tells its participants (XEP-0215).
func (w *world) readTURN(f *prosodyconf.File) {
	if secret, ok := f.Option("", "external_service_secret"); ok && !strings.HasPrefix(secret.Value, "__") {
		w.turnSecret = secret.Value
	}
	services, ok := f.Option("", "external_services")
	if !ok || services.Open == 0 {
		return
	}
	for _, s := range f.Records(services) {
		uri := s["type"] + ":" + s["host"]
		if s["port"] != "" {
			uri += ":" + s["port"]
		}
		// RFC 7064 has no transport for stun.
		if s["transport"] != "" && strings.HasPrefix(s["type"], "turn") {
			uri += "?transport=" + s["transport"]
		}
		if s["type"] != "" && s["host"] != "" {
			w.turnServices = append(w.turnServices, uri)
		}
	}
}

var webSocketLocation = regexp.MustCompile(`(?m)^[ \t]*location\s+[^{]*xmpp-websocket`)

// findSite returns the nginx site that serves the public WebSocket URL.
func findSite(o *Options) (string, error) {
	for _, pattern := range []string{"etc/nginx/sites-enabled/*", "etc/nginx/conf.d/*.conf", "etc/nginx/sites-available/*.conf"} {
		paths, err := filepath.Glob(o.path(pattern))
		if err != nil {
			return "", err
		}
		for _, path := range paths {
			real, err := filepath.EvalSymlinks(path)
			if err != nil {
				continue // a dangling link is nginx's to complain about
			}
			text, err := os.ReadFile(real)
			if err == nil && filepath.Base(real) != ownNginx && webSocketLocation.Match(text) {
				return real, nil
			}
		}
	}
	return "", nil
}

// somewhere returns the last file that sets an option of a host, and the
// option.
func (w *world) somewhere(host, name string) (*prosodyconf.File, prosodyconf.Option, bool) {
	for i := len(w.prosody) - 1; i >= 0; i-- {
		if o, ok := w.prosody[i].Option(host, name); ok {
			return w.prosody[i], o, true
		}
	}
	return nil, prosodyconf.Option{}, false
}
