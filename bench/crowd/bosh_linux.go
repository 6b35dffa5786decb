package crowd

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"

	"vnode/internal/wire"
)

// body is BOSH (XEP-0124, XEP-0206) over one connection: a request waits at the
// server, and what a visitor says in the meantime leaves with the next one. A
// browser has a second connection for that; visitors of a load test hardly say
// anything.
type body struct {
	rid      uint64
	sid      string
	asked    bool   // a request is under way
	queue    []byte // elements for the next one
	again    bool   // it restarts the stream
	over     bool   // it terminates the session
	received bool   // the answer to the creation has come
}

const (
	nsBind  = "http://jabber.org/protocol/httpbind"
	nsXBOSH = "urn:xmpp:xbosh"
	// longestWait is shorter than a browser's 60 s, so that a visitor that
	// leaves a silent room need not wait a minute to say so.
	longestWait = "10"
)

var errHTTP = errors.New("the server's answer is not one of BOSH")

func newBody() *body { return &body{rid: uint64(rand.Uint32()) + 1} }

func (o *body) acks() bool { return false } // XEP-0124's own acknowledgements do

func (o *body) begin(v *client) {
	v.stage = stageMechanisms
	b := wire.NewBuilder(nil).Start("body", "xmlns", nsBind, "xmlns:xmpp", nsXBOSH, "xmpp:version", "1.0", "content", "text/xml; charset=utf-8",
		"hold", "1", "wait", longestWait, "ver", "1.6", "xml:lang", "en", "to", v.crowd.opt.Domain, "rid", strconv.FormatUint(o.rid, 10))
	o.post(v, b.Bytes())
}

func (o *body) restart(*client) { o.again = true }

func (o *body) end(*client) { o.over = true }

func (o *body) put(dst, elem []byte) []byte {
	o.queue = append(o.queue, elem...)
	return dst
}

// ready sends the next request if none is under way.
func (o *body) ready(v *client) {
	if o.asked || !o.received || !v.connected() {
		return
	}
	o.rid++
	b := wire.NewBuilder(nil).Start("body", "xmlns", nsBind, "sid", o.sid, "rid", strconv.FormatUint(o.rid, 10))
	switch {
	case o.again:
		o.again = false
		b.Attr("xmlns:xmpp", nsXBOSH).Attr("xmpp:restart", "true").Attr("to", v.crowd.opt.Domain)
	case o.over:
		b.Attr("type", "terminate")
	}
	b.Raw(o.queue)
	o.queue = o.queue[:0]
	o.post(v, b.Bytes())
}

func (o *body) post(v *client, p []byte) {
	o.asked = true
	v.out = fmt.Appendf(v.out, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: text/xml; charset=utf-8\r\nContent-Length: %d\r\n\r\n%s",
		v.crowd.addr.path, v.crowd.addr.host, len(p), p)
}

func (o *body) take(v *client, b []byte, now int64) (int, error) {
	pos := 0
	for v.connected() {
		answer, n, err := response(b[pos:])
		if err != nil {
			return pos, err
		}
		if n == 0 {
			break
		}
		pos += n
		o.asked = false
		if err := o.answer(v, answer, now); err != nil {
			return pos, err
		}
		o.ready(v)
	}
	return pos, nil
}

var (
	headEnd       = []byte("\r\n\r\n")
	contentLength = []byte("\r\ncontent-length:")
)

// response returns the body of the HTTP answer at the head of b and the
// answer's length, 0 when it is not complete.
func response(b []byte) (content []byte, n int, err error) {
	end := bytes.Index(b, headEnd)
	if end < 0 {
		return nil, 0, nil
	}
	head := bytes.ToLower(b[:end])
	if bytes.HasPrefix(head, []byte("http/1.1 503")) {
		return nil, 0, errBusy
	}
	if !bytes.HasPrefix(head, []byte("http/1.1 200")) {
		line, _, _ := bytes.Cut(b[:end], []byte("\r\n"))
		return nil, 0, fmt.Errorf("%w: %s", errHTTP, line)
	}
	_, length, ok := bytes.Cut(head, contentLength)
	length, _, _ = bytes.Cut(length, []byte("\r\n"))
	size, parse := strconv.Atoi(string(bytes.TrimSpace(length)))
	if !ok || parse != nil || size < 0 || size > readSize {
		return nil, 0, fmt.Errorf("%w: no usable Content-Length", errHTTP)
	}
	start := end + len(headEnd)
	if size > len(b)-start {
		return nil, 0, nil
	}
	return b[start : start+size], start + size, nil
}

func (o *body) answer(v *client, b []byte, now int64) error {
	h, err := wire.ParseHeader(b)
	if err != nil {
		return err
	}
	if !o.received {
		o.received, o.sid = true, h.Attr("sid")
	}
	for c := range wire.Children(b) {
		v.element(c.Raw, now)
	}
	if string(h.Type) == "terminate" {
		return fmt.Errorf("BOSH session ended by the server: %s", h.Attr("condition"))
	}
	return nil
}
