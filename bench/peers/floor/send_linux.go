package floor

import (
	"fmt"
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sender writes to one socket with bare system calls. The descriptor is the
// connection's, which must stay open meanwhile.
type sender struct {
	fd   uintptr
	dead bool
}

func newSender(conn net.Conn) (sender, error) {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return sender{}, fmt.Errorf("%T is no socket", conn)
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return sender{}, err
	}
	var s sender
	return s, raw.Control(func(fd uintptr) { s.fd = fd })
}

// send writes all of b, waiting for the receiver if it must. It reports false
// once the connection is broken.
func (s *sender) send(b []byte) bool {
	for !s.dead {
		n, errno := sendto(s.fd, b)
		switch {
		case errno == 0 && n == len(b):
			return true
		case errno == 0:
			b = b[n:]
		case errno == unix.EAGAIN:
			s.dead = !s.wait()
		case errno != unix.EINTR:
			s.dead = true
		}
	}
	return false
}

func (s *sender) broken() bool { return s.dead }

// wait blocks until the socket takes more bytes, a second at most: one that is
// stuck for longer ends.
func (s *sender) wait() bool {
	const patience = 1000 // milliseconds
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLOUT}}, patience)
		if err != unix.EINTR {
			return n > 0
		}
	}
}

// sendto does not tell Go's scheduler about the call: it cannot block, and the
// telling costs a fifth of it.
func sendto(fd uintptr, b []byte) (int, unix.Errno) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
