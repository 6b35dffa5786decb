package crowd

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"vnode/internal/wire"
)

// framing puts elements on the wire of one transport and finds them there. The
// loop's mu is held whenever it is called.
type framing interface {
	// begin sends what comes first on a new connection.
	begin(*client)
	// restart begins the stream anew behind SASL (RFC 6120 §6.4.6).
	restart(*client)
	// take hands over every complete element in b and returns how many bytes it
	// is done with.
	take(v *client, b []byte, now int64) (int, error)
	// put appends elem as it is sent.
	put(dst, elem []byte) []byte
	// ready is called before what is queued is written.
	ready(*client)
	// end closes the stream.
	end(*client)
	// acks reports whether stream management makes sense.
	acks() bool
}

func newFraming(v *client) framing {
	switch v.crowd.addr.transport {
	case XMPP:
		return newStream()
	case BOSH:
		return newBody()
	}
	return &webSocket{}
}

// webSocket is RFC 7395 over RFC 6455.
type webSocket struct {
	accept   string // what the answer to the upgrade must hold
	fragment []byte // of a message under way
	open     bool   // fragment has begun
}

var (
	errUpgrade = errors.New("the server did not switch to WebSocket")
	errBusy    = errors.New("the server is busy: 503")
	errFrame   = errors.New("WebSocket protocol error by the server")
)

func (w *webSocket) acks() bool { return true }

func (w *webSocket) ready(*client) {}

func (w *webSocket) begin(v *client) {
	v.stage = stageUpgrade
	var nonce [16]byte
	binary.BigEndian.PutUint64(nonce[:], rand.Uint64())
	binary.BigEndian.PutUint64(nonce[8:], rand.Uint64())
	key := base64.StdEncoding.EncodeToString(nonce[:])
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	w.accept = base64.StdEncoding.EncodeToString(sum[:])
	path := v.crowd.addr.path
	if v.smID != "" {
		path = v.crowd.addr.with("previd", v.smID)
	}
	v.out = fmt.Appendf(v.out, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: xmpp\r\n\r\n", path, v.crowd.addr.host, key)
}

func (w *webSocket) restart(v *client) {
	v.put(wire.StreamHeader{To: v.crowd.opt.Domain, Version: "1.0"}.AppendOpen(nil))
}

func (w *webSocket) end(v *client) {
	v.put([]byte("<close xmlns='" + wire.NSFraming + "'/>"))
}

// put appends a masked text frame.
func (w *webSocket) put(dst, elem []byte) []byte { return appendFrame(dst, 0x81, elem) }

func appendFrame(dst []byte, first byte, p []byte) []byte {
	const masked = 0x80
	dst = append(dst, first)
	switch n := len(p); {
	case n < 126:
		dst = append(dst, masked|byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, masked|126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, masked|127), uint64(n))
	}
	key := rand.Uint32()
	dst = binary.LittleEndian.AppendUint32(dst, key)
	start := len(dst)
	dst = append(dst, p...)
	for i := range dst[start:] {
		dst[start+i] ^= byte(key >> (8 * (i & 3)))
	}
	return dst
}

func (w *webSocket) take(v *client, b []byte, now int64) (int, error) {
	pos := 0
	if v.stage == stageUpgrade {
		n, err := w.upgraded(b)
		if n == 0 || err != nil {
			return 0, err
		}
		pos = n
		v.stage = stageMechanisms
		w.restart(v)
	}
	for v.connected() {
		if v.stage == stageIn && !w.open {
			pos += v.loop.heard.run(v, b[pos:], now)
		}
		f, n := parseFrame(b[pos:])
		if n == 0 {
			break
		}
		pos += n
		if err := w.frame(v, f, now); err != nil {
			return pos, err
		}
	}
	return pos, nil
}

// upgraded looks at the answer to the upgrade; 0 means that it is not complete.
func (w *webSocket) upgraded(b []byte) (int, error) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return 0, nil
	}
	head := string(b[:end])
	line, _, _ := strings.Cut(head, "\r\n")
	if strings.HasPrefix(line, "HTTP/1.1 503") {
		return 0, errBusy
	}
	if !strings.HasPrefix(line, "HTTP/1.1 101") || !strings.Contains(head, w.accept) {
		return 0, fmt.Errorf("%w: %s", errUpgrade, line)
	}
	return end + 4, nil
}

// frame is one frame of a server.
type frame struct {
	opcode  byte
	final   bool
	payload []byte
	broken  bool // bits are set that must not be
}

// parseFrame returns the frame at the head of b and its length, 0 when it is
// not complete.
func parseFrame(b []byte) (frame, int) {
	if len(b) < 2 {
		return frame{}, 0
	}
	f := frame{opcode: b[0] & 0x0F, final: b[0]&0x80 != 0, broken: b[0]&0x70 != 0 || b[1]&0x80 != 0}
	if f.broken {
		return f, 2
	}
	head, size := 2, uint64(b[1])
	switch size {
	case 126:
		if len(b) < 4 {
			return f, 0
		}
		head, size = 4, uint64(b[2])<<8|uint64(b[3])
	case 127:
		if len(b) < 10 {
			return f, 0
		}
		head, size = 10, binary.BigEndian.Uint64(b[2:])
	}
	if size > uint64(len(b)-head) {
		return f, 0
	}
	end := head + int(size)
	f.payload = b[head:end]
	return f, end
}

// Opcodes, RFC 6455 §5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
)

func (w *webSocket) frame(v *client, f frame, now int64) error {
	if f.broken {
		return errFrame
	}
	switch f.opcode {
	case opText:
		if w.open {
			return errFrame
		}
		if f.final {
			v.element(f.payload, now)
			return nil
		}
		w.open, w.fragment = true, append(w.fragment[:0], f.payload...)
	case opContinuation:
		if !w.open || len(w.fragment)+len(f.payload) > readSize {
			return errFrame
		}
		w.fragment = append(w.fragment, f.payload...)
		if f.final {
			w.open = false
			v.element(w.fragment, now)
		}
	case opPing:
		v.out = appendFrame(v.out, 0x80|opPong, f.payload)
	case opPong:
	case opClose:
		return fmt.Errorf("WebSocket closed by the server: %q", f.payload)
	default:
		return errFrame
	}
	return nil
}

// stream is client TCP (RFC 6120), without TLS: for loopback, where servers
// allow it.
type stream struct {
	src feed
	r   *wire.Reader
}

// feed is what has been received, for a Reader that pulls.
type feed struct{ b []byte }

var errDry = errors.New("no more bytes have come")

func (f *feed) Read(p []byte) (int, error) {
	if len(f.b) == 0 {
		return 0, errDry
	}
	n := copy(p, f.b)
	f.b = f.b[n:]
	return n, nil
}

func newStream() *stream {
	s := &stream{}
	s.r = wire.NewReader(&s.src, wire.Limits{MaxBytes: readSize})
	return s
}

func (s *stream) acks() bool { return true }

func (s *stream) ready(*client) {}

func (s *stream) begin(v *client) {
	v.stage = stageMechanisms
	s.header(v)
}

func (s *stream) header(v *client) {
	v.out = wire.StreamHeader{To: v.crowd.opt.Domain, Version: "1.0", Content: wire.NSClient}.Append(v.out, "")
}

func (s *stream) restart(v *client) {
	s.r.Restart()
	s.header(v)
}

func (s *stream) end(v *client) { v.out = append(v.out, "</stream:stream>"...) }

func (s *stream) put(dst, elem []byte) []byte { return append(dst, elem...) }

func (s *stream) take(v *client, b []byte, now int64) (int, error) {
	s.src.b = b
	for v.connected() {
		t, err := s.r.Next()
		if errors.Is(err, errDry) {
			break
		}
		if err != nil {
			return len(b), err
		}
		switch t.Kind {
		case wire.Element:
			v.element(t.Data, now)
		case wire.StreamEnd:
			return len(b), errors.New("the server closed the stream")
		}
	}
	return len(b), nil
}
