package process

import (
	"os/exec"
	"syscall"
)

// dieWithParent lets the kernel kill the child when a killed test cannot.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
