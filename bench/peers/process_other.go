//go:build !linux

package peers

import (
	"errors"
	"runtime"
	"syscall"
	"time"
)

func groupAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func pinThread(cores []int) error {
	if len(cores) > 0 {
		return errors.New("only Linux can pin a process to cores")
	}
	return nil
}

// Cores returns the numbers of the cores this process may use, rising.
func Cores() []int { return numbers(runtime.NumCPU()) }

// PinSelf lets this process use only those cores.
func PinSelf(cores []int) error { return pinThread(cores) }

func processClock(int) (time.Duration, bool) { return 0, false }
