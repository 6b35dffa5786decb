package visitor

import (
	"bufio"
	"bytes"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"vnode/internal/guard"
	"vnode/internal/socket"
	"vnode/visitor/admission"
	"vnode/visitor/request"
	"vnode/visitor/websocket"
)

// arrival is a connection from accept until it is known what it is. While it
// waits for the client to say so it has no goroutine and no buffer. One goroutine
// at a time owns it.
type arrival struct {
	entrance *entrance
	conn     *socket.Conn
	key      netip.Addr // counted under
	begun    []byte     // of a head whose rest has yet to come
	gone     bool       // it is counted under key no more
	settled  bool       // the server waits for it no more
}

const (
	// headTime is how long a client has for the head of its first request.
	headTime = 10 * time.Second
	// headBytes is the longest head that is looked at here. A token of 4 KB is
	// a large one.
	headBytes = 8 << 10
)

// heads are buffers for one look at a head.
var heads = sync.Pool{New: func() any { return new(headBuffer) }}

type headBuffer struct {
	bytes [headBytes]byte
	head  request.Head
}

// begin waits for the client's first bytes.
func (a *arrival) begin() {
	srv := a.entrance.srv
	err := a.conn.SetReadDeadline(time.Now().Add(srv.headTime))
	switch {
	case !srv.await(a):
		go a.pass(nil)
	case err != nil || !a.conn.Park(a):
		srv.crew.do(a)
	}
}

// Readable implements socket.Reader.
func (a *arrival) Readable() { a.entrance.srv.crew.do(a) }

// Interrupted implements socket.Reader: the server closes.
func (a *arrival) Interrupted() { a.entrance.srv.crew.do(a) }

// work reads what there is and acts on it.
func (a *arrival) work() {
	defer a.entrance.srv.cfg.Guard.Recover(guard.Connection, a)
	b := heads.Get().(*headBuffer)
	asked, waits := a.read(b)
	heads.Put(b)
	if waits {
		return
	}
	var st *stream
	if asked != nil {
		st = a.upgrade(asked) // without the buffer: it may have to wait
	}
	a.settle()
	if st != nil {
		st.work()
	}
}

// bid is what is kept of a handshake while it waits for its turn.
type bid struct {
	info    request.Info
	key     [24]byte
	early   []byte        // what came behind it
	request *http.Request // nil if it is not needed
}

// read reads the head. Without a handshake the connection has been dealt with, or
// waits: then it belongs to the poller.
func (a *arrival) read(b *headBuffer) (asked *bid, waits bool) {
	for n := copy(b.bytes[:], a.begun); ; {
		m, err := a.conn.TryRead(b.bytes[n:])
		n += m
		switch {
		case err == socket.ErrAgain:
			a.begun = bytes.Clone(b.bytes[:n])
			if a.conn.Park(a) {
				return nil, true
			}
			continue
		case err != nil && a.entrance.srv.isClosing():
			a.pass(b.bytes[:n])
			return nil, false
		case err != nil: // it has gone, or was too slow
			a.depart()
			a.conn.Close()
			return nil, false
		}
		length, verdict := b.head.Parse(b.bytes[:n], WebSocketPath, websocket.Subprotocol)
		switch {
		case verdict == request.Handshake && a.here(&b.head):
			return a.bid(b, length, n), false
		case verdict != request.Incomplete, n == len(b.bytes):
			a.pass(b.bytes[:n])
			return nil, false
		}
	}
}

// here reports whether a handshake is to be answered here: not one that is for
// another node, or of a page that may not ask.
func (a *arrival) here(h *request.Head) bool {
	cfg := &a.entrance.srv.cfg
	return cfg.Requests.AllowedHead(h) && (cfg.Elsewhere == nil || !cfg.Elsewhere.Has(h.Param("vnode")))
}

// pass gives the connection to net/http, with what was read of it.
func (a *arrival) pass(begun []byte) {
	conn, err := a.conn.Release()
	if err != nil {
		a.depart()
		a.entrance.srv.log.Debug("connection lost", "peer", a.conn.Remote().String(), "error", err)
		return
	}
	a.entrance.pass(&arrived{Conn: conn, srv: a.entrance.srv, key: a.key, early: bytes.Clone(begun)})
}

// bid keeps what is needed of the handshake in b, of which n bytes are read.
func (a *arrival) bid(b *headBuffer, length, n int) *bid {
	cfg := &a.entrance.srv.cfg
	h := &bid{
		info: cfg.Requests.ReadHead(&b.head, a.conn.Remote().Addr()),
		key:  [24]byte(b.head.Key), early: bytes.Clone(b.bytes[length:n]),
	}
	if cfg.Elsewhere != nil {
		h.request = a.request(b.bytes[:length])
	}
	return h
}

// upgrade answers a handshake when it is its turn, and returns the stream; nil
// when there is none, and the connection is closed.
func (a *arrival) upgrade(h *bid) *stream {
	srv := a.entrance.srv
	peer := admission.Key(h.info.Client)
	a.depart()
	if refusal := a.admit(peer, srv.kindOf(&h.info)); refusal != nil {
		_ = a.conn.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = a.conn.Write(busyAnswer(refusal)) // it is closed in any case
		a.conn.Close()
		return nil
	}
	place := placed{srv: srv, peer: peer, conn: a.conn}
	defer place.unlessGiven()
	st := srv.newWebSocket(a.conn, h.early, h.info.Secure)
	st.peer, st.request, st.asked = peer, &h.info, h.request
	place.given = true
	if !srv.enter(st) {
		return nil
	}
	a.accept(st, h.key[:])
	return st
}

// accept ends the handshake. When that fails, reading fails as well, and ends the
// stream as any that is lost.
func (a *arrival) accept(st *stream, key []byte) {
	defer st.srv.cfg.Guard.Recover(guard.Connection, (*cut)(st))
	var answer [256]byte
	if err := st.write(websocket.AppendAccept(answer[:0], key)); err != nil {
		st.srv.log.Debug("websocket handshake failed", "peer", a.conn.Remote().String(), "error", err)
	}
}

// admit waits for the client's turn, or until it has gone.
func (a *arrival) admit(peer netip.Addr, kind admission.Kind) *admission.Refusal {
	srv := a.entrance.srv
	began := time.Now()
	turn, refusal := srv.gate.Try(peer, kind, srv.cfg.Limits.JoinPatience)
	if turn != nil {
		watch := &departure{a.conn, make(chan struct{})}
		if a.conn.Park(watch) {
			// The reading side is ours again when the deadline is in the past.
			defer a.conn.SetReadDeadline(time.Unix(1, 0))
		}
		refusal = turn.Wait(watch.gone, srv.lifetime.Done())
	}
	srv.admitted(peer, kind, began, refusal)
	return refusal
}

// departure watches whether a client goes that waits for its turn.
type departure struct {
	conn *socket.Conn
	gone chan struct{}
}

// Readable implements socket.Reader. A client that sends something has not gone.
func (d *departure) Readable() {
	if d.conn.Ended() {
		close(d.gone)
	}
}

// Interrupted implements socket.Reader.
func (d *departure) Interrupted() {}

// request is the handshake as net/http would have it, to be repeated elsewhere; nil
// if it cannot be.
func (a *arrival) request(head []byte) *http.Request {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(bytes.Clone(head))))
	if err != nil {
		return nil
	}
	r.RemoteAddr = a.conn.RemoteAddr().String()
	return r
}

// busyAnswer is what tellBusy says, with the end of the connection.
func busyAnswer(refusal *admission.Refusal) []byte {
	b := append([]byte(nil), "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nRetry-After: "...)
	b = strconv.AppendInt(b, retryAfter(refusal), 10)
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(busyText)+1), 10)
	return append(append(b, "\r\nConnection: close\r\n\r\n"...), busyText+"\n"...)
}

// await notes that a connection has yet to say what it is. False means that the
// server is closing.
func (s *Server) await(a *arrival) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.arrivals[a] = struct{}{}
	s.running.Add(1)
	return true
}

// awaited is the end of await.
func (s *Server) awaited(a *arrival) {
	s.mu.Lock()
	delete(s.arrivals, a)
	s.mu.Unlock()
	s.running.Done()
}

// depart ends the counting of the connection among those that have not said what
// they are.
func (a *arrival) depart() {
	if !a.gone {
		a.gone = true
		a.entrance.srv.gate.Depart(a.key)
	}
}

// settle tells the server that it need not wait for the connection.
func (a *arrival) settle() {
	if !a.settled {
		a.settled = true
		a.entrance.srv.awaited(a)
	}
}

// Doing implements [guard.Met].
func (a *arrival) Doing() (string, int) { return "", 0 }

// Whose implements [guard.Owned].
func (a *arrival) Whose() string { return whose(a.key) }

// Panicked implements [guard.Met]: the stream, if there is one, has a guard of its own.
func (a *arrival) Panicked() {
	if a.settled {
		return
	}
	a.depart()
	a.conn.Close()
	a.settle()
}
