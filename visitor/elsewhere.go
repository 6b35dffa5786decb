package visitor

import (
	"errors"
	"net"
	"net/http"
	"time"

	"vnode/internal/wire"
	"vnode/visitor/websocket"
)

// Elsewhere knows other nodes that clients reach through this one.
type Elsewhere interface {
	// Has reports whether ?vnode= names another node. Its requests are not for
	// this server.
	Has(vnode string) bool
	// Node returns how a WebSocket gets to the node of a domain, nil if there
	// is none, or if the request has been passed on already.
	//
	// What it returns repeats the handshake there, sends what the client has
	// sent since, and copies until one side ends. It closes client, whose
	// deadline or end ends it; but not on an error: that node was not reached.
	Node(domain string, handshake *http.Request) func(client net.Conn, sent []byte) error
}

// errElsewhere: the client should come again.
var errElsewhere = wire.StreamError{Condition: wire.ResourceConstraint, Text: "The node of this domain does not answer"}

// errPassedOn ends a negotiation that was another node's.
var errPassedOn = errors.New("passed on to another node")

// elsewhere passes a WebSocket on whose first header is for another node's
// domain. err is what the client is told if that cannot be. The connection
// stays counted among those of its address.
func (n *negotiation) elsewhere(h *wire.StreamHeader, err error) error {
	t, ok := n.t.(*wsTransport)
	if !ok || n.asked == nil {
		return err
	}
	pass := n.srv.cfg.Elsewhere.Node(h.To, n.asked)
	n.asked = nil
	if pass == nil {
		return err
	}
	sent := append(websocket.AppendClientText(nil, h.AppendOpen(nil)), t.r.Unread()...)
	t.rest()
	if err := n.raw.SetDeadline(time.Time{}); err != nil {
		return err
	}
	if !n.srv.passOn(n.stream) {
		return errShutdown
	}
	if pass(n.conn, sent) != nil {
		if err := n.deadline(); err != nil {
			return err
		}
		return errElsewhere
	}
	return errPassedOn
}

// passOn notes that a stream is another node's. False means that the server is
// closing: it looks at the streams there are only once.
func (s *Server) passOn(st *stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	st.passed = true
	s.metrics.sessionsOf(st.name, stateNegotiating).Dec()
	return true
}
