package visitor

import (
	"net"
	"runtime"
	"sync"
	"time"

	"vnode/internal/socket"
)

// pollers wait for clients that say nothing. They are started with the first
// connection that can be polled.
type pollers struct {
	// Static after construction.
	granularity time.Duration

	mu sync.Mutex // guards what follows
	// all is nil before the first connection; empty where there is no polling.
	all    []*socket.Poller
	next   int
	closed bool
}

// newPollers: a client is asked whether it is there, or given up, a sixteenth
// late at most.
func newPollers(l *Limits) *pollers {
	return &pollers{granularity: min(min(l.PingAfter, l.PingTimeout, l.Close)/16, time.Second)}
}

// take gives a connection to a poller. One that cannot be polled is returned as
// it is: a goroutine reads it.
func (p *pollers) take(conn net.Conn) net.Conn {
	switch conn.(type) {
	case *net.TCPConn, *net.UnixConn:
	default:
		return conn
	}
	poller := p.pick()
	if poller == nil {
		return conn
	}
	c, err := poller.Take(conn)
	if err != nil {
		return conn
	}
	return c
}

// pick returns the poller whose turn it is, nil for none.
func (p *pollers) pick() *socket.Poller {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == nil && !p.closed {
		p.start()
	}
	if len(p.all) == 0 {
		return nil
	}
	p.next++
	return p.all[p.next%len(p.all)]
}

// start starts one poller for each core, or none.
func (p *pollers) start() {
	p.all = []*socket.Poller{}
	for range runtime.GOMAXPROCS(0) {
		poller, err := socket.NewPoller(p.granularity)
		if err != nil {
			return
		}
		p.all = append(p.all, poller)
	}
}

// close stops the pollers, whose connections are closed.
func (p *pollers) close() {
	p.mu.Lock()
	all := p.all
	p.all, p.closed = nil, true
	p.mu.Unlock()
	for _, poller := range all {
		poller.Close()
	}
}
