package port

import (
	"errors"
	"io"
	"net/netip"
	"os"
	"syscall"
)

// hold binds a socket to a port, any for 0, and does not listen. With
// SO_REUSEADDR on both sides Linux lets another socket bind and listen on the
// same port, while nobody's bind to port 0 and no outgoing connection is given
// it.
func hold(number uint16) (netip.AddrPort, io.Closer, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return netip.AddrPort{}, nil, os.NewSyscallError("socket", err)
	}
	file := os.NewFile(uintptr(fd), "held port")
	addr, err := bindLoopback(fd, number)
	if err != nil {
		return netip.AddrPort{}, nil, errors.Join(err, file.Close())
	}
	return addr, file, nil
}

func bindLoopback(fd int, number uint16) (netip.AddrPort, error) {
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Port: int(number), Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return netip.AddrPort{}, os.NewSyscallError("bind", err)
	}
	// Not before: a port that somebody else holds would seem free.
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return netip.AddrPort{}, os.NewSyscallError("setsockopt", err)
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
