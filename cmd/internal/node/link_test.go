package node

import (
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// direction of what passes a link.
type direction int

const (
	up   direction = iota // from the node to main
	down                  // from main to the node
	directions
)

// link is all that connects one node and main: TCP connections in both
// directions, through relays that can fail like a network.
type link struct {
	t              *testing.T
	toMain, toNode net.Listener
	wg             sync.WaitGroup

	mu      sync.Mutex
	changed sync.Cond // of the mutex
	// Guarded by mu.
	targets map[net.Listener]string
	pairs   []*wirePair
	isDown  bool // connections are refused
	frozen  bool // they are accepted, and nothing passes any more
	left    int  // bytes that pass cutting before the link is cut; -1: no end
	cutting direction
	rate    int // bytes per second and connection; 0: no limit
	passed  [directions]int64
	closed  bool
}

// wirePair is a connection and its continuation.
type wirePair struct {
	near, far net.Conn
	dead      bool // guarded by link.mu
}

func newLink(t *testing.T, main netip.AddrPort) *link {
	l := &link{t: t, left: -1}
	l.changed.L = &l.mu
	var err error
	l.toMain, err = net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l.toNode, err = net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l.targets = map[net.Listener]string{l.toMain: main.String()}
	l.wg.Go(func() { l.serve(l.toMain, up) })
	l.wg.Go(func() { l.serve(l.toNode, down) })
	t.Cleanup(l.close)
	return l
}

// leadsTo says where main's connections to the node end.
func (l *link) leadsTo(node string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.targets[l.toNode] = node
}

func (l *link) serve(ln net.Listener, d direction) {
	for {
		near, err := ln.Accept()
		if err != nil {
			return
		}
		l.mu.Lock()
		target, refuse := l.targets[ln], l.isDown
		l.mu.Unlock()
		var far net.Conn
		if !refuse {
			far, err = net.Dial("tcp", target)
		}
		if refuse || err != nil {
			reset(near)
			continue
		}
		p := &wirePair{near: near, far: far}
		l.mu.Lock()
		l.pairs = append(l.pairs, p)
		p.dead = l.isDown || l.closed
		l.mu.Unlock()
		l.wg.Go(func() { l.pass(p, near, far, d) })
		l.wg.Go(func() { l.pass(p, far, near, 1-d) })
	}
}

// reset closes a connection without good-bye.
func reset(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

func (l *link) pass(p *wirePair, from, to net.Conn, d direction) {
	defer reset(from)
	defer reset(to)
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		for b := buf[:n]; len(b) > 0; {
			k, last := l.allowed(p, d, len(b))
			if k == 0 {
				return
			}
			if _, err := to.Write(b[:k]); err != nil {
				return
			}
			if b = b[k:]; last {
				l.kill(false)
				return
			}
		}
		if err != nil {
			l.allowed(p, d, 0) // the end does not pass a frozen link either
			return
		}
	}
}

// allowed waits while nothing passes and returns how many of n bytes may, 0
// when the connection is dead, and whether they are the last before a cut.
func (l *link) allowed(p *wirePair, d direction, n int) (k int, last bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.frozen && !p.dead {
		l.changed.Wait()
	}
	if p.dead {
		return 0, false
	}
	if l.rate > 0 {
		n = min(n, max(1, l.rate/50))
		l.mu.Unlock()
		time.Sleep(time.Duration(n) * time.Second / time.Duration(l.rate)) // what makes it slow
		l.mu.Lock()
	}
	if l.left >= 0 && d == l.cutting {
		n = min(n, l.left)
		if l.left -= n; l.left == 0 {
			l.left, l.isDown, last = -1, true, true
		}
	}
	l.passed[d] += int64(n)
	return n, last
}

// kill breaks all connections: with a reset, or so that what was written
// before still arrives.
func (l *link) kill(abort bool) {
	l.mu.Lock()
	pairs := l.pairs
	l.pairs = nil
	for _, p := range pairs {
		p.dead = true
	}
	l.changed.Broadcast()
	l.mu.Unlock()
	for _, p := range pairs {
		for _, c := range []net.Conn{p.near, p.far} {
			if abort {
				reset(c)
			} else {
				_ = c.Close()
			}
		}
	}
}

// cut breaks all connections and refuses new ones.
func (l *link) cut() {
	l.mu.Lock()
	l.isDown = true
	l.mu.Unlock()
	l.kill(true)
}

// cutAfter cuts the link when n more bytes have passed in one direction.
func (l *link) cutAfter(d direction, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left, l.cutting = n, d
}

// freeze lets nothing pass any more, while connections stay open and new ones
// are accepted: what a machine that hangs looks like, or a network that drops
// everything behind the first hop.
func (l *link) freeze() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.frozen = true
}

// slow limits each direction of each connection to so many bytes a second.
func (l *link) slow(rate int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rate = rate
}

// heal makes the link good for new connections; those that were frozen break.
func (l *link) heal() {
	l.mu.Lock()
	wasFrozen := l.frozen
	l.isDown, l.frozen, l.rate = false, false, 0
	if wasFrozen {
		for _, p := range l.pairs {
			p.dead = true
		}
	}
	l.mu.Unlock()
	if wasFrozen {
		l.kill(true)
	}
}

func (l *link) wasCut() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.isDown
}

func (l *link) bytes() [directions]int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.passed
}

// quiet waits until nothing has passed for a while: all that was said was
// acknowledged too.
func (l *link) quiet() {
	l.t.Helper()
	last, since := l.bytes(), time.Now()
	require.Eventually(l.t, func() bool {
		if now := l.bytes(); now != last {
			last, since = now, time.Now()
		}
		return time.Since(since) > 250*time.Millisecond
	}, 20*time.Second, 10*time.Millisecond)
}

func (l *link) close() {
	_ = l.toMain.Close()
	_ = l.toNode.Close()
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.kill(true)
	l.wg.Wait()
}
