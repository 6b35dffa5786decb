package node

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"vnode/cmd/internal/config"
	"vnode/cmd/internal/systemd"
)

// listener is an open listening socket and what it is for.
type listener struct {
	net.Listener
	trusted bool // only this machine can reach it
}

// listeners are all of a node's, open before anything runs, so that a taken
// port is known at once.
type listeners struct {
	s2s, c2s, http, https []listener

	admin net.Listener // nil when turned off
}

// listen opens what the configuration names, but for what the service manager
// has opened under the names s2s, c2s, http, https and admin: that is taken instead.
func listen(c *config.Config) (*listeners, error) {
	given, err := systemd.Listeners()
	if err != nil {
		return nil, err
	}
	l := new(listeners)
	if err := l.open(c, given); err != nil {
		l.close()
		systemd.CloseAll(given)
		return nil, err
	}
	return l, nil
}

// open takes what it uses out of given.
func (l *listeners) open(c *config.Config, given map[string][]net.Listener) (err error) {
	for _, g := range []struct {
		to        *[]listener
		name      string
		addresses []string
	}{{&l.s2s, "s2s", c.S2S}, {&l.c2s, "c2s", c.C2S}, {&l.http, "http", c.HTTP}, {&l.https, "https", c.HTTPS}} {
		for _, ln := range given[g.name] {
			*g.to = append(*g.to, listener{ln, loopback(ln.Addr())})
		}
		delete(given, g.name)
		if len(*g.to) > 0 {
			continue
		}
		if *g.to, err = listenAll(g.name, g.addresses); err != nil {
			return err
		}
	}
	switch own := given["admin"]; {
	case len(own) > 1:
		return errors.New("the service manager opened more than one socket named admin; one is enough")
	case len(own) == 1:
		l.admin = own[0]
	case !c.AdminOff():
		if l.admin, err = listenOne("admin", c.Admin); err != nil {
			return err
		}
	}
	delete(given, "admin")
	for name := range given {
		return fmt.Errorf("the service manager opened a socket named %q; FileDescriptorName= must be s2s, c2s, http, https or admin", name)
	}
	return nil
}

func (l *listeners) close() {
	for _, group := range [][]listener{l.s2s, l.c2s, l.http, l.https} {
		for _, ln := range group {
			ln.Close()
		}
	}
	if l.admin != nil {
		l.admin.Close()
	}
}

func listenAll(flag string, addresses []string) ([]listener, error) {
	var all []listener
	for _, a := range addresses {
		ln, err := listenOne(flag, a)
		if err != nil {
			for _, open := range all {
				open.Close()
			}
			return nil, err
		}
		all = append(all, listener{ln, loopback(ln.Addr())})
	}
	return all, nil
}

func listenOne(flag, address string) (net.Listener, error) {
	network, addr := config.Network(address)
	if network == "unix" {
		if err := removeStaleSocket(addr); err != nil {
			return nil, fmt.Errorf("cannot listen on %s: %w; choose another path with -%s", address, err, flag)
		}
	}
	ln, err := net.Listen(network, addr)
	if err == nil && network == "unix" {
		// The proxy is another user. Who may come near is the directory's
		// to say, as everybody on this machine may with a loopback address.
		if err = os.Chmod(addr, 0o666); err != nil {
			ln.Close()
			return nil, fmt.Errorf("cannot let a proxy use %s: %w; choose another path with -%s", address, err, flag)
		}
	}
	if err == nil {
		return ln, nil
	}
	err = errors.Unwrap(err) // *net.OpError repeats the address
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("cannot listen on %s: the port is taken; is a node or a visitor prosody running there? choose another with -%s", address, flag)
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("cannot listen on %s: no permission; choose a port above 1023 with -%s", address, flag)
	}
	return nil, fmt.Errorf("cannot listen on %s: %w; choose another address with -%s", address, err, flag)
}

// removeStaleSocket removes the socket of a node that was killed: one that
// nobody listens on.
func removeStaleSocket(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != os.ModeSocket {
		return errors.New("the file exists and is no socket")
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
		return syscall.EADDRINUSE
	}
	return os.Remove(path)
}

// loopback reports whether only this machine can connect to a.
func loopback(a net.Addr) bool {
	switch a := a.(type) {
	case *net.UnixAddr:
		return true
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	}
	return false
}
