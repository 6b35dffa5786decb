package main

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"

	"github.com/prometheus/procfs"
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
	const unknown = "another process"
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return unknown
	}
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return unknown
	}
	procs, err := fs.AllProcs()
	if err != nil {
		return unknown
	}
	sockets := listening(fs, port)
	for _, p := range procs {
		targets, err := p.FileDescriptorTargets()
		if err != nil {
			continue // somebody else's
		}
		for _, t := range targets {
			if inode, ok := strings.CutPrefix(t, "socket:["); ok && sockets[strings.TrimSuffix(inode, "]")] {
				name, _ := p.Comm()
				return fmt.Sprintf("%s (process %d)", name, p.PID)
			}
		}
	}
	return unknown
}

// listening returns the inodes of the sockets that listen on a port.
func listening(fs procfs.FS, port string) map[string]bool {
	const stateListen = 10 // TCP_LISTEN of include/net/tcp_states.h
	inodes := make(map[string]bool)
	four, _ := fs.NetTCP() // without IPv4 or IPv6 there is no such file
	six, _ := fs.NetTCP6()
	for _, table := range []procfs.NetTCP{four, six} {
		for _, line := range table {
			if line.St == stateListen && strconv.FormatUint(line.LocalPort, 10) == port {
				inodes[strconv.FormatUint(line.Inode, 10)] = true
			}
		}
	}
	return inodes
}
