// Package nginx runs a real nginx from a directory, without root and beside any
// other, for tests of what lies between browsers and nodes.
//
// The directory is laid out as Debian does it: etc/nginx with nginx.conf,
// conf.d, sites-available and sites-enabled. [Install] makes one with a site
// like Jitsi's; what tests put into it besides is served too.
package nginx

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"text/template"
	"time"

	"vnode/internal/xmpptest/needs"
	"vnode/internal/xmpptest/process"
)

// ErrNotInstalled says how to install nginx.
var ErrNotInstalled = errors.New("nginx is not installed; run: apt-get install nginx-light")

//go:embed config/*.tmpl
var configFiles embed.FS

var templates = template.Must(template.ParseFS(configFiles, "config/*.tmpl"))

// Site is a site like the one of Jitsi's Debian package.
type Site struct {
	Domain  string // its server_name and the name of its file
	Listen  string // host:port, with TLS if there is a certificate
	Prosody string // host:port of main's HTTP
	// CertificateFile and KeyFile, PEM. Empty: plain HTTP.
	CertificateFile, KeyFile string
	// NoMap leaves out the map of ?vnode= and its use, as sites older than
	// visitors do.
	NoMap bool
	// Bare leaves out both locations, for pieces to be included: Include is
	// put into the server block, HTTPInclude into the http block.
	Bare                 bool
	Include, HTTPInclude string
}

// Install writes etc/nginx below root.
func Install(root string, s Site) error {
	etc := filepath.Join(root, "etc/nginx")
	for _, dir := range []string{"conf.d", "sites-available", "sites-enabled"} {
		if err := os.MkdirAll(filepath.Join(etc, dir), 0o755); err != nil {
			return err
		}
	}
	run := filepath.Join(root, "run/nginx")
	if err := os.MkdirAll(run, 0o755); err != nil {
		return err
	}
	if err := write(filepath.Join(etc, "nginx.conf"), "nginx.conf.tmpl", map[string]any{
		"Etc": etc, "Run": run, "Root": os.Geteuid() == 0, "Include": s.HTTPInclude,
	}); err != nil {
		return err
	}
	name := s.Domain + ".conf"
	if err := write(filepath.Join(etc, "sites-available", name), "site.conf.tmpl", s); err != nil {
		return err
	}
	return os.Symlink(filepath.Join("../sites-available", name), filepath.Join(etc, "sites-enabled", name))
}

func write(path, name string, data any) error {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name, data); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

func command(ctx context.Context, root string, args ...string) (*exec.Cmd, error) {
	bin, err := find()
	if err != nil {
		return nil, err
	}
	return exec.CommandContext(ctx, bin, append([]string{"-p", root, "-e", "stderr", "-c", filepath.Join(root, "etc/nginx/nginx.conf")}, args...)...), nil
}

// find also looks where Debian puts it and only root's PATH leads.
func find() (string, error) {
	for _, name := range []string{"nginx", "/usr/sbin/nginx"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", ErrNotInstalled
}

// Test is nginx -t: nil if the configuration is good, else what nginx says.
func Test(ctx context.Context, root string) error {
	cmd, err := command(ctx, root, "-t")
	if err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nginx -t: %w\n%s", err, out)
	}
	return nil
}

// Server is a running nginx.
type Server struct{ *process.Process }

// T is what Run needs of a testing.TB.
type T interface {
	process.T
	Context() context.Context
}

// Run starts the nginx of root and waits until it listens on addr. The test
// fails at once if that does not work; at its end nginx is killed.
// [needs.Programs] decides whether the test is run at all.
func Run(t T, root, addr string) *Server {
	t.Helper()
	needs.Programs(t, "nginx")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	// One process: killing the master of many would leave its workers.
	cmd, err := command(context.WithoutCancel(ctx), root, "-g", "daemon off; master_process off;")
	if err != nil {
		t.Fatalf("%v", err)
	}
	s := &Server{process.Run(t, "nginx", cmd)}
	if err := s.WaitListen(ctx, addr); err != nil {
		t.Fatalf("%v", err)
	}
	return s
}

// Reload lets nginx read its configuration again.
func (s *Server) Reload() error { return s.Signal(syscall.SIGHUP) }
