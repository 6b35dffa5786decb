package bosh

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// pipes is a listener of in-memory connections.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return addr("pipe") }

// behindHTTP runs a story against a Server behind a real http.Server.
func behindHTTP(t *testing.T, cfg Config, story func(h *house, dial func() *client)) {
	inBubble(t, cfg, func(t *testing.T, h *house) {
		ln := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		srv := &http.Server{Handler: h.srv}
		served := make(chan error, 1)
		go func() { served <- srv.Serve(ln) }()
		story(h, func() *client {
			near, far := net.Pipe()
			ln.conns <- near
			return &client{t, far, bufio.NewReader(far)}
		})
		require.NoError(t, srv.Close())
		require.ErrorIs(t, <-served, http.ErrServerClosed)
	})
}

type client struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func (c *client) post(body string) {
	_, err := fmt.Fprintf(c, "POST /http-bind HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	require.NoError(c.t, err)
}

func (c *client) answer() (int, string) {
	r, err := http.ReadResponse(c.r, nil)
	require.NoError(c.t, err)
	b, err := io.ReadAll(r.Body)
	require.NoError(c.t, err)
	return r.StatusCode, string(b)
}

func (c *client) expect(want string) {
	c.t.Helper()
	code, got := c.answer()
	require.Equal(c.t, http.StatusOK, code)
	require.Equal(c.t, want, got)
}

// open is begin over c.
func (h *house) open(c *client) *session {
	c.post(createFmt)
	s := &session{house: h, conn: <-h.conns, rid: 100}
	s.expect(Open, "")
	s.write(features)
	_, got := c.answer()
	require.Contains(h.t, got, features)
	s.sid = s.conn.sid
	return s
}

// Reading and answering a request are bounded; holding it, and the pauses
// between two on the same connection, are not.
func TestConnectionsOutliveTheDeadlines(t *testing.T) {
	behindHTTP(t, Config{Transfer: time.Second}, func(h *house, dial func() *client) {
		c := dial()
		s := h.open(c)
		for range 3 {
			time.Sleep(20 * time.Second)
			s.rid++
			c.post(s.body(s.rid, "", ping))
			s.expect(Element, ping)
			time.Sleep(20 * time.Second)
			s.write(pong)
			c.expect(s.with(pong))
		}
		s.rid++
		c.post(s.body(s.rid, " type='terminate'", ""))
		s.expect(End, "")
		require.NoError(t, s.conn.Close())
		c.expect(ended("undefined-condition", ""))
	})
}

func TestAnUnfinishedRequestIsGivenUp(t *testing.T) {
	behindHTTP(t, Config{}, func(h *house, dial func() *client) {
		c := dial()
		start := time.Now()
		_, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 400\r\n\r\n"+createFmt)
		require.NoError(t, err)
		code, _ := c.answer()
		require.Equal(t, http.StatusBadRequest, code)
		require.Equal(t, 30*time.Second, time.Since(start))
		require.Empty(t, h.conns)
	})
}

func TestABodyTooLargeIsNotReadToItsEnd(t *testing.T) {
	behindHTTP(t, Config{BodyBytes: 1 << 10}, func(h *house, dial func() *client) {
		c := dial()
		go func() {
			_, _ = fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", 1<<30, createFmt+strings.Repeat(" ", 2<<10))
		}()
		c.expect(ended("policy-violation", ""))
		c.Close()
	})
}

// A connection that breaks off while its request waits loses nothing.
func TestAConnectionBreaksOff(t *testing.T) {
	behindHTTP(t, Config{}, func(h *house, dial func() *client) {
		c := dial()
		s := h.open(c)
		s.rid++
		c.post(s.body(s.rid, "", ping))
		s.expect(Element, ping)
		c.Close()
		synctest.Wait()
		require.False(t, s.conn.idle.IsZero(), "it was noticed")
		s.write(pong)
		time.Sleep(time.Second)
		c = dial()
		c.post(s.body(s.rid, "", ping))
		c.expect(s.with(pong))
		c.Close()
		s.expectError(ErrInactive)
		require.NoError(t, s.conn.Close())
	})
}

// A client that takes no bytes is given up, and what it was sent stays.
func TestAClientThatDoesNotRead(t *testing.T) {
	behindHTTP(t, Config{}, func(h *house, dial func() *client) {
		c := dial()
		s := h.open(c)
		s.rid++
		c.post(s.body(s.rid, "", ping))
		s.expect(Element, ping)
		s.write(pong)
		time.Sleep(40 * time.Second)
		_, err := c.r.ReadByte()
		require.Error(t, err)
		c = dial()
		c.post(s.body(s.rid, "", ping))
		c.expect(s.with(pong))
		c.Close()
		s.expectError(ErrInactive)
	})
}
