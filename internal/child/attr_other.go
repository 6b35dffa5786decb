//go:build !linux

package child

import (
	"errors"
	"syscall"
)

func attr() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }

func pinThread(cores []int) error {
	if len(cores) > 0 {
		return errors.New("processes can be pinned to cores on Linux only")
	}
	return nil
}
