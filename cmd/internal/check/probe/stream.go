// Package probe asks other programs questions on the wire, from outside and
// once: main by a server stream of its own, a TURN server, the public
// WebSocket. It shares no code with what it looks at.
package probe

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"time"
)

// StreamError is what main ended a stream with (RFC 6120 §4.9).
type StreamError struct{ Condition, Text string }

func (e *StreamError) Error() string {
	if e.Text == "" {
		return e.Condition
	}
	return fmt.Sprintf("%s (%s)", e.Condition, e.Text)
}

// NotAuthenticated says that main believes none of the ways the node could
// prove itself.
type NotAuthenticated struct {
	Offered []string // what main offered
	Answer  string   // what it answered
}

func (e *NotAuthenticated) Error() string {
	return fmt.Sprintf("main does not believe the node (offered %q, answered %q)", e.Offered, e.Answer)
}

// Target is main and the node as one side of it.
type Target struct {
	Address     string // host:port
	Certificate *tls.Certificate
	// DialbackSecret, where the node's port is ours: main asks there whether a
	// key made with it is good (XEP-0185). Empty: no dialback.
	DialbackSecret string
}

// Stream is a server stream to main, or a client stream to a node. One goroutine uses it.
type Stream struct {
	From, To string
	// TLS is the connection's, nil without.
	TLS *tls.ConnectionState
	// Bidi says whether main offers bidirectional streams (XEP-0288).
	Bidi bool

	conn   net.Conn
	dec    *xml.Decoder
	id     string
	client bool // of a client, not of a server
}

// features of a stream.
type features struct {
	StartTLS   *struct{} `xml:"urn:ietf:params:xml:ns:xmpp-tls starttls"`
	Mechanisms []string  `xml:"urn:ietf:params:xml:ns:xmpp-sasl mechanisms>mechanism"`
	Bidi       *struct{} `xml:"urn:xmpp:features:bidi bidi"`
	Dialback   *struct{} `xml:"urn:xmpp:features:dialback dialback"`
}

// Open opens a stream from a domain of the node to one of main and proves the
// node there. Nothing is asked for that would let main use the stream itself, so
// a running node is not disturbed. ctx bounds it. The caller calls Close.
func (t *Target) Open(ctx context.Context, from, to string) (*Stream, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", t.Address)
	if err != nil {
		return nil, err
	}
	s := &Stream{From: from, To: to, conn: conn}
	if deadline, ok := ctx.Deadline(); ok {
		err = conn.SetDeadline(deadline)
	}
	if err == nil {
		err = t.negotiate(ctx, s)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (t *Target) negotiate(ctx context.Context, s *Stream) error {
	f, err := s.hello()
	if err != nil {
		return err
	}
	if f.StartTLS != nil {
		if f, err = t.startTLS(ctx, s); err != nil {
			return err
		}
	}
	s.Bidi = f.Bidi != nil
	err = &NotAuthenticated{Offered: f.Mechanisms}
	for _, m := range f.Mechanisms {
		if m == "EXTERNAL" {
			err = s.external(f)
		}
	}
	var refused *NotAuthenticated
	if errors.As(err, &refused) && t.DialbackSecret != "" {
		return s.dialback(t.DialbackSecret, refused)
	}
	return err
}

// hello sends a stream header and reads main's, with its features.
func (s *Stream) hello() (*features, error) {
	about := fmt.Sprintf(`xmlns='jabber:server' xmlns:db='jabber:server:dialback' from='%s'`, s.From)
	if s.client {
		about = `xmlns='jabber:client'`
	}
	_, err := fmt.Fprintf(s.conn, `<?xml version='1.0'?><stream:stream %s xmlns:stream='http://etherx.jabber.org/streams' `+
		`to='%s' version='1.0' xml:lang='en'>`, about, s.To)
	if err != nil {
		return nil, err
	}
	s.dec = xml.NewDecoder(s.conn)
	start, err := s.start()
	if err != nil {
		return nil, err
	}
	if start.Name.Local != "stream" {
		return nil, fmt.Errorf("no server stream, but <%s>", start.Name.Local)
	}
	for _, a := range start.Attr {
		if a.Name.Local == "id" {
			s.id = a.Value
		}
	}
	f := new(features)
	return f, s.read("features", f)
}

// start returns the next element's beginning.
func (s *Stream) start() (xml.StartElement, error) {
	for {
		token, err := s.dec.Token()
		if err != nil {
			return xml.StartElement{}, err
		}
		switch t := token.(type) {
		case xml.StartElement:
			return t, nil
		case xml.EndElement:
			return xml.StartElement{}, errors.New("the stream was closed")
		}
	}
}

// read decodes the next element, which must have the name.
func (s *Stream) read(name string, v any) error {
	start, err := s.start()
	if err != nil {
		return err
	}
	if start.Name.Local == "error" && start.Name.Space == "http://etherx.jabber.org/streams" {
		return s.streamError(start)
	}
	if name != "" && start.Name.Local != name {
		var answer struct {
			Inner string `xml:",innerxml"`
		}
		// What it says matters more than how it ends.
		_ = s.dec.DecodeElement(&answer, &start)
		return &NotAuthenticated{Answer: fmt.Sprintf("<%s>%s", start.Name.Local, answer.Inner)}
	}
	return s.dec.DecodeElement(v, &start)
}

func (s *Stream) streamError(start xml.StartElement) error {
	var e struct {
		Text  string `xml:"urn:ietf:params:xml:ns:xmpp-streams text"`
		Items []struct {
			XMLName xml.Name
		} `xml:",any"`
	}
	if err := s.dec.DecodeElement(&e, &start); err != nil {
		return err
	}
	condition := "undefined-condition"
	if len(e.Items) > 0 {
		condition = e.Items[0].XMLName.Local
	}
	return &StreamError{Condition: condition, Text: e.Text}
}

// proceed asks for TLS (RFC 6120 §5.4.2).
func (s *Stream) proceed() error {
	if _, err := fmt.Fprint(s.conn, `<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>`); err != nil {
		return err
	}
	if err := s.read("proceed", new(struct{})); err != nil {
		return fmt.Errorf("STARTTLS: %w", err)
	}
	return nil
}

func (t *Target) startTLS(ctx context.Context, s *Stream) (*features, error) {
	if err := s.proceed(); err != nil {
		return nil, err
	}
	conn := tls.Client(s.conn, &tls.Config{
		ServerName: s.To, MinVersion: tls.VersionTLS12,
		// Main's certificate is self-signed as a rule. It is shown to the
		// caller, and trust is the node's business.
		InsecureSkipVerify: true,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return t.Certificate, nil
		},
	})
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	state := conn.ConnectionState()
	s.conn, s.TLS = conn, &state
	return s.hello()
}

// external is SASL EXTERNAL (XEP-0178): main has to take the certificate for
// the node's domain.
func (s *Stream) external(f *features) error {
	_, err := fmt.Fprintf(s.conn, `<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>%s</auth>`,
		base64.StdEncoding.EncodeToString([]byte(s.From)))
	if err != nil {
		return err
	}
	if err := s.read("success", new(struct{})); err != nil {
		var refused *NotAuthenticated
		if errors.As(err, &refused) {
			refused.Offered = f.Mechanisms
		}
		return err
	}
	_, err = s.hello()
	return err
}

// dialback shows a key that main lets the node's port check (XEP-0220).
func (s *Stream) dialback(secret string, refused *NotAuthenticated) error {
	hashed := sha256.Sum256([]byte(secret))
	mac := hmac.New(sha256.New, []byte(hex.EncodeToString(hashed[:])))
	mac.Write([]byte(s.To + " " + s.From + " " + s.id))
	_, err := fmt.Fprintf(s.conn, `<db:result from='%s' to='%s'>%x</db:result>`, s.From, s.To, mac.Sum(nil))
	if err != nil {
		return err
	}
	var result struct {
		Type string `xml:"type,attr"`
	}
	if err := s.read("result", &result); err != nil {
		return err
	}
	if result.Type != "valid" {
		refused.Answer = "dialback " + result.Type
		return refused
	}
	return nil
}

// Ask sends an IQ get with a payload. The answer comes on a stream of main's
// own.
func (s *Stream) Ask(id, payload string) error {
	_, err := fmt.Fprintf(s.conn, `<iq type='get' id='%s' from='%s' to='%s'>%s</iq>`, id, s.From, s.To, payload)
	return err
}

// Certificate is the one main showed, nil without TLS.
func (s *Stream) Certificate() *x509.Certificate {
	if s.TLS == nil || len(s.TLS.PeerCertificates) == 0 {
		return nil
	}
	return s.TLS.PeerCertificates[0]
}

// Close ends the stream.
func (s *Stream) Close() {
	// Main is told as politely as a second allows.
	_ = s.conn.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = fmt.Fprint(s.conn, "</stream:stream>")
	_ = s.conn.Close()
}
