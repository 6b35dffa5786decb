package socket

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Conn is a TCP or unix socket of a [Poller]'s. It is a net.Conn; Read and Write
// block as they do there. One goroutine may read while another writes;
// deadlines and closing are anybody's. A deadline is noticed a little late, by
// the granularity of the poller; one in the past at once.
type Conn struct {
	// Static after construction.
	poller *Poller
	remote netip.AddrPort // invalid for a unix socket
	file   int32          // descriptor

	// Owned by the reader.
	drained bool // the latest read left nothing behind

	// Guarded by mu.
	// input: the kernel has reported some since the latest read began. It
	// reports edges: what is not remembered here is not reported again.
	input   bool
	ended   bool // the peer's end has been reported: a short read is no proof of having all
	closed  bool
	mu      sync.Mutex
	reader  Reader      // parked
	writer  func(error) // waits for room in the send buffer
	readBy  int64       // in ns since began; 0: none
	writeBy int64
}

func (c *Conn) fd() int { return int(c.file) }

// began is what deadlines are counted from, on the monotonic clock: setting the
// time of day must not end everybody's patience.
var began = time.Now()

// past is the deadline that interrupts.
const past = -1

// TryRead reads what has come, without blocking. The error is [ErrAgain] when
// there is nothing, os.ErrDeadlineExceeded when there is nothing and the read
// deadline has passed.
func (c *Conn) TryRead(p []byte) (int, error) {
	c.mu.Lock()
	closed, input, ended, by := c.closed, c.input, c.ended, c.readBy
	c.input = false
	c.mu.Unlock()
	switch {
	case closed:
		return 0, net.ErrClosed
	case by == past:
		c.keepInput(input)
		return 0, os.ErrDeadlineExceeded
	case c.drained && !input:
		return 0, wouldBlock(by)
	}
	n, err := read(c.fd(), p)
	switch {
	case err == unix.EAGAIN:
		c.drained = true
		return 0, wouldBlock(by)
	case err != nil:
		return 0, fmt.Errorf("read: %w", err)
	case n == 0 && len(p) > 0:
		return 0, io.EOF
	}
	// A read that did not fill its buffer has emptied the socket: what comes
	// later is reported anew (epoll(7)).
	c.drained = n < len(p) && !ended
	return n, nil
}

// keepInput undoes the forgetting of a report that was not acted on.
func (c *Conn) keepInput(input bool) {
	if !input {
		return
	}
	c.mu.Lock()
	c.input = true
	c.mu.Unlock()
}

func wouldBlock(deadline int64) error {
	if passed(deadline, sinceBegan()) {
		return os.ErrDeadlineExceeded
	}
	return ErrAgain
}

func passed(deadline, now int64) bool { return deadline != 0 && now >= deadline }

func sinceBegan() int64 { return int64(time.Since(began)) }

// Park has r told when reading makes sense again, and reports true: from then
// on the reading side is r's, and the caller must not touch it. False means that
// it makes sense already.
func (c *Conn) Park(r Reader) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.input || !c.drained || passed(c.readBy, sinceBegan()) {
		return false
	}
	c.reader = r
	return true
}

// TryWrite writes as much of b as the send buffer takes, without blocking. The
// error is [ErrAgain] when that is nothing. It takes no lock: the caller sees to
// it that the connection is not closed meanwhile.
func (c *Conn) TryWrite(b []byte) (int, error) { return Send(c.fd(), b) }

// Send is one non-blocking send(2) on a socket; the error is [ErrAgain] when
// nothing fits. It is a raw system call: telling the scheduler about one that
// never blocks would cost a fifth more.
func Send(fd int, b []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd),
			uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
			unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, ErrAgain
		default:
			return 0, fmt.Errorf("send: %w", errno)
		}
	}
}

// read is one non-blocking recv(2).
func read(fd int, p []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd),
			uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// AwaitRoom has tell called once, with nil when the send buffer has room again
// or the connection is broken, which the next write finds, else with
// os.ErrDeadlineExceeded when the write deadline has passed or net.ErrClosed. It
// is called on the poller's goroutine, or on that of who caused it, maybe
// before AwaitRoom returns, and must not block.
func (c *Conn) AwaitRoom(tell func(error)) {
	c.mu.Lock()
	if err := c.await(tell); err != nil {
		c.mu.Unlock()
		tell(err)
		return
	}
	c.mu.Unlock()
}

func (c *Conn) await(tell func(error)) error {
	switch {
	case c.closed:
		return net.ErrClosed
	case passed(c.writeBy, sinceBegan()):
		return os.ErrDeadlineExceeded
	}
	// Asked for only now: a unix socket reports room with each message that
	// its peer takes, even if there was room before.
	if err := c.poller.watch(c.fd(), watchRoom, unix.EPOLL_CTL_MOD); err != nil {
		return err
	}
	c.writer = tell
	return nil
}

// takeWriter returns who waits for room, and stops the reports.
func (c *Conn) takeWriter() func(error) {
	w := c.writer
	if w != nil {
		c.writer = nil
		_ = c.poller.watch(c.fd(), watchInput, unix.EPOLL_CTL_MOD) // superfluous reports do no harm
	}
	return w
}

func (c *Conn) takeReader() Reader {
	r := c.reader
	c.reader = nil
	return r
}

// report takes what epoll says.
func (c *Conn) report(events uint32) {
	const end = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
	var r Reader
	var w func(error)
	c.mu.Lock()
	if events&(unix.EPOLLIN|end) != 0 {
		c.input = true
		c.ended = c.ended || events&end != 0
		r = c.takeReader()
	}
	if events&(unix.EPOLLOUT|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		w = c.takeWriter()
	}
	c.mu.Unlock()
	if w != nil {
		w(nil)
	}
	if r != nil {
		r.Readable()
	}
}

// expire tells who waits in vain, and returns the earliest deadline still to
// come, 0 for none.
func (c *Conn) expire(now int64) (next int64) {
	var r Reader
	var w func(error)
	c.mu.Lock()
	// A deadline that passed while nobody waited is noticed by who wants to.
	if passed(c.readBy, now) {
		r = c.takeReader()
	} else {
		next = c.readBy
	}
	if passed(c.writeBy, now) {
		w = c.takeWriter()
	} else {
		next = earlier(next, c.writeBy)
	}
	c.mu.Unlock()
	if w != nil {
		w(os.ErrDeadlineExceeded)
	}
	if r != nil {
		r.Readable()
	}
	return next
}

func earlier(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// waiter is a goroutine that blocks until it is told.
type waiter chan struct{}

func (w waiter) Readable()    { close(w) }
func (w waiter) Interrupted() { close(w) }

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	for {
		if c.Late() {
			return 0, os.ErrDeadlineExceeded
		}
		n, err := c.TryRead(p)
		if err != ErrAgain {
			return n, err
		}
		if w := make(waiter); c.Park(w) {
			<-w
		}
	}
}

// Late reports whether the read deadline has passed. TryRead goes on while there
// is input.
func (c *Conn) Late() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.closed && passed(c.readBy, sinceBegan())
}

// Write implements net.Conn.
func (c *Conn) Write(b []byte) (int, error) {
	for done := 0; ; {
		n, err := c.TryWrite(b[done:])
		done += n
		switch {
		case err != nil && err != ErrAgain:
			return done, err
		case done == len(b):
			return done, nil
		}
		told := make(chan error, 1)
		c.AwaitRoom(func(err error) { told <- err })
		if err := <-told; err != nil {
			return done, err
		}
	}
}

// CloseWrite ends the writing side.
func (c *Conn) CloseWrite() error { return unix.Shutdown(c.fd(), unix.SHUT_WR) }

// Close implements net.Conn. Who reads or waits for room is told.
func (c *Conn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return net.ErrClosed
	}
	c.closed = true
	r, w := c.takeReader(), c.takeWriter()
	c.mu.Unlock()
	c.poller.forget(c.fd())
	err := closeNow(c.fd())
	if w != nil {
		w(net.ErrClosed)
	}
	if r != nil {
		r.Interrupted()
	}
	return err
}

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr {
	sa, err := unix.Getsockname(c.fd())
	if err != nil {
		return &net.UnixAddr{Net: "unix"}
	}
	if a := addrOf(sa); a.IsValid() {
		return net.TCPAddrFromAddrPort(a)
	}
	return &net.UnixAddr{Net: "unix"}
}

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr {
	if c.remote.IsValid() {
		return net.TCPAddrFromAddrPort(c.remote)
	}
	return &net.UnixAddr{Net: "unix"}
}

func addrOf(sa unix.Sockaddr) netip.AddrPort {
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return netip.AddrPort{}
}

// SetWriteBuffer bounds the kernel's send buffer, in bytes (SO_SNDBUF).
func (c *Conn) SetWriteBuffer(bytes int) error {
	return setInt(c.fd(), unix.SOL_SOCKET, unix.SO_SNDBUF, bytes)
}

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn. A time in the past interrupts who reads.
func (c *Conn) SetReadDeadline(t time.Time) error {
	by := nanos(t)
	var r Reader
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return net.ErrClosed
	}
	c.readBy = by
	if by == past {
		r = c.takeReader()
	}
	c.mu.Unlock()
	if r != nil {
		r.Interrupted()
	}
	c.poller.due(by)
	return nil
}

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	by := nanos(t)
	var w func(error)
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return net.ErrClosed
	}
	c.writeBy = by
	if by == past {
		w = c.takeWriter()
	}
	c.mu.Unlock()
	if w != nil {
		w(os.ErrDeadlineExceeded)
	}
	c.poller.due(by)
	return nil
}

func nanos(t time.Time) int64 {
	switch {
	case t.IsZero():
		return 0
	case !time.Now().Before(t):
		return past
	}
	return int64(t.Sub(began))
}
