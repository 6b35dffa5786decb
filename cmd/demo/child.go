package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// child is a process of the demo's own.
type child struct {
	// Static after construction.
	cmd  *exec.Cmd
	log  string        // file with what it wrote
	done chan struct{} // closed when it has ended

	// Static once done is closed.
	err error
}

// startChild runs a program in a process group of its own, so that Ctrl-C
// reaches the demo alone and the end is orderly. It dies with the demo.
func startChild(log, program string, args ...string) (*child, error) {
	out, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }() // the child has its own
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = childAttr()
	c := &child{cmd: cmd, log: log, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The kernel sends the parent-death signal when the thread that started
		// the child ends: it has to live as long (prctl(2)).
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			c.err = cmd.Wait()
			close(c.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	return c, nil
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// stop asks the child to end with SIGTERM, and kills it when ctx ends first.
// The error is nil only for a clean end that was asked for.
func (c *child) stop(ctx context.Context) error {
	select {
	case <-c.done:
		return fmt.Errorf("the node has ended by itself: %w", c.ended())
	default:
	}
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		_ = c.cmd.Process.Kill()
		<-c.done
		return errors.New("the node did not end on SIGTERM and was killed")
	}
	if c.err != nil {
		return fmt.Errorf("the node did not end cleanly on SIGTERM: %w", c.err)
	}
	return nil
}

func (c *child) ended() error {
	if c.err == nil {
		return errors.New("exit status 0")
	}
	return c.err
}

const tailLines = 30

// logTail returns the last lines the child wrote.
func (c *child) logTail() string {
	all, err := os.ReadFile(c.log)
	if err != nil {
		return ""
	}
	lines := bytes.Split(bytes.TrimSpace(all), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-tailLines):], []byte("\n")))
}
