package visitor

import (
	"io"

	"vnode/fanout"
	"vnode/internal/wire"
	"vnode/visitor/websocket"
)

// Names of the transports, as metric labels.
const (
	transportTCP       = "tcp"
	transportWebSocket = "websocket"
	transportBOSH      = "bosh"
)

// transport turns a connection's bytes into a stream's events and its elements
// into bytes. Only the goroutine of the stream uses it. A timeout of the
// connection, or that it would block, passes through next and loses nothing.
type transport interface {
	// next returns what the client sent next. Elements are completely
	// checked, see event; a header is well-formed.
	next() (event, error)
	// header reads the header in an event's data.
	header(data []byte) (wire.StreamHeader, error)
	// restart expects a new header: the old stream has been replaced.
	restart()
	limit(maxBytes int)
	// rest gives back what memory is not needed while nothing comes.
	rest()

	appendHeader(dst []byte, h *wire.StreamHeader) []byte
	appendElement(dst, elem []byte) []byte
	// appendEnd appends the end of the stream, all that is sent last.
	appendEnd(dst []byte) []byte
	// output says how fanout is to write.
	output() *output
}

// output is what differs between transports once fanout writes. It is the same
// for all sessions of a transport.
type output struct {
	framing  fanout.Framing
	end      []byte          // the stream's end, as an element
	trailer  *fanout.Message // what follows it; may be nil
	declare  bool            // elements must declare the stream prefix
	acks     bool            // stream management is to be had
	patient  bool            // the transport itself ends clients that are away
	overflow *fanout.Message
}

type eventKind uint8

const (
	eventHeader  eventKind = iota + 1
	eventElement           // a stanza or another top-level element
	eventEnd               // the client ended its stream
	eventPing              // a WebSocket ping
	eventOther             // only a sign of life: a WebSocket pong, a poll over BOSH
)

// event is one thing a client did. data is valid until the next event.
type event struct {
	kind    eventKind
	outside wire.Violation // of an element: why nobody else may see it; or 0
	data    []byte
}

// tcpTransport is RFC 6120's.
type tcpTransport struct{ r *wire.Reader }

func newTCPTransport(src io.Reader, maxBytes int) *tcpTransport {
	r := wire.NewReader(src, wire.Limits{MaxBytes: maxBytes})
	r.Check(0)
	return &tcpTransport{r}
}

func (t *tcpTransport) next() (event, error) {
	tok, err := t.r.Next()
	if err != nil {
		return event{}, err
	}
	switch tok.Kind {
	case wire.StreamStart:
		return event{kind: eventHeader, data: tok.Data}, nil
	case wire.StreamEnd:
		return event{kind: eventEnd}, nil
	}
	return event{eventElement, tok.Outside, tok.Data}, nil
}

func (t *tcpTransport) header(data []byte) (wire.StreamHeader, error) {
	return wire.ParseStreamHeader(data, wire.NSClient)
}

func (t *tcpTransport) restart() { t.r.Restart() }
func (t *tcpTransport) rest()    {}

func (t *tcpTransport) limit(maxBytes int) {
	t.r.SetLimits(wire.Limits{MaxBytes: maxBytes})
}

func (t *tcpTransport) appendHeader(dst []byte, h *wire.StreamHeader) []byte {
	return h.Append(dst, "")
}
func (t *tcpTransport) appendElement(dst, elem []byte) []byte { return append(dst, elem...) }
func (t *tcpTransport) appendEnd(dst []byte) []byte           { return append(dst, tcpOutput.end...) }
func (t *tcpTransport) output() *output                       { return &tcpOutput }

var tcpOutput = output{
	framing:  fanout.Raw,
	end:      []byte("</stream:stream>"),
	acks:     true,
	overflow: fanout.NewNonza(append(errSlow.Append(nil, false), "</stream:stream>"...)),
}

// wsTransport is RFC 7395's.
type wsTransport struct {
	r        websocket.Reader
	maxBytes int
}

func newWSTransport(src io.Reader, early []byte, maxBytes int) wsTransport {
	return wsTransport{r: *websocket.NewReader(src, early, maxBytes), maxBytes: maxBytes}
}

func (t *wsTransport) next() (event, error) {
	m, err := t.r.Next()
	if err != nil {
		return event{}, err
	}
	switch m.Kind {
	case websocket.Ping:
		return event{kind: eventPing, data: m.Data}, nil
	case websocket.Pong:
		return event{kind: eventOther}, nil
	case websocket.Close:
		return event{}, peerClosed{m.Code}
	}
	return t.text(m.Data)
}

// text checks a text message. Not inlined, for wire.Check keeps 2 KB of state
// on the stack: in the frame of next, where an idle client's goroutine waits,
// it would hold 4 KB of stack for each of thousands.
//
//go:noinline
func (t *wsTransport) text(data []byte) (event, error) {
	// The first message may begin with an XML declaration, as a document does; the
	// visitor prosody takes it.
	if rest, err := wire.SkipProlog(data); err == nil && len(rest) > 0 && data[0] == '<' {
		data = rest
	}
	if len(data) == 0 || data[0] != '<' {
		return event{}, websocket.CloseError{
			Code: websocket.StatusInvalid, Text: "message does not start with '<' (RFC 7395 section 3.3.3)",
		}
	}
	data, outside, err := wire.Accept(data, wire.Limits{MaxBytes: t.maxBytes})
	if err != nil {
		return event{}, err
	}
	h, err := wire.ParseHeader(data)
	if err != nil {
		return event{}, err
	}
	if space, local := h.QName(); space == wire.NSFraming {
		switch local {
		case "open":
			return event{kind: eventHeader, data: data}, nil
		case "close":
			return event{kind: eventEnd}, nil
		}
	}
	return event{eventElement, outside, data}, nil
}

func (t *wsTransport) header(data []byte) (wire.StreamHeader, error) { return wire.ParseOpen(data) }

func (t *wsTransport) restart() {}
func (t *wsTransport) rest()    { t.r.Rest() }

func (t *wsTransport) limit(maxBytes int) {
	t.maxBytes = maxBytes
	t.r.SetLimit(maxBytes)
}

func (t *wsTransport) appendHeader(dst []byte, h *wire.StreamHeader) []byte {
	var buf [256]byte
	return websocket.AppendText(dst, h.AppendOpen(buf[:0]))
}

func (t *wsTransport) appendElement(dst, elem []byte) []byte { return websocket.AppendText(dst, elem) }

func (t *wsTransport) appendEnd(dst []byte) []byte {
	return append(websocket.AppendText(dst, wsOutput.end), wsTrailer...)
}

func (t *wsTransport) output() *output { return &wsOutput }

// wsTrailer ends a WebSocket whose stream has ended.
var wsTrailer = websocket.AppendClose(nil, websocket.StatusNormal, "Stream closed")

var wsOutput = output{
	framing: fanout.WebSocket,
	end:     []byte("<close xmlns='" + wire.NSFraming + "'/>"),
	trailer: fanout.NewRaw(wsTrailer),
	declare: true,
	acks:    true,
	// A message is one element: the end of the stream is told by the trailer
	// alone.
	overflow: fanout.NewNonza(errSlow.Append(nil, true)),
}
