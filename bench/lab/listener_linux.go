package lab

import "vnode/internal/child"

// Listener returns the process of this machine that listens at host:port, or 0
// when there is none or it is somebody else's.
func Listener(address string) int {
	pid, _ := child.Listener(address)
	return pid
}
