package conference

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// DialFunc opens a connection, like [net.Dialer.DialContext].
type DialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// wsConn is the client end of a WebSocket (RFC 6455) as RFC 7395 uses it: text
// messages only. It costs one buffer and no goroutine, so that one process can
// be thousands of visitors.
//
// One goroutine reads. Any may write: a frame leaves in one Write, which
// net.Conn keeps whole.
type wsConn struct {
	conn net.Conn
	br   *bufio.Reader
	buf  []byte // the message under way; its memory is used again

	mu  sync.Mutex
	cut bool // guarded by mu, which keeps deadlines from undoing it
}

const (
	wsReadBuffer = 4 << 10
	wsKeepBuffer = 64 << 10 // largest buffer kept for the next message
	wsMaxMessage = 1 << 20
	wsMaxControl = 125 // RFC 6455 §5.5
)

// Opcodes, RFC 6455 §5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
)

// closeError is the server's close frame.
type closeError struct {
	Code   uint16
	Reason string
}

func (e *closeError) Error() string {
	return fmt.Sprintf("WebSocket closed by the server: %d %s", e.Code, e.Reason)
}

// closeNormal is RFC 6455 §7.4.1's 1000.
const closeNormal = 1000

var errWSProtocol = errors.New("WebSocket protocol error by the server")

// dialWebSocket connects to a ws: or wss: URL and does the opening handshake
// with subprotocol xmpp. It blocks until ctx ends at the latest.
func dialWebSocket(ctx context.Context, rawURL string, dial DialFunc, conf *tls.Config) (*wsConn, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("WebSocket address: %w", err)
	}
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	conn, err := dial(ctx, "tcp", hostPort(u))
	if err != nil {
		return nil, err
	}
	if u.Scheme == "wss" {
		if conf == nil {
			conf = &tls.Config{ServerName: u.Hostname()}
		}
		conn = tls.Client(conn, conf)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	w, err := upgrade(conn, u)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("WebSocket handshake: %w", err)
	}
	return w, nil
}

func hostPort(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "wss":
		port = "443"
	default:
		port = "80"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

func upgrade(conn net.Conn, u *url.URL) (*wsConn, error) {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails
	key := base64.StdEncoding.EncodeToString(nonce[:])
	req := &http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: http.Header{
		"Upgrade":                {"websocket"},
		"Connection":             {"Upgrade"},
		"Sec-Websocket-Key":      {key},
		"Sec-Websocket-Version":  {"13"},
		"Sec-Websocket-Protocol": {"xmpp"},
	}}
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	br := bufio.NewReaderSize(conn, wsReadBuffer)
	res, err := http.ReadResponse(br, req)
	if err != nil {
		return nil, err
	}
	accept := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	switch {
	case res.StatusCode != http.StatusSwitchingProtocols:
		_ = res.Body.Close()
		return nil, fmt.Errorf("answered %s", res.Status)
	case !strings.EqualFold(res.Header.Get("Upgrade"), "websocket"),
		res.Header.Get("Sec-WebSocket-Accept") != base64.StdEncoding.EncodeToString(accept[:]):
		return nil, errWSProtocol
	case res.Header.Get("Sec-WebSocket-Protocol") != "xmpp":
		return nil, fmt.Errorf("%w: subprotocol %q", errWSProtocol, res.Header.Get("Sec-WebSocket-Protocol"))
	}
	return &wsConn{conn: conn, br: br}, nil
}

// read returns the next text message, valid until the next call. Pings are
// answered on the way. A close frame is answered and returned as a
// *closeError. It blocks until the connection is closed or its deadline.
func (w *wsConn) read() ([]byte, error) {
	if cap(w.buf) > wsKeepBuffer {
		w.buf = nil
	}
	w.buf = w.buf[:0]
	for begun := false; ; {
		h, err := w.readHeader()
		if err != nil {
			return nil, err
		}
		if h.opcode >= opClose {
			if err := w.control(h); err != nil {
				return nil, err
			}
			continue
		}
		if (h.opcode == opContinuation) != begun || h.opcode == opBinary {
			return nil, fmt.Errorf("%w: opcode %d", errWSProtocol, h.opcode)
		}
		begun = true
		if err := w.payload(h.size); err != nil {
			return nil, err
		}
		if h.final {
			return w.buf, nil
		}
	}
}

type frameHeader struct {
	opcode byte
	final  bool
	size   uint64
}

func (w *wsConn) readHeader() (frameHeader, error) {
	var b [8]byte
	if _, err := io.ReadFull(w.br, b[:2]); err != nil {
		return frameHeader{}, err
	}
	h := frameHeader{opcode: b[0] & 0x0F, final: b[0]&0x80 != 0, size: uint64(b[1] & 0x7F)}
	if b[0]&0x70 != 0 || b[1]&0x80 != 0 { // extension bits; a server never masks
		return h, errWSProtocol
	}
	n := 0
	switch h.size {
	case 126:
		n = 2
	case 127:
		n = 8
	}
	if n > 0 {
		if _, err := io.ReadFull(w.br, b[:n]); err != nil {
			return h, err
		}
		h.size = 0
		for _, c := range b[:n] {
			h.size = h.size<<8 | uint64(c)
		}
	}
	switch {
	case h.opcode > opBinary && h.opcode < opClose || h.opcode > opPong:
		return h, fmt.Errorf("%w: opcode %d", errWSProtocol, h.opcode)
	case h.opcode >= opClose && (h.size > wsMaxControl || !h.final):
		return h, fmt.Errorf("%w: control frame of %d bytes", errWSProtocol, h.size)
	}
	return h, nil
}

// payload appends size bytes to the message under way.
func (w *wsConn) payload(size uint64) error {
	have := len(w.buf)
	if size > uint64(wsMaxMessage-have) {
		return fmt.Errorf("%w: message of more than %d bytes", errWSProtocol, wsMaxMessage)
	}
	want := have + int(size)
	if cap(w.buf) < want {
		grown := make([]byte, have, want+want/2)
		copy(grown, w.buf)
		w.buf = grown
	}
	w.buf = w.buf[:want]
	_, err := io.ReadFull(w.br, w.buf[have:])
	return err
}

func (w *wsConn) control(h frameHeader) error {
	var b [wsMaxControl]byte
	data := b[:h.size]
	if _, err := io.ReadFull(w.br, data); err != nil {
		return err
	}
	switch h.opcode {
	case opPing:
		return w.writeFrame(opPong, data)
	case opPong:
		return nil
	}
	e := &closeError{Code: closeNormal}
	if len(data) >= 2 {
		e.Code, e.Reason = binary.BigEndian.Uint16(data), string(data[2:])
	}
	// The answer is a courtesy; the connection is over either way.
	_ = w.writeFrame(opClose, data)
	return e
}

// write sends one text message. It blocks while the socket's buffer is full.
func (w *wsConn) write(text []byte) error { return w.writeFrame(opText, text) }

// writeClose starts the closing handshake; read then returns the answer.
func (w *wsConn) writeClose() error {
	return w.writeFrame(opClose, binary.BigEndian.AppendUint16(nil, closeNormal))
}

func (w *wsConn) writeFrame(opcode byte, p []byte) error {
	b := make([]byte, 0, len(p)+14)
	b = append(b, 0x80|opcode)
	switch n := len(p); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = append(b, 0x80|126)
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b = append(b, 0x80|127)
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	var key [4]byte
	_, _ = rand.Read(key[:]) // never fails
	b = append(b, key[:]...)
	start := len(b)
	b = append(b, p...)
	for i := range p {
		b[start+i] ^= key[i&3]
	}
	_, err := w.conn.Write(b)
	return err
}

func (w *wsConn) close() { _ = w.conn.Close() }

// errCut ends the reading of a connection that we have cut ourselves.
var errCut = errors.New("the connection is cut")

// lose breaks the connection the way a lost network does: without a word, and
// what the kernel still holds is lost. Left half-open, the server is not told
// even by TCP, and nothing is read or written any more on our side. It does not
// block; close has to be called all the same.
func (w *wsConn) lose(halfOpen bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = true
	if halfOpen {
		_ = w.conn.SetDeadline(time.Unix(1, 0)) // long ago
		return
	}
	conn := w.conn
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn() // whose end is not announced
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// cause returns errCut instead of an error that came of lose.
func (w *wsConn) cause(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil && w.cut {
		return errCut
	}
	return err
}

// readUntil sets the time after which read fails, zero for never.
func (w *wsConn) readUntil(t time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.cut {
		_ = w.conn.SetReadDeadline(t)
	}
}
