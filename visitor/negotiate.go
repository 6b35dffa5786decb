package visitor

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"time"

	"vnode/internal/guard"
	"vnode/internal/socket"
	"vnode/internal/wire"
	"vnode/visitor/sasl"
	"vnode/visitor/websocket"
)

// negotiation is a stream on its way to bind: headers, features, STARTTLS,
// SASL (RFC 6120 §4 to §7). It is gone once the session runs. Where the
// connection is polled it has a goroutine only while there is something to do.
type negotiation struct {
	*stream
	host     *host // set by the first header
	secure   bool  // passwords may be sent
	exchange exchange
	running  string // name of the exchange's mechanism
	failed   int    // logins
	elements int
	awaiting bool // a header comes next
	opened   bool // our header is out
	out      []byte
	made     *Session // by bind
}

// Readable implements socket.Reader.
func (n *negotiation) Readable() { n.srv.crew.do(n) }

// Interrupted implements socket.Reader.
func (n *negotiation) Interrupted() { n.srv.crew.do(n) }

// work leads the client to bind, and goes on as the session's goroutine; or until
// there is nothing to read: then the poller calls it again. Where a goroutine
// waits for a client that is bound, because the connection cannot be polled, the
// frames below it are kept small: above 1.2 KB a stack that has once grown to 8 KB
// never shrinks again (measured: 8 KB a visitor, 4 KB now).
func (n *negotiation) work() {
	srv := n.srv
	sess, parked := n.negotiate()
	switch {
	case parked:
	case sess == nil:
		srv.running.Done()
	default:
		n = nil // not needed any more, however long the session lasts
		if sess.open() {
			sess.run(event{}, nil)
		}
	}
}

// negotiate goes on until bind and returns the client's session, or nil: then the
// client has been told why and the connection is closed, or it has resumed a
// session, to whose goroutine the stream now belongs. Parked, it is the poller's,
// and must not be touched.
//
//go:noinline
func (n *negotiation) negotiate() (sess *Session, parked bool) {
	defer n.srv.cfg.Guard.Recover(guard.Login, n)
	sess, err := n.run()
	switch {
	case err == nil:
		return sess, false
	case err == errParked:
		return nil, true
	case errors.Is(err, errResumed):
		return nil, false
	}
	if n.srv.isClosing() && isTimeout(err) && !errors.Is(err, errTLS) {
		err = errShutdown
	}
	n.fail(err)
	return nil, false
}

// fail tells the client why there is no session, and closes the connection.
func (n *negotiation) fail(err error) {
	var header *wire.StreamHeader
	if !n.opened {
		header = n.ownHeader()
	}
	r := reasonOf(err)
	n.rest()
	n.carefully(guard.Login, func() { n.hangUp(r, header) })
	n.ended(r, wire.JID{})
	n.srv.forget(n.stream)
}

// Doing implements [guard.Met]. Before bind there are hardly any stanzas.
func (n *negotiation) Doing() (string, int) { return "", 0 }

// Panicked implements [guard.Met]. A session that was bound already is ended with
// the connection.
func (n *negotiation) Panicked() {
	switch bound := n.srv.sessionOf(n.stream); {
	case bound != nil:
		n.srv.running.Add(1) // finish counts it down, and so does who called us
		bound.finish(errPanicked)
		return
	case n.made != nil:
		n.made.fan.Abort(reasonOf(errPanicked).label)
		<-n.made.fan.Done()
	}
	n.fail(errPanicked)
}

func (n *negotiation) run() (*Session, error) {
	for {
		ev, err := n.event()
		if err != nil {
			return nil, err
		}
		if n.awaiting {
			if err := n.open(ev); err != nil {
				return nil, err
			}
			continue
		}
		if ev.kind == eventHeader {
			return nil, errSecondHeader
		}
		h, err := wire.ParseHeader(ev.data)
		if err != nil {
			return nil, err
		}
		if ev.outside != 0 {
			if err := n.outside(&h, ev); err != nil {
				return nil, err
			}
			continue
		}
		sess, err := n.element(&h, ev.data)
		if err != nil || sess != nil {
			return sess, err
		}
	}
}

// event returns the next header, element or end. Control frames are dealt with
// here, and count: whatever a client does before bind is bounded.
func (n *negotiation) event() (event, error) {
	for {
		ev, err := n.next()
		if err != nil {
			return event{}, err
		}
		if n.elements++; n.elements > n.srv.cfg.Limits.NegotiationElements {
			return event{}, errTooManyElements
		}
		switch ev.kind {
		case eventPing:
			err = n.write(websocket.AppendPong(nil, ev.data))
		case eventEnd:
			err = errClosed
		case eventHeader, eventElement:
			return ev, nil
		}
		if err != nil {
			return event{}, err
		}
	}
}

// next is the transport's; errParked says that the poller calls when there is
// more.
func (n *negotiation) next() (event, error) {
	for {
		if n.meter.polled != nil && n.meter.polled.Late() { // however much it sends
			return event{}, os.ErrDeadlineExceeded
		}
		ev, err := n.t.next()
		switch err {
		case socket.ErrAgain:
			n.t.rest()
			if n.meter.polled.Park(n) {
				return event{}, errParked
			}
		case errPace:
			n.meter.pay()
		default:
			return ev, err
		}
	}
}

// restart expects a header.
func (n *negotiation) restart() { n.opened, n.awaiting = false, true }

// open takes a stream header and answers it with ours and the features.
func (n *negotiation) open(ev event) error {
	if ev.kind != eventHeader {
		return errNoHeader
	}
	h, err := n.t.header(ev.data)
	if err != nil {
		return err
	}
	host, err := n.findHost(h.To)
	if err != nil {
		return n.elsewhere(&h, err)
	}
	n.host, n.asked = host, nil
	n.opened, n.awaiting = true, false
	if n.out == nil {
		n.out = make([]byte, 0, 512)
	}
	n.out = n.t.appendHeader(n.out[:0], n.ownHeader())
	return n.flush(n.features())
}

func (n *negotiation) findHost(to string) (*host, error) {
	if to == "" {
		return nil, errNoTo
	}
	host := n.srv.hosts[to]
	if host == nil {
		if j, err := wire.ParseJID(to); err == nil && j.Local == "" && j.Resource == "" {
			host = n.srv.hosts[j.Domain]
		}
	}
	switch {
	case host == nil, host.tcpOnly && n.name != transportTCP:
		return nil, wire.StreamError{Condition: wire.HostUnknown, Text: "This server does not serve " + clip(to)}
	case n.host != nil && host != n.host:
		return nil, errOtherHost
	}
	return host, nil
}

// clip bounds what is said back of a peer's words.
func clip(s string) string { return s[:min(len(s), 256)] }

// ownHeader is our header: from the domain asked for or, when that is none of
// ours, from one that is (RFC 6120 §4.9.3.6). It has no 'to': §4.7.2 wants the
// bare JID a client named itself by, but Prosody sends none, and mellium's
// client hangs up on one.
func (n *negotiation) ownHeader() *wire.StreamHeader {
	h := &wire.StreamHeader{
		From: n.srv.cfg.Domain, ID: rand.Text(), Version: "1.0", Lang: "en", Content: wire.NSClient,
	}
	if n.host != nil {
		h.From = n.host.name
	}
	return h
}

func (n *negotiation) features() []byte {
	l := &n.srv.cfg.Limits
	f := features{declare: n.t.output().declare, maxBytes: l.NegotiationBytes}
	switch {
	case n.who.user != "":
		f.bind, f.acks, f.maxBytes = true, n.t.output().acks, n.maxBytes()
	case !n.isSecure():
		f.startTLS = n.name == transportTCP
	default:
		f.offer = true
	}
	return n.host.features(f, n.bindings, l.PingAfter+l.PingTimeout)
}

// isSecure reports whether the client may log in: over TCP never in clear; over
// HTTP, where a browser's page does not choose, with a password not.
func (n *negotiation) isSecure() bool {
	return n.secure || n.name != transportTCP && !n.host.passwords
}

// maxBytes is the largest stanza the client may send after login.
func (n *negotiation) maxBytes() int {
	if n.who.admin {
		return n.srv.cfg.Limits.AdminStanzaBytes
	}
	return n.srv.cfg.Limits.StanzaBytes
}

// flush sends elements, behind what is in n.out, in one write.
func (n *negotiation) flush(elems ...[]byte) error {
	for _, e := range elems {
		n.out = n.t.appendElement(n.out, e)
	}
	err := n.write(n.out)
	n.out = n.out[:0]
	return err
}

// element acts on one element. A session means that the client is bound.
func (n *negotiation) element(h *wire.Header, data []byte) (*Session, error) {
	if isStanza(h) {
		return n.stanza(h, data)
	}
	switch space, local := h.QName(); space {
	case wire.NSTLS:
		if local == "starttls" && n.name == transportTCP {
			return nil, n.startTLS()
		}
	case wire.NSSASL:
		if n.who.user == "" {
			return nil, n.sasl(h, local, data)
		}
	case wire.NSSM:
		return nil, n.streamManagement(h, local)
	}
	return nil, errUnsupported
}

// stanza acts on a stanza before the session: only the bind request of a
// client that is logged in is handled. The others are answered, and the stream
// goes on, as Prosody does it.
func (n *negotiation) stanza(h *wire.Header, data []byte) (*Session, error) {
	if n.who.user != "" {
		if bind, ok := bindRequest(h, data); ok {
			return n.bind(h, bind)
		}
	}
	if !wire.Answerable(h) {
		return nil, nil
	}
	return nil, n.flush(wire.AppendErrorReply(nil, h, wire.NSClient, "", wire.ErrServiceUnavailable))
}

// startTLS is RFC 6120 §5.4.
func (n *negotiation) startTLS() error {
	tcp, ok := n.t.(*tcpTransport)
	if n.secure || n.srv.cfg.TLS == nil || !ok {
		// §5.4.2.2: the failure is followed by the end of the stream.
		if err := n.flush([]byte("<failure xmlns='" + wire.NSTLS + "'/>")); err != nil {
			return err
		}
		return errNoTLS
	}
	if err := n.flush([]byte("<proceed xmlns='" + wire.NSTLS + "'/>")); err != nil {
		return err
	}
	cert := new(shownCert)
	conn := tls.Server(n.raw, cert.noted(n.srv.cfg.TLS))
	if tcp.r.Reset(&n.meter) > 0 {
		return fmt.Errorf("%w: data in clear behind <starttls/>", errTLS)
	}
	if err := conn.Handshake(); err != nil {
		return fmt.Errorf("%w: %w", errTLS, err)
	}
	n.conn, n.meter.src, n.secure = conn, conn, true
	n.bindings = sasl.Bindings(conn.ConnectionState(), cert.leaf)
	n.restart()
	return nil
}

// sasl is RFC 6120 §6.4.
func (n *negotiation) sasl(h *wire.Header, local string, data []byte) error {
	out, who, err := n.saslStep(h, local, data)
	switch {
	case err != nil:
		return n.saslFailed(err)
	case who == nil:
		return n.flush(wire.NewBuilder(nil).Elem("challenge", sasl.Encode(out), "xmlns", wire.NSSASL).Bytes())
	}
	n.who, n.exchange = *who, nil
	if n.request.Token != "" { // noRequest is everybody's
		n.request.Token = "" // a secret, and long
	}
	n.srv.metrics.logins.WithLabelValues(n.running, "success").Inc()
	n.t.limit(n.maxBytes())
	if n.who.admin {
		n.meter.unlimited()
	}
	if err := n.flush(wire.NewBuilder(nil).Elem("success", sasl.Encode(out), "xmlns", wire.NSSASL).Bytes()); err != nil {
		return err
	}
	n.t.restart()
	n.restart()
	return nil
}

func (n *negotiation) saslStep(h *wire.Header, local string, data []byte) (out []byte, who *login, err error) {
	initial := false
	switch local {
	case "auth":
		m, ok := n.host.mechanism(h.Attr("mechanism"), n.stream)
		switch {
		case !n.isSecure():
			return nil, nil, sasl.EncryptionRequired
		case !ok:
			return nil, nil, sasl.InvalidMechanism
		}
		n.exchange, n.running, initial = m.start(n.stream), m.name, true
	case "response":
	case "abort":
		return nil, nil, sasl.Aborted
	default:
		return nil, nil, sasl.MalformedRequest
	}
	if n.exchange == nil {
		return nil, nil, sasl.MalformedRequest
	}
	text := wire.Child{Header: *h, Raw: data}
	msg, err := sasl.Decode(text.Text(), initial)
	if err != nil {
		return nil, nil, err
	}
	out, who, err = n.exchange.step(msg)
	if err == nil {
		err = n.srv.mayLogIn(who)
	}
	return out, who, err
}

// saslFailed answers a failed login. The stream goes on for another try, a few
// times (RFC 6120 §6.4.5).
func (n *negotiation) saslFailed(err error) error {
	failure, ok := failureOf(err)
	if !ok {
		return err
	}
	if n.running != "" && failure != errNoAdmins { // jicofo tries each second: that is no trouble
		n.srv.metrics.logins.WithLabelValues(n.running, "failure").Inc()
		n.srv.log.Info("login failed", "peer", n.raw.RemoteAddr().String(), "transport", n.name,
			"mechanism", n.running, "reason", string(failure.condition), "text", failure.text)
	}
	n.exchange, n.running = nil, ""
	n.failed++
	if err := n.flush(failure.element()); err != nil {
		return err
	}
	if n.failed >= n.srv.cfg.Limits.Logins {
		return errTooManyLogins
	}
	return nil
}

// deadline bounds the whole negotiation, whatever the client does with it.
func (st *stream) deadline() error {
	return st.raw.SetDeadline(time.Now().Add(st.srv.cfg.Limits.Negotiation))
}
