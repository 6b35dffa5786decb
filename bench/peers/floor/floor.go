package floor

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// Options describes a floor.
type Options struct {
	Domain string // visitors log in at
	// Speakers is how many of the first clients have addresses of their own;
	// all later ones share one.
	Speakers int
	// Batch is how many stanzas are sent with one system call; at most
	// maxBatchAge old. Default 1.
	Batch int
}

// maxBatchAge ends the wait for a batch to fill.
const maxBatchAge = time.Second

// Serve serves clients until ctx ends, then closes the listener and every
// connection, and returns when nothing is left of them. The error is the
// listener's, nil at the end of ctx.
func Serve(ctx context.Context, l net.Listener, o Options) error {
	h := newHub(max(o.Batch, 1))
	var sessions sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	hubDone := make(chan struct{})
	go func() { h.run(ctx); close(hubDone) }()
	defer func() {
		cancel()
		sessions.Wait()
		<-hubDone
	}()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	for number := 0; ; number++ {
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("floor: %w", err)
		}
		s := &session{hub: h, conn: conn, jid: o.address(number), everybody: o.address(o.Speakers)}
		sessions.Go(func() {
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
			s.serve(ctx)
		})
	}
}

// address is what the client with that number is told that it is. The locals
// are told apart by more than eight characters, so that nicks cut from them
// are too.
func (o Options) address(number int) string {
	if number < o.Speakers {
		return fmt.Sprintf("sp%06d@%s/floor", number, o.Domain)
	}
	return "visitors@" + o.Domain + "/floor"
}

// Command declares the floor's flags and returns what runs once they are
// parsed: it serves until ctx ends, or measures a closed loop and writes its
// result to out. It is started by the load test itself.
func Command(flags *flag.FlagSet) func(ctx context.Context, out io.Writer) error {
	listen := flags.String("listen", "tcp:127.0.0.1:0", "`network:address` to listen on")
	var o Options
	flags.StringVar(&o.Domain, "domain", "peers.test", "`domain` visitors log in at")
	flags.IntVar(&o.Speakers, "speakers", 1, "`number` of first clients with addresses of their own")
	flags.IntVar(&o.Batch, "batch", 1, "`stanzas` sent with one system call")
	var closed ClosedOptions
	flags.IntVar(&closed.Sockets, "closed", 0, "serve no clients: send without end to that `number` of sockets and tell the cost")
	flags.IntVar(&closed.Size, "size", 900, "`bytes` of a stanza, with -closed")
	flags.DurationVar(&closed.For, "for", 4*time.Second, "how `long`, with -closed")
	progress := flags.String("progress", "", "`file` in which the receiver counts, with -closed")
	return func(ctx context.Context, out io.Writer) error {
		network, addr, _ := strings.Cut(*listen, ":")
		l, err := net.Listen(network, addr)
		if err != nil {
			return fmt.Errorf("floor: %w", err)
		}
		if closed.Sockets == 0 {
			return Serve(ctx, l, o)
		}
		defer func() { _ = l.Close() }() // the process ends next
		closed.Batch = max(o.Batch, 1)
		return runClosed(l, *progress, closed, out)
	}
}
