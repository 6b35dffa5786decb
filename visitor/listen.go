package visitor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"vnode/internal/wire"
	"vnode/visitor/websocket"
)

// WebSocketPath is where the WebSocket is, as Jitsi's clients expect.
const WebSocketPath = "/xmpp-websocket"

// ServeTCP accepts clients on ln until ctx ends or the server closes, then
// returns nil; the streams go on until Close. On a trusted listener, one that
// only this machine or the proxy's can reach, clients log in without TLS and
// STARTTLS is not offered; elsewhere it is required, and [Config.TLS] with it.
// ln is closed in any case.
func (s *Server) ServeTCP(ctx context.Context, ln net.Listener, trusted bool) error {
	defer ln.Close()
	if !trusted && s.cfg.TLS == nil {
		return fmt.Errorf("visitor: %s is not trusted and there is no certificate for STARTTLS", ln.Addr())
	}
	if !s.listen(ln) {
		return nil
	}
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	defer s.unlisten(ln)
	for backoff := time.Duration(0); ; {
		conn, err := ln.Accept()
		switch {
		case err == nil:
			backoff = 0
			s.acceptTCP(conn, trusted)
		case errors.Is(err, net.ErrClosed), ctx.Err() != nil:
			return nil
		default:
			// Out of files, or the client was gone already: others
			// are served on.
			backoff = min(max(2*backoff, 5*time.Millisecond), time.Second)
			s.log.Warn("accept failed", "error", err, "retry", backoff)
			pause(ctx, backoff)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (s *Server) listen(ln net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.listeners[ln] = struct{}{}
	return true
}

func (s *Server) unlisten(ln net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, ln)
}

// acceptTCP takes a connection. Dead peers are found by the session's pings;
// TCP keep-alive is on besides, as net.Listen sets it.
func (s *Server) acceptTCP(conn net.Conn, trusted bool) {
	st := s.newStream(conn, transportTCP, trusted)
	st.t = newTCPTransport(st.meter, s.cfg.Limits.NegotiationBytes)
	if s.admit(st.peer) == "" {
		s.start(st)
		return
	}
	// A few bytes into an empty socket buffer do not block.
	_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
	header := wire.StreamHeader{From: s.cfg.Domain, Version: "1.0", Content: wire.NSClient}
	_ = st.write(st.appendFarewell(nil, streamReason(errBusy), &header)) // it is closed in any case
	conn.Close()
}

func (s *Server) newStream(conn net.Conn, transport string, trusted bool) *stream {
	if transport == transportWebSocket {
		conn = s.pollers.take(conn)
	}
	return &stream{
		srv: s, raw: conn, conn: conn, peer: peerOf(conn.RemoteAddr().String()), name: transport, trusted: trusted,
		meter: newMeter(conn, &s.cfg.Limits),
	}
}

// peerOf is the address a client is counted under: its /64 for IPv6, which is
// what one customer has. It is invalid, and exempt, for loopback and for what
// is no IP address.
func peerOf(remote string) netip.Addr {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	addr := ap.Addr().Unmap().WithZone("")
	if addr.IsLoopback() {
		return netip.Addr{}
	}
	if addr.Is6() {
		p, err := addr.Prefix(64)
		if err != nil {
			return netip.Addr{}
		}
		addr = p.Addr()
	}
	return addr
}

// HTTPHandler serves the WebSocket on [WebSocketPath] and BOSH on [BOSHPath],
// for any Host header and whatever the query holds, and a short page there for
// a plain GET, with which clients check that the node is there; anything else is
// not found. The http.Server around it should have a ReadHeaderTimeout, and no
// WriteTimeout: a request of BOSH waits for a minute. From the upgrade on a
// WebSocket's connection is out of its hands.
func (s *Server) HTTPHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc(WebSocketPath, s.serveWebSocket)
	mux.Handle(BOSHPath, s.bosh)
	return mux
}

const page = "vnode: XMPP over WebSocket (RFC 7395)\n"

func (s *Server) serveWebSocket(w http.ResponseWriter, r *http.Request) {
	// Pages of the web client read the answer of their keep-alive request
	// from another origin; there is nothing in it to protect.
	w.Header().Set("Access-Control-Allow-Origin", "*")
	if !websocket.IsUpgrade(r) {
		servePage(w, r)
		return
	}
	peer := peerOf(r.RemoteAddr)
	if s.admit(peer) != "" {
		w.Header().Set("Retry-After", "5")
		http.Error(w, "too many connections", http.StatusServiceUnavailable)
		return
	}
	conn, early, err := websocket.Upgrade(w, r)
	if err != nil {
		s.release(peer)
		s.log.Debug("websocket handshake failed", "peer", r.RemoteAddr, "error", err)
		return
	}
	st := s.newStream(conn, transportWebSocket, false)
	st.peer = peer
	st.previd = previdOf(r)
	st.t = newWSTransport(st.meter, early, s.cfg.Limits.NegotiationBytes)
	// The handler returns and frees what net/http holds for a request; the
	// stream lives on a goroutine of its own.
	s.start(st)
}

// previdOf returns the id of the session the client says it comes back to
// (lib-jitsi-meet puts it into the URL), without the URL's memory.
func previdOf(r *http.Request) string {
	const longest = 64 // of any id of ours
	id := r.URL.Query().Get("previd")
	if len(id) > longest {
		return ""
	}
	return strings.Clone(id)
}

func servePage(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(page)) // a client that is gone needs no page
}
