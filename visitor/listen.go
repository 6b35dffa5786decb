package visitor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"vnode/internal/wire"
	"vnode/visitor/admission"
)

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
	st.t = newTCPTransport(&st.meter, s.cfg.Limits.NegotiationBytes)
	kind := admission.Join
	if trusted || s.cfg.Believed != nil && st.peer.IsValid() && s.cfg.Believed(st.peer) {
		kind = admission.Exempt // the focus, or what else runs beside the node or the main server
	}
	if s.admit(s.lifetime, st.peer, kind, 0) == nil {
		s.start(st)
		return
	}
	// A few bytes into an empty socket buffer do not block.
	_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
	header := wire.StreamHeader{From: s.cfg.Domain, Version: "1.0", Content: wire.NSClient}
	_ = st.write(st.appendFarewell(nil, streamReason(errBusy), &header)) // it is closed in any case
	conn.Close()
}

// newStream makes the stream of a connection, but for its transport.
func (s *Server) newStream(conn net.Conn, transport string, trusted bool) *stream {
	st := new(stream)
	st.begin(s, conn, transport, trusted)
	return st
}

// newWebSocket makes the stream of a WebSocket. early is what came behind its
// handshake.
func (s *Server) newWebSocket(conn net.Conn, early []byte, trusted bool) *stream {
	w := new(wsStream)
	w.begin(s, s.pollers.take(conn), transportWebSocket, trusted)
	w.ws = newWSTransport(&w.meter, early, s.cfg.Limits.NegotiationBytes)
	w.t = &w.ws
	return &w.stream
}

// addressOf is the address a client is counted under; invalid, and exempt, for
// loopback and for what is no IP address.
func addressOf(remote net.Addr) netip.Addr {
	if a, ok := remote.(*net.TCPAddr); ok {
		return admission.Key(a.AddrPort().Addr())
	}
	ap, err := netip.ParseAddrPort(remote.String())
	if err != nil {
		return netip.Addr{}
	}
	return admission.Key(ap.Addr())
}
