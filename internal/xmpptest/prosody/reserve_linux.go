package prosody

import (
	"errors"
	"net/netip"
	"os"
	"syscall"
)

// heldPort is a socket that is bound but does not listen. With SO_REUSEADDR on
// both sides Linux lets Prosody bind and listen on the same port, while
// nobody's bind to port 0 and no outgoing connection is given it.
type heldPort struct {
	addr netip.AddrPort
	file *os.File
}

func holdPort() (heldPort, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return heldPort{}, os.NewSyscallError("socket", err)
	}
	file := os.NewFile(uintptr(fd), "reserved port")
	addr, err := bindLoopback(fd)
	if err != nil {
		return heldPort{}, errors.Join(err, file.Close())
	}
	return heldPort{addr: addr, file: file}, nil
}

func bindLoopback(fd int) (netip.AddrPort, error) {
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return netip.AddrPort{}, os.NewSyscallError("setsockopt", err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return netip.AddrPort{}, os.NewSyscallError("bind", err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, os.NewSyscallError("getsockname", err)
	}
	in4, ok := name.(*syscall.SockaddrInet4)
	if !ok {
		return netip.AddrPort{}, errors.New("getsockname: not an IPv4 address")
	}
	return netip.AddrPortFrom(netip.AddrFrom4(in4.Addr), uint16(in4.Port)), nil
}

func (h *heldPort) release() error {
	if h.file == nil {
		return nil
	}
	file := h.file
	h.file = nil
	return file.Close()
}
