package floor

import (
	"context"
	"flag"
	"fmt"
	"net"
	"strings"
	"sync"
)

// Options describes a floor.
type Options struct {
	Domain string // visitors log in at
	// Speakers is how many of the first clients have addresses of their own;
	// all later ones share one.
	Speakers int
}

// Serve serves clients until ctx ends, then closes the listener and every
// connection, and returns when nothing is left of them. The error is the
// listener's, nil at the end of ctx.
func Serve(ctx context.Context, l net.Listener, o Options) error {
	h := newHub()
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
// parsed: it serves until ctx ends. The load test starts it.
func Command(flags *flag.FlagSet) func(ctx context.Context) error {
	listen := flags.String("listen", "tcp:127.0.0.1:0", "`network:address` to listen on")
	var o Options
	flags.StringVar(&o.Domain, "domain", "peers.test", "`domain` visitors log in at")
	flags.IntVar(&o.Speakers, "speakers", 1, "`number` of first clients with addresses of their own")
	return func(ctx context.Context) error {
		network, addr, _ := strings.Cut(*listen, ":")
		l, err := net.Listen(network, addr)
		if err != nil {
			return fmt.Errorf("floor: %w", err)
		}
		return Serve(ctx, l, o)
	}
}
