package setup

import (
	"bytes"
	"embed"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"vnode/cmd/internal/config"
)

//go:embed templates/*.tmpl
var templateFiles embed.FS

var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"quoteList": func(all []string) string {
		quoted := make([]string, len(all))
		for i, s := range all {
			quoted[i] = strconv.Quote(s)
		}
		return strings.Join(quoted, ", ")
	},
	"join": func(all []string) string { return strings.Join(all, ",") },
}).ParseFS(templateFiles, "templates/*.tmpl"))

func render(name string, data any) (string, error) {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name+".tmpl", data); err != nil {
		return "", fmt.Errorf("template %s: %w", name, err)
	}
	return b.String(), nil
}

// node is a node as the other programs see it.
type node struct {
	Number int
	ID     string // v3
	IP     string // where the others reach it
	S2S    int
	C2S    int
	HTTP   string // host:port for nginx
	Host   string // v3.meet.jitsi
	Rooms  string // conference.v3.meet.jitsi
	Path   string // of its configuration

	cfg *config.Config
}

var nodeFile = regexp.MustCompile(`^v([0-9]{1,2})\.toml$`)

// existing are the numbers of the nodes that have a configuration.
func existing(o *Options) ([]int, error) {
	paths, err := filepath.Glob(o.path("etc/vnode/v*.toml"))
	if err != nil {
		return nil, err
	}
	var all []int
	for _, path := range paths {
		if m := nodeFile.FindStringSubmatch(filepath.Base(path)); m != nil {
			n, err := strconv.Atoi(m[1])
			if err != nil {
				return nil, err
			}
			all = append(all, n)
		}
	}
	return all, nil
}

// planNodes plans the configurations and returns all nodes there will be.
func (pl *planner) planNodes() error {
	o := pl.o
	have, err := existing(o)
	if err != nil {
		return err
	}
	gone := o.Remove
	if o.RemoveAll {
		gone = have
	}
	for _, n := range gone {
		if !slices.Contains(have, n) {
			return fmt.Errorf("-remove: there is no node %s: %s does not exist", id(n), pl.nodePath(n))
		}
		if err := pl.removeNode(n); err != nil {
			return err
		}
	}
	for _, n := range o.Nodes {
		if err := pl.configure(n); err != nil {
			return err
		}
	}
	for _, n := range union(have, nil, slices.Concat(o.Nodes, gone)) {
		if err := pl.follow(n, union(o.Nodes, nil, have), gone); err != nil {
			return err
		}
	}
	for _, n := range union(have, o.Nodes, gone) {
		nd, err := pl.load(n)
		if err != nil {
			return err
		}
		pl.nodes = append(pl.nodes, nd)
	}
	pl.gone = gone
	pl.adviseListeners()
	pl.adviseREST()
	return nil
}

func (pl *planner) nodePath(n int) string { return pl.o.path("etc/vnode", string(id(n))+".toml") }

func (pl *planner) stateDir(n int) string { return pl.o.path("var/lib/vnode", string(id(n))) }

// nodeSettings is what a node's configuration is made of.
type nodeSettings struct {
	ID                                     config.ID
	Path, StateDir                         string
	MainDomain, MainS2S, RoomPrefix        string
	ExtraDomains                           []string
	S2S, C2S, HTTP, Admin                  string
	OtherNodes                             []string // it asks them before a drain
	Remote                                 bool     // the others are on other machines
	TellJicofo                             bool
	JicofoURL                              string
	PasswordFile, CertificateFile, KeyFile string
	TURNServices                           []string
	TURNSecretFile                         string
	TURNUsername, TURNPasswordFile         string
}

func (pl *planner) write(n int, s *nodeSettings) error {
	s.ID, s.Path, s.StateDir, s.Remote = id(n), pl.nodePath(n), pl.stateDir(n), !pl.o.onLoopback()
	text, err := render("node.toml", s)
	if err != nil {
		return err
	}
	return pl.plan.Own(s.Path, "#", text, 0o644)
}

// clientHost is the host of the listeners for jicofo and nginx.
func (pl *planner) clientHost() string {
	if pl.o.onLoopback() {
		return "127.0.0.1"
	}
	return "" // all addresses: the others are on other machines
}

func at(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// configure makes the configuration of a node that was asked for.
func (pl *planner) configure(n int) error {
	o, ports, clients := pl.o, pl.ports, pl.clientHost()
	s := nodeSettings{
		MainDomain: pl.world.mainDomain, MainS2S: o.MainS2S, RoomPrefix: pl.world.roomPrefix, ExtraDomains: list(o.ExtraDomains),
		S2S: at("", ports.S2S+n), C2S: at(clients, ports.C2S+n), HTTP: at(clients, ports.HTTP+n), Admin: at("127.0.0.1", ports.Admin+n),
		PasswordFile: pl.passwordFile(), CertificateFile: o.CertificateFile, KeyFile: o.KeyFile, TURNServices: pl.world.turnServices,
	}
	s.JicofoURL, s.TellJicofo = pl.jicofoURL()
	have, err := existing(o)
	if err != nil {
		return err
	}
	s.OtherNodes = pl.admins(union(have, o.Nodes, append([]int{n}, o.Remove...)))
	secret, password := pl.turn()
	if secret {
		s.TURNSecretFile = pl.turnSecretFile()
	}
	if password {
		s.TURNUsername, s.TURNPasswordFile = pl.world.turnUsername, pl.turnPasswordFile()
	}
	return pl.write(n, &s)
}

// follow lets a node that was not asked for know the nodes that are new or gone, and
// listen where the other programs, which are told one address for all nodes, look for
// it. All else stays as it is, and so does a node that was changed by hand.
func (pl *planner) follow(n int, added, gone []int) error {
	if !pl.plan.Untouched(pl.nodePath(n)) {
		return nil
	}
	nd, err := pl.load(n)
	if err != nil {
		return err
	}
	c, clients := nd.cfg, pl.clientHost()
	webPort, err := portOf(c.HTTP)
	if err != nil {
		return nil // a socket of nginx: a hand was here
	}
	others := slices.DeleteFunc(slices.Clone(c.OtherNodes), func(a string) bool { return slices.Contains(pl.admins(gone), a) })
	for _, a := range pl.admins(added) {
		if !slices.Contains(others, a) {
			others = append(others, a)
		}
	}
	if hostOf(c.C2S) == clients && hostOf(c.HTTP) == clients && slices.Equal(others, c.OtherNodes) {
		return nil
	}
	s := nodeSettings{
		MainDomain: c.MainDomain, MainS2S: c.MainS2S, RoomPrefix: c.RoomPrefix, ExtraDomains: c.ExtraDomains,
		S2S: c.S2S[0], C2S: at(clients, nd.C2S), HTTP: at(clients, webPort), Admin: c.Admin, OtherNodes: others,
		PasswordFile: c.FocusPasswordFile, CertificateFile: c.CertificateFile, KeyFile: c.KeyFile,
		TURNServices: c.TURNServices, TURNSecretFile: c.TURNSecretFile, TURNUsername: c.TURNUsername, TURNPasswordFile: c.TURNPasswordFile,
		JicofoURL: c.JicofoURL, TellJicofo: c.JicofoURL != defaultJicofoURL,
	}
	return pl.write(n, &s)
}

// admins are the admin addresses of nodes on this machine.
func (pl *planner) admins(nodes []int) (all []string) {
	for _, n := range nodes {
		all = append(all, at("127.0.0.1", pl.ports.Admin+n))
	}
	return all
}

func hostOf(addresses []string) string {
	host, _, err := net.SplitHostPort(addresses[0])
	if err != nil {
		return ""
	}
	return host
}

// adviseListeners tells of nodes that were changed by hand so that the others cannot
// reach them.
func (pl *planner) adviseListeners() {
	for _, nd := range pl.nodes {
		for _, l := range []struct {
			key       string
			addresses []string
		}{{"c2s", nd.cfg.C2S}, {"http", nd.cfg.HTTP}} {
			a, err := netip.ParseAddr(hostOf(l.addresses))
			port, _ := portOf(l.addresses) // it was read before
			if err == nil && a.IsLoopback() && !pl.o.onLoopback() {
				pl.note("%s: %s is %s, where the others, who are told %s, cannot reach it. Change it to %q.", nd.Path, l.key, l.addresses[0], nd.IP, at("", port))
			}
		}
	}
}

// load reads a node's configuration as it will be: what somebody changed by hand
// counts.
func (pl *planner) load(n int) (node, error) {
	path := pl.nodePath(n)
	text, err := pl.plan.Read(path)
	if err != nil {
		return node{}, err
	}
	cfg, err := parseConfig(text)
	if err != nil {
		return node{}, fmt.Errorf("%s: %w; correct it, or remove the file to have it made anew", path, err)
	}
	nd := node{Number: n, ID: string(cfg.ID), IP: pl.o.NodeAddress, Host: cfg.Host(), Rooms: cfg.Rooms(), Path: path, cfg: cfg}
	if nd.S2S, err = portOf(cfg.S2S); err != nil {
		return node{}, fmt.Errorf("%s: s2s: %w", path, err)
	}
	if nd.C2S, err = portOf(cfg.C2S); err != nil {
		return node{}, fmt.Errorf("%s: c2s: %w", path, err)
	}
	nd.HTTP, err = pl.webAddress(cfg.HTTP)
	if err != nil {
		return node{}, fmt.Errorf("%s: http: %w", path, err)
	}
	return nd, nil
}

// parseConfig reads a configuration by the node's own rules, without the
// environment.
func parseConfig(text []byte) (*config.Config, error) {
	f, err := os.CreateTemp("", "vnode-*.toml")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, err
	}
	flags := flag.NewFlagSet("vnode", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	return config.Load(flags, []string{"-config", f.Name()}, func(string) (string, bool) { return "", false })
}

func portOf(addresses []string) (int, error) {
	_, port, err := net.SplitHostPort(addresses[0])
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(port)
}

// webAddress is what nginx connects to.
func (pl *planner) webAddress(addresses []string) (string, error) {
	if network, path := config.Network(addresses[0]); network == "unix" {
		return "unix:" + path, nil
	}
	port, err := portOf(addresses)
	return net.JoinHostPort(pl.o.NodeAddress, strconv.Itoa(port)), err
}

func (pl *planner) removeNode(n int) error {
	if err := pl.plan.Remove(pl.nodePath(n), false); err != nil {
		return err
	}
	// What systemctl enable made. Without the unit, disable would refuse.
	enabled := pl.o.path("etc/systemd/system/multi-user.target.wants", "vnode@"+string(id(n))+".service")
	for _, unit := range append(pl.packagedUnits(), pl.unitPath()) {
		pl.plan.Unlink(enabled, unit)
	}
	if dir := pl.stateDir(n); exists(dir) {
		pl.note("The state of %s (its certificate, what it learned of main) is still in %s: remove it when the node will not come back.", id(n), dir)
	}
	return nil
}
