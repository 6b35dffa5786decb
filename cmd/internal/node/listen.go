package node

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"vnode/cmd/internal/config"
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

func listen(c *config.Config) (*listeners, error) {
	l := new(listeners)
	var err error
	if l.s2s, err = listenAll("s2s", c.S2S); err == nil {
		if l.c2s, err = listenAll("c2s", c.C2S); err == nil {
			l.http, err = listenAll("http", c.HTTP)
		}
	}
	if err == nil {
		l.https, err = listenAll("https", c.HTTPS)
	}
	if err == nil && !c.AdminOff() {
		l.admin, err = listenOne("admin", c.Admin)
	}
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
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
