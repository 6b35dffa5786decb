package crowd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"vnode/internal/xmpptest/conference"
)

// client is one visitor. What every receipt needs comes first: thousands of
// clients are in no cache when their turn comes.
type client struct {
	// Static after construction.
	crowd *Crowd
	loop  *loop

	// Guarded by the loop's mu.
	framing    framing
	fd         int // -1 when there is none
	generation int32
	stage      stage
	group      Group
	acks       bool // stream management is on
	stalled    bool
	late       bool // events were missed: the end may be behind what is read
	writable   bool
	handled    uint32 // stanzas since <enabled/>
	heard      uint32 // number of the line that it should get next
	jid        string
	left       []byte // begin of a frame whose rest has not come
	out        []byte // not taken by the kernel yet
	seen       seen
	joinedAt   int64
	backAt     int64
	received   uint64 // bytes on this connection

	secure net.Conn // instead of fd, for TLS
	nick   string
	offers offers
	smID   string // to resume by
	sent   uint32

	ctx      context.Context // of the join or resumption
	attempts int             // refused because the server was busy
	due      int64           // when the join or resumption should have begun
	done     func(error)
	err      error // why the stage is stageDead

	source *conference.Source // of what the visitor says itself

	// Static after construction.
	number  int
	index   int            // in the loop's clients; -1 before the first connection; guarded by mu
	readers sync.WaitGroup // of a TLS connection
}

// stage is how far a client is.
type stage uint8

const (
	stageNew        stage = iota
	stageConnecting       // TCP
	stageUpgrade          // HTTP
	stageMechanisms       // the features before authentication
	stageSuccess
	stageFeatures // those behind it
	stageBind
	stageSession
	stageEnabled
	stageResumed
	stageJoining
	stageIn
	stageLeaving
	stageAway // the connection is cut, the session may be resumed
	stageDead
)

var stageNames = [...]string{"new", "connecting", "waiting for the HTTP answer", "waiting for the mechanisms", "authenticating",
	"waiting for the features", "binding", "waiting for the session", "enabling stream management", "resuming", "joining", "in the room",
	"leaving", "away", "gone"}

func (s stage) String() string { return stageNames[s] }

var (
	errTooLarge = errors.New("the server sent more than 256 KB without the end of a frame")
	errOverflow = errors.New("the server does not read what the visitor sends")
)

func newClient(c *Crowd, l *loop, number int, g Group) *client {
	return &client{crowd: c, loop: l, number: number, index: -1, fd: -1, group: g}
}

func (v *client) is(s stage) bool {
	v.loop.mu.Lock()
	defer v.loop.mu.Unlock()
	return v.stage == s
}

func (v *client) connected() bool { return v.fd >= 0 || v.secure != nil }

// start connects, to join or to resume; done is called once, when that has
// succeeded or failed. It does not wait for the server, except for a TLS
// handshake and for room in the backlog of a unix socket.
func (v *client) start(ctx context.Context, due int64, done func(error)) {
	v.loop.mu.Lock()
	if v.stage == stageDead { // the crowd was closed before a second attempt
		v.loop.mu.Unlock()
		return
	}
	v.ctx, v.due, v.done = ctx, due, done
	v.stage, v.received, v.left, v.out = stageConnecting, 0, nil, nil
	v.framing = newFraming(v)
	v.loop.mu.Unlock()
	if err := v.connect(ctx); err != nil {
		v.loop.mu.Lock()
		v.fail(fmt.Errorf("connect: %w", err))
		v.loop.mu.Unlock()
	}
}

func (v *client) connect(ctx context.Context) error {
	if v.crowd.addr.tls {
		return v.connectTLS(ctx)
	}
	fd, err := v.dial(ctx)
	if err != nil {
		return err
	}
	v.loop.mu.Lock()
	defer v.loop.mu.Unlock()
	v.fd = fd
	v.generation++
	v.writable = false
	// The first event says that the connection is there.
	return v.loop.watch(v, fd)
}

// dial begins a connection; only for a unix socket it waits.
func (v *client) dial(ctx context.Context) (int, error) {
	a := &v.crowd.addr
	if a.unix != "" {
		return dialUnix(ctx, a.unix)
	}
	ip := v.crowd.ip
	family := unix.AF_INET
	if ip.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, outOfFiles(err)
	}
	// Browsers' sockets do not delay acks either.
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if from, ok := source(ip.Addr(), v.number); ok {
		// The port is chosen at connect, when the whole pair of addresses is
		// known, else one address could not be used for many servers.
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
		if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(from, 0))); err != nil {
			_ = unix.Close(fd)
			return -1, err
		}
	}
	if err := unix.Connect(fd, sockaddr(ip)); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// dialUnix waits while the server's backlog is full: then the kernel refuses
// instead of queueing.
func dialUnix(ctx context.Context, path string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, outOfFiles(err)
	}
	for {
		err := unix.Connect(fd, &unix.SockaddrUnix{Name: path})
		if err == nil {
			return fd, nil
		}
		if errors.Is(err, unix.EAGAIN) {
			if err = conference.Sleep(ctx, time.Millisecond); err == nil {
				continue
			}
		}
		_ = unix.Close(fd)
		return -1, err
	}
}

func outOfFiles(err error) error {
	if errors.Is(err, unix.EMFILE) {
		return fmt.Errorf("%w: this process may open no more sockets; raise the hard limit (ulimit -Hn)", err)
	}
	return err
}

// connectTLS connects and reads in a goroutine: a TLS connection cannot wait in
// epoll for its plain text.
func (v *client) connectTLS(ctx context.Context) error {
	a := &v.crowd.addr
	d := net.Dialer{}
	network, to := "tcp", a.host
	if a.unix != "" {
		network, to = "unix", a.unix
	}
	plain, err := d.DialContext(ctx, network, to)
	if err != nil {
		return err
	}
	conn := tls.Client(plain, v.crowd.tlsConfig())
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = plain.Close()
		return err
	}
	l := v.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	if v.index < 0 {
		v.index = len(l.clients)
		l.clients = append(l.clients, v)
	}
	if l.stopped {
		_ = plain.Close()
		return errClosed
	}
	v.secure = conn
	v.generation++
	v.readers.Go(func() { v.readTLS(conn) })
	v.established()
	return nil
}

// tlsConfig is the one given, completed by the server's name.
func (c *Crowd) tlsConfig() *tls.Config {
	conf := &tls.Config{}
	if c.opt.TLS != nil {
		conf = c.opt.TLS.Clone()
	}
	if conf.ServerName == "" {
		conf.ServerName, _, _ = net.SplitHostPort(c.addr.host)
	}
	return conf
}

func (v *client) readTLS(conn net.Conn) {
	p := make([]byte, 4<<10)
	for {
		n, err := conn.Read(p)
		v.loop.mu.Lock()
		if v.secure != conn {
			v.loop.mu.Unlock()
			return
		}
		if n > 0 {
			v.took(append(v.left[:len(v.left):len(v.left)], p[:n]...), n)
		}
		if err != nil {
			v.fail(err)
		}
		v.loop.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// event handles what epoll reports.
func (v *client) event(events uint32) {
	if events&unix.EPOLLOUT != 0 {
		if v.stage == stageConnecting {
			if err := v.established(); err != nil {
				v.fail(fmt.Errorf("connect: %w", err))
				return
			}
		}
		v.writable = true
		v.flush()
	}
	if events&^unix.EPOLLOUT != 0 {
		v.readable()
	}
}

// established begins the stream on a new connection.
func (v *client) established() error {
	if v.fd >= 0 {
		code, err := unix.GetsockoptInt(v.fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && code != 0 {
			err = syscall.Errno(code)
		}
		if err != nil {
			return err
		}
	}
	v.writable = true
	v.framing.begin(v)
	v.flush()
	return nil
}

// maxOut bounds what may wait for a server that does not read.
const maxOut = 1 << 20

// flush writes what waits.
func (v *client) flush() {
	if v.framing != nil {
		v.framing.ready(v)
	}
	for len(v.out) > 0 && v.connected() && v.writable {
		if v.secure != nil {
			_ = v.secure.SetWriteDeadline(time.Now().Add(time.Second))
			if _, err := v.secure.Write(v.out); err != nil {
				v.fail(err)
				return
			}
			v.out = v.out[:0]
			return
		}
		n, err := sendNow(v.fd, v.out)
		if errors.Is(err, syscall.EAGAIN) {
			v.writable = false
			break
		}
		if err != nil {
			v.fail(err)
			return
		}
		v.out = v.out[:copy(v.out, v.out[n:])]
	}
	if len(v.out) > maxOut {
		v.fail(errOverflow)
	}
	if len(v.out) == 0 && cap(v.out) > 1<<10 {
		v.out = nil
	}
}

// fail ends the client.
func (v *client) fail(err error) {
	if v.stage == stageDead || v.comeAgain(err) {
		return
	}
	switch {
	case v.stage == stageLeaving && !errors.Is(err, errClosed):
		err = nil // the server may close as it likes
	case v.stage == stageAway:
		err = nil
	}
	if err != nil && v.stage != stageIn && !errors.Is(err, errClosed) {
		err = fmt.Errorf("while %s: %w", v.stage, err)
	}
	v.closeConn()
	v.stage = stageDead
	if v.err = err; errors.Is(err, errClosed) {
		v.err = nil
	}
	v.finish(err)
}

// A visitor that is told to come again (HTTP 503) does so after a random part of
// this time, as lib-jitsi-meet's users do, at the most so often. Its join counts
// from the first attempt.
const (
	comeAgainAfter = 2 * time.Second
	mostAttempts   = 20
)

// comeAgain begins anew if the server was only busy.
func (v *client) comeAgain(err error) bool {
	if !errors.Is(err, errBusy) || v.attempts == mostAttempts || v.ctx.Err() != nil {
		return false
	}
	v.attempts++
	v.loop.tally.refused++
	v.closeConn()
	v.stage = stageConnecting
	due, done := v.due, v.done
	time.AfterFunc(time.Duration(rand.Int64N(int64(comeAgainAfter))), func() { v.start(v.ctx, due, done) })
	return true
}

// finish tells who waits for the join or the resumption.
func (v *client) finish(err error) {
	if v.done != nil {
		done := v.done
		v.done = nil
		done(err)
	}
}

func (v *client) closeConn() {
	if v.fd >= 0 {
		_ = unix.Close(v.fd)
		v.fd = -1
	}
	if v.secure != nil {
		_ = v.secure.Close()
		v.secure = nil
	}
	v.generation++
	v.left, v.out = nil, nil
}

// cut breaks the connection as a lost network does: a reset, no word.
func (v *client) cut() {
	if v.fd >= 0 {
		_ = unix.SetsockoptLinger(v.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	v.closeConn()
	v.stage = stageAway
}
