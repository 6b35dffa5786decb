package setup

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"vnode/cmd/internal/setup/hoconconf"
)

// defaultJicofoURL is a node's own default, and what jicofo listens on by default.
const defaultJicofoURL = "http://127.0.0.1:8888"

// rest is jicofo's REST interface, by which nodes ask for conferences that come back.
type rest struct {
	url    string // "" when it is turned off
	unsure string // the setting that only jicofo knows, "" for none
}

// findREST reads where jicofo's REST interface is.
func (w *world) findREST() {
	w.rest.url = defaultJicofoURL
	if w.jicofo == "" {
		return
	}
	text, _ := os.ReadFile(w.jicofo) // planJicofo tells the error
	w.rest = readREST(hoconconf.Read(string(text), func(name string) string {
		if !filepath.IsAbs(name) {
			name = filepath.Join(filepath.Dir(w.jicofo), name)
		}
		if filepath.Base(name) == ownJicofo {
			return ""
		}
		included, _ := os.ReadFile(name) // a missing one is no error to jicofo
		return string(included)
	}))
}

// readREST takes it from the settings, as jicofo of 2026 and that of 2023, which had
// a port for TLS, read them.
func readREST(f *hoconconf.File) rest {
	var r rest
	value := func(key, otherwise string) string {
		v, sure := f.Value("jicofo.rest." + key)
		if !sure {
			r.unsure = "jicofo.rest." + key
		}
		if v == "" {
			return otherwise
		}
		return v
	}
	host := value("host", "127.0.0.1")
	if a, err := netip.ParseAddr(host); err == nil && a.IsUnspecified() {
		host = "127.0.0.1" // it is on this machine
	}
	scheme, port := "http", value("port", "8888")
	if n, err := strconv.Atoi(port); err == nil && n <= 0 {
		scheme, port = "https", value("tls-port", "-1")
	}
	n, err := strconv.Atoi(port)
	switch {
	case value("enabled", "true") == "false", value("conference-request.enabled", "true") == "false", err == nil && n <= 0:
	case err != nil || !isPort(port) || !isHost(host):
		r.unsure = "jicofo.rest"
		r.url = defaultJicofoURL
	default:
		r.url = scheme + "://" + net.JoinHostPort(host, port)
	}
	return r
}

// jicofoURL is what a node is told, and whether it must be told at all.
func (pl *planner) jicofoURL() (url string, told bool) {
	switch {
	case pl.o.JicofoURL != "":
		url = pl.o.JicofoURL
	default:
		url = pl.world.rest.url
	}
	return url, url != defaultJicofoURL
}

// adviseREST tells what nodes need of jicofo's REST interface and set-up cannot know.
func (pl *planner) adviseREST() {
	rest := pl.world.rest
	switch {
	case len(pl.nodes) == 0 || pl.o.JicofoURL != "":
	case pl.world.jicofo == "" && !pl.o.onLoopback():
		pl.note("After a fault the nodes ask jicofo for the conference. Let it listen where they are (jicofo.rest.host in jicofo.conf, and no one else through the firewall), and run setup again with -jicofo-url http://ADDRESS-OF-JICOFO:8888.")
	case rest.unsure != "":
		pl.note("%s in %s is not a plain value. The nodes take %s for jicofo's REST interface: if that is wrong, run setup again with -jicofo-url.", rest.unsure, pl.world.jicofo, rest.url)
	case rest.url == "":
		pl.note("jicofo's REST interface, or its conference requests, are turned off in %s: after a fault visitors whose page does not prefer to be one may come back as participants. Turn on jicofo.rest.enabled and jicofo.rest.conference-request.enabled, and run setup again.", pl.world.jicofo)
	}
}
