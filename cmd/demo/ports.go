package main

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"

	"vnode/internal/child"
)

// checkPorts fails when the node could not listen, and says who is in the way
// and what to do.
func checkPorts(o options) error {
	var errs []error
	for _, p := range []struct{ flag, addr, example string }{
		{"-port", net.JoinHostPort("", strconv.Itoa(o.port)), "-port 53693"},
		{"-c2s", o.c2s, "-c2s 127.0.0.1:53223"},
		{"-http", o.http, "-http 127.0.0.1:53803"},
	} {
		l, err := net.Listen("tcp", p.addr)
		if err == nil {
			errs = append(errs, l.Close())
			continue
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			errs = append(errs, fmt.Errorf("%s %s: %w", p.flag, p.addr, err))
			continue
		}
		errs = append(errs, fmt.Errorf("%s is taken by %s: stop it, or choose another with e.g. %s", p.addr, owner(p.addr), p.example))
	}
	return errors.Join(errs...)
}

// owner names the process that listens on addr's port, as far as /proc tells.
func owner(addr string) string {
	if pid, name := child.Listener(addr); pid != 0 {
		return fmt.Sprintf("%s (process %d)", name, pid)
	}
	return "another process"
}
