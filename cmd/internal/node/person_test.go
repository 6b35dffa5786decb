package node

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/internal/wire"
)

// person is somebody in a room, a visitor on a node or a participant on main,
// who remembers all that happened.
type person struct {
	// Static after construction.
	t    testing.TB
	conn net.Conn
	r    *wire.Reader
	room string // bare JID
	jid  string
	nick string

	// Guarded by mu.
	mu     sync.Mutex
	here   map[string]bool // by nick
	left   map[string]int
	lines  map[string]int // heard, by id
	errors map[string]int // by id of what could not be delivered
	// refused is errors of all stanzas, answered by policy-violation.
	refused map[string]int
	keeps   bool     // see keep
	all     []string // as it came
	inside  bool
	out     string // why no longer
}

// readAnything lets a person hear on main what no node passes on.
var readAnything = wire.Limits{MaxBytes: 4 << 20, MaxDepth: 1000, MaxAttrs: 1000}

// enter logs in anonymously over TCP and joins the room.
func enter(t testing.TB, addr, domain, room string) *person {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	p := &person{
		t: t, conn: conn, r: wire.NewReader(conn, readAnything), room: room,
		here: map[string]bool{}, left: map[string]int{}, lines: map[string]int{}, errors: map[string]int{}, refused: map[string]int{},
	}
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	p.login(domain, "<auth xmlns='"+wire.NSSASL+"' mechanism='ANONYMOUS'/>")
	_, after, ok := strings.Cut(p.expect("iq"), "<jid>")
	require.True(t, ok)
	p.jid, _, _ = strings.Cut(after, "</jid>")
	p.nick = p.jid[:8]
	p.write(fmt.Sprintf("<presence to='%s/%s'><x xmlns='%s'/></presence>", room, p.nick, wire.NSMUC))
	require.NoError(t, conn.SetDeadline(time.Time{}))
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.listen()
	}()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	require.Eventually(t, func() bool { return p.is(func() bool { return p.inside }) }, 20*time.Second, 5*time.Millisecond)
	return p
}

// login negotiates a stream up to the request for an address.
func (p *person) login(domain, auth string) {
	p.t.Helper()
	header := wire.StreamHeader{Content: wire.NSClient, To: domain, Version: "1.0"}
	p.write(string(header.Append(nil, "")))
	p.expect("stream:stream")
	p.expect("stream:features")
	p.write(auth)
	p.expect("success")
	p.r.Restart()
	p.write(string(header.Append(nil, "")))
	p.expect("stream:stream")
	p.expect("stream:features")
	p.write("<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
}

func (p *person) write(s string) {
	_, err := io.WriteString(p.conn, s)
	require.NoError(p.t, err)
}

// expect reads up to an element with that name; a node tells more.
func (p *person) expect(name string) string {
	p.t.Helper()
	for {
		tok, err := p.r.Next()
		require.NoError(p.t, err, "waiting for "+name)
		h, err := wire.ParseHeader(tok.Data)
		require.NoError(p.t, err)
		if string(h.Name) == name {
			return string(tok.Data)
		}
	}
}

// listen reads until the stream ends.
func (p *person) listen() {
	for {
		tok, err := p.r.Next()
		if err != nil || tok.Kind != wire.Element {
			return
		}
		h, err := wire.ParseHeader(tok.Data)
		if err != nil {
			return
		}
		p.mu.Lock()
		if p.keeps {
			p.all = append(p.all, string(tok.Data))
		}
		if string(h.Type) == "error" && strings.Contains(string(tok.Data), "<policy-violation ") {
			p.refused[wire.Unescape(h.ID)]++
		}
		switch string(h.Name) {
		case "presence":
			p.presence(&h, tok.Data)
		case "message":
			p.message(&h, tok.Data)
		}
		p.mu.Unlock()
	}
}

func (p *person) presence(h *wire.Header, stanza []byte) {
	_, nick, _ := strings.Cut(wire.Unescape(h.From), "/")
	gone := string(h.Type) == "unavailable"
	switch {
	case string(h.Type) == "error":
	case nick == p.nick && gone:
		p.inside, p.out = false, string(stanza)
	case nick == p.nick:
		p.inside = true
	case gone:
		delete(p.here, nick)
		p.left[nick]++
	default:
		p.here[nick] = true
	}
}

func (p *person) message(h *wire.Header, stanza []byte) {
	_, old := wire.FindChild(stanza, wire.NSDelay, "delay")
	_, said := wire.FindChild(stanza, "", "body")
	if !said {
		_, said = wire.FindChild(stanza, wire.NSClient, "body")
	}
	switch id := wire.Unescape(h.ID); {
	case string(h.Type) == "error":
		p.errors[id]++
	case said && !old:
		p.lines[id]++
	}
}

// keep makes p remember everything as it comes.
func (p *person) keep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keeps = true
}

// kept returns what has come since.
func (p *person) kept() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.all)
}

// say says a line and returns its id.
func (p *person) say(id string) string {
	p.t.Helper()
	p.write(fmt.Sprintf("<message type='groupchat' id='%s' to='%s'><body>%s</body></message>", id, p.room, strings.Repeat(id+" ", 20)))
	return id
}

// is asks about what p remembers.
func (p *person) is(question func() bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return question()
}

// eventually waits until it is so.
func (p *person) eventually(what string, question func() bool) {
	p.t.Helper()
	require.Eventually(p.t, func() bool { return p.is(question) }, 20*time.Second, 5*time.Millisecond, "%s: %s", p.nick, what)
}

// heard and returned count how often p heard a line, or got its own back.
func (p *person) heard(id string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lines[id]
}

func (p *person) returned(id string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.errors[id]
}

func (p *person) hears(ids ...string) {
	p.t.Helper()
	for _, id := range ids {
		p.eventually("hears "+id, func() bool { return p.lines[id] > 0 })
	}
}

func (p *person) sees(others ...*person) {
	p.t.Helper()
	for _, o := range others {
		p.eventually("sees "+o.nick, func() bool { return p.here[o.nick] })
	}
}

// stayed checks that p is in its room, and was all the time.
func (p *person) stayed() {
	p.t.Helper()
	require.True(p.t, p.is(func() bool { return p.inside }), "%s: %s", p.nick, p.out)
}
