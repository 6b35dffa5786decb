package probe

import (
	"context"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// STUN message types and attributes, RFC 8489 and RFC 8656.
const (
	bindingRequest  = 0x0001
	allocateRequest = 0x0003
	refreshRequest  = 0x0004
	successClass    = 0x0100
	errorClass      = 0x0110

	attrUsername           = 0x0006
	attrMessageIntegrity   = 0x0008
	attrErrorCode          = 0x0009
	attrLifetime           = 0x000D
	attrRealm              = 0x0014
	attrNonce              = 0x0015
	attrRequestedTransport = 0x0019

	magicCookie = 0x2112A442
	headerBytes = 20
	maxMessage  = 2048
)

// TURNServer is where to ask.
type TURNServer struct {
	Address string // host:port
	Host    string // for TLS
	TCP     bool
	TLS     *tls.Config // nil: none
}

// TURNError is a server's refusal, such as 401.
type TURNError struct {
	Code   int
	Reason string
}

func (e *TURNError) Error() string { return fmt.Sprintf("%d %s", e.Code, e.Reason) }

// Bind asks a STUN server for our address (RFC 8489 §2).
func (s TURNServer) Bind(ctx context.Context) error {
	c, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	_, err = c.ask(bindingRequest, nil, nil)
	return err
}

// Allocate asks for a relay with credentials made of the shared secret, as
// visitors get them, and gives it back at once.
func (s TURNServer) Allocate(ctx context.Context, secret string) error {
	c, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	udp := attribute{attrRequestedTransport, []byte{17, 0, 0, 0}}
	first, err := c.ask(allocateRequest, []attribute{udp}, nil)
	var refused *TURNError
	if err == nil {
		return errors.New("it asks for no credentials: everybody can use it as a relay")
	}
	if !errors.As(err, &refused) || refused.Code != 401 {
		return err
	}
	user := strconv.FormatInt(time.Now().Add(time.Minute).Unix(), 10)
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(user))
	password := base64.StdEncoding.EncodeToString(mac.Sum(nil))
	realm := first.attr(attrRealm)
	key := md5.Sum([]byte(user + ":" + string(realm) + ":" + password))
	credentials := []attribute{{attrUsername, []byte(user)}, {attrRealm, realm}, {attrNonce, first.attr(attrNonce)}}
	if _, err := c.ask(allocateRequest, append([]attribute{udp}, credentials...), key[:]); err != nil {
		return err
	}
	// It would end by itself in ten minutes.
	_, _ = c.ask(refreshRequest, append([]attribute{{attrLifetime, make([]byte, 4)}}, credentials...), key[:])
	return nil
}

type attribute struct {
	kind  uint16
	value []byte
}

type stunMessage struct {
	kind  uint16
	attrs []attribute
}

func (m *stunMessage) attr(kind uint16) []byte {
	for _, a := range m.attrs {
		if a.kind == kind {
			return a.value
		}
	}
	return nil
}

// stunConn is a connection that asks one question at a time.
type stunConn struct {
	conn net.Conn
	tcp  bool
	end  time.Time
}

func (s TURNServer) dial(ctx context.Context) (*stunConn, error) {
	network := "udp"
	if s.TCP || s.TLS != nil {
		network = "tcp"
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, s.Address)
	if err != nil {
		return nil, err
	}
	c := &stunConn{conn: conn, tcp: network == "tcp", end: time.Now().Add(5 * time.Second)}
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(c.end) {
		c.end = deadline
	}
	if s.TLS != nil {
		t := tls.Client(conn, s.TLS)
		if err := t.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, fmt.Errorf("TLS: %w", err)
		}
		c.conn = t
	}
	return c, nil
}

func (c *stunConn) close() { c.conn.Close() }

// ask sends a request, again where UDP may have lost it, and returns the answer
// with its transaction id. A refusal is a *TURNError, with the message.
func (c *stunConn) ask(kind uint16, attrs []attribute, key []byte) (*stunMessage, error) {
	id := make([]byte, 12)
	if _, err := rand.Read(id); err != nil {
		return nil, err
	}
	request := encodeSTUN(kind, id, attrs, key)
	for pause := 500 * time.Millisecond; ; pause *= 2 {
		if _, err := c.conn.Write(request); err != nil {
			return nil, err
		}
		wait := time.Now().Add(pause)
		if c.tcp || wait.After(c.end) {
			wait = c.end
		}
		m, err := c.answer(id, wait)
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() && time.Now().Before(c.end) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return m, refusal(m, kind)
	}
}

func refusal(m *stunMessage, request uint16) error {
	switch m.kind {
	case request | successClass:
		return nil
	case request | errorClass:
		e := &TURNError{}
		if v := m.attr(attrErrorCode); len(v) >= 4 {
			e.Code, e.Reason = int(v[2]&7)*100+int(v[3]), string(v[4:])
		}
		return e
	}
	return fmt.Errorf("an answer of type %#04x, which is none", m.kind)
}

func encodeSTUN(kind uint16, id []byte, attrs []attribute, key []byte) []byte {
	b := make([]byte, headerBytes, 256)
	binary.BigEndian.PutUint16(b, kind)
	binary.BigEndian.PutUint32(b[4:], magicCookie)
	copy(b[8:], id)
	for _, a := range attrs {
		b = appendAttribute(b, a)
	}
	if key != nil {
		// The length counts the attribute that is about to come.
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)-headerBytes+4+sha1.Size))
		mac := hmac.New(sha1.New, key)
		mac.Write(b)
		b = appendAttribute(b, attribute{attrMessageIntegrity, mac.Sum(nil)})
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-headerBytes))
	return b
}

func appendAttribute(b []byte, a attribute) []byte {
	b = binary.BigEndian.AppendUint16(b, a.kind)
	b = binary.BigEndian.AppendUint16(b, uint16(len(a.value)))
	b = append(b, a.value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// answer reads messages until one has the transaction id.
func (c *stunConn) answer(id []byte, deadline time.Time) (*stunMessage, error) {
	if err := c.conn.SetReadDeadline(deadline); err != nil {
		return nil, err
	}
	for {
		b, err := c.read()
		if err != nil {
			return nil, err
		}
		m, got, err := decodeSTUN(b)
		if err != nil {
			return nil, err
		}
		if string(got) == string(id) {
			return m, nil
		}
	}
}

func (c *stunConn) read() ([]byte, error) {
	b := make([]byte, maxMessage)
	if !c.tcp {
		n, err := c.conn.Read(b)
		return b[:n], err
	}
	if _, err := io.ReadFull(c.conn, b[:headerBytes]); err != nil {
		return nil, err
	}
	n := headerBytes + int(binary.BigEndian.Uint16(b[2:]))
	if n > len(b) {
		return nil, errors.New("not STUN: a message too long")
	}
	_, err := io.ReadFull(c.conn, b[headerBytes:n])
	return b[:n], err
}

func decodeSTUN(b []byte) (m *stunMessage, id []byte, err error) {
	if len(b) < headerBytes || binary.BigEndian.Uint32(b[4:]) != magicCookie || int(binary.BigEndian.Uint16(b[2:])) != len(b)-headerBytes {
		return nil, nil, errors.New("the answer is not STUN")
	}
	m, id = &stunMessage{kind: binary.BigEndian.Uint16(b)}, b[8:20]
	for rest := b[headerBytes:]; len(rest) >= 4; {
		n := int(binary.BigEndian.Uint16(rest[2:]))
		if 4+n > len(rest) {
			return nil, nil, errors.New("the answer is not STUN: an attribute beyond its end")
		}
		m.attrs = append(m.attrs, attribute{binary.BigEndian.Uint16(rest), rest[4 : 4+n]})
		rest = rest[min(len(rest), 4+(n+3)&^3):]
	}
	return m, id, nil
}
