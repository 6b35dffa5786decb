package floor

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Closed is what sending costs when nothing else is done: the closed loop that
// a C program with the same system calls can be compared with.
type Closed struct {
	Writes      uint64        `json:"writes"`
	Stanzas     uint64        `json:"stanzas"`
	CPU         time.Duration `json:"cpu_ns"`
	PerWrite    time.Duration `json:"cpu_per_write_ns"`
	PerStanza   time.Duration `json:"cpu_per_stanza_ns"`
	PerSecond   float64       `json:"stanzas_per_busy_second"`
	WouldBlock  uint64        `json:"would_block"`
	ShortWrites uint64        `json:"short_writes"`
}

// ClosedOptions describes a closed loop.
type ClosedOptions struct {
	Sockets, Size, Batch int
	For                  time.Duration
}

// Progress is memory shared by the sender and the receiver: how much has been
// taken, for a sender that must not run ahead. The zero file of a page is ready
// for use.
type Progress struct{ page []byte }

// OpenProgress maps the file, making it if needed. Close it.
func OpenProgress(path string) (*Progress, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // the mapping stays
	size := os.Getpagesize()
	if err := f.Truncate(int64(size)); err != nil {
		return nil, err
	}
	page, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	return &Progress{page: page}, nil
}

// Taken is the count of bytes the receiver has read.
func (p *Progress) Taken() *atomic.Uint64 { return (*atomic.Uint64)(unsafe.Pointer(&p.page[0])) }

// Close unmaps the file.
func (p *Progress) Close() error { return unix.Munmap(p.page) }

// runClosed takes the sockets' connections, sends as fast as they are read, and
// writes the result as JSON.
func runClosed(l net.Listener, path string, o ClosedOptions, out io.Writer) error {
	p, err := OpenProgress(path)
	if err != nil {
		return err
	}
	defer func() { _ = p.Close() }() // the process ends next
	sockets, err := acceptAll(l, o.Sockets)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(sendClosed(sockets, p.Taken(), o))
}

func acceptAll(l net.Listener, n int) ([]*receiver, error) {
	all := make([]*receiver, n)
	for i := range all {
		conn, err := l.Accept()
		if err != nil {
			return nil, err
		}
		raw, err := newSender(conn)
		if err != nil {
			return nil, fmt.Errorf("socket %d: %w", i, err)
		}
		all[i] = &receiver{conn: conn, raw: raw}
	}
	return all, nil
}

// sendClosed keeps less than two stanzas a socket, or 4 MB, on the way: a
// sender that filled the sockets would measure refusals.
func sendClosed(sockets []*receiver, taken *atomic.Uint64, o ClosedOptions) Closed {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ready := make([]byte, o.Size*o.Batch)
	for i := range ready {
		ready[i] = 'x'
	}
	most := max(uint64(len(sockets)*len(ready)*2), 4_000_000)
	var c Closed
	var sent uint64
	var waited time.Duration
	begin, before := time.Now(), cpuClock()
	for time.Since(begin) < o.For {
		for sent-taken.Load() > most {
			pause := time.Now()
			time.Sleep(200 * time.Microsecond)
			waited += time.Since(pause)
		}
		for _, r := range sockets {
			n, errno := sendto(r.raw.fd, ready)
			sent += uint64(n)
			switch {
			case errno != 0:
				c.WouldBlock++
			case n < len(ready):
				c.ShortWrites++
			default:
				c.Writes++
			}
		}
	}
	c.CPU = cpuClock() - before
	c.Stanzas = c.Writes * uint64(o.Batch)
	if c.Writes > 0 {
		c.PerWrite = c.CPU / time.Duration(c.Writes)
		c.PerStanza = c.CPU / time.Duration(c.Stanzas)
		c.PerSecond = float64(c.Stanzas) / (time.Since(begin) - waited).Seconds()
	}
	return c
}

// cpuClock is the CPU time of this process, to the nanosecond.
func cpuClock() time.Duration {
	var t unix.Timespec
	// The clock exists on every Linux and the pointer is good.
	_ = unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t)
	return time.Duration(t.Nano())
}
