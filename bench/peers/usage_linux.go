package peers

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// Usage is what processes have used, at one moment.
type Usage struct {
	At           time.Time
	Total        time.Duration // on a processor, of all threads since their start
	User, System time.Duration // the same, to a hundredth of a second
	RSS          int64         // resident memory in bytes
}

// Since returns the CPU time used since before, and the kernel's share of it
// in [0, 1].
func (u Usage) Since(before Usage) (cpu time.Duration, kernel float64) {
	user, system := u.User-before.User, u.System-before.System
	if user+system > 0 {
		kernel = float64(system) / float64(user+system)
	}
	return u.Total - before.Total, kernel
}

// OwnUsage returns the usage of this process, from /proc.
func OwnUsage() (Usage, error) { return usageOf([]int{os.Getpid()}) }

// ticks is USER_HZ, in which Linux reports CPU time to all programs.
const ticks = 100

// usageOf adds up the processes with those ids. Those but the first may have
// ended: helpers come and go.
func usageOf(pids []int) (Usage, error) {
	u := Usage{At: time.Now()}
	for i, pid := range pids {
		one, err := usageOfOne(pid)
		if err != nil && i == 0 {
			return Usage{}, fmt.Errorf("process %d: %w", pid, err)
		}
		u.Total += one.Total
		u.User += one.User
		u.System += one.System
		u.RSS += one.RSS
	}
	return u, nil
}

func usageOfOne(pid int) (Usage, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return Usage{}, err
	}
	s, err := p.Stat()
	if err != nil {
		return Usage{}, err
	}
	u := Usage{
		User: time.Duration(s.UTime) * time.Second / ticks, System: time.Duration(s.STime) * time.Second / ticks,
		RSS: int64(s.ResidentMemory()),
	}
	if u.Total, err = processClock(pid); err != nil {
		return Usage{}, err
	}
	return u, nil
}

// processClock reads a process's CPU clock, to the nanosecond: /proc counts in
// hundredths of a second, which a few deliveries do not fill.
func processClock(pid int) (time.Duration, error) {
	const sched = 2 // CPUCLOCK_SCHED: how clock_getcpuclockid(3) makes the clock's id
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|sched), &t); err != nil {
		return 0, os.NewSyscallError("clock_gettime", err)
	}
	return time.Duration(t.Nano()), nil
}

// family is a process's descendants, told apart from those that get their ids
// after them by their time of start.
type family []relative

type relative struct {
	pid   int
	birth uint64 // in ticks since boot
}

func (f family) pids(first int) []int {
	all := []int{first}
	for _, r := range f {
		all = append(all, r.pid)
	}
	return all
}

// descendants finds everything the process has started and what that has.
func descendants(pid int) family {
	procs, err := procfs.AllProcs()
	if err != nil {
		return nil
	}
	children := make(map[int][]relative)
	for _, p := range procs {
		if s, err := p.Stat(); err == nil {
			children[s.PPID] = append(children[s.PPID], relative{pid: s.PID, birth: s.Starttime})
		}
	}
	var found family
	for next := []int{pid}; len(next) > 0; next = next[1:] {
		for _, c := range children[next[0]] {
			found = append(found, c)
			next = append(next, c.pid)
		}
	}
	return found
}

// end kills those that are still there: a server's helpers may have left its
// process group. It blocks until they are gone.
func (f family) end() error {
	const patience, every = 5 * time.Second, 10 * time.Millisecond
	for deadline := time.Now().Add(patience); ; time.Sleep(every) {
		left := 0
		for _, r := range f {
			if r.alive() {
				left++
				_ = syscall.Kill(r.pid, syscall.SIGKILL)
			}
		}
		switch {
		case left == 0:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("%d helper processes of the server cannot be ended", left)
		}
	}
}

func (r relative) alive() bool {
	p, err := procfs.NewProc(r.pid)
	if err != nil {
		return false
	}
	s, err := p.Stat()
	return err == nil && s.Starttime == r.birth && s.State != "Z" && s.State != "X"
}
