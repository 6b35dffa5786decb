package visitor

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"vnode/fanout"
	"vnode/internal/socket"
	"vnode/internal/wire"
	"vnode/visitor/admission"
	"vnode/visitor/request"
	"vnode/visitor/sasl"
	"vnode/visitor/websocket"
)

// stream is one client connection, from accept to close.
type stream struct {
	// Static after construction.
	srv     *Server
	raw     net.Conn   // as accepted; deadlines are set on it
	peer    netip.Addr // counted under; invalid when exempt
	name    string     // of the transport
	trusted bool       // a listener that needs no TLS

	// Owned by the goroutine of the stream.
	asked *http.Request // the handshake, until the first header if it may be for elsewhere

	// Owned by the goroutine of the stream or, once it has resumed a session,
	// of that.
	conn     net.Conn       // raw, or TLS over it
	bindings []sasl.Binding // of the TLS that ends here
	request  *request.Info  // of the connection, without its token after login; noRequest once bound
	meter    meter
	t        transport
	who      login        // once logged in
	link     *fanout.Link // once bound: the write side
	latest   latest

	released atomic.Bool // fanout has let go of it
	paused   atomic.Bool // the client is not to be read, see Session.Pause

	// Guarded by Server.mu.
	session *Session // once bound
	passed  bool     // on to another node
}

// wsStream is a stream and what reads it, in one piece: pieces of a few dozen
// bytes lie among the garbage of a join storm, and hold the memory around them
// when that is gone.
type wsStream struct {
	stream
	ws wsTransport
}

func (st *stream) begin(srv *Server, conn net.Conn, transport string, trusted bool) {
	st.srv, st.raw, st.conn = srv, conn, conn
	st.name, st.trusted, st.request = transport, trusted, &noRequest
	st.meter = newMeter(conn, &srv.cfg.Limits)
	if c, ok := conn.(*socket.Conn); ok {
		st.meter.polled, st.peer = c, admission.Key(c.Remote().Addr())
	} else {
		st.peer = addressOf(conn.RemoteAddr())
	}
}

// work begins the stream.
func (st *stream) work() { (&negotiation{stream: st, secure: st.trusted, awaiting: true}).work() }

// noRequest is that of a connection that did not begin with one.
var noRequest request.Info

// bound tells the stream that a session reads it from now on. What the request
// said is not needed any more: a token and the URL it came in are a kilobyte.
func (st *stream) bound(link *fanout.Link) {
	st.link, st.request = link, &noRequest
}

// ended counts and logs the end of the stream.
func (st *stream) ended(r reason, who wire.JID) {
	st.srv.metrics.ended(r.label)
	log := st.srv.log.Debug
	if st.who.admin {
		log = st.srv.log.Info
	}
	log("client stream ended", "session", who.String(), "peer", st.raw.RemoteAddr().String(), "transport", st.name,
		"reason", string(r.label), "text", r.stream.Text+r.frame.Text)
}

// write sends b. Only for the time before bind and after the end of the
// session: between them the write side is fanout's.
func (st *stream) write(b []byte) error {
	if _, err := st.conn.Write(b); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// hangUp tells the client why the stream ends, before bind, and closes the
// connection. header says that our stream header is still due: an error must
// not come without it (RFC 6120 §4.9.1.1, RFC 7395 §3.4).
func (st *stream) hangUp(r reason, header *wire.StreamHeader) {
	defer st.conn.Close()
	if r.gone {
		return
	}
	_ = st.raw.SetWriteDeadline(time.Now().Add(st.srv.cfg.Limits.Close)) // else the write fails, as well
	if err := st.write(st.appendFarewell(nil, r, header)); err != nil {
		return
	}
	st.linger()
}

func (st *stream) appendFarewell(dst []byte, r reason, header *wire.StreamHeader) []byte {
	if r.frame.Code != 0 {
		return websocket.AppendClose(dst, r.frame.Code, r.frame.Text)
	}
	if header != nil {
		dst = st.t.appendHeader(dst, header)
	}
	if r.stream.Condition != "" {
		dst = st.t.appendElement(dst, r.stream.Append(nil, st.t.output().declare))
	}
	return st.t.appendEnd(dst)
}

// maxLinger is how much is thrown away of what a client goes on sending: more
// than a client's largest stanza under way.
const maxLinger = 16 << 20

// linger ends the write side and waits until the client has closed its own,
// for a bounded time. Closing while its bytes are still coming in would reset
// the connection, and the client would never read why.
func (st *stream) linger() {
	if c, ok := st.conn.(interface{ CloseWrite() error }); ok {
		if err := c.CloseWrite(); err != nil {
			return
		}
	}
	if err := st.raw.SetReadDeadline(time.Now().Add(st.srv.cfg.Limits.Close)); err != nil {
		return
	}
	if st.srv.cutting.Load() { // looked at behind the deadline, which abandon may have undone
		return
	}
	_, _ = io.CopyN(io.Discard, st.conn, maxLinger) // its end is what matters
}

// output gives the write side to fanout, which sets the deadlines of writing
// from then on.
func (st *stream) output() fanout.Conn {
	out := st.t.output()
	return fanout.Conn{Conn: st.conn, Framing: out.framing, Trailer: out.trailer, Patient: out.patient, Owner: st}
}

// Released implements fanout.Owner: fanout has let go of the connection, on its
// own, maybe, and then the reader must hear of it.
func (st *stream) Released() {
	st.released.Store(true)
	st.interrupt()
}

// interrupt makes the stream's goroutine look up from reading.
func (st *stream) interrupt() {
	_ = st.raw.SetReadDeadline(time.Unix(1, 0)) // it fails on a closed connection: nobody reads that
}

// abandon makes all the stream's goroutine still does with the connection
// fail.
func (st *stream) abandon() {
	_ = st.raw.SetDeadline(time.Unix(1, 0)) // as above
}
