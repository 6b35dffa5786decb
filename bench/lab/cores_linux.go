package lab

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Cores says which processor cores the node and the load test use. Empty means
// any.
type Cores struct{ Node, Load []int }

// SplitCores gives the node the first n cores that this process may use, and
// the load test the others. With too few of them for both nothing is pinned.
func SplitCores(n int) Cores {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return Cores{}
	}
	var all []int
	for c := range len(set) * 64 {
		if set.IsSet(c) {
			all = append(all, c)
		}
	}
	if n < 1 || len(all) <= n {
		return Cores{}
	}
	return Cores{Node: all[:n], Load: all[n:]}
}

// String tells the pinning in words.
func (c Cores) String() string {
	if len(c.Node) == 0 {
		return "not pinned"
	}
	return fmt.Sprintf("node on core %s, load test on core %s", list(c.Node), list(c.Load))
}

func list(cores []int) string {
	s := make([]string, len(cores))
	for i, c := range cores {
		s[i] = strconv.Itoa(c)
	}
	return strings.Join(s, ",")
}

// Apply pins every thread of this process to the cores of the load test. What
// is started later inherits that, a node excepted.
func (c Cores) Apply() error {
	if len(c.Load) == 0 {
		return nil
	}
	var set unix.CPUSet
	for _, core := range c.Load {
		set.Set(core)
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("pin the load test: %w", err)
	}
	for _, t := range threads {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		// A thread may have ended since.
		if err := unix.SchedSetaffinity(id, &set); err != nil && err != unix.ESRCH {
			return fmt.Errorf("pin the load test to core %s: %w", list(c.Load), err)
		}
	}
	// More running threads than cores would preempt one another in the middle
	// of a receive.
	runtime.GOMAXPROCS(len(c.Load))
	return nil
}
