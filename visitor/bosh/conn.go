package bosh

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"vnode/internal/wire"
)

// ErrBroken ends a session that met a panic.
var ErrBroken = errors.New("bosh: a fault of the program")

// ErrInactive ends a session whose client has sent no request for too long.
var ErrInactive = errors.New("bosh: client inactive")

// Kind says what an [Event] is.
type Kind uint8

const (
	// Open starts a stream, or restarts it after a login.
	Open Kind = iota + 1
	// Element is a stanza or another top-level element.
	Element
	// Poll is a request that carried nothing: a sign of life.
	Poll
	// End is the client's wish to end the session. It is the last event.
	End
)

// Event is one thing a client did.
type Event struct {
	Kind Kind
	// Data is the element of an Element. Its request was checked completely
	// (wire.CheckWellFormed), but prefixes that the <body/> declares do not count once
	// it is taken out: a caller that passes it on checks it again, under
	// the limits that it has for elements. It is the caller's.
	Data []byte
	// Header is that of Open. Version is 1.0 for a client that says none.
	Header wire.StreamHeader
}

// Conn is a session. It is a net.Conn whose reader should prefer Next to Read,
// and whose writer passes whole elements. One goroutine may read while another
// writes; deadlines and closing are anybody's.
type Conn struct {
	// Static after construction.
	srv    *Server
	sid    string
	to     string // domain asked for
	ver    string
	wait   time.Duration
	hold   int // requests held at once
	window int // requests under way at once
	local  net.Addr
	remote addr
	limit  atomic.Int64 // bytes of a body; SetLimit changes it

	readable chan struct{} // holds one token when Next should look again
	writable chan struct{} // the same for Write
	timer    *time.Timer   // runs tick
	readBy   deadline
	writeBy  deadline

	mu sync.Mutex // guards what follows

	// Requests.
	last    uint64        // the latest rid taken
	slots   []*slot       // by rid: the latest answered ones, held ones, early ones
	key     string        // the hash of the next one; empty: no keys
	idle    time.Time     // since when no request is connected; zero: one is
	gap     time.Time     // since when a request is missed; zero: none is
	surplus time.Time     // when the hold was exceeded last
	paused  time.Duration // the client has asked for so long a pause
	created bool          // the response that creates the session is out
	polled  time.Time     // when the latest poll came
	vain    bool          // it has got nothing, and that soon
	polls   int           // such polls, too soon after another, in a row

	// Input.
	events  []Event
	input   int    // bytes of events
	ending  bool   // the client has asked for the end
	partial []byte // what Read has left of an element; owned by the reader

	// Output.
	out   []byte    // elements not yet in a response
	since time.Time // when out began
	final []byte    // the last response, until it is taken

	// The end. Each step is final.
	finished bool  // nothing more is written
	told     bool  // the client has been given its last response
	err      error // what ended the session in place of its owner
	closed   bool
}

type addr string

func (addr) Network() string  { return "bosh" }
func (a addr) String() string { return string(a) }

// deadline is a time and a timer that makes a waiting goroutine look at it.
type deadline struct {
	at    time.Time // guarded by Conn.mu
	timer *time.Timer
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (d *deadline) set(at time.Time) {
	d.at = at
	if at.IsZero() {
		d.timer.Stop()
		return
	}
	d.timer.Reset(time.Until(at))
}

func newDeadline(wake chan struct{}) deadline {
	return deadline{timer: stopped(func() { notify(wake) })}
}

// stopped returns a timer that runs f once it is reset.
func stopped(f func()) *time.Timer {
	t := time.AfterFunc(time.Hour, f)
	t.Stop()
	return t
}

// notify leaves a token for a goroutine that waits on ch, or will.
func notify(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

func newConn(s *Server, sid string, req *request, r *http.Request) *Conn {
	c := &Conn{
		srv: s, sid: sid, to: req.to, ver: version(req.ver),
		wait: min(req.wait, s.cfg.Wait), hold: min(req.hold, maxHold),
		remote: addr(r.RemoteAddr), local: addr(""),
		readable: make(chan struct{}, 1), writable: make(chan struct{}, 1),
		key: req.newKey,
	}
	if c.wait == 0 {
		c.hold = 0 // a polling session either way, XEP-0124 §12
	}
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		c.local = a
	}
	c.window = c.hold + 1
	c.readBy, c.writeBy = newDeadline(c.readable), newDeadline(c.writable)
	c.timer = stopped(c.ticks)
	return c
}

// Next returns what the client did next. It blocks until there is something,
// the read deadline passes (os.ErrDeadlineExceeded; nothing is lost) or the
// session is over: io.EOF when the client has had its last response, [Error]
// or [ErrInactive] when it ended the session by itself, net.ErrClosed after
// Close.
func (c *Conn) Next() (Event, error) {
	for {
		ev, ok, err := c.poll()
		if ok || err != nil {
			return ev, err
		}
		<-c.readable
	}
}

func (c *Conn) poll() (ev Event, ok bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return ev, false, net.ErrClosed
	case c.readBy.passed():
		return ev, false, os.ErrDeadlineExceeded
	case len(c.events) > 0:
		c.change(func() { ev = c.take() })
		if c.err == ErrBroken {
			return Event{}, false, c.err
		}
		return ev, true, nil
	case c.err != nil:
		return ev, false, c.err
	case c.told:
		return ev, false, io.EOF
	}
	return ev, false, nil
}

// take removes the first event, which may make room for a request.
func (c *Conn) take() Event {
	ev := c.events[0]
	c.events[0] = Event{}
	c.events = c.events[1:]
	if len(c.events) == 0 {
		c.events = nil // an idle session holds no queue
	}
	c.input -= ev.size()
	c.advance(time.Now())
	c.settle(time.Now())
	return ev
}

// Read implements net.Conn: the elements' bytes, one after the other. It is
// for reading what is left; do not mix it with Next before that.
func (c *Conn) Read(p []byte) (int, error) {
	for len(c.partial) == 0 {
		ev, err := c.Next()
		if err != nil {
			return 0, err
		}
		c.partial = ev.Data
	}
	n := copy(p, c.partial)
	c.partial = c.partial[n:]
	return n, nil
}

// Write takes whole elements, one or several, for the client's waiting request
// or its next one. It blocks while more than Config.OutputBytes wait, until the
// write deadline passes (os.ErrDeadlineExceeded) or the session ends
// (io.ErrClosedPipe); then it has taken nothing.
func (c *Conn) Write(p []byte) (int, error) {
	for {
		ok, err := c.put(p)
		switch {
		case err != nil:
			return 0, err
		case ok:
			return len(p), nil
		}
		<-c.writable
	}
}

func (c *Conn) put(p []byte) (ok bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return false, net.ErrClosed
	case c.finished, c.err != nil:
		return false, io.ErrClosedPipe
	case c.writeBy.passed():
		return false, os.ErrDeadlineExceeded
	case len(p) == 0:
		return true, nil
	case len(c.out) >= c.srv.cfg.OutputBytes:
		return false, nil
	}
	now := time.Now()
	if len(c.out) == 0 {
		c.since = now
	}
	c.out = append(c.out, p...)
	c.change(func() { c.settle(now) })
	return true, nil
}

// CloseWrite ends the session in order: the client's waiting request, or its
// next one, gets what was written and the end; when the last element is a
// stream error, it is the reason. Next returns io.EOF once a request has taken
// that. It does not block. A second call does nothing.
func (c *Conn) CloseWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.change(func() { c.finish(conditionOf(c.out, !c.created)) })
	return nil
}

// Close ends the session at once, with undefined-condition unless CloseWrite
// was called. A client that has not been told of the end learns it from its
// next request, as long as that comes within the inactivity period.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.change(func() { c.finish(undefinedCondition) })
	c.release()
	return nil
}

// release frees what only a reader or writer needs.
func (c *Conn) release() {
	c.closed = true
	c.events, c.input = nil, 0
	c.readBy.timer.Stop()
	c.writeBy.timer.Stop()
	notify(c.readable)
	notify(c.writable)
}

// SetLimit changes how large a <body/> may be, in bytes, to more than
// Config.BodyBytes.
func (c *Conn) SetLimit(maxBytes int) { c.limit.Store(int64(maxBytes)) }

// LocalAddr implements net.Conn: where the first request was accepted, if the
// http.Server knows.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn: where the first request came from.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	return c.setDeadlines(t, &c.readBy, &c.writeBy)
}

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadlines(t, &c.readBy) }

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(t, &c.writeBy) }

func (c *Conn) setDeadlines(t time.Time, ds ...*deadline) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	for _, d := range ds {
		d.set(t)
	}
	return nil
}
