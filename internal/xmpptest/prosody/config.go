package prosody

import (
	"embed"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
)

//go:embed config/*.lua.tmpl modules/*.lua
var files embed.FS

var configTemplate = template.Must(template.New("").
	Funcs(template.FuncMap{"lua": luaString}).
	ParseFS(files, "config/*.lua.tmpl"))

// luaString quotes a value for Lua. Decimal escapes keep every byte as it is.
func luaString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c > '~' {
			fmt.Fprintf(&b, `\%03d`, c)
		} else {
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// target is where streams to one domain of a node go.
type target struct {
	Host string
	IP   string
	Port uint16
}

func targets(nodes map[string]netip.AddrPort) []target {
	var all []target
	for id, addr := range nodes {
		for _, host := range []string{NodeDomain(id), "conference." + NodeDomain(id)} {
			all = append(all, target{Host: host, IP: addr.Addr().String(), Port: addr.Port()})
		}
	}
	slices.SortFunc(all, func(a, b target) int { return strings.Compare(a.Host, b.Host) })
	return all
}

// layout of the directory of a server.
type layout struct{ root string }

func (l layout) config() string  { return filepath.Join(l.root, "prosody.cfg.lua") }
func (l layout) log() string     { return filepath.Join(l.root, "prosody.log") }
func (l layout) data() string    { return filepath.Join(l.root, "data") }
func (l layout) modules() string { return filepath.Join(l.root, "modules") }
func (l layout) certs() string   { return filepath.Join(l.root, "certs") }
func (l layout) trusted() string { return filepath.Join(l.root, "trusted") }
func (l layout) install() string { return filepath.Join(l.root, "install") }

// write fills the directory with all that Prosody reads.
func (l layout) write(o Options, ports *Reservation) error {
	for _, dir := range []string{l.data(), l.modules(), l.certs(), l.trusted(), l.install()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if err := l.writeModules(); err != nil {
		return err
	}
	if err := l.writeCerts(o); err != nil {
		return err
	}
	if err := l.writeFocus(o); err != nil {
		return err
	}
	return l.writeConfig(o, ports)
}

func (l layout) writeModules() error {
	names, err := fs.Glob(files, "modules/*.lua")
	if err != nil {
		return err
	}
	for _, name := range names {
		body, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(l.root, filepath.FromSlash(name)), body, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// writeCerts makes one certificate per host, under the names Prosody looks for.
func (l layout) writeCerts(o Options) error {
	newCertificate := SelfSigned
	if o.Auth == AuthExternal {
		newCertificate = o.CA.Issue
	}
	for _, host := range hosts(o) {
		cert, err := newCertificate(host)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(l.certs(), host+".crt"), cert.CertPEM, 0o600); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(l.certs(), host+".key"), cert.KeyPEM, 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(l.caFile(), o.CA.PEM(), 0o600)
}

func (l layout) caFile() string { return filepath.Join(l.trusted(), "ca.pem") }

func hosts(o Options) []string {
	return []string{
		o.MainDomain, o.AuthDomain,
		"conference." + o.MainDomain, "visitors." + o.MainDomain, "polls." + o.MainDomain,
	}
}

func (l layout) writeFocus(o Options) error {
	return WriteAccount(l.data(), "focus", o.AuthDomain, o.FocusPassword)
}

// WriteAccount makes an account as Prosody's internal storage keeps it, for
// authentication internal_plain, since prosodyctl would ask for the password on
// a terminal.
func WriteAccount(dataDir, user, domain, password string) error {
	dir := filepath.Join(dataDir, storageName(domain), "accounts")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	body := fmt.Sprintf("return {\n\t[\"password\"] = %s;\n};\n", luaString(password))
	return os.WriteFile(filepath.Join(dir, user+".dat"), []byte(body), 0o600)
}

// MainModule is mod_vnode_main.lua, the main side of the visitors protocol, for
// a Prosody with a configuration of its own.
func MainModule() ([]byte, error) { return files.ReadFile("modules/mod_vnode_main.lua") }

// ReadyLine is what that module logs when all its hosts are up. It also ends the
// server at the end of its standard input.
const ReadyLine = readyLine

// storageName escapes a name like the internal storage: all but letters and
// digits as %xx.
func storageName(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	return b.String()
}

func (l layout) writeConfig(o Options, ports *Reservation) error {
	file, err := os.OpenFile(l.config(), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	level := "info"
	if o.Debug {
		level = "debug"
	}
	err = configTemplate.ExecuteTemplate(file, "prosody.cfg.lua.tmpl", map[string]any{
		"DataDir": l.data(), "ModulesDir": l.modules(), "InstallDir": l.install(),
		"CertsDir": l.certs(), "CAFile": l.caFile(), "CAPath": l.trusted(),
		"S2SPort": ports.S2S().Port(), "C2SPort": ports.C2S().Port(), "HTTPPort": ports.HTTP().Port(),
		"LogLevel": level, "Debug": o.Debug, "Extra": o.Extra,
		"Main": o.MainDomain, "AuthDomain": o.AuthDomain, "Focus": "focus@" + o.AuthDomain,
		"Targets": targets(o.Nodes), "ComponentsDial": o.ComponentsDial,
		"Dialback": o.Auth == AuthDialback, "Bidi": o.Bidi,
		"SecureAuth": o.Auth == AuthExternal, "TrustTargets": o.Auth == AuthSelfSigned,
	})
	if err != nil {
		return fmt.Errorf("prosody: write configuration: %w", err)
	}
	return file.Close()
}
