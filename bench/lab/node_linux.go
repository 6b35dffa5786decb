package lab

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"

	"vnode/internal/child"
	"vnode/internal/port"
)

// Target is a node that runs.
type Target struct {
	// URL returns where visitors connect by that transport: tcp, unix, bosh or
	// xmpp; "" when they cannot.
	URL    func(transport string) string
	Domain string // of the node, e.g. v3.meet.jitsi
	Prefix string // of rooms' domains, e.g. conference
	S2S    string // host:port where main finds it
	Main   string // main's domain
	Focus  Focus
	Admin  Admin
	PID    int         // of its process; 0: not on this machine
	TLS    *tls.Config // for visitors by wss: or https:
}

// Admin is a node's admin listener.
type Admin struct {
	Addr  string // host:port; "": none
	Token string // borne in every request; a listener on loopback needs none to be looked at
}

// get returns a request for a path, with its query.
func (a Admin) get(ctx context.Context, path string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+a.Addr+path, nil)
	if err == nil && a.Token != "" {
		req.Header.Set("Authorization", "Bearer "+a.Token)
	}
	return req, err
}

// Names an embedded node has: node 3 of the default main domain.
const (
	nodeID     = "3"
	nodeDomain = "v" + nodeID + ".meet.jitsi"
	mainDomain = "meet.jitsi"
	focusJID   = "focus@auth." + mainDomain + "/focus"
	roomName   = "bench"
	prefix     = "conference"
)

// FindNode returns the node's program: the one named, one that lies beside this
// program, or one built into dir of the module in the working directory.
func FindNode(ctx context.Context, named, dir string) (string, error) {
	if named != "" {
		return named, nil
	}
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), "vnode")
		if _, err := os.Stat(beside); err == nil {
			return beside, nil
		}
	}
	path := filepath.Join(dir, "vnode")
	out, err := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", path, "vnode/cmd/vnode").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("no node to measure: there is none beside this program, and it cannot be built here (name one with -vnode): %w\n%s", err, out)
	}
	return path, nil
}

// node is a process of our own that is measured.
type node struct {
	Target
	process *child.Process
	dir     string
	main    net.Listener // where the node finds main
	ports   port.Ports   // where the node listens
}

// startNode runs a node with all transports and waits until it listens.
func startNode(ctx context.Context, program string, cores []int) (*node, error) {
	dir, err := os.MkdirTemp("", "vnode-bench-")
	if err != nil {
		return nil, err
	}
	n := &node{dir: dir}
	if err := n.start(ctx, program, cores); err != nil {
		return nil, errors.Join(err, n.stop())
	}
	return n, nil
}

func (n *node) start(ctx context.Context, program string, cores []int) error {
	var err error
	if n.main, err = net.Listen("tcp4", "127.0.0.1:0"); err != nil {
		return err
	}
	if n.ports, err = port.HoldAll(4); err != nil {
		return err
	}
	s2s, c2s, web, admin := n.ports[0].String(), n.ports[1].String(), n.ports[2].String(), n.ports[3].String()
	socket, password := filepath.Join(n.dir, "node.sock"), rand.Text()
	secret := filepath.Join(n.dir, "focus-password")
	if err := os.WriteFile(secret, []byte(password+"\n"), 0o600); err != nil {
		return err
	}
	n.process, err = child.Start(child.Command{Program: program, Log: filepath.Join(n.dir, "log"), Cores: cores, Args: []string{
		"-id", nodeID, "-s2s", s2s, "-c2s", c2s, "-http", web + ",unix:" + socket, "-admin", admin,
		"-main-domain", mainDomain, "-main-s2s", n.main.Addr().String(), "-log-level", "warn",
		"-state-dir", filepath.Join(n.dir, "state"), "-focus-password-file", secret,
	}})
	if err != nil {
		return err
	}
	for _, l := range [][2]string{{"tcp", s2s}, {"tcp", c2s}, {"tcp", web}, {"tcp", admin}, {"unix", socket}} {
		if err := n.process.Listens(ctx, l[0], l[1]); err != nil {
			return fmt.Errorf("%w\n%s", err, n.process.LogTail())
		}
	}
	n.Target = Target{
		URL: nodeURLs(web, c2s, socket), Domain: nodeDomain, Prefix: prefix, S2S: s2s, Main: mainDomain,
		Focus: Focus{Addr: c2s, JID: focusJID, Password: password}, Admin: Admin{Addr: admin}, PID: n.process.PID(),
	}
	return nil
}

func nodeURLs(web, c2s, socket string) func(string) string {
	const query = "?room=" + roomName + "&vnode=v" + nodeID
	urls := map[string]string{
		"tcp":  "ws://" + web + "/xmpp-websocket" + query,
		"unix": "ws+unix://" + socket + ":/xmpp-websocket" + query,
		"bosh": "http://" + web + "/http-bind" + query,
		"xmpp": "xmpp://" + c2s,
	}
	return func(transport string) string { return urls[transport] }
}

// stop ends the node at once: nothing it could still say is of interest.
func (n *node) stop() error {
	if n.process != nil {
		n.process.Kill()
	}
	if n.main != nil {
		_ = n.main.Close()
	}
	return errors.Join(n.ports.Close(), os.RemoveAll(n.dir))
}
