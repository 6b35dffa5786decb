package child

import (
	"net"
	"strconv"
	"strings"

	"github.com/prometheus/procfs"
)

// Listener returns the id and the name of the process of this machine that
// listens at the port of host:port. Without /proc, when there is none, and when
// it is somebody else's, the id is 0.
func Listener(address string) (pid int, name string) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return 0, ""
	}
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, ""
	}
	procs, err := fs.AllProcs()
	if err != nil {
		return 0, ""
	}
	sockets := listening(fs, port)
	for _, p := range procs {
		files, err := p.FileDescriptorTargets()
		if err != nil {
			continue // not ours to see
		}
		for _, f := range files {
			if inode, ok := strings.CutPrefix(f, "socket:["); ok && sockets[strings.TrimSuffix(inode, "]")] {
				name, _ = p.Comm()
				return p.PID, name
			}
		}
	}
	return 0, ""
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
