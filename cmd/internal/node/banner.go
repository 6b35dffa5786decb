package node

import (
	"fmt"
	"io"
	"net"
	"strings"
)

// Addresses are where a node listens, as the kernel has bound them.
type Addresses struct {
	S2S, C2S, HTTP, HTTPS []string

	Admin string // "" when turned off
}

// Addresses returns where the node listens: the real ports where the
// configuration said 0.
func (n *Node) Addresses() Addresses {
	list := func(ls []listener) (all []string) {
		for _, l := range ls {
			all = append(all, l.Addr().String())
		}
		return all
	}
	a := Addresses{S2S: list(n.listeners.s2s), C2S: list(n.listeners.c2s), HTTP: list(n.listeners.http), HTTPS: list(n.listeners.https)}
	if n.listeners.admin != nil {
		a.Admin = n.listeners.admin.Addr().String()
	}
	return a
}

// PasswordFile is where the focus password is.
func (n *Node) PasswordFile() string { return n.passwordFile }

// WriteBanner says in a few lines what the node is, where it listens, and what
// the main side must be told.
func (n *Node) WriteBanner(w io.Writer) {
	c, a := n.cfg.Load(), n.Addresses()
	clients := make([]string, 0, len(a.C2S)+len(a.HTTP))
	for i, addr := range a.C2S {
		clients = append(clients, "tcp "+addr+tlsNote(n.listeners.c2s[i].trusted))
	}
	for _, addr := range a.HTTP {
		clients = append(clients, "http "+addr)
	}
	for _, addr := range a.HTTPS {
		clients = append(clients, "https "+addr)
	}
	fmt.Fprintf(w, "node     %s, rooms at %s\n", c.Host(), c.Rooms())
	fmt.Fprintf(w, "s2s      %s; main is %s at %s\n", strings.Join(a.S2S, ", "), c.MainDomain, c.MainS2S)
	fmt.Fprintf(w, "clients  %s (WebSocket at /xmpp-websocket, BOSH at /http-bind)\n", strings.Join(clients, ", "))
	if a.Admin != "" {
		fmt.Fprintf(w, "admin    http://%s/metrics, /healthz, /readyz\n", a.Admin)
	}
	fmt.Fprintf(w, "focus    focus@%s, password in %s\n", c.AuthDomain, n.passwordFile)
	_, port, _ := net.SplitHostPort(a.S2S[0])
	fmt.Fprintf(w, "on main  s2sout_override (older: s2s_connect_overrides): %s and %s -> tcp://THIS-HOST:%s; s2s_whitelist: add %[1]s\n",
		c.Rooms(), c.Host(), port)
}

func tlsNote(trusted bool) string {
	if trusted {
		return " (no TLS needed)"
	}
	return " (STARTTLS required)"
}
