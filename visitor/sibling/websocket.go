package sibling

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"vnode/internal/guard"
)

// Node returns how a WebSocket whose client opens a stream to domain gets there,
// nil if that is no sibling's or the request was passed on already.
//
// What it returns repeats the handshake at the sibling, sends what the client has
// sent since, and copies both ways. It blocks until one side ends, and closes
// client; but not on an error: the sibling was not reached.
func (r *Router) Node(domain string, handshake *http.Request) func(client net.Conn, sent []byte) error {
	to := r.byDomain[domain]
	if to == nil || passedOn(handshake) {
		return nil
	}
	return func(client net.Conn, sent []byte) error {
		conn, early, err := to.handshake(handshake)
		if err != nil {
			return err
		}
		join(r.guard, client, conn, sent, early)
		return nil
	}
}

// handshake returns a connection on which the sibling has accepted the
// WebSocket, and what it has sent behind that.
func (to *way) handshake(as *http.Request) (conn net.Conn, early []byte, err error) {
	conn, err = to.dialer.Dial(to.Network, to.Addr)
	if err != nil {
		return nil, nil, err
	}
	if early, err = upgrade(conn, as); err != nil {
		conn.Close()
		return nil, nil, fmt.Errorf("sibling %s: %w", to.VNode, err)
	}
	return conn, early, nil
}

func upgrade(conn net.Conn, as *http.Request) (early []byte, err error) {
	if err := conn.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
		return nil, err
	}
	out := &http.Request{Method: http.MethodGet, URL: as.URL, Host: as.Host, Header: as.Header.Clone()}
	mark(out.Header, as)
	if err := out.Write(conn); err != nil {
		return nil, err
	}
	from := bufio.NewReader(conn)
	answer, err := http.ReadResponse(from, out)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusSwitchingProtocols {
		return nil, errors.New(answer.Status)
	}
	early, _ = from.Peek(from.Buffered()) // it is there
	return early, conn.SetDeadline(time.Time{})
}

// join copies between two connections, behind what was read of each already,
// until either ends, and closes both.
func join(g *guard.Guard, client, node net.Conn, sent, early []byte) {
	var both sync.WaitGroup
	pass := func(to, from net.Conn, first []byte) {
		defer g.Recover(guard.Connection, nil)
		defer node.Close()
		defer client.Close()
		// Why one side has ended is known there.
		if _, err := to.Write(first); err == nil {
			_, _ = io.Copy(to, from)
		}
	}
	both.Go(func() { pass(node, client, sent) })
	both.Go(func() { pass(client, node, early) })
	both.Wait()
}
