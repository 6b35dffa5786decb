package socket

import (
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// What epoll reports of a socket: edges, so that nothing need be armed again.
const (
	watchInput = unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET
	watchRoom  = watchInput | unix.EPOLLOUT
)

// Poller is one epoll instance and one goroutine, which tells who has parked on
// a [Conn]. Its methods may be called from any goroutine.
type Poller struct {
	// Static after construction.
	fd          int
	file        *os.File // fd, known to the runtime's poller: no thread waits in epoll_wait
	granularity time.Duration
	stopped     chan struct{}

	closing atomic.Bool

	// next is when deadlines are looked at, in ns since began; math.MaxInt64: not
	// at all. It and the file's read deadline, which is the same, change
	// together under alarm.
	next  atomic.Int64
	alarm sync.Mutex

	mu     sync.Mutex
	conns  []*Conn // by file descriptor; guarded by mu
	closed bool    // guarded by mu
}

// NewPoller starts a Poller. Deadlines of its connections are noticed up to
// granularity late, at least a millisecond. The error is in the tree of
// errors.ErrUnsupported where there is no epoll.
func NewPoller(granularity time.Duration) (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // os.NewFile polls only such
		unix.Close(fd)
		return nil, fmt.Errorf("epoll: %w", err)
	}
	p := &Poller{
		fd: fd, file: os.NewFile(uintptr(fd), "epoll"), granularity: max(granularity, time.Millisecond),
		stopped: make(chan struct{}),
	}
	p.next.Store(math.MaxInt64)
	raw, err := p.file.SyscallConn()
	if err == nil {
		err = p.file.SetReadDeadline(time.Time{}) // fails when the runtime cannot poll it
	}
	if err != nil {
		p.file.Close()
		return nil, fmt.Errorf("epoll: %w", err)
	}
	go p.run(raw)
	return p, nil
}

// Close stops the poller and waits for it; not from one of its calls. Its
// connections must be closed before.
func (p *Poller) Close() error {
	p.mu.Lock()
	p.closed = true // fd can be another file's soon
	p.mu.Unlock()
	p.closing.Store(true)
	_ = p.file.SetReadDeadline(began) // run looks up
	<-p.stopped
	return p.file.Close()
}

// Take makes a Conn of a TCP or unix connection, without deadlines. conn is
// closed, as far as this process is concerned. The error is in the tree of
// errors.ErrUnsupported for any other connection; after any error conn is as it
// was.
func (p *Poller) Take(conn net.Conn) (*Conn, error) {
	var sc syscall.Conn
	switch conn := conn.(type) {
	case *net.TCPConn:
		sc = conn
	case *net.UnixConn:
		sc = conn
	default:
		return nil, fmt.Errorf("socket: %T: %w", conn, errors.ErrUnsupported)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, err
	}
	c := &Conn{poller: p}
	var dupErr error
	err = raw.Control(func(fd uintptr) {
		var dup int
		dup, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
		c.file = int32(dup)
	})
	if err = errors.Join(err, dupErr); err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		c.remote = a.AddrPort()
	}
	if err := p.add(c); err != nil {
		unix.Close(c.fd())
		return nil, fmt.Errorf("socket: %w", err)
	}
	conn.Close() // the runtime's poller lets go of it; the socket stays open
	return c, nil
}

func (p *Poller) watch(fd int, events uint32, op int) error {
	return unix.EpollCtl(p.fd, op, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
}

func (p *Poller) add(c *Conn) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return os.ErrClosed
	}
	if err := p.watch(c.fd(), watchInput, unix.EPOLL_CTL_ADD); err != nil {
		return err
	}
	for len(p.conns) <= c.fd() {
		p.conns = append(p.conns, nil)
	}
	p.conns[c.fd()] = c
	return nil
}

func (p *Poller) forget(fd int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[fd] = nil
}

// due makes sure that deadlines are looked at soon after by.
func (p *Poller) due(by int64) {
	if by <= 0 || by >= p.next.Load() {
		return
	}
	// Not for each deadline on its own: those that come soon after it are
	// looked at together.
	by = max(by, sinceBegan()+int64(p.granularity))
	p.alarm.Lock()
	defer p.alarm.Unlock()
	if by < p.next.Load() {
		p.next.Store(by)
		_ = p.file.SetReadDeadline(began.Add(time.Duration(by))) // it fails on a closed poller
	}
}

func (p *Poller) noAlarm() {
	p.alarm.Lock()
	defer p.alarm.Unlock()
	p.next.Store(math.MaxInt64)
	_ = p.file.SetReadDeadline(time.Time{}) // as in due
}

const maxEvents = 128

// run is the poller's goroutine.
func (p *Poller) run(raw syscall.RawConn) {
	defer close(p.stopped)
	var events [maxEvents]unix.EpollEvent
	// Events are dealt with in what raw.Read calls: it calls again when the
	// runtime's poller has heard of more since. From outside, we would have to
	// ask twice each time. After a full batch there may be more of which it does
	// not hear, and from outside deadlines are looked at in between.
	look := func(fd uintptr) (again bool) {
		n, err := pollNow(int(fd), events[:])
		if err == nil {
			p.report(events[:n])
		}
		return err != nil || n == maxEvents || p.closing.Load()
	}
	for !p.closing.Load() {
		if err := raw.Read(look); errors.Is(err, os.ErrDeadlineExceeded) {
			p.expire()
		}
	}
}

// report tells those whose sockets had events.
func (p *Poller) report(events []unix.EpollEvent) {
	var conns [maxEvents]*Conn
	p.mu.Lock()
	for i := range events {
		conns[i] = p.conns[events[i].Fd]
	}
	p.mu.Unlock()
	for i, c := range conns[:len(events)] {
		if c != nil { // else it was closed after the report
			c.report(events[i].Events)
		}
	}
}

// expire looks at all deadlines. There is no timer for each connection: a look
// at ten thousand costs less than a millisecond, and comes once in a
// granularity at most.
func (p *Poller) expire() {
	p.noAlarm() // who sets a deadline from now on makes itself heard
	now := sinceBegan()
	var next int64
	for fd := 0; ; fd++ {
		p.mu.Lock()
		if fd >= len(p.conns) {
			p.mu.Unlock()
			break
		}
		c := p.conns[fd]
		p.mu.Unlock()
		if c != nil {
			next = earlier(next, c.expire(now))
		}
	}
	p.due(next)
}
