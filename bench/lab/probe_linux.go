package lab

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// sample is the node, the kernel and the load test at one moment.
type sample struct {
	at           time.Time
	cpu          time.Duration // of the node, exact
	user, system time.Duration // as the kernel samples them
	rss          int64
	own          time.Duration      // CPU of the load test
	busy         time.Duration      // of all cores, whoever used them
	tcp          int64              // kernel memory of all TCP sockets
	metrics      map[string]float64 // of the node; empty without its admin listener
}

// probe takes samples.
type probe struct {
	pid   int // 0: the node's process is not on this machine
	admin Admin
	http  *http.Client
}

func newProbe(pid int, admin Admin) *probe {
	return &probe{pid: pid, admin: admin, http: &http.Client{
		Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true},
	}}
}

// take takes a sample. What cannot be read is left zero: the metrics made of it
// are then absent.
func (p *probe) take(ctx context.Context) (sample, error) {
	s := sample{at: time.Now()}
	if p.pid != 0 {
		if err := p.process(&s); err != nil {
			return s, err
		}
	}
	s.own = cpuOf(os.Getpid())
	s.busy = busyTime()
	s.tcp = tcpMemory()
	s.metrics = p.scrape(ctx)
	return s, nil
}

// ticks is USER_HZ, in which Linux reports CPU time to all programs.
const ticks = 100

func (p *probe) process(s *sample) error {
	proc, err := procfs.NewProc(p.pid)
	if err != nil {
		return fmt.Errorf("the node's process %d is gone: %w", p.pid, err)
	}
	stat, err := proc.Stat()
	if err != nil {
		return fmt.Errorf("the node's process %d is gone: %w", p.pid, err)
	}
	s.cpu = cpuOf(p.pid)
	s.user = time.Duration(stat.UTime) * time.Second / ticks
	s.system = time.Duration(stat.STime) * time.Second / ticks
	s.rss = int64(stat.ResidentMemory())
	return nil
}

// cpuOf reads the CPU clock of a process (clock_getcpuclockid(3)): unlike the
// times in /proc it is exact to the microsecond.
func cpuOf(pid int) time.Duration {
	const schedClock = 2
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|schedClock), &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// busyTime is the CPU time of the whole machine, what a hypervisor took away
// included.
func busyTime() time.Duration {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return 0
	}
	st, err := fs.Stat()
	if err != nil {
		return 0
	}
	c := st.CPUTotal
	return time.Duration((c.User + c.Nice + c.System + c.IRQ + c.SoftIRQ + c.Steal) * float64(time.Second))
}

// tcpMemory is what /proc/net/sockstat tells: pages of all TCP buffers.
func tcpMemory() int64 {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return 0
	}
	st, err := fs.NetSockstat()
	if err != nil {
		return 0
	}
	for _, p := range st.Protocols {
		if p.Protocol == "TCP" && p.Mem != nil {
			return int64(*p.Mem) * int64(os.Getpagesize())
		}
	}
	return 0
}

// Names of the node's metrics that are read.
const (
	batchSum   = "vnode_fanout_batch_stanzas_sum"
	batchCount = "vnode_fanout_batch_stanzas_count"
	conflated  = "vnode_fanout_conflated_total"
)

// scrape reads the node's counters.
func (p *probe) scrape(ctx context.Context) map[string]float64 {
	got := make(map[string]float64)
	if p.admin.Addr == "" {
		return got
	}
	req, err := p.admin.get(ctx, "/metrics")
	if err != nil {
		return got
	}
	res, err := p.http.Do(req)
	if err != nil {
		return got
	}
	defer func() { _ = res.Body.Close() }()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), " ")
		switch {
		case !ok, name != batchSum && name != batchCount && name != conflated:
			continue
		}
		if n, err := strconv.ParseFloat(value, 64); err == nil {
			got[name] = n
		}
	}
	return got
}

// grew returns how much a counter grew; ok is false when it was not read.
func grew(before, after sample, name string) (float64, bool) {
	a, okA := before.metrics[name]
	b, okB := after.metrics[name]
	return b - a, okA && okB
}
