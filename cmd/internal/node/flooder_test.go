package node

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/internal/wire"
)

// flooder is an anonymous visitor who says whatever it likes, as fast as it can, by
// one of the transports: "websocket", "tcp" or "bosh". It looks at little of what it
// gets.
type flooder struct {
	// Static after construction.
	room, nick, moderator string // bare JID; nicks
	out                   mouth
	inside                chan struct{} // closed when it is in the room
	over                  chan struct{} // closed when its stream has ended

	errors atomic.Int64 // stanzas of type error it got
	got    atomic.Int64 // bytes
	slow   atomic.Bool  // it does not read at present
}

var flooders atomic.Uint32

// mouth is the transport of a flooder.
type mouth interface {
	say(stanza []byte) error
	hear(each func([]byte)) // what comes, until the end
	close()
}

// newFlooder logs in and begins to join.
func newFlooder(t testing.TB, node *reached, transport, room string) *flooder {
	t.Helper()
	f := &flooder{
		room: room, nick: fmt.Sprintf("f%07x", flooders.Add(1)),
		inside: make(chan struct{}), over: make(chan struct{}),
	}
	name, _, _ := strings.Cut(room, "@")
	switch transport {
	case "websocket":
		f.out = newSocketMouth(t, node.http, name)
	case "tcp":
		f.out = newStreamMouth(t, node.c2s)
	default:
		f.out = newBodyMouth(t, node.http, name)
	}
	go f.listen()
	t.Cleanup(func() { f.out.close(); <-f.over })
	require.NoError(t, f.join())
	return f
}

// awaitInside waits until the flooder is in its room.
func (f *flooder) awaitInside(t testing.TB) {
	t.Helper()
	select {
	case <-f.inside:
	case <-f.over:
		require.Fail(t, "the stream of a visitor ended before it was in")
	case <-time.After(time.Minute):
		require.Fail(t, "a visitor did not get in")
	}
}

func (f *flooder) listen() {
	defer close(f.over)
	joined := false
	f.out.hear(func(b []byte) {
		f.got.Add(int64(len(b)))
		for f.slow.Load() {
			time.Sleep(10 * time.Millisecond)
		}
		if bytes.Contains(b, []byte("type='error'")) {
			f.errors.Add(1)
		}
		if !joined && bytes.Contains(b, []byte("code='110'")) {
			joined = true
			close(f.inside)
		}
	})
}

func (f *flooder) gone() bool {
	select {
	case <-f.over:
		return true
	default:
		return false
	}
}

func (f *flooder) join() error {
	return f.say("<presence xmlns='jabber:client' to='%s/%s'><x xmlns='%s'/></presence>", f.room, f.nick, wire.NSMUC)
}

func (f *flooder) leave() error {
	return f.say("<presence xmlns='jabber:client' type='unavailable' to='%s/%s'/>", f.room, f.nick)
}

func (f *flooder) say(format string, args ...any) error {
	return f.out.say(fmt.Appendf(nil, format, args...))
}

// login is what a client that is in a hurry sends before its join.
const (
	framedOpen = `<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='v3.meet.jitsi' version='1.0'/>`
	anonymous  = `<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'/>`
	binding    = `<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>`
)

// socketMouth speaks by WebSocket. It does not wait for answers.
type socketMouth struct {
	conn net.Conn
	r    *bufio.Reader
}

func newSocketMouth(t testing.TB, addr, room string) *socketMouth {
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	m := &socketMouth{conn: c, r: bufio.NewReaderSize(c, 16<<10)}
	_, err = io.WriteString(c, "GET /xmpp-websocket?room="+room+"&vnode=v3 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: xmpp\r\n\r\n")
	require.NoError(t, err)
	resp, err := http.ReadResponse(m.r, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
	for _, s := range []string{framedOpen, anonymous, framedOpen, binding} {
		require.NoError(t, m.say([]byte(s)))
	}
	return m
}

// say sends a frame masked with zeroes.
func (m *socketMouth) say(stanza []byte) error {
	frame := make([]byte, 0, len(stanza)+14)
	switch n := len(stanza); {
	case n <= 125:
		frame = append(frame, 0x81, 0x80|byte(n))
	case n < 1<<16:
		frame = binary.BigEndian.AppendUint16(append(frame, 0x81, 0x80|126), uint16(n))
	default:
		frame = binary.BigEndian.AppendUint64(append(frame, 0x81, 0x80|127), uint64(n))
	}
	_, err := m.conn.Write(append(append(frame, 0, 0, 0, 0), stanza...))
	return err
}

func (m *socketMouth) hear(each func([]byte)) {
	var buf []byte
	for {
		var head [2]byte
		if _, err := io.ReadFull(m.r, head[:]); err != nil || head[0]&15 == 8 {
			return
		}
		n := uint64(head[1] & 127)
		var long [8]byte
		switch n {
		case 126:
			if _, err := io.ReadFull(m.r, long[6:]); err != nil {
				return
			}
			n = binary.BigEndian.Uint64(long[:])
		case 127:
			if _, err := io.ReadFull(m.r, long[:]); err != nil {
				return
			}
			n = binary.BigEndian.Uint64(long[:])
		}
		buf = append(buf[:0], make([]byte, n)...)
		if _, err := io.ReadFull(m.r, buf); err != nil {
			return
		}
		each(buf)
	}
}

func (m *socketMouth) close() { _ = m.conn.Close() }

// streamMouth speaks by client TCP.
type streamMouth struct{ p *person }

func newStreamMouth(t testing.TB, addr string) *streamMouth {
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	p := &person{t: t, conn: conn, r: wire.NewReader(conn, readAnything)}
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	p.login("v3.meet.jitsi", anonymous)
	p.expect("iq")
	require.NoError(t, conn.SetDeadline(time.Time{}))
	return &streamMouth{p}
}

func (m *streamMouth) say(stanza []byte) error {
	_, err := m.p.conn.Write(stanza)
	return err
}

func (m *streamMouth) hear(each func([]byte)) {
	for {
		tok, err := m.p.r.Next()
		if err != nil || tok.Kind != wire.Element {
			return
		}
		each(tok.Data)
	}
}

func (m *streamMouth) close() { _ = m.p.conn.Close() }

// bodyMouth speaks by BOSH, with two requests under way, as a browser does.
type bodyMouth struct {
	url, sid string
	client   http.Client
	answers  chan []byte
	ctx      context.Context // ends with the session
	cancel   context.CancelFunc
	slots    chan struct{} // what may be under way
	wg       sync.WaitGroup

	end func()

	mu sync.Mutex
	// Guarded by mu.
	rid  uint64
	over bool // nothing more is sent
}

func newBodyMouth(t testing.TB, addr, room string) *bodyMouth {
	m := &bodyMouth{
		url: "http://" + addr + "/http-bind?room=" + room, rid: 1000,
		client:  http.Client{Transport: &http.Transport{MaxConnsPerHost: 2, MaxIdleConnsPerHost: 2}},
		answers: make(chan []byte, 64), slots: make(chan struct{}, 2),
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	first, err := m.post("<body xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh' xmpp:version='1.0' content='text/xml; charset=utf-8' " +
		"hold='1' wait='2' ver='1.6' to='v3.meet.jitsi' rid='1000'/>")
	require.NoError(t, err)
	h, err := wire.ParseHeader(first)
	require.NoError(t, err)
	m.sid = h.Attr("sid")
	require.NotEmpty(t, m.sid)
	for _, s := range []string{
		m.body("", anonymous), m.body(" xmlns:xmpp='urn:xmpp:xbosh' xmpp:restart='true' to='v3.meet.jitsi'", ""), m.body("", binding),
	} {
		_, err := m.post(s)
		require.NoError(t, err)
	}
	m.wg.Go(m.poll)
	return m
}

// body is the next request.
func (m *bodyMouth) body(attrs, stanza string) string {
	m.rid++
	return "<body xmlns='http://jabber.org/protocol/httpbind' sid='" + m.sid + "' rid='" + strconv.FormatUint(m.rid, 10) + "'" + attrs + ">" + stanza + "</body>"
}

func (m *bodyMouth) post(body string) ([]byte, error) {
	req, err := http.NewRequestWithContext(m.ctx, http.MethodPost, m.url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := m.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || bytes.Contains(b, []byte("type='terminate'"))) {
		err = fmt.Errorf("%s: %.300s", resp.Status, b)
	}
	return b, err
}

// send makes a request with what is said, and waits for no answer.
func (m *bodyMouth) send(stanza string) error {
	select {
	case m.slots <- struct{}{}:
	case <-m.ctx.Done():
		return io.ErrClosedPipe
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.over {
		return io.ErrClosedPipe
	}
	body := m.body("", stanza)
	m.wg.Go(func() {
		defer func() { <-m.slots }()
		b, err := m.post(body)
		if err != nil {
			m.cancel()
			return
		}
		select {
		case m.answers <- b:
		case <-m.ctx.Done():
		}
	})
	return nil
}

func (m *bodyMouth) say(stanza []byte) error { return m.send(string(stanza)) }

// poll keeps one request under way.
func (m *bodyMouth) poll() {
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-time.After(50 * time.Millisecond):
		}
		if len(m.slots) == 0 && m.send("") != nil {
			return
		}
	}
}

func (m *bodyMouth) hear(each func([]byte)) {
	for {
		select {
		case b := <-m.answers:
			for c := range wire.Children(b) {
				each(c.Raw)
			}
		case <-m.ctx.Done():
			return
		}
	}
}

func (m *bodyMouth) close() {
	m.cancel()
	m.mu.Lock()
	m.over = true
	m.mu.Unlock()
	m.client.CloseIdleConnections()
	m.wg.Wait()
	m.client.CloseIdleConnections()
}
