package websocket

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// Kind says what a [Message] is.
type Kind uint8

const (
	// Text is a complete text message, however many frames it came in.
	Text Kind = iota + 1
	// Ping wants a pong with the same data.
	Ping
	// Pong answers a ping, or is unsolicited.
	Pong
	// Close is the peer's close frame; Data is its text.
	Close
)

// Message is what a [Reader] returns.
type Message struct {
	Kind Kind
	Code StatusCode // of a Close, StatusNone when it has none
	// Data is valid until the next call of Next.
	Data []byte
}

// ErrTooLarge is returned for a message longer than the Reader's limit, before
// its payload is read.
var ErrTooLarge = errors.New("websocket: message too large")

// bufSize holds most stanzas of a visitor. A longer message borrows a buffer
// while it arrives.
const bufSize = 2 << 10

const (
	firstGrow = 4 << 10
	keepSize  = 64 << 10 // largest buffer worth pooling
)

// Buffers for one read, shared by all connections that are read at the time,
// and for messages.
var (
	readBuffers = sync.Pool{New: func() any { return new([bufSize]byte) }}
	buffers     = sync.Pool{New: func() any { b := make([]byte, 0, firstGrow); return &b }}
)

// Reader reads the frames a client sends, holding it to RFC 6455 §5: masking,
// fragmentation, control frames in between, minimal lengths, reserved bits and
// opcodes, UTF-8. Only text is accepted (RFC 7395 §3.2). Memory grows with the
// bytes that arrived, never with a length that was announced; between messages
// it need not hold any, see [Reader.Rest]. It is not safe for concurrent use.
type Reader struct {
	src io.Reader
	max int

	// Bytes read ahead: buf[r:w]. buf is nil, from the pool, or a small one
	// that Rest has made.
	buf  []byte
	r, w int

	// The data frame under way.
	left    int // payload bytes still to come
	maskPos int
	mask    [4]byte
	inFrame bool
	fin     bool

	// The message under way: the payload of its frames so far.
	inMessage bool
	returned  bool    // the borrowed buffer holds the message returned last
	borrowed  *[]byte // from the pool; nil when nothing is kept
}

// NewReader returns a Reader of src for messages of at most max bytes. early is
// what was read from src before.
func NewReader(src io.Reader, early []byte, max int) *Reader {
	r := &Reader{src: src, max: max}
	if len(early) > 0 {
		r.src = &earlyReader{early, src}
	}
	return r
}

// Rest gives back what memory the Reader does not need to go on later: all of
// it between two messages. What Next returned last is not valid any more.
func (r *Reader) Rest() {
	r.release()
	if len(r.buf) != bufSize {
		return
	}
	var rest []byte
	if r.r < r.w { // the begin of a frame
		rest = bytes.Clone(r.buf[r.r:r.w])
	}
	readBuffers.Put((*[bufSize]byte)(r.buf))
	r.buf, r.r, r.w = rest, 0, len(rest)
}

// earlyReader gives what the handshake read ahead, then the connection.
type earlyReader struct {
	early []byte
	src   io.Reader
}

func (e *earlyReader) Read(p []byte) (int, error) {
	if len(e.early) == 0 {
		e.early = nil
		return e.src.Read(p)
	}
	n := copy(p, e.early)
	e.early = e.early[n:]
	return n, nil
}

// Unread returns a copy of the bytes that were read behind the last message.
func (r *Reader) Unread() []byte {
	unread := bytes.Clone(r.buf[r.r:r.w])
	if e, ok := r.src.(*earlyReader); ok {
		unread = append(unread, e.early...)
	}
	return unread
}

// SetLimit changes the limit from the next frame on.
func (r *Reader) SetLimit(max int) { r.max = max }

// Next returns the next message or control frame. It blocks in the source's
// Read. A timeout of the source, or that it would block, is returned as it is
// and loses nothing: Next may be called again. Other errors are final: a [CloseError] for a violation,
// [ErrTooLarge], io.EOF between messages, io.ErrUnexpectedEOF inside one, else
// the source's.
func (r *Reader) Next() (Message, error) {
	r.release()
	for {
		m, ok, err := r.step()
		if ok || err != nil {
			return m, err
		}
	}
}

// step makes what progress it can with the bytes at hand, or reads more.
func (r *Reader) step() (Message, bool, error) {
	if r.inFrame {
		return r.payload()
	}
	h, n, err := parseHeader(r.buf[r.r:r.w])
	if err != nil {
		return Message{}, false, err
	}
	if n == 0 {
		return Message{}, false, r.fill()
	}
	if h.control() {
		return r.controlFrame(h, n)
	}
	if err := r.start(h); err != nil {
		return Message{}, false, err
	}
	r.r += n
	return r.payload()
}

func (r *Reader) controlFrame(h header, n int) (Message, bool, error) {
	if r.w-r.r < n+h.length {
		return Message{}, false, r.fill()
	}
	data := r.buf[r.r+n : r.r+n+h.length]
	r.r += n + h.length
	ws.Cipher(data, h.mask, 0)
	switch h.opcode {
	case opPing:
		return Message{Kind: Ping, Data: data}, true, nil
	case opPong:
		return Message{Kind: Pong, Data: data}, true, nil
	}
	m, err := closeMessage(data)
	return m, err == nil, err
}

func closeMessage(data []byte) (Message, error) {
	if len(data) == 0 {
		return Message{Kind: Close, Code: StatusNone}, nil
	}
	if len(data) == 1 {
		return Message{}, CloseError{StatusProtocol, "close frame of one byte"}
	}
	code := StatusCode(binary.BigEndian.Uint16(data))
	if !code.allowed() {
		return Message{}, CloseError{StatusProtocol, "close code not allowed"}
	}
	if !utf8.Valid(data[2:]) {
		return Message{}, CloseError{StatusInvalid, "close text is not UTF-8"}
	}
	return Message{Kind: Close, Code: code, Data: data[2:]}, nil
}

// start begins a data frame.
func (r *Reader) start(h header) error {
	switch {
	case h.opcode == opBinary:
		return CloseError{StatusUnsupported, "only text frames are supported (RFC 7395 section 3.2)"}
	case h.opcode == opContinuation && !r.inMessage:
		return CloseError{StatusProtocol, "continuation of nothing"}
	case h.opcode == opText && r.inMessage:
		return CloseError{StatusProtocol, "new message inside a fragmented one"}
	case h.length > r.max-len(r.message()):
		return ErrTooLarge
	}
	r.inFrame, r.fin, r.left, r.mask, r.maskPos = true, h.fin, h.length, h.mask, 0
	r.inMessage = true
	return nil
}

// payload consumes what has arrived of the frame under way. ok means that it
// completed a message.
func (r *Reader) payload() (m Message, ok bool, err error) {
	got := min(r.left, r.w-r.r)
	part := r.buf[r.r : r.r+got]
	ws.Cipher(part, r.mask, r.maskPos)
	r.r += got
	r.left -= got
	r.maskPos += got
	whole := r.left == 0 && r.fin
	if whole && r.borrowed == nil {
		r.inFrame, r.inMessage = false, false
		return r.text(part)
	}
	if got > 0 {
		r.keep(got)
		*r.borrowed = append(*r.borrowed, part...)
	}
	switch {
	case whole:
		r.inFrame, r.inMessage, r.returned = false, false, true
		return r.text(*r.borrowed)
	case r.left == 0:
		r.inFrame = false
		return Message{}, false, nil
	case r.left >= bufSize:
		return Message{}, false, r.fillMessage()
	}
	return Message{}, false, r.fill()
}

func (r *Reader) text(data []byte) (Message, bool, error) {
	if !utf8.Valid(data) {
		return Message{}, false, CloseError{StatusInvalid, "text is not UTF-8"}
	}
	return Message{Kind: Text, Data: data}, true, nil
}

// fill reads more bytes into the buffer.
func (r *Reader) fill() error {
	switch {
	case len(r.buf) != bufSize:
		buf := readBuffers.Get().(*[bufSize]byte)[:]
		r.r, r.w, r.buf = 0, copy(buf, r.buf[r.r:r.w]), buf
	case r.r == r.w:
		r.r, r.w = 0, 0
	case r.w == len(r.buf):
		r.w = copy(r.buf, r.buf[r.r:r.w])
		r.r = 0
	}
	n, err := r.src.Read(r.buf[r.w:])
	r.w += n
	return r.readError(n, err)
}

// fillMessage reads payload straight into the message, past the buffer, which
// is empty.
func (r *Reader) fillMessage() error {
	n := min(r.left, max(firstGrow, len(r.message())))
	r.keep(n)
	b := *r.borrowed
	room := b[len(b) : len(b)+n]
	n, err := r.src.Read(room)
	ws.Cipher(room[:n], r.mask, r.maskPos)
	*r.borrowed = b[:len(b)+n]
	r.left -= n
	r.maskPos += n
	return r.readError(n, err)
}

// readError drops the error of a read that also gave bytes: the next read has
// it again.
func (r *Reader) readError(n int, err error) error {
	if n > 0 || err == nil {
		return nil
	}
	if err == io.EOF && (r.inFrame || r.inMessage || r.r < r.w) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// message returns the payload kept so far.
func (r *Reader) message() []byte {
	if r.borrowed == nil {
		return nil
	}
	return *r.borrowed
}

// keep makes room for n more bytes of the message.
func (r *Reader) keep(n int) {
	if r.borrowed == nil {
		r.borrowed = buffers.Get().(*[]byte)
		*r.borrowed = (*r.borrowed)[:0]
	}
	b := *r.borrowed
	if cap(b)-len(b) >= n {
		return
	}
	grown := make([]byte, len(b), max(2*cap(b), len(b)+n))
	copy(grown, b)
	*r.borrowed = grown
}

// release gives the buffer of the message returned last back.
func (r *Reader) release() {
	if !r.returned {
		return
	}
	if cap(*r.borrowed) <= keepSize {
		buffers.Put(r.borrowed)
	}
	r.borrowed, r.returned = nil, false
}
