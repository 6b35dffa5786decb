// Package jitsi lays out a Jitsi installation in a directory as Debian's
// packages leave it: Prosody, nginx and jicofo with their configuration in etc,
// none of which knows visitor nodes yet. Set-up can be tried on it, and what
// comes out is run for real, with Debian's prosody and nginx.
//
// Jitsi's Prosody modules are not in Debian. In their place the directory has
// small stand-ins with the same names and options.
package jitsi

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"embed"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"text/template"
	"time"

	"vnode/internal/port"
	"vnode/internal/xmpptest/needs"
	"vnode/internal/xmpptest/nginx"
	"vnode/internal/xmpptest/process"
	"vnode/internal/xmpptest/prosody"
)

//go:embed config/*.tmpl modules/*.lua
var files embed.FS

var templates = template.Must(template.ParseFS(files, "config/*.tmpl"))

// Options of an installation. The zero value is complete.
type Options struct {
	// Domain of main, default meet.example.com, and of the site.
	Domain string
	// TURN is a STUN and TURN server by UDP that main tells of, and TURNSecret
	// its secret. Default: a server at Domain, which nobody asks.
	TURN       netip.AddrPort
	TURNSecret string
	// Site changes the site of nginx before it is written.
	Site func(*nginx.Site)
}

// Root is an installation.
type Root struct {
	// Static after construction.
	Dir           string
	Domain        string
	FocusPassword string // of focus@auth.Domain, on main
	TURNSecret    string
	CA            *prosody.CA // signed the certificate of the site
	Web           netip.AddrPort

	ports *prosody.Reservation
	web   *port.Port
}

// T is what Install needs of a testing.TB.
type T interface {
	process.T
	Context() context.Context
	TempDir() string
}

// Install makes an installation in a directory of the test's. Its ports are held
// until the end of the test.
func Install(t T, o Options) *Root {
	t.Helper()
	r, err := install(t.TempDir(), o)
	if err != nil {
		t.Fatalf("install: %v", err)
	}
	t.Cleanup(func() {
		if err := r.ports.Close(); err != nil {
			t.Errorf("release ports: %v", err)
		}
		if err := r.web.Close(); err != nil {
			t.Errorf("release ports: %v", err)
		}
	})
	return r
}

func install(dir string, o Options) (*Root, error) {
	if o.Domain == "" {
		o.Domain = "meet.example.com"
	}
	r := &Root{Dir: dir, Domain: o.Domain, FocusPassword: rand.Text(), TURNSecret: o.TURNSecret}
	if r.TURNSecret == "" {
		r.TURNSecret = rand.Text()
	}
	var err error
	if r.CA, err = prosody.NewCA(); err != nil {
		return nil, err
	}
	if r.ports, err = prosody.Reserve(); err != nil {
		return nil, err
	}
	if r.web, err = port.Hold(); err != nil {
		return nil, err
	}
	r.Web = r.web.Addr()
	for _, part := range []func() error{func() error { return r.writeProsody(o) }, r.writeModules, r.writeJicofo, func() error { return r.writeSite(o) }} {
		if err := part(); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Path is a path below the directory.
func (r *Root) Path(elem ...string) string { return filepath.Join(append([]string{r.Dir}, elem...)...) }

// S2S is where main's server streams are accepted.
func (r *Root) S2S() netip.AddrPort { return r.ports.S2S() }

// C2S is where main's clients connect, the focus among them.
func (r *Root) C2S() netip.AddrPort { return r.ports.C2S() }

// WebSocketURL is the public URL, through nginx.
func (r *Root) WebSocketURL() string { return "wss://" + r.Web.String() + "/xmpp-websocket" }

// MainWebSocketURL is main's own, for participants.
func (r *Root) MainWebSocketURL() string {
	return "ws://" + r.ports.HTTP().String() + "/xmpp-websocket"
}

// TLS is what a browser needs to trust the site.
func (r *Root) TLS() *tls.Config {
	return &tls.Config{RootCAs: r.CA.Pool(), ServerName: r.Domain}
}

// Dial reaches the site under its domain, as a browser would with the domain in
// the DNS.
func (r *Root) Dial(ctx context.Context, network, _ string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, r.Web.String())
}

func (r *Root) write(name, to string, data any) error {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name+".tmpl", data); err != nil {
		return err
	}
	return r.put(to, b.Bytes(), 0o644)
}

func (r *Root) put(to string, b []byte, mode os.FileMode) error {
	path := r.Path(to)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, b, mode)
}

func (r *Root) writeProsody(o Options) error {
	turnHost, turnPort := r.Domain, uint16(3478)
	if o.TURN.IsValid() {
		turnHost, turnPort = o.TURN.Addr().String(), o.TURN.Port()
	}
	if err := r.write("prosody.cfg.lua", "etc/prosody/prosody.cfg.lua", map[string]any{
		"Root": r.Dir, "S2S": r.ports.S2S().Port(), "C2S": r.ports.C2S().Port(), "HTTP": r.ports.HTTP().Port(),
	}); err != nil {
		return err
	}
	file := r.Domain + ".cfg.lua"
	if err := r.write("main.cfg.lua", "etc/prosody/conf.avail/"+file, map[string]any{
		"Root": r.Dir, "Domain": r.Domain, "TURNSecret": r.TURNSecret, "TURNHost": turnHost, "TURNPort": turnPort,
	}); err != nil {
		return err
	}
	for _, dir := range []string{"etc/prosody/conf.d", "var/lib/prosody/plugins"} {
		if err := os.MkdirAll(r.Path(dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.Symlink("../conf.avail/"+file, r.Path("etc/prosody/conf.d", file)); err != nil {
		return err
	}
	for _, host := range []string{"", "auth.", "conference.", "visitors.", "polls."} {
		cert, err := prosody.SelfSigned(host + r.Domain)
		if err != nil {
			return err
		}
		if err := r.putCertificate("etc/prosody/certs/"+host+r.Domain, cert); err != nil {
			return err
		}
	}
	return prosody.WriteAccount(r.Path("var/lib/prosody"), "focus", "auth."+r.Domain, r.FocusPassword)
}

// putCertificate writes path.crt and path.key.
func (r *Root) putCertificate(path string, c prosody.Certificate) error {
	if err := r.put(path+".crt", c.CertPEM, 0o644); err != nil {
		return err
	}
	return r.put(path+".key", c.KeyPEM, 0o600)
}

func (r *Root) writeModules() error {
	const to = "usr/share/jitsi-meet/prosody-plugins/"
	entries, err := files.ReadDir("modules")
	if err != nil {
		return err
	}
	for _, e := range entries {
		body, err := files.ReadFile("modules/" + e.Name())
		if err != nil {
			return err
		}
		if err := r.put(to+e.Name(), body, 0o644); err != nil {
			return err
		}
	}
	body, err := prosody.MainModule()
	if err != nil {
		return err
	}
	return r.put(to+"mod_vnode_main.lua", body, 0o644)
}

func (r *Root) writeJicofo() error {
	return r.write("jicofo.conf", "etc/jitsi/jicofo/jicofo.conf", r)
}

func (r *Root) writeSite(o Options) error {
	cert, err := r.CA.Issue(r.Domain)
	if err != nil {
		return err
	}
	const path = "etc/jitsi/meet/site"
	if err := r.putCertificate(path, cert); err != nil {
		return err
	}
	s := nginx.Site{Domain: r.Domain, Listen: r.Web.String(), Prosody: r.ports.HTTP().String(),
		CertificateFile: r.Path(path + ".crt"), KeyFile: r.Path(path + ".key")}
	if o.Site != nil {
		o.Site(&s)
	}
	return nginx.Install(r.Dir, s)
}

// NewSiteCertificate replaces the certificate of the site; nginx must be
// reloaded.
func (r *Root) NewSiteCertificate(c prosody.Certificate) error {
	return r.putCertificate("etc/jitsi/meet/site", c)
}

// RunProsody starts main and waits until all its hosts are up, which they are
// only with everything that set-up has to add. The test fails at once if that
// does not work; at its end main is killed.
func (r *Root) RunProsody(t T) *process.Process {
	t.Helper()
	return r.runProsody(t, func(ctx context.Context, p *process.Process) error { return p.WaitLog(ctx, prosody.ReadyLine) })
}

// RunProsodyWithoutVisitors is RunProsody for a main that lacks the visitors'
// part: it waits until main listens for servers.
func (r *Root) RunProsodyWithoutVisitors(t T) *process.Process {
	t.Helper()
	return r.runProsody(t, func(ctx context.Context, p *process.Process) error { return p.WaitListen(ctx, r.S2S().String()) })
}

func (r *Root) runProsody(t T, up func(context.Context, *process.Process) error) *process.Process {
	t.Helper()
	needs.Programs(t, "prosody")
	bin, err := prosody.Find()
	if err != nil {
		t.Fatalf("%v", err)
	}
	cmd := exec.Command(bin, "-F", "--config", r.Path("etc/prosody/prosody.cfg.lua"))
	cmd.Dir = r.Path("var/lib/prosody")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + cmd.Dir, "LC_ALL=C"}
	// Main ends with its standard input, so that stays open.
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatalf("prosody: %v", err)
	}
	p := process.Run(t, "prosody", cmd)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := up(ctx, p); err != nil {
		t.Fatalf("%v", err)
	}
	return p
}

// MainWeb is main's HTTP listener.
func (r *Root) MainWeb() netip.AddrPort { return r.ports.HTTP() }

// RunNginx starts nginx with all that is in etc/nginx.
func (r *Root) RunNginx(t T) *nginx.Server {
	t.Helper()
	return nginx.Run(t, r.Dir, r.Web.String())
}
