package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// process is one child and what it starts itself.
type process struct {
	// Static after construction.
	cmd  *exec.Cmd
	log  string        // file with what it wrote
	done chan struct{} // closed when it has ended

	// Static once done is closed.
	err error
}

// command is what a process is started with.
type command struct {
	program string
	args    []string
	env     []string // beside PATH
	dir     string   // its working directory, home, and place of its log
	cores   []int    // it may use; empty: all
}

// start runs the command in a process group of its own: Ctrl-C reaches this
// process alone, which then ends the child in order. It dies with us in any
// case.
func start(c command) (*process, error) {
	p := &process{log: filepath.Join(c.dir, "output.log"), done: make(chan struct{})}
	out, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }() // the child has its own
	p.cmd = exec.Command(c.program, c.args...)
	p.cmd.Dir = c.dir
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.dir, "LC_ALL=C"}, c.env...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = groupAttr()
	started := make(chan error, 1)
	go p.run(c.cores, started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", c.program, err)
	}
	return p, nil
}

// run starts the child and waits for it. The kernel sends the parent-death
// signal when the thread that started the child ends, so that thread has to
// live as long (prctl(2)); and a child inherits the cores of the thread it was
// started by. The thread ends with this goroutine, which does not give it back.
func (p *process) run(cores []int, started chan<- error) {
	runtime.LockOSThread()
	err := pinThread(cores)
	if err == nil {
		err = p.cmd.Start()
	}
	started <- err
	if err == nil {
		p.err = p.cmd.Wait()
		close(p.done)
	}
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// killAfter is how long a child has to end by itself.
const killAfter = 5 * time.Second

// stop ends the child and all it started: SIGTERM, and SIGKILL when that is not
// enough in killAfter or until ctx ends. It blocks until nothing is left.
func (p *process) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, killAfter)
	defer cancel()
	family := descendants(p.pid())
	_ = p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-ctx.Done():
	}
	if err := p.signal(syscall.SIGKILL); err != nil {
		return fmt.Errorf("end process group %d: %w", p.pid(), err)
	}
	<-p.done
	return family.end()
}

// signal reaches the whole process group; one that is gone is no error.
func (p *process) signal(sig syscall.Signal) error {
	err := syscall.Kill(-p.pid(), sig)
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

// ended tells how the child ended, with the last lines it wrote.
func (p *process) ended() error {
	how := "exit status 0"
	if p.err != nil {
		how = p.err.Error()
	}
	return fmt.Errorf("it has ended: %s\n%s", how, p.tail())
}

const tailLines = 20

// tail returns the last lines the child wrote.
func (p *process) tail() string {
	all, err := os.ReadFile(p.log)
	if err != nil {
		return ""
	}
	lines := bytes.Split(bytes.TrimSpace(all), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-tailLines):], []byte("\n")))
}
