package conference

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"time"

	"vnode/internal/wire"
)

// Namespaces of server-to-server negotiation.
const (
	nsBidi            = "urn:xmpp:bidi"                  // XEP-0288
	nsBidiFeature     = "urn:xmpp:features:bidi"         // XEP-0288
	nsDialback        = "jabber:server:dialback"         // XEP-0220
	nsDialbackFeature = "urn:xmpp:features:dialback"     // XEP-0220
	declareDialback   = " xmlns:db='" + nsDialback + "'" // for a stream header
	tlsRequired       = "<starttls xmlns='" + wire.NSTLS + "'><required/></starttls>"
	serverLimits      = "<limits xmlns='" + wire.NSLimits + "'><max-bytes>524288</max-bytes><idle-seconds>840</idle-seconds></limits>"
)

// handshake is a server stream that is being negotiated by one goroutine.
type handshake struct {
	self          *server
	conn          net.Conn
	r             *wire.Reader
	local, remote string // the pair of domains, ours first
	id            string // of the stream, for dialback
	bidi          bool
	features      []byte // the peer's
}

func (v *server) newHandshake(conn net.Conn) *handshake {
	return &handshake{self: v, conn: conn, r: wire.NewReader(conn, wire.Limits{MaxBytes: wire.DefaultMaxServerBytes})}
}

func (h *handshake) write(text string) error {
	_, err := h.conn.Write([]byte(text))
	return err
}

// element returns the next top-level element; a stream error is returned as
// error.
func (h *handshake) element() ([]byte, wire.Header, error) {
	t, err := h.r.Next()
	if err != nil {
		return nil, wire.Header{}, err
	}
	if t.Kind != wire.Element {
		return nil, wire.Header{}, errStreamClosed
	}
	head, err := wire.ParseHeader(t.Data)
	if err == nil && string(head.Name) == "stream:error" {
		err = wire.ParseStreamError(t.Data)
	}
	return t.Data, head, err
}

func (h *handshake) expect(name string) ([]byte, error) {
	elem, head, err := h.element()
	if err != nil {
		return nil, err
	}
	if string(head.Name) != name {
		return nil, unexpected(elem, &head, name)
	}
	return elem, nil
}

// readHeader reads the peer's stream header.
func (h *handshake) readHeader() (wire.StreamHeader, error) {
	t, err := h.r.Next()
	if err != nil {
		return wire.StreamHeader{}, err
	}
	if t.Kind != wire.StreamStart {
		return wire.StreamHeader{}, errStreamClosed
	}
	return wire.ParseStreamHeader(t.Data, wire.NSServer)
}

// hello sends our header as initiator and reads the answer and its features.
func (h *handshake) hello() error {
	header := wire.StreamHeader{From: h.local, To: h.remote, Version: "1.0", Lang: "en", Content: wire.NSServer}
	if err := h.write(string(header.Append(nil, declareDialback))); err != nil {
		return err
	}
	answer, err := h.readHeader()
	if err != nil {
		return err
	}
	h.id = answer.ID
	elem, err := h.expect("stream:features")
	h.features = append([]byte(nil), elem...)
	return err
}

func (h *handshake) offered(space, local string) bool {
	_, ok := wire.FindChild(h.features, space, local)
	return ok
}

// external reports whether SASL EXTERNAL is offered.
func (h *handshake) external() bool {
	mechanisms, ok := wire.FindChild(h.features, wire.NSSASL, "mechanisms")
	if !ok {
		return false
	}
	for c := range wire.Children(mechanisms.Raw) {
		if c.Local == "mechanism" && c.Text() == "EXTERNAL" {
			return true
		}
	}
	return false
}

// open opens a stream from local to remote and authenticates it. It blocks
// until ctx ends at the latest.
func (v *server) open(ctx context.Context, local, remote string) (*handshake, error) {
	h, stop, err := v.connect(ctx, local, remote)
	if err != nil {
		return nil, err
	}
	err = h.authenticate()
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = h.conn.Close()
		return nil, fmt.Errorf("stream %s to %s: %w", local, remote, err)
	}
	return h, nil
}

// connect opens a connection to the peer and negotiates TLS. The caller calls
// stop when it does not want ctx's end to close the connection any more.
func (v *server) connect(ctx context.Context, local, remote string) (*handshake, func() bool, error) {
	conn, err := v.dial(ctx, "tcp", v.addr)
	if err != nil {
		return nil, nil, fmt.Errorf("stream %s to %s: %w", local, remote, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	h := v.newHandshake(conn)
	h.local, h.remote = local, remote
	if err := h.startTLS(); err != nil {
		stop()
		_ = conn.Close()
		return nil, nil, fmt.Errorf("stream %s to %s: %w", local, remote, errors.Join(err, ctx.Err()))
	}
	return h, stop, nil
}

// startTLS is the part of the initiator (RFC 6120 §5.4). Certificates prove
// nothing here, as in Jitsi's deployments: dialback or the address does.
func (h *handshake) startTLS() error {
	if err := h.hello(); err != nil {
		return err
	}
	if !h.offered(wire.NSTLS, "starttls") {
		return errors.New("the peer does not offer STARTTLS")
	}
	if err := h.write("<starttls xmlns='" + wire.NSTLS + "'/>"); err != nil {
		return err
	}
	if _, err := h.expect("proceed"); err != nil {
		return err
	}
	conf := &tls.Config{
		Certificates: []tls.Certificate{h.self.cert}, ServerName: h.remote,
		InsecureSkipVerify: true, //nolint:gosec // see above
	}
	if err := h.secured(tls.Client(h.conn, conf)); err != nil {
		return err
	}
	return h.hello()
}

// secured goes on over TLS. What came in clear behind the negotiation is the
// peer's fault (RFC 6120 §5.4.3.3).
func (h *handshake) secured(conn *tls.Conn) error {
	if n := h.r.Reset(conn); n > 0 {
		return fmt.Errorf("%d bytes in clear behind STARTTLS", n)
	}
	h.conn = conn
	return nil
}

// authenticate proves the pair: SASL EXTERNAL (XEP-0178) where offered, else
// dialback.
func (h *handshake) authenticate() error {
	if h.offered(nsBidiFeature, "bidi") {
		if err := h.write("<bidi xmlns='" + nsBidi + "'/>"); err != nil {
			return err
		}
		h.bidi = true
	}
	if h.self.dialback || !h.external() {
		return h.dialback()
	}
	authzid := base64.StdEncoding.EncodeToString([]byte(h.local))
	if err := h.write("<auth xmlns='" + wire.NSSASL + "' mechanism='EXTERNAL'>" + authzid + "</auth>"); err != nil {
		return err
	}
	if _, err := h.expect("success"); err != nil {
		return err
	}
	h.r.Restart()
	return h.hello()
}

// accept is the receiving entity's part. It returns nil without an error for a
// stream that carried no stanzas: a verification, or somebody who only looked
// whether we listen.
func (v *server) accept(conn net.Conn) (*handshake, error) {
	h := v.newHandshake(conn)
	_ = conn.SetDeadline(time.Now().Add(v.timeout))
	established, err := h.receive()
	if isEOF(err) {
		established, err = false, nil
	}
	if err != nil {
		_ = h.write(string(wire.AsStreamError(err).Append(nil, false)) + "</stream:stream>")
		err = fmt.Errorf("stream from %q to %q: %w", h.remote, h.local, err)
	}
	if !established || err != nil {
		_ = h.conn.Close()
		return nil, err
	}
	_ = h.conn.SetDeadline(time.Time{})
	return h, nil
}

// answerHeader reads the peer's header and sends ours with these features.
func (h *handshake) answerHeader(features string) error {
	header, err := h.readHeader()
	h.local, h.remote, h.id = header.To, header.From, newID()
	answer := wire.StreamHeader{From: header.To, To: header.From, ID: h.id, Version: "1.0", Lang: "en", Content: wire.NSServer}
	text := string(answer.Append(nil, declareDialback))
	if err == nil && !h.self.serves(header.To) {
		err = wire.StreamError{Condition: wire.HostUnknown}
	}
	if err == nil && header.From != "" && !h.self.trusts(header.From) {
		err = wire.StreamError{Condition: wire.PolicyViolation, Text: "Communication with this domain is restricted"}
	}
	if err == nil {
		text += "<stream:features>" + features + serverLimits + "</stream:features>"
	}
	return errors.Join(h.write(text), err)
}

// receive negotiates to the end. It returns false when the peer only came to
// verify a dialback key.
func (h *handshake) receive() (bool, error) {
	if err := h.answerHeader(tlsRequired); err != nil {
		return false, err
	}
	if _, err := h.expect("starttls"); err != nil {
		return false, err
	}
	if err := h.write("<proceed xmlns='" + wire.NSTLS + "'/>"); err != nil {
		return false, err
	}
	conf := &tls.Config{Certificates: []tls.Certificate{h.self.cert}, ClientAuth: tls.RequestClientCert, SessionTicketsDisabled: true}
	if err := h.secured(tls.Server(h.conn, conf)); err != nil {
		return false, err
	}
	offer := "<mechanisms xmlns='" + wire.NSSASL + "'><mechanism>EXTERNAL</mechanism></mechanisms>"
	if h.self.dialback {
		offer = "<dialback xmlns='" + nsDialbackFeature + "'><errors/></dialback>"
	}
	if err := h.answerHeader(offer + "<bidi xmlns='" + nsBidiFeature + "'/>"); err != nil {
		return false, err
	}
	for {
		elem, head, err := h.element()
		if errors.Is(err, errStreamClosed) || isEOF(err) {
			return false, nil // after a verification
		}
		if err != nil {
			return false, err
		}
		switch string(head.Name) {
		case "bidi":
			h.bidi = true
		case "auth":
			return true, h.checkExternal(elem)
		case "db:verify":
			err = h.write(string(h.self.verdict(elem, &head)))
		case "db:result":
			return true, h.checkResult(elem, &head)
		default:
			return false, wire.StreamError{Condition: wire.NotAuthorized}
		}
		if err != nil {
			return false, err
		}
	}
}

// checkExternal is the server side of SASL EXTERNAL (RFC 6120 §6, XEP-0178).
func (h *handshake) checkExternal(elem []byte) error {
	auth := wire.Child{Raw: elem}
	auth.Header, _ = wire.ParseHeader(elem) // parsed before
	authzid, err := base64.StdEncoding.DecodeString(auth.Text())
	if auth.Text() != "=" && (err != nil || string(authzid) != h.remote) {
		return errors.Join(
			h.write("<failure xmlns='"+wire.NSSASL+"'><invalid-authzid/></failure>"),
			fmt.Errorf("authorization identity %q on a stream from %q", authzid, h.remote))
	}
	if auth.Attr("mechanism") != "EXTERNAL" {
		return errors.Join(
			h.write("<failure xmlns='"+wire.NSSASL+"'><invalid-mechanism/></failure>"),
			errors.New("another mechanism than EXTERNAL"))
	}
	if err := h.write("<success xmlns='" + wire.NSSASL + "'/>"); err != nil {
		return err
	}
	h.r.Restart()
	return h.answerHeader("")
}
