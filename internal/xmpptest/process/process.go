// Package process runs the programs that tests need beside the node: nginx, a
// Prosody with a given configuration, the node itself.
package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is a child that writes a log. Its methods are safe for concurrent
// use.
type Process struct {
	// Static after construction.
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when it is gone and its output is in the log
	err  error         // of its end; read after done

	// Guarded by mu.
	mu      sync.Mutex
	log     bytes.Buffer
	changed chan struct{} // closed and replaced with every write
}

// Start runs cmd, whose output is the log. On Linux the child dies with the
// test. The caller owns the process and calls Kill.
func Start(name string, cmd *exec.Cmd) (*Process, error) {
	p := &Process{name: name, cmd: cmd, done: make(chan struct{}), changed: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p, p
	dieWithParent(cmd)
	started := make(chan error)
	go func() {
		// The parent-death signal comes when the thread that started the
		// child ends (prctl(2)).
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

// Write implements io.Writer for the child's output.
func (p *Process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.changed)
	p.changed = make(chan struct{})
	return p.log.Write(b)
}

// Log is what the child has written so far.
func (p *Process) Log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// WaitLog blocks until the log has text, the child is gone or ctx ends.
func (p *Process) WaitLog(ctx context.Context, text string) error {
	for {
		p.mu.Lock()
		found, changed := strings.Contains(p.log.String(), text), p.changed
		p.mu.Unlock()
		if found {
			return nil
		}
		select {
		case <-changed:
		case <-p.done:
			if strings.Contains(p.Log(), text) {
				return nil
			}
			return fmt.Errorf("%s ended (%v) without %q:\n%s", p.name, p.err, text, p.Log())
		case <-ctx.Done():
			return fmt.Errorf("%s: no %q: %w\n%s", p.name, text, context.Cause(ctx), p.Log())
		}
	}
}

// WaitListen blocks until something accepts connections at addr, the child is
// gone or ctx ends.
func (p *Process) WaitListen(ctx context.Context, addr string) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-tick.C:
		case <-p.done:
			return fmt.Errorf("%s ended (%v):\n%s", p.name, p.err, p.Log())
		case <-ctx.Done():
			return fmt.Errorf("%s does not listen on %s: %w\n%s", p.name, addr, err, p.Log())
		}
	}
}

// Signal sends a signal.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Stop asks the child to end with SIGTERM and returns how it ended; it is
// killed when ctx ends first.
func (p *Process) Stop(ctx context.Context) error {
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("%s does not end: %w", p.name, context.Cause(ctx)), p.Kill())
	}
}

// Kill ends the child, if it still runs, and waits for its end.
func (p *Process) Kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.done
	return nil
}

// T is what Run needs of a testing.TB.
type T interface {
	Helper()
	Cleanup(func())
	Failed() bool
	Logf(format string, args ...any)
	Skipf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Run is Start for a test: the child is killed at its end, and a failed test
// shows the log.
func Run(t T, name string, cmd *exec.Cmd) *Process {
	t.Helper()
	p, err := Start(name, cmd)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if err := p.Kill(); err != nil {
			t.Errorf("kill %s: %v", name, err)
		}
		if t.Failed() {
			log := p.Log()
			t.Logf("end of the log of %s:\n%s", name, log[max(0, len(log)-8000):])
		}
	})
	return p
}
