package socket

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// System calls that never block are raw: the scheduler need not hear of them.
// Telling it costs a fifth more by itself; and it wakes the runtime's monitor,
// whose polling was up to a tenth of the CPU while visitors came one by one.

// pollNow is epoll_pwait(2) without waiting.
func pollNow(epoll int, events []unix.EpollEvent) (int, error) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll),
		uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// setInt is setsockopt(2).
func setInt(fd, level, option, value int) error {
	v := int32(value)
	_, _, errno := syscall.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option),
		uintptr(unsafe.Pointer(&v)), unsafe.Sizeof(v), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// closeNow is close(2) of a socket that does not linger.
func closeNow(fd int) error {
	if _, _, errno := syscall.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0); errno != 0 {
		return errno
	}
	return nil
}
