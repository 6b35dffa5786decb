// Package child runs programs that the commands of this module need beside
// them: the node of a demonstration or of a load test.
package child

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// Process is a child of this one. Its methods are safe for concurrent use.
type Process struct {
	// Static after construction.
	cmd  *exec.Cmd
	log  string        // file with what it wrote
	done chan struct{} // closed when it has ended

	// Static once done is closed.
	err error
}

// Command says what to run.
type Command struct {
	Program string
	Args    []string
	Dir     string   // its working directory; empty: ours
	Env     []string // its environment; nil: ours
	Log     string   // file for what it writes
	Cores   []int    // it may use, from its first instruction; empty: all
}

// Start runs a program in a process group of its own, so that Ctrl-C reaches
// the parent alone and the end is orderly. It dies with the parent.
func Start(c Command) (*Process, error) {
	out, err := os.Create(c.Log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }() // the child has its own
	cmd := exec.Command(c.Program, c.Args...)
	cmd.Dir, cmd.Env = c.Dir, c.Env
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = attr()
	p := &Process{cmd: cmd, log: c.Log, done: make(chan struct{})}
	started := make(chan error, 1)
	go p.run(c.Cores, started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Program, err)
	}
	return p, nil
}

// run starts the child and waits for it. The kernel sends the parent-death
// signal when the thread that started the child ends: it has to live as long
// (prctl(2)). The child inherits the cores of that thread, which ends with this
// goroutine.
func (p *Process) run(cores []int, started chan<- error) {
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

// PID returns the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Stop asks the process to end with SIGTERM, and kills it when ctx ends first.
// The error is nil only for a clean end that was asked for.
func (p *Process) Stop(ctx context.Context) error {
	select {
	case <-p.done:
		return fmt.Errorf("the node has ended by itself: %w", p.ended())
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		_ = p.cmd.Process.Kill()
		<-p.done
		return errors.New("the node did not end on SIGTERM and was killed")
	}
	if p.err != nil {
		return fmt.Errorf("the node did not end cleanly on SIGTERM: %w", p.err)
	}
	return nil
}

// Kill ends the process at once and waits until it has.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done
}

// Ended tells how the process ended, once Done is closed.
func (p *Process) Ended() error { return p.ended() }

func (p *Process) ended() error {
	if p.err == nil {
		return errors.New("exit status 0")
	}
	return p.err
}

// ErrNotListening is a program that has not come up.
var ErrNotListening = errors.New("the program does not listen")

const (
	startTime = 30 * time.Second // most a program takes to listen
	startPoll = 20 * time.Millisecond
)

// Listens waits until the process accepts connections there, for half a minute
// at most. The error wraps [ErrNotListening].
func (p *Process) Listens(ctx context.Context, network, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	tick := time.NewTicker(startPoll)
	defer tick.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-tick.C:
		case <-p.done:
			return fmt.Errorf("%w: it has ended before it listened: %w", ErrNotListening, p.ended())
		case <-ctx.Done():
			return fmt.Errorf("%w on %s: %w", ErrNotListening, addr, err)
		}
	}
}

const tailLines = 30

// LogTail returns the last lines the process wrote.
func (p *Process) LogTail() string {
	all, err := os.ReadFile(p.log)
	if err != nil {
		return ""
	}
	lines := bytes.Split(bytes.TrimSpace(all), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-tailLines):], []byte("\n")))
}
