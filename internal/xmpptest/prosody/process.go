package prosody

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
)

// process is one run of the program.
type process struct {
	// Static after construction.
	cmd   *exec.Cmd
	stdin io.Closer     // its end asks the process to shut down
	done  chan struct{} // closed when the process is gone and its output written
}

// startProcess runs prosody in the foreground, its output going to out.
func startProcess(bin string, files layout, out io.Writer) (*process, error) {
	cmd := exec.Command(bin, "-F", "--config", files.config())
	cmd.Dir = files.data()
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + files.data(), "LC_ALL=C"}
	cmd.Stdout, cmd.Stderr = out, out
	dieWithParent(cmd)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("prosody: open input: %w", err)
	}

	p := &process{cmd: cmd, stdin: stdin, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel sends the parent-death signal when the thread that
		// started the child ends, so that thread has to stay (prctl(2)).
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		// How it ended is told by its log; here it only matters that it did.
		_ = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("prosody: start: %w", err)
	}
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// terminate asks the process to shut down. Not by SIGTERM: see the end of
// modules/mod_vnode_main.lua.
func (p *process) terminate() error {
	if err := p.stdin.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("prosody: close input: %w", err)
	}
	return nil
}

// kill ends the process, if it still runs, and waits for it.
func (p *process) kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("prosody: kill: %w", err)
	}
	<-p.done
	return nil
}
