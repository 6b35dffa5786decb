package crowd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"vnode/internal/xmpptest/conference"
)

// loop is one goroutine that receives for many clients.
//
// Its epoll descriptor is itself polled by the runtime, so that a loop with
// nothing to do blocks no thread.
type loop struct {
	// Static after construction.
	crowd   *Crowd
	epoll   *os.File
	closing atomic.Bool

	// Owned by run.
	events [64]unix.EpollEvent

	mu sync.Mutex
	// Guarded by mu, as are its clients.
	clients []*client
	buf     []byte // what was received, for one client at a time
	scratch []byte
	tally   tally
	heard   heard
	stopped bool
}

// readSize is what one read can take: at the throughput ceiling a batch is
// 50 KB and more.
const readSize = 256 << 10

func newLoop(c *Crowd) (*loop, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err == nil {
		err = unix.SetNonblock(fd, true) // makes os.NewFile poll it
	}
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	l := &loop{crowd: c, epoll: os.NewFile(uintptr(fd), "epoll"), buf: make([]byte, readSize)}
	l.tally.reset()
	return l, nil
}

// run receives until stop.
func (l *loop) run() {
	raw, err := l.epoll.SyscallConn()
	if err != nil {
		return // closed already
	}
	for !l.closing.Load() {
		// The error is that of a closed descriptor: stop was called.
		if raw.Read(l.receive) != nil {
			return
		}
	}
}

// receive handles all events there are.
func (l *loop) receive(fd uintptr) bool {
	for !l.closing.Load() {
		n := epollNow(int(fd), l.events[:])
		if n == 0 {
			return false
		}
		l.mu.Lock()
		for i := range l.events[:n] {
			e := &l.events[i]
			if v := l.clients[e.Fd]; v.generation == e.Pad {
				v.event(e.Events)
			}
		}
		l.mu.Unlock()
		// Whoever publishes shares this core.
		runtime.Gosched()
	}
	return true
}

// stop closes every connection and ends run.
func (l *loop) stop() {
	l.closing.Store(true)
	_ = l.epoll.Close()
	l.mu.Lock()
	l.stopped = true
	clients := l.clients
	for _, v := range clients {
		v.fail(errClosed)
	}
	l.mu.Unlock()
	for _, v := range clients {
		v.readers.Wait() // of TLS connections
	}
}

// watch adds a connection; mu is held.
func (l *loop) watch(v *client, fd int) error {
	if v.index < 0 {
		v.index = len(l.clients)
		l.clients = append(l.clients, v)
	}
	if l.stopped {
		return errClosed
	}
	e := unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET,
		Fd:     int32(v.index), Pad: v.generation,
	}
	raw, err := l.epoll.SyscallConn()
	if err != nil {
		return err
	}
	var added error
	if err := raw.Control(func(ep uintptr) { added = unix.EpollCtl(int(ep), unix.EPOLL_CTL_ADD, fd, &e) }); err != nil {
		return err
	}
	return added
}

// epollNow returns what is ready, without waiting. It goes round the Go
// scheduler, which for calls that never block only costs time.
func epollNow(fd int, events []unix.EpollEvent) int {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(fd), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// receiveNow reads from a non-blocking socket.
func receiveNow(fd int, p []byte) (int, error) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), 0, 0, 0)
	switch {
	case errno != 0:
		return 0, errno
	case n == 0:
		return 0, io.EOF
	}
	return int(n), nil
}

// sendNow writes to a non-blocking socket.
func sendNow(fd int, p []byte) (int, error) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)),
		unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// readable takes everything that has come; the loop's mu is held.
func (v *client) readable() {
	l := v.loop
	for v.connected() && !v.stalled {
		have := copy(l.buf, v.left)
		if have == len(l.buf) {
			v.fail(errTooLarge)
			return
		}
		n, err := receiveNow(v.fd, l.buf[have:])
		if errors.Is(err, syscall.EAGAIN) {
			v.late = false
			return
		}
		if err != nil {
			v.fail(err)
			return
		}
		v.took(l.buf[:have+n], n)
		if n < len(l.buf)-have && !v.late {
			return // edge-triggered: what comes later is a new event
		}
	}
}

// took handles received bytes, of which n are new.
func (v *client) took(b []byte, n int) {
	now := conference.Now()
	v.loop.tally.bytes += uint64(n)
	v.received += uint64(n)
	used, err := v.framing.take(v, b, now)
	if err != nil {
		v.fail(err)
		return
	}
	if rest := b[used:]; len(rest) > 0 {
		v.left = append(v.left[:0], rest...)
	} else if v.left = v.left[:0]; cap(v.left) > 4<<10 {
		v.left = nil
	}
	v.flush()
}
