package peers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"vnode/internal/child"
)

// process is one child and what it starts itself.
type process struct{ *child.Process }

// command is what a process is started with.
type command struct {
	program string
	args    []string
	env     []string // beside PATH
	dir     string   // its working directory, home, and place of its log
	cores   []int    // it may use; empty: all
}

func start(c command) (*process, error) {
	p, err := child.Start(child.Command{
		Program: c.program, Args: c.args, Dir: c.dir, Log: filepath.Join(c.dir, "output.log"), Cores: c.cores,
		Env: append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.dir, "LC_ALL=C"}, c.env...),
	})
	if err != nil {
		return nil, err
	}
	return &process{p}, nil
}

// killAfter is how long a child has to end by itself.
const killAfter = 5 * time.Second

// stop ends the child and all it started: SIGTERM, and SIGKILL when that is not
// enough in killAfter or until ctx ends. It blocks until nothing is left.
func (p *process) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, killAfter)
	defer cancel()
	family := descendants(p.PID())
	_ = p.signal(syscall.SIGTERM)
	select {
	case <-p.Done():
	case <-ctx.Done():
	}
	if err := p.signal(syscall.SIGKILL); err != nil {
		return fmt.Errorf("end process group %d: %w", p.PID(), err)
	}
	<-p.Done()
	return family.end()
}

// signal reaches the whole process group; one that is gone is no error.
func (p *process) signal(sig syscall.Signal) error {
	err := syscall.Kill(-p.PID(), sig)
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

// ended tells how the child ended, with the last lines it wrote.
func (p *process) ended() error { return fmt.Errorf("it has ended: %w\n%s", p.Ended(), p.LogTail()) }

// listens is Listens, with the last lines the child wrote.
func (p *process) listens(ctx context.Context, network, addr string) error {
	if err := p.Listens(ctx, network, addr); err != nil {
		return fmt.Errorf("%w\n%s", err, p.LogTail())
	}
	return nil
}
