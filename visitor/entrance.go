package visitor

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"vnode/internal/socket"
	"vnode/visitor/admission"
)

// Entrance returns a listener for an http.Server that has [Server.HTTPHandler] in
// it. Connections are counted from accept on, under the limits of [Limits], but
// apart from the sessions: one of HTTP is not one client's. Those of a proxy that
// is believed count among all only. Who is one too many gets HTTP 503.
//
// With config it speaks TLS. Without, and where sockets can be polled, most
// WebSockets never reach the http.Server: a handshake in its usual form is
// answered here. Whatever else a connection begins with, or when the server
// closes, the http.Server gets it, with what was read of it.
//
// Closing it closes ln. It must be closed after the server.
func (s *Server) Entrance(ln net.Listener, config *tls.Config) net.Listener {
	if config != nil {
		return tls.NewListener(&counting{ln, s, false}, config)
	}
	l, err := socket.NewListener(ln)
	if err != nil {
		return &counting{ln, s, true}
	}
	return &entrance{
		counting: counting{ln, s, true}, socket: l,
		others: make(chan net.Conn), failed: make(chan error, 1), closed: make(chan struct{}),
	}
}

// counting counts the connections of a listener.
type counting struct {
	net.Listener
	srv   *Server
	plain bool // who is refused can be told why
}

// Accept implements net.Listener.
func (l *counting) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		var from netip.Addr
		if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
			from = a.AddrPort().Addr()
		}
		if key, ok := l.srv.arrives(conn, from, l.plain); ok {
			return &arrived{Conn: conn, srv: l.srv, key: key}, nil
		}
	}
}

// arrives counts a connection, and tells which address it is counted under.
// False means that it was one too many: it is closed.
func (s *Server) arrives(conn net.Conn, from netip.Addr, plain bool) (key netip.Addr, ok bool) {
	from = from.Unmap().WithZone("")
	if !s.cfg.Requests.Proxy(from) {
		key = admission.Key(from)
	}
	refusal := s.gate.Arrive(key)
	if refusal == nil {
		return key, true
	}
	s.refused(refusal, key)
	if plain {
		// A few bytes into an empty socket buffer do not block.
		_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = conn.Write(busyAnswer(refusal)) // it is closed in any case
	}
	conn.Close()
	return key, false
}

// arrived is a connection that net/http serves.
type arrived struct {
	net.Conn
	srv  *Server
	key  netip.Addr
	once sync.Once // counted out

	early []byte // read already; owned by the reader
}

// Read implements net.Conn.
func (c *arrived) Read(p []byte) (int, error) {
	if len(c.early) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.early)
	if c.early = c.early[n:]; len(c.early) == 0 {
		c.early = nil
	}
	return n, nil
}

// CloseWrite ends the writing side: net/http does before it closes on a client
// that still sends.
func (c *arrived) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Close implements net.Conn.
func (c *arrived) Close() error {
	c.depart()
	return c.Conn.Close()
}

func (c *arrived) depart() { c.once.Do(func() { c.srv.gate.Depart(c.key) }) }

// taken is a connection that has become a WebSocket, without what it was while
// it was net/http's; early is what was read of it.
func taken(conn net.Conn, early []byte) (net.Conn, []byte) {
	switch c := conn.(type) {
	case *arrived:
		c.depart()
		return c.Conn, append(early, c.early...)
	case *tls.Conn:
		if under, ok := c.NetConn().(*arrived); ok {
			under.depart()
		}
	}
	return conn, early
}

// entrance accepts connections that say by themselves whether they are
// WebSockets.
type entrance struct {
	// Static after construction.
	counting
	socket *socket.Listener
	others chan net.Conn // for net/http
	failed chan error    // of accepting, for net/http
	closed chan struct{}

	start, end sync.Once
}

// Accept returns a connection for net/http.
func (e *entrance) Accept() (net.Conn, error) {
	e.start.Do(func() { go e.run() })
	select {
	case conn := <-e.others:
		return conn, nil
	case err := <-e.failed:
		return nil, err
	case <-e.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (e *entrance) Close() error {
	err := net.ErrClosed
	e.end.Do(func() {
		close(e.closed)
		err = errors.Join(e.socket.Close(), e.Listener.Close())
	})
	return err
}

func (e *entrance) run() {
	// Where the server has no use for connections net/http still has.
	defer context.AfterFunc(e.srv.lifetime, e.socket.Interrupt)()
	for backoff := time.Duration(0); ; {
		err := e.acceptOne()
		switch {
		case err == nil:
			backoff = 0
		case errors.Is(err, net.ErrClosed):
			e.failed <- err
			return
		case errors.Is(err, os.ErrDeadlineExceeded):
		default: // out of files: others are served on
			backoff = min(max(2*backoff, 5*time.Millisecond), time.Second)
			e.srv.log.Warn("accept failed", "error", err, "retry", backoff)
			select {
			case <-time.After(backoff):
			case <-e.closed:
			}
		}
	}
}

func (e *entrance) acceptOne() error {
	poller := e.srv.pollers.pick()
	if poller == nil || e.srv.lifetime.Err() != nil {
		conn, err := e.counting.Accept()
		if err == nil {
			e.pass(conn)
		}
		return err
	}
	conn, err := e.socket.Accept(poller)
	if err != nil {
		return err
	}
	if key, ok := e.srv.arrives(conn, conn.Remote().Addr(), true); ok {
		(&arrival{entrance: e, conn: conn, key: key}).begin()
	}
	return nil
}

// pass gives a connection to net/http. It blocks until that takes it.
func (e *entrance) pass(conn net.Conn) {
	select {
	case e.others <- conn:
	case <-e.closed:
		conn.Close()
	}
}
