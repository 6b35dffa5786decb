package peers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"vnode/bench/peers/floor"
	"vnode/internal/port"
)

// Calibrate measures the floor without clients: a process that sends batches of
// stanzas to sockets as fast as this process takes them off. It is the figure
// to compare with the same loop in C. It blocks for o.For and a little more, or
// until ctx ends.
func Calibrate(ctx context.Context, opt Options, unixSocket bool, o floor.ClosedOptions) (c floor.Closed, err error) {
	dir, err := os.MkdirTemp("", "vnode-bench-")
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "progress")
	progress, err := floor.OpenProgress(path)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, progress.Close()) }()
	held, err := port.Hold()
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, held.Close()) }()
	listen, addr := "tcp:"+held.String(), unix.Sockaddr(&unix.SockaddrInet4{Port: int(held.Addr().Port()), Addr: held.Addr().Addr().As4()})
	if unixSocket {
		socket := filepath.Join(dir, "floor.sock")
		listen, addr = "unix:"+socket, &unix.SockaddrUnix{Name: socket}
	}
	args := append(append([]string(nil), opt.Self[1:]...), "-listen", listen, "-closed", strconv.Itoa(o.Sockets),
		"-size", strconv.Itoa(o.Size), "-batch", strconv.Itoa(o.Batch), "-for", o.For.String(), "-progress", path)
	p, err := start(command{program: opt.Self[0], args: args, dir: dir, cores: opt.Cores})
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, p.stop(context.WithoutCancel(ctx))) }()
	if err := sink(ctx, p, addr, o.Sockets, progress.Taken()); err != nil {
		return c, fmt.Errorf("floor: %w\n%s", err, p.LogTail())
	}
	if err := json.Unmarshal([]byte(p.LogTail()), &c); err != nil {
		return c, fmt.Errorf("floor: %w", p.ended())
	}
	return c, nil
}

// sink reads from n connections until the process has ended.
func sink(ctx context.Context, p *process, addr unix.Sockaddr, n int, taken *atomic.Uint64) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	defer func() { _ = unix.Close(ep) }() // nothing to be lost
	fds := make([]int, 0, n)
	defer func() {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}()
	for range n {
		fd, err := connect(ctx, p, addr)
		if err != nil {
			return err
		}
		fds = append(fds, fd)
		if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
			return os.NewSyscallError("epoll_ctl", err)
		}
	}
	flags := 0
	if _, tcp := addr.(*unix.SockaddrInet4); tcp {
		flags = unix.MSG_TRUNC // forget it without copying it (tcp(7)): the sender is measured
	}
	drop(ctx, p, ep, flags, taken)
	return ctx.Err()
}

// drop reads and forgets until the process or ctx has ended.
func drop(ctx context.Context, p *process, ep, flags int, taken *atomic.Uint64) {
	const wait = 50 // milliseconds
	buf := make([]byte, 1<<20)
	events := make([]unix.EpollEvent, 512)
	for ctx.Err() == nil {
		n, err := unix.EpollWait(ep, events, wait)
		if err != nil && err != unix.EINTR {
			return
		}
		for _, e := range events[:max(n, 0)] {
			taken.Add(uint64(receive(e.Fd, buf, flags)))
		}
		select {
		case <-p.Done():
			return
		default:
		}
	}
}

func receive(fd int32, buf []byte, flags int) int {
	n, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)),
		uintptr(flags|unix.MSG_DONTWAIT), 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// connect tries until the process listens.
func connect(ctx context.Context, p *process, addr unix.Sockaddr) (int, error) {
	family := unix.AF_INET
	if _, ok := addr.(*unix.SockaddrUnix); ok {
		family = unix.AF_UNIX
	}
	for {
		fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return 0, os.NewSyscallError("socket", err)
		}
		if err = unix.Connect(fd, addr); err == nil {
			return fd, nil
		}
		_ = unix.Close(fd)
		select {
		case <-p.Done():
			return 0, p.ended()
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}
