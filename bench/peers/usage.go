package peers

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
)

// Usage is what processes have used, at one moment.
type Usage struct {
	At           time.Time
	User, System time.Duration // of all threads since their start
	RSS          int64         // resident memory in bytes
}

// CPU is all the time on a processor.
func (u Usage) CPU() time.Duration { return u.User + u.System }

// Since returns the CPU time used since before, and the kernel's share of it
// in [0, 1].
func (u Usage) Since(before Usage) (cpu time.Duration, kernel float64) {
	cpu = u.CPU() - before.CPU()
	if cpu > 0 {
		kernel = float64(u.System-before.System) / float64(cpu)
	}
	return cpu, kernel
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
		p, err := procfs.NewProc(pid)
		if err == nil {
			var s procfs.ProcStat
			if s, err = p.Stat(); err == nil {
				u.User += time.Duration(s.UTime) * time.Second / ticks
				u.System += time.Duration(s.STime) * time.Second / ticks
				u.RSS += int64(s.ResidentMemory())
			}
		}
		if err != nil && i == 0 {
			return Usage{}, fmt.Errorf("process %d: %w", pid, err)
		}
	}
	return u, nil
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

func numbers(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}
