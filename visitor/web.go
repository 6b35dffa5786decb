package visitor

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"vnode/visitor/admission"
	"vnode/visitor/request"
	"vnode/visitor/websocket"
)

// WebSocketPath is where the WebSocket is, as Jitsi's clients expect.
const WebSocketPath = "/xmpp-websocket"

// HTTPHandler serves the WebSocket on [WebSocketPath] and BOSH on [BOSHPath], with
// or without a slash at the end,
// for any Host header and whatever the query holds, and a short page there for
// a plain GET, with which clients check that the node is there; anything else is
// not found. The http.Server around it should listen by [Server.Entrance], have a
// ReadHeaderTimeout, and no
// WriteTimeout: a request of BOSH waits for a minute. From the upgrade on a
// WebSocket's connection is out of its hands.
func (s *Server) HTTPHandler() http.Handler {
	mux := http.NewServeMux()
	for _, slash := range []string{"", "/{$}"} { // proxies and people write one
		mux.HandleFunc(WebSocketPath+slash, s.serveWebSocket)
		mux.Handle(BOSHPath+slash, s.originsOnly(s.bosh))
	}
	return OneSlash(mux)
}

// OneSlash serves a path with several slashes in a row, which proxies make of two
// parts, as the one without: [http.ServeMux] would redirect, and no client of a
// WebSocket or BOSH follows.
func OneSlash(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "//") {
			plain, u := *r, *r.URL
			for strings.Contains(u.Path, "//") {
				u.Path, u.RawPath = strings.ReplaceAll(u.Path, "//", "/"), ""
			}
			plain.URL, r = &u, &plain
		}
		h.ServeHTTP(w, r)
	})
}

// originsOnly keeps pages of other origins out.
func (s *Server) originsOnly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.allowed(w, r) {
			h.ServeHTTP(w, r)
		}
	})
}

// allowed answers a page of an origin that may not ask.
func (s *Server) allowed(w http.ResponseWriter, r *http.Request) bool {
	if s.cfg.Requests.Allowed(w, r) {
		return true
	}
	http.Error(w, "pages of this origin may not connect", http.StatusForbidden)
	return false
}

const page = "vnode: XMPP over WebSocket (RFC 7395)\n"

func (s *Server) serveWebSocket(w http.ResponseWriter, r *http.Request) {
	if !s.allowed(w, r) {
		return
	}
	if !websocket.IsUpgrade(r) {
		s.servePage(w, r)
		return
	}
	if r.ContentLength != 0 { // it would be read as frames
		w.Header().Set("Connection", "close")
		http.Error(w, "a handshake has no body", http.StatusBadRequest)
		return
	}
	info := s.cfg.Requests.Read(r)
	peer := admission.Key(info.Client)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.lifetime, cancel)()
	if refusal := s.admit(ctx, peer, s.kindOf(&info), s.cfg.Limits.JoinPatience); refusal != nil {
		tellBusy(w, refusal)
		return
	}
	place := placed{srv: s, peer: peer}
	defer place.unlessGiven()
	conn, early, err := websocket.Upgrade(w, r)
	if err != nil {
		s.log.Debug("websocket handshake failed", "peer", r.RemoteAddr, "error", err)
		return
	}
	place.conn = conn
	conn, early = taken(conn, early)
	st := s.newWebSocket(conn, early, info.Secure)
	st.tell(peer, info)
	if s.cfg.Elsewhere != nil {
		st.asked = r
	}
	// The handler returns and frees what net/http holds for a request; the
	// stream lives on a goroutine of its own.
	place.given = true
	s.start(st)
}

// placed is an admitted connection until it is its stream's.
type placed struct {
	srv   *Server
	peer  netip.Addr
	conn  net.Conn // out of net/http's hands; nil before
	given bool
}

// unlessGiven gives the place back, after an error or a panic.
func (p *placed) unlessGiven() {
	if p.given {
		return
	}
	p.srv.gate.Leave(p.peer)
	if p.conn != nil {
		p.conn.Close()
	}
}

// kindOf tells who comes back from who is new. Who says so is believed only if
// there is such a session.
func (s *Server) kindOf(i *request.Info) admission.Kind {
	if s.resumable(i.PrevID) != nil {
		return admission.Resume
	}
	return admission.Join
}

// tellBusy refuses a request for the moment (RFC 9110 §15.6.4).
func tellBusy(w http.ResponseWriter, refusal *admission.Refusal) {
	w.Header().Set("Retry-After", strconv.FormatInt(retryAfter(refusal), 10))
	http.Error(w, busyText, http.StatusServiceUnavailable)
}

const busyText = "the node takes no more logins now"

// retryAfter is in seconds.
func retryAfter(refusal *admission.Refusal) int64 {
	return int64((refusal.After + time.Second - 1) / time.Second)
}

// tell notes what a stream's request says.
func (st *stream) tell(peer netip.Addr, i request.Info) {
	st.peer, st.request = peer, &i
}

func (s *Server) servePage(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	h := w.Header()
	if s.cfg.Shard != "" {
		h.Set("X-Jitsi-Shard", s.cfg.Shard)
		h.Set("Access-Control-Expose-Headers", "X-Jitsi-Shard")
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(page)))
	_, _ = w.Write([]byte(page)) // a client that is gone needs no page
}
