package conference

import (
	"fmt"
	"os"
	"time"

	"github.com/prometheus/procfs"
)

// Meter reads what a process uses, from /proc (Linux only).
type Meter struct{ proc procfs.Proc }

// Usage is a process at one moment.
type Usage struct {
	At      time.Time
	CPU     time.Duration // user and system, of all threads since its start
	RSS     int64         // resident memory in bytes
	PeakRSS int64         // the most there was so far
}

// NewMeter returns the Meter of the process with that id.
func NewMeter(pid int) (*Meter, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	return &Meter{proc: p}, nil
}

// Read returns the usage now, or an error when the process is gone.
func (m *Meter) Read() (Usage, error) {
	stat, err := m.proc.Stat()
	if err != nil {
		return Usage{}, fmt.Errorf("process %d: %w", m.proc.PID, err)
	}
	status, err := m.proc.NewStatus()
	if err != nil {
		return Usage{}, fmt.Errorf("process %d: %w", m.proc.PID, err)
	}
	return Usage{
		At:  time.Now(),
		CPU: time.Duration(stat.CPUTime() * float64(time.Second)),
		RSS: int64(stat.ResidentMemory()), PeakRSS: int64(status.VmHWM),
	}, nil
}

// ownCPU is what this process has used: a load that is short of CPU itself
// measures nothing but that. It is 0 where /proc does not tell.
func ownCPU() time.Duration {
	m, err := NewMeter(os.Getpid())
	if err != nil {
		return 0
	}
	u, err := m.Read()
	if err != nil {
		return 0
	}
	return u.CPU
}
