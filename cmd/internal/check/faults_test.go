package check

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/internal/xmpptest/nginx"
	"vnode/internal/xmpptest/prosody"
)

// proc puts numbers of the kernel below a root that is otherwise the stage's.
func proc(values map[string]string) func(*testing.T, *Options) {
	return func(t *testing.T, o *Options) {
		root := t.TempDir()
		require.NoError(t, os.Symlink(filepath.Join(o.Root, "etc"), filepath.Join(root, "etc")))
		for name, value := range values {
			write(t, root, "proc/sys/"+name, value+"\n")
		}
		o.Root, o.Visitors = root, 15000
	}
}

// jicofoSays changes a copy of jicofo.conf.
func (s *stage) jicofoSays(old, new string) func(*testing.T, *Options) {
	return func(t *testing.T, o *Options) {
		b, err := os.ReadFile(s.Path("etc/jitsi/jicofo/jicofo.conf"))
		require.NoError(t, err)
		require.Contains(t, string(b), old)
		root := t.TempDir()
		write(t, root, "etc/jitsi/jicofo/jicofo.conf", string(replaced(b, old, new)))
		o.Root = root
	}
}

func replaced(b []byte, old, new string) []byte {
	return []byte(strings.ReplaceAll(string(b), old, new))
}

// site puts another nginx before the node: with another site, and another file
// of upstreams.
func (s *stage) site(change func(*nginx.Site), upstreams string) func(*testing.T, *Options) {
	return func(t *testing.T, o *Options) {
		cert, err := s.CA.Issue(s.Domain)
		require.NoError(t, err)
		root := s.runSite(t, cert, change, upstreams)
		o.Root, o.Dial = root.dir, root.dial
	}
}

// certified puts another certificate before the node.
func (s *stage) certified(notAfter time.Time, names ...string) func(*testing.T, *Options) {
	return func(t *testing.T, o *Options) {
		cert, pool := certificate(t, notAfter, names...)
		root := s.runSite(t, cert, nil, s.upstreams())
		o.Root, o.Dial, o.Roots = root.dir, root.dial, pool
	}
}

func (s *stage) upstreams() string {
	b, err := os.ReadFile(s.Path("etc/nginx/conf.d/vnode.conf"))
	require.NoError(s.t, err)
	return string(b)
}

// certificate is self-signed and its own authority.
func certificate(t *testing.T, notAfter time.Time, names ...string) (prosody.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: notAfter.Add(-48 * time.Hour), NotAfter: notAfter, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	c := prosody.Certificate{
		CertPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		KeyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(c.CertPEM))
	return c, pool
}

// nodeCert gives the node's configuration a certificate of its own.
func nodeCert(notAfter time.Time, names ...string) func(*testing.T, *Options) {
	return func(t *testing.T, o *Options) {
		c, _ := certificate(t, notAfter, names...)
		dir := t.TempDir()
		o.Config.CertificateFile = write(t, dir, "node.crt", string(c.CertPEM))
		o.Config.KeyFile = write(t, dir, "node.key", string(c.KeyPEM))
	}
}

// takenPort is a port on which some other program listens.
func takenPort(t *testing.T, o *Options) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	o.Config.HTTP = []string{ln.Addr().String()}
}

func port(address string) string {
	_, p, _ := net.SplitHostPort(address)
	return p
}

// notRunning makes the admin address one where nothing is.
const notRunning = `admin = "127.0.0.1:1"`

// What can be wrong beside a good main and a running node, one at a time.
func testFaults(t *testing.T, s *stage, root string) {
	line := func(key, value string) map[string]string { return map[string]string{key: key + " = " + value} }
	site := "sites-available/" + s.Domain + ".conf"
	for name, f := range map[string]fault{
		"main-domain": {lines: line("main-domain", `"meet.example.net"`),
			check: "main-domain", level: Fail, file: "v1.toml", fix: `main-domain = "meet.example.com"`},
		"main-s2s, a port where nothing is": {lines: line("main-s2s", `"127.0.0.1:1"`),
			check: "main-address", level: Fail, file: "v1.toml", fix: `main-s2s = "HOST:PORT"`},
		"main-s2s, a name without address": {lines: line("main-s2s", `"no..name:5269"`),
			check: "dns", level: Fail, file: "v1.toml", fix: `main-s2s = "ADDRESS:5269"`},
		"room-prefix": {lines: line("room-prefix", `"muc"`),
			check: "room-prefix", level: Fail, file: "v1.toml", fix: `room-prefix = "conference"`},
		"another configuration than the running node's": {lines: line("id", `"v7"`),
			check: "node", level: Fail, fix: "systemctl restart vnode@v7"},
		"not running": {lines: map[string]string{"admin": notRunning, "s2s": `s2s = ["127.0.0.1:0"]`, "c2s": `c2s = ["127.0.0.1:0"]`, "http": `http = ["127.0.0.1:0"]`},
			check: "node", level: Warn, fix: "systemctl start vnode@v1"},
		"port taken": {lines: map[string]string{"admin": notRunning}, change: takenPort,
			check: "ports", level: Fail, file: "v1.toml", fix: "http = ["},
		"no password file": {lines: line("focus-password-file", `"/nonexistent"`),
			check: "secrets", level: Fail, file: "v1.toml", fix: "the password that jicofo.conf has"},
		"password file for all eyes": {change: func(t *testing.T, o *Options) {
			path := write(t, t.TempDir(), "password", "x")
			require.NoError(t, os.Chmod(path, 0o644))
			o.Config.FocusPasswordFile = path
		}, check: "secrets", level: Warn, file: "password", fix: "chmod 600"},
		"another password than the running node's": {change: func(t *testing.T, o *Options) {
			o.Config.FocusPasswordFile = write(t, t.TempDir(), "password", "another\n")
		}, check: "focus", level: Fail, file: "password", fix: "systemctl restart vnode@v1"},
		"node's certificate has ended": {change: nodeCert(time.Now().Add(-time.Hour), "v1.meet.jitsi", "conference.v1.meet.jitsi"),
			check: "certificate", level: Fail, file: "node.crt", fix: "renew it"},
		"node's certificate ends soon": {change: nodeCert(time.Now().Add(time.Hour), "v1.meet.jitsi", "conference.v1.meet.jitsi"),
			check: "certificate", level: Warn, file: "node.crt", fix: "renew it"},
		"node's certificate is for another": {change: nodeCert(time.Now().Add(1000*time.Hour), "v9.meet.jitsi"),
			check: "certificate", level: Warn, file: "node.crt", fix: "a certificate for v1.meet.jitsi and conference.v1.meet.jitsi"},
		"node's certificate is missing": {change: func(_ *testing.T, o *Options) {
			o.Config.CertificateFile, o.Config.KeyFile = "/nonexistent.crt", "/nonexistent.key"
		},
			check: "certificate", level: Fail, file: "/nonexistent.crt", fix: "leave out certificate-file"},
		"clock": {change: func(_ *testing.T, o *Options) { o.Now = func() time.Time { return time.Now().Add(-5 * time.Minute) } },
			check: "clock", level: Fail, file: "timesyncd.conf", fix: "set-ntp true"},

		"jicofo, another password": {change: s.jicofoSays("password = \"", "password = \"x"),
			check: "jicofo", level: Fail, file: "jicofo.conf", fix: "password = the one in"},
		"jicofo, another port": {change: s.jicofoSays("port = ", "port = 1"),
			check: "jicofo", level: Fail, file: "jicofo.conf", fix: "port = "},
		"jicofo, another room prefix": {change: s.jicofoSays(`"conference.v1`, `"muc.v1`),
			check: "jicofo", level: Fail, file: "jicofo.conf", fix: "conference-service = conference.v1.meet.jitsi"},
		"jicofo does not know the node": {change: s.jicofoSays("v1 = {", "v2 = {"),
			check: "jicofo", level: Fail, file: "jicofo.conf", fix: "vnode setup -add 1"},
		"jicofo, visitors are off": {change: s.jicofoSays("visitors: { enabled = true", "visitors: { enabled = false"),
			check: "jicofo", level: Fail, file: "jicofo.conf", fix: "jicofo.visitors.enabled = true"},
		"jicofo.conf does not parse": {change: s.jicofoSays("jicofo {", "jicofo {{"),
			check: "jicofo", level: Fail, file: "jicofo.conf", fix: "correct what hocon complains of"},

		"nginx' map lacks the node": {change: s.site(nil, "# none"), lines: line("id", `"v3"`),
			check: "nginx-map", level: Fail, file: site + ", line ", fix: "v3 v3; in the map of $arg_vnode"},
		"nginx does not ask the map": {change: s.site(func(x *nginx.Site) { x.NoMap = true }, "# none"),
			check: "nginx-map", level: Fail, file: site, fix: "proxy_pass http://$prosody_node/"},
		"nginx' upstream is elsewhere": {change: s.site(nil, "upstream v1 { server 127.0.0.1:1; }"),
			check: "nginx-upstream", level: Fail, file: "conf.d/vnode.conf, line 1", fix: "upstream v1 { server 127.0.0.1:"},
		"nginx has no location": {change: s.site(func(x *nginx.Site) { x.Bare = true }, "upstream prosody { server 127.0.0.1:1; }"),
			check: "nginx-location", level: Fail, fix: "location = /xmpp-websocket { proxy_pass"},
		"nginx does not upgrade": {change: s.site(func(x *nginx.Site) { x.Bare, x.Include = true, s.plainLocation() }, s.upstreams()),
			check: "nginx-upgrade", level: Fail, fix: "proxy_set_header Upgrade $http_upgrade;"},
		"the site's certificate has ended": {change: s.certified(time.Now().Add(-time.Hour), s.Domain),
			check: "public-certificate", level: Fail, file: site, fix: "a valid certificate for " + s.Domain},
		"the site's certificate is for another": {change: s.certified(time.Now().Add(time.Hour), "other.example"),
			check: "public-certificate", level: Fail, file: site, fix: "a valid certificate for " + s.Domain},
		"the site's certificate ends soon": {change: s.certified(time.Now().Add(time.Hour), s.Domain),
			check: "websocket", level: Warn, file: site, fix: "renew it"},
		"the public URL is nowhere": {change: func(_ *testing.T, o *Options) { o.Dial, o.URL = nil, "ws://127.0.0.1:1/xmpp-websocket" },
			check: "websocket", level: Fail, file: site, fix: "systemctl status nginx"},

		"another TURN secret": {change: func(t *testing.T, o *Options) {
			o.Config.TURNSecretFile = write(t, t.TempDir(), "turn", "another")
		}, check: "turn", level: Fail, file: "turn", fix: "static-auth-secret"},
		"no TURN secret": {lines: line("turn-secret-file", `""`),
			check: "turn", level: Warn, file: "v1.toml", fix: "turn-secret-file = "},
		"no such TURN server": {change: func(_ *testing.T, o *Options) { o.Config.TURNServices = []string{"turn:127.0.0.1:1?transport=tcp"} },
			check: "turn", level: Warn, file: "v1.toml", fix: "turn-services without it"},

		"few files": {change: func(_ *testing.T, o *Options) { o.Visitors = 1_000_000 },
			check: "limits", level: Warn, file: "vnode@.service.d/limits.conf", fix: "LimitNOFILE="},
		"few connections": {lines: line("max-connections", "100"),
			check: "limits", level: Warn, file: "v1.toml", fix: "max-connections = 1024"},
		"few visitors": {lines: line("max-visitors", "100"),
			check: "limits", level: Warn, file: "v1.toml", fix: "max-visitors = 1024"},
		"a proxy elsewhere": {lines: map[string]string{"max-connections-per-address": "max-connections-per-address = 100"},
			change: func(_ *testing.T, o *Options) { o.Config.HTTP = []string{":" + port(o.Config.HTTP[0])} },
			check:  "limits", level: Warn, file: "v1.toml", fix: "max-connections-per-address = 1024"},
		"few connections of nginx": {change: func(_ *testing.T, o *Options) { o.Visitors = 600 },
			check: "nginx", level: Warn, file: "nginx.conf", fix: "worker_connections 2048;"},
		"short queue": {change: proc(map[string]string{"net/core/somaxconn": "128"}),
			check: "limits", level: Warn, file: "/etc/sysctl.d/", fix: "net.core.somaxconn = 4096"},
		"few ports": {change: proc(map[string]string{"net/ipv4/ip_local_port_range": "50000\t60000"}),
			check: "limits", level: Warn, file: "/etc/sysctl.d/", fix: "net.ipv4.ip_local_port_range = 10000 65535"},
		"little memory for TCP": {change: proc(map[string]string{"net/ipv4/tcp_mem": "100\t200\t300"}),
			check: "limits", level: Warn, file: "/etc/sysctl.d/", fix: "net.ipv4.tcp_mem = "},
		"short conntrack": {change: proc(map[string]string{"net/netfilter/nf_conntrack_max": "1000"}),
			check: "limits", level: Warn, file: "/etc/sysctl.d/", fix: "net.netfilter.nf_conntrack_max = 65536"},
		"few files of the machine": {change: proc(map[string]string{"fs/file-max": "10000"}),
			check: "limits", level: Warn, file: "/etc/sysctl.d/", fix: "fs.file-max = 65536"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := s.options(t, f.lines)
			o.Root = root
			if f.change != nil {
				f.change(t, &o)
			}
			f.look(t, o)
		})
	}
}

// What can be wrong with main, each with a main of its own. The node does not
// run: the check takes its place.
func TestFaultsOfMain(t *testing.T) {
	const general, own = "etc/prosody/prosody.cfg.lua", "etc/prosody/conf.avail/vnode.cfg.lua"
	for name, tc := range map[string]struct {
		edit func(*stage)
		node bool // runs
		fault
	}{
		"whitelist": {edit: func(s *stage) { s.replace(own, "s2s_whitelist = {", "s2s_whitelist = {} old = {") },
			fault: fault{check: "whitelist", level: Fail, file: own + ", s2s_whitelist in line ", fix: `"conference.v1.meet.jitsi"; and "polls.v1.meet.jitsi"; in s2s_whitelist`}},
		"override leads elsewhere": {edit: func(s *stage) { s.replace(own, `"tcp://127.0.0.1:`, `"tcp://127.0.0.1:1`) },
			fault: fault{check: "main-reaches-node", level: Fail, file: own + ", s2sout_override in line ", fix: `["v1.meet.jitsi"] = "tcp://127.0.0.1:`}},
		"override leads elsewhere, node runs": {edit: func(s *stage) { s.replace(own, `"tcp://127.0.0.1:`, `"tcp://127.0.0.1:1`) }, node: true,
			fault: fault{check: "main-reaches-node", level: Fail, file: own + ", s2sout_override in line ", fix: `["v1.meet.jitsi"] = "tcp://127.0.0.1:`}},
		"module s2sout_override": {edit: func(s *stage) { s.replace(general, `"s2sout_override";`, "") },
			fault: fault{check: "main-reaches-node", level: Fail, file: general + ", modules_enabled in line ", fix: `"s2sout_override"; in the general modules_enabled`}},
		"module certs_s2soutinjection": {edit: func(s *stage) { s.replace(general, `"certs_s2soutinjection";`, "") },
			fault: fault{check: "main-believes-node", level: Fail, file: general + ", modules_enabled in line ", fix: `"certs_s2soutinjection"; in the general modules_enabled`}},
		"s2s is off": {edit: func(s *stage) { s.replace(general, `-- "s2s";`, `"s2s";`) },
			fault: fault{check: "main-address", level: Fail, file: general + ", modules_disabled in line ", fix: `take "s2s" out of modules_disabled`}},
		"module s2s_bidi": {edit: func(s *stage) { s.replace(general, `"s2s_bidi";`, "") },
			fault: fault{check: "bidi", level: Fail, file: general + ", modules_enabled in line ", fix: `"s2s_bidi"; in the general modules_enabled`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, false, tc.edit)
			s.RunProsody(t)
			if tc.node {
				s.RunNode(t, "v1")
			}
			o := s.options(t, nil)
			o.Timeout = 2 * time.Second
			tc.look(t, o)
		})
	}
	t.Run("component of visitors", func(t *testing.T) {
		t.Parallel()
		const main = "conf.avail/meet.example.com.cfg.lua"
		s := newStage(t, false, func(s *stage) {
			s.replace(own, `"visitors_component"`, `"muc"`)
			s.replace(own, `Component "visitors.`, `Component "elsewhere.`)
			s.replace("etc/prosody/"+main, `"visitors";`, "")
			s.replace("etc/prosody/"+main, `Component "polls.meet.example.com" "polls_component"`, "")
		})
		s.RunProsodyWithoutVisitors(t)
		o := s.options(t, nil)
		o.Timeout = 2 * time.Second
		fault{check: "visitors-component", level: Fail, file: main, fix: `Component "visitors.meet.example.com" "visitors_component"`}.look(t, o)
		fault{check: "polls-component", level: Warn, file: main, fix: `Component "polls.meet.example.com" "polls_component"`}.look(t, o)
	})
}

// before is another nginx before the node.
type before struct {
	dir  string
	dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

func (s *stage) runSite(t *testing.T, cert prosody.Certificate, change func(*nginx.Site), upstreams string) before {
	t.Helper()
	ports, err := prosody.Reserve()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ports.Close()) })
	dir, addr := t.TempDir(), ports.HTTP().String()
	site := nginx.Site{Domain: s.Domain, Listen: addr, Prosody: s.MainWeb().String(),
		CertificateFile: write(t, dir, "site.crt", string(cert.CertPEM)), KeyFile: write(t, dir, "site.key", string(cert.KeyPEM))}
	if change != nil {
		change(&site)
	}
	require.NoError(t, nginx.Install(dir, site))
	write(t, dir, "etc/nginx/conf.d/vnode.conf", upstreams+"\n")
	nginx.Run(t, dir, addr)
	return before{dir: dir, dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}}
}

// plainLocation is a file with a location that knows the node but nothing of
// WebSockets.
func (s *stage) plainLocation() string {
	return write(s.t, s.t.TempDir(), "plain.conf", "location = /xmpp-websocket { proxy_pass http://v1/xmpp-websocket; }\n")
}
