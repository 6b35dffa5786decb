//go:build linux

package crowd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"vnode/internal/wire"
	"vnode/internal/xmpptest/conference"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testTime is the most any step of a test may take; none waits for it when all
// is well.
const testTime = 20 * time.Second

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTime)
	t.Cleanup(cancel)
	return ctx
}

const (
	fakeDomain = "v3.meet.jitsi"
	fakeRoom   = "bench@conference." + fakeDomain
)

// fakeServer is one room whose server trusts everybody.
type fakeServer struct {
	t      *testing.T
	ledger *conference.Ledger

	mu sync.Mutex
	// Guarded by mu.
	users    int
	names    string      // format of user names, by number
	members  []*fakePeer // in order of their joins
	sessions map[string]*fakePeer
	sources  []*conference.Source
	newest   [][]byte // presence by source
	history  [][]byte
	refuse   bool // joins
	busy     int  // so many connections are told to come again
	// fault may change what one member gets of one stanza; nil: nothing.
	fault func(member, stanza int, elem []byte) [][]byte
	said  int // stanzas published
}

// fakePeer is one client, over whatever transport.
type fakePeer struct {
	s      *fakeServer
	send   func([]byte)
	jid    string
	nick   string
	authed bool
	acks   bool
	queue  [][]byte // stanzas since <enabled/>
	h      string   // the newest answer to <r/>
	member int
	left   bool
}

func newFakeServer(t *testing.T, sources int) *fakeServer {
	s := &fakeServer{t: t, ledger: conference.NewLedger(), names: "%08x-0000-4000-8000-000000000000", sessions: make(map[string]*fakePeer)}
	for i := range sources {
		s.sources = append(s.sources, s.ledger.Add(conference.RoleParticipant, fmt.Sprintf("speaker%d", i)))
		s.newest = append(s.newest, nil)
		s.say(i, conference.Presence)
	}
	return s
}

// say publishes to everybody who is in.
func (s *fakeServer) say(source int, k conference.Kind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	src := s.sources[source]
	st := src.Publish(k)
	elem := fmt.Appendf(nil, "<presence xmlns='jabber:client' from='%s/%s' to='x'><stamp xmlns='urn:vnode:bench'>%s</stamp></presence>", fakeRoom, src.Nick(), st)
	if k == conference.Chat {
		elem = fmt.Appendf(nil, "<message xmlns='jabber:client' from='%s/%s' to='x' type='groupchat'><body>%s</body></message>", fakeRoom, src.Nick(), st)
	} else {
		s.newest[source] = elem
	}
	s.said++
	for i, p := range s.members {
		elem := bytes.Replace(elem, []byte("to='x'"), []byte("to='"+p.jid+"'"), 1)
		out := [][]byte{elem}
		if s.fault != nil {
			out = s.fault(i, s.said, elem)
		}
		for _, e := range out {
			p.stanza(e)
		}
	}
}

// stanza counts for stream management; the server's mu is held.
func (p *fakePeer) stanza(elem []byte) {
	if p.left {
		return
	}
	if p.acks {
		p.queue = append(p.queue, elem)
	}
	p.send(elem)
	if p.acks && len(p.queue)%3 == 0 {
		p.send([]byte("<r xmlns='urn:xmpp:sm:3'/>"))
	}
}

// got handles one element of the client's. It reports whether the stream ends.
func (p *fakePeer) got(elem []byte) (end bool) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	h, err := wire.ParseHeader(elem)
	if err != nil {
		p.s.t.Errorf("client sent %q: %v", elem, err)
		return true
	}
	switch string(h.Name) {
	case "auth":
		p.authed = true
		p.send([]byte("<success xmlns='" + wire.NSSASL + "'/>"))
	case "iq":
		p.iq(elem, &h)
	case "enable":
		p.acks = true
		id := "sm" + p.jid
		p.s.sessions[id] = p
		p.send([]byte("<enabled xmlns='urn:xmpp:sm:3' resume='true' id='" + id + "'/>"))
	case "resume":
		p.resume(&h)
	case "presence":
		p.presence(&h)
	case "a":
		p.h = h.Attr("h")
	case "close":
		p.send([]byte("<close xmlns='" + wire.NSFraming + "'/>"))
		return true
	}
	return false
}

func (p *fakePeer) features() []byte {
	head := "<stream:features xmlns:stream='" + wire.NSStream + "' xmlns='jabber:client'>"
	if !p.authed {
		return []byte(head + "<mechanisms xmlns='" + wire.NSSASL + "'><mechanism>ANONYMOUS</mechanism></mechanisms></stream:features>")
	}
	return []byte(head + "<bind xmlns='" + wire.NSBind + "'/><session xmlns='" + wire.NSSession + "'/><sm xmlns='" + wire.NSSM + "'/></stream:features>")
}

func (p *fakePeer) iq(elem []byte, h *wire.Header) {
	payload := ""
	if c, _ := wire.FirstChild(elem); c.Space == wire.NSBind {
		p.s.users++
		p.jid = fmt.Sprintf(p.s.names, p.s.users) + "@" + fakeDomain + "/res"
		// What a server pushes first must not confuse anybody.
		p.send([]byte("<message xmlns='jabber:client' from='" + fakeDomain + "'><query xmlns='" + wire.NSDisco + "'/></message>"))
		payload = "<bind xmlns='" + wire.NSBind + "'><jid>" + p.jid + "</jid></bind>"
	}
	p.send(wire.AppendResult(nil, h, wire.NSClient, "", []byte(payload)))
}

func (p *fakePeer) presence(h *wire.Header) {
	switch {
	case string(h.Type) == "unavailable":
		p.left = true
		p.send(fmt.Appendf(nil, "<presence xmlns='jabber:client' type='unavailable' from='%s/%s'><x xmlns='%s'><status code='110'/></x></presence>", fakeRoom, p.nick, wire.NSMUCUser))
		return
	case p.s.refuse:
		p.send(fmt.Appendf(nil, "<presence xmlns='jabber:client' type='error' from='%s/%s'><error type='auth'><forbidden xmlns='%s'/></error></presence>", fakeRoom, p.nick, wire.NSStanzas))
		return
	}
	_, p.nick, _ = strings.Cut(string(h.To), "/")
	if slices.ContainsFunc(p.s.members, func(o *fakePeer) bool { return o.nick == p.nick }) {
		p.send(fmt.Appendf(nil, "<presence xmlns='jabber:client' type='error' from='%s'><error type='cancel'><conflict xmlns='%s'/></error></presence>", h.To, wire.NSStanzas))
		return
	}
	for _, elem := range p.s.newest {
		p.stanza(elem)
	}
	p.stanza(fmt.Appendf(nil, "<presence xmlns='jabber:client' from='%s/%s'><x xmlns='%s'><status code=\"110\"/></x></presence>", fakeRoom, p.nick, wire.NSMUCUser))
	for _, elem := range p.s.history {
		p.stanza(elem)
	}
	p.stanza([]byte("<message xmlns='jabber:client' type='groupchat' from='" + fakeRoom + "'><subject/></message>"))
	p.member = len(p.s.members)
	p.s.members = append(p.s.members, p)
}

// resume moves a session to this connection.
func (p *fakePeer) resume(h *wire.Header) {
	old := p.s.sessions[h.Attr("previd")]
	if old == nil {
		p.send([]byte("<failed xmlns='urn:xmpp:sm:3'><item-not-found xmlns='" + wire.NSStanzas + "'/></failed>"))
		return
	}
	n, err := strconv.Atoi(h.Attr("h"))
	if err != nil || n > len(old.queue) {
		p.s.t.Errorf("resume with h=%q of %d stanzas", h.Attr("h"), len(old.queue))
		return
	}
	send := p.send
	*p = *old
	p.send = send
	p.s.members[p.member] = p
	p.send([]byte("<resumed xmlns='urn:xmpp:sm:3' h='1' previd='" + h.Attr("previd") + "'/>"))
	for _, elem := range p.queue[n:] {
		p.send(elem)
	}
}

// webSocket serves the room by an independent implementation of RFC 6455.
func (s *fakeServer) webSocket() string {
	srv := httptest.NewServer(http.HandlerFunc(s.serveWS))
	s.t.Cleanup(srv.Close)
	return "ws" + strings.TrimPrefix(srv.URL, "http") + "/xmpp-websocket?room=bench"
}

// unixSocket is webSocket on a socket file.
func (s *fakeServer) unixSocket(path string) string {
	l, err := net.Listen("unix", path)
	require.NoError(s.t, err)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(s.serveWS))
	srv.Listener = l
	srv.Start()
	s.t.Cleanup(srv.Close)
	return "ws+unix://" + path + ":/xmpp-websocket?room=bench"
}

// isBusy tells a client to come again.
func (s *fakeServer) isBusy(w http.ResponseWriter) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy == 0 {
		return false
	}
	s.busy--
	w.WriteHeader(http.StatusServiceUnavailable)
	return true
}

func (s *fakeServer) serveWS(w http.ResponseWriter, r *http.Request) {
	if s.isBusy(w) {
		return
	}
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"xmpp"}})
	if err != nil {
		return
	}
	defer func() { _ = conn.CloseNow() }()
	ctx := r.Context()
	p := &fakePeer{s: s, send: func(b []byte) { _ = conn.Write(ctx, websocket.MessageText, b) }}
	for {
		_, elem, err := conn.Read(ctx)
		if err != nil {
			return
		}
		if bytes.HasPrefix(elem, []byte("<open")) {
			p.send([]byte("<open xmlns='" + wire.NSFraming + "' version='1.0' from='" + fakeDomain + "' id='1'/>"))
			p.send(p.features())
			continue
		}
		if p.got(elem) {
			_ = conn.Close(websocket.StatusNormalClosure, "")
			return
		}
	}
}

// tcp serves the room to clients by TCP.
func (s *fakeServer) tcp() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(s.t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { s.serveTCP(conn) })
		}
	})
	s.t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return "xmpp://" + l.Addr().String()
}

func (s *fakeServer) serveTCP(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	r := wire.NewReader(conn, wire.Limits{})
	p := &fakePeer{s: s, send: func(b []byte) { _, _ = conn.Write(b) }}
	for {
		t, err := r.Next()
		switch {
		case err != nil:
			return
		case t.Kind == wire.StreamEnd:
			p.send([]byte("</stream:stream>"))
			return
		case t.Kind == wire.StreamStart:
			p.send(wire.StreamHeader{From: fakeDomain, ID: "1", Version: "1.0", Content: wire.NSClient}.Append(nil, ""))
			p.send(p.features())
			continue
		}
		wasAuthed := p.authed
		p.got(append([]byte(nil), t.Data...))
		if p.authed != wasAuthed {
			r.Restart()
		}
	}
}

// bosh serves the room by XEP-0124.
func (s *fakeServer) bosh() string {
	var mu sync.Mutex
	peers := map[string]*fakeBOSH{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		require.NoError(s.t, err)
		h, err := wire.ParseHeader(body)
		require.NoError(s.t, err)
		sid := h.Attr("sid")
		mu.Lock()
		b := peers[sid]
		if b == nil {
			sid = strconv.Itoa(len(peers) + 1)
			b = newFakeBOSH(s, sid)
			peers[sid] = b
		}
		mu.Unlock()
		b.serve(w, r, body, &h)
	}))
	s.t.Cleanup(srv.Close)
	return srv.URL + "/http-bind?room=bench"
}

// fakeWait is how long a request may wait, whatever the client asks for.
const fakeWait = 20 * time.Millisecond

type fakeBOSH struct {
	peer *fakePeer
	sid  string
	wake chan struct{}

	mu  sync.Mutex
	out []byte // guarded by mu
}

func newFakeBOSH(s *fakeServer, sid string) *fakeBOSH {
	b := &fakeBOSH{sid: sid, wake: make(chan struct{}, 1)}
	b.peer = &fakePeer{s: s, send: func(p []byte) {
		b.mu.Lock()
		b.out = append(b.out, p...)
		b.mu.Unlock()
		select {
		case b.wake <- struct{}{}:
		default:
		}
	}}
	return b
}

func (b *fakeBOSH) serve(w http.ResponseWriter, r *http.Request, body []byte, h *wire.Header) {
	if h.Attr("xmpp:restart") == "true" || h.Attr("sid") == "" {
		b.peer.send(b.peer.features())
	}
	for c := range wire.Children(body) {
		b.peer.got(append([]byte(nil), c.Raw...))
	}
	kind := ""
	if string(h.Type) == "terminate" {
		kind = " type='terminate'"
	} else {
		select {
		case <-b.wake:
		case <-time.After(fakeWait):
		case <-r.Context().Done():
			return
		}
	}
	b.mu.Lock()
	out := b.out
	b.out = nil
	b.mu.Unlock()
	answer := fmt.Appendf(nil, "<body xmlns='%s' sid='%s'%s>%s</body>", nsBind, b.sid, kind, out)
	w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
	_, _ = w.Write(answer)
}
