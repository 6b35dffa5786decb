package conference

import (
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/internal/wire"
)

// fakeNode plays a visitor node as far as the load can see: it has one room,
// trusts everybody and queues without bounds. Its WebSocket side is an
// independent implementation.
type fakeNode struct {
	t      *testing.T
	peer   *server
	ctx    context.Context
	wg     sync.WaitGroup
	url    string // for visitors
	c2s    net.Listener
	s2s    net.Listener
	faults faults

	mu sync.Mutex
	// Guarded by mu.
	room      string // bare JID
	visitors  map[string]*fakeClient
	focus     *fakeClient
	focusSays []byte            // its newest presence
	mains     map[string][]byte // newest presence by nick
	connected bool              // main has said connect
	queued    []func()          // joins that wait for it
	history   [][]byte
	toMain    *outbox // stream conference.v3 to conference.MAIN
	sent      int     // stanzas sent to visitors, for faults
	sessions  map[string]*fakeClient
}

const (
	fakeDomain  = "v3.meet.jitsi"
	fakeRooms   = "conference." + fakeDomain
	fakeFocus   = "focus@auth.meet.jitsi/focus"
	fakeEnd     = "Conference ended."
	fakeNoReply = "" // answered by nothing
)

func newFakeNode(t *testing.T, dialback bool) *fakeNode {
	n := &fakeNode{t: t, visitors: make(map[string]*fakeClient), sessions: make(map[string]*fakeClient), mains: make(map[string][]byte)}
	ctx, cancel := context.WithCancel(context.Background())
	n.ctx = ctx
	var err error
	n.peer, err = newServer([]string{fakeRooms, fakeDomain}, []string{"meet.jitsi", "conference.meet.jitsi", "visitors.meet.jitsi"})
	require.NoError(t, err)
	n.peer.dial, n.peer.timeout, n.peer.dialback = (&net.Dialer{}).DialContext, testTime, dialback
	n.c2s, n.s2s = listen(t), listen(t)
	n.url = serveWS(t, xmppProtocol, n.visitor)
	n.accept(n.c2s, n.focusClient)
	n.accept(n.s2s, func(conn net.Conn) {
		if h, err := n.peer.accept(conn); err == nil && h != nil {
			n.serveMain(h, nil)
		}
	})
	t.Cleanup(func() {
		cancel()
		_, _ = n.c2s.Close(), n.s2s.Close()
		n.wg.Wait()
	})
	return n
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return l
}

func (n *fakeNode) accept(l net.Listener, handle func(net.Conn)) {
	n.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			n.wg.Go(func() {
				defer context.AfterFunc(n.ctx, func() { _ = conn.Close() })()
				defer conn.Close()
				handle(conn)
			})
		}
	})
}

// openToMain opens the stream main's components need, as a node does.
func (n *fakeNode) openToMain(addr string) {
	n.peer.addr = addr
	ctx, cancel := context.WithTimeout(n.ctx, testTime)
	defer cancel()
	h, err := n.peer.open(ctx, fakeRooms, "conference.meet.jitsi")
	require.NoError(n.t, err)
	var out outbox
	out.start(h.conn)
	n.mu.Lock()
	n.toMain = &out
	n.mu.Unlock()
	n.wg.Go(func() {
		defer context.AfterFunc(n.ctx, func() { _ = h.conn.Close() })()
		n.serveMain(h, &out)
		out.close(nil)
		<-out.done
	})
}

// serveMain reads what main says on a stream.
func (n *fakeNode) serveMain(h *handshake, out *outbox) {
	if out == nil {
		out = new(outbox)
		out.start(h.conn)
		defer func() { out.close([]byte("</stream:stream>")); <-out.done }()
	}
	for {
		t, err := h.r.Next()
		if err != nil || t.Kind != wire.Element {
			return
		}
		head, err := wire.ParseHeader(t.Data)
		if err != nil {
			return
		}
		elem := append([]byte(nil), t.Data...)
		head, _ = wire.ParseHeader(elem)
		switch string(head.Name) {
		case "iq":
			if child, ok := wire.FirstChild(elem); ok && child.Space == wire.NSVisitors {
				_ = out.send(wire.AppendResult(nil, &head, "", wire.Unescape(head.From), nil))
				switch what, _ := wire.FirstChild(child.Raw); what.Local {
				case "connect":
					n.unlock()
				case "disconnect":
					n.destroy()
				}
			}
		case "presence", "message":
			n.fromMain(elem, &head)
		}
	}
}

// remembered is how many lines of history main has sent.
func (n *fakeNode) remembered() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.history)
}

func (n *fakeNode) fromMain(elem []byte, h *wire.Header) {
	n.mu.Lock()
	defer n.mu.Unlock()
	to := wire.Unescape(h.To)
	_, nick, _ := strings.Cut(to, "/")
	switch {
	case to == fakeRooms:
		n.history = append(n.history, elem)
		return
	case string(h.Name) == "message":
		for mainNick, p := range n.mains {
			ph, _ := wire.ParseHeader(p)
			if string(ph.From) == string(h.From) {
				nick = mainNick
			}
		}
	case string(h.Type) == "unavailable":
		delete(n.mains, nick)
	default:
		n.mains[nick] = elem
	}
	for _, v := range n.visitors {
		n.deliver(v, elem, nick)
	}
}

// deliver sends a stanza to a visitor as from an occupant, with the faults
// asked for. mu is held.
func (n *fakeNode) deliver(v *fakeClient, elem []byte, nick string) {
	h, _ := wire.ParseHeader(elem)
	to := v.jid
	n.sent++
	if n.sent == n.faults.misaddress {
		to = "somebody@" + fakeDomain + "/else"
	}
	out := h.AppendStamped(nil, elem, wire.Stamp{
		Space: wire.NSClient, To: to, From: n.room + "/" + nick, Type: wire.Unescape(h.Type), ID: wire.Unescape(h.ID),
	})
	switch n.sent {
	case n.faults.drop:
		return
	case n.faults.double:
		v.send(out)
	case n.faults.swap:
		v.held = out
		return
	}
	v.send(out)
	if v.held != nil {
		v.send(v.held)
		v.held = nil
	}
}

// destroy ends the room for everybody.
func (n *fakeNode) destroy() {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := []*fakeClient{n.focus}
	for _, v := range n.visitors {
		out = append(out, v)
	}
	for _, c := range out {
		c.send(fmt.Appendf(nil, "<presence xmlns='jabber:client' type='unavailable' from='%s/%s' to='%s'><x xmlns='%s'>"+
			"<destroy><reason>%s</reason></destroy><item role='none' affiliation='none'/><status code='110'/></x></presence>",
			n.room, c.nick, c.jid, wire.NSMUCUser, fakeEnd))
	}
	clear(n.visitors)
}

// selfPresence is the end of a join.
func selfPresence(room string, c *fakeClient, role, affiliation string) []byte {
	return fmt.Appendf(nil, "<presence xmlns='jabber:client' from='%s/%s' to='%s'><x xmlns='%s'><status code='100'/>"+
		"<item role='%s' affiliation='%s' jid='%s'/><status code='110'/></x></presence>", room, c.nick, c.jid, wire.NSMUCUser, role, affiliation, c.jid)
}

// unlock lets in who has waited for main.
func (n *fakeNode) unlock() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.connected = true
	for _, join := range n.queued {
		join()
	}
	n.queued = nil
}

func (n *fakeNode) join(c *fakeClient, nick string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	c.nick = nick
	if !n.connected {
		n.queued = append(n.queued, func() { n.enter(c) })
		return
	}
	n.enter(c)
}

// enter lets a visitor in: who is there, itself, history, subject. mu is held.
func (n *fakeNode) enter(c *fakeClient) {
	for main, p := range n.mains {
		n.deliver(c, p, main)
	}
	n.deliver(c, n.focusSays, focusNick)
	c.send(selfPresence(n.room, c, "visitor", "none"))
	for _, line := range n.history {
		h, _ := wire.ParseHeader(line)
		_, from, _ := strings.Cut(wire.Unescape(h.From), "/")
		n.deliver(c, line, from)
	}
	c.send(fmt.Appendf(nil, "<message xmlns='jabber:client' type='groupchat' from='%s' to='%s'><subject/></message>", n.room, c.jid))
	n.visitors[c.nick] = c
	n.focus.send(fmt.Appendf(nil, "<presence xmlns='jabber:client' from='%s/%s' to='%s'><x xmlns='%s'><item role='visitor' affiliation='none'/></x></presence>",
		n.room, c.nick, fakeFocus, wire.NSMUCUser))
}

// say relays a visitor's line to every visitor and to main.
func (n *fakeNode) say(c *fakeClient, elem []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, v := range n.visitors {
		n.deliver(v, elem, c.nick)
	}
	h, _ := wire.ParseHeader(elem)
	_ = n.toMain.send(h.AppendStamped(nil, elem, wire.Stamp{
		To: strings.Replace(n.room, fakeRooms, "conference.meet.jitsi", 1), From: n.room + "/" + c.nick, Type: "groupchat",
	}))
}

func (n *fakeNode) leave(c *fakeClient) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.visitors, c.nick)
	p := "<presence xmlns='jabber:client' type='unavailable' from='%s/%s' to='%s'><x xmlns='%s'><item role='none' affiliation='none'/><status code='110'/></x></presence>"
	c.send(fmt.Appendf(nil, p, n.room, c.nick, c.jid, wire.NSMUCUser))
	n.focus.send(fmt.Appendf(nil, p, n.room, c.nick, fakeFocus, wire.NSMUCUser))
}

func fakeFeatures(stream int) string {
	head := "<stream:features xmlns:stream='" + wire.NSStream + "' xmlns='jabber:client'>"
	if stream == 1 {
		return head + "<mechanisms xmlns='" + wire.NSSASL + "'><mechanism>ANONYMOUS</mechanism></mechanisms></stream:features>"
	}
	return head + "<bind xmlns='" + wire.NSBind + "'><required/></bind><session xmlns='" + wire.NSSession + "'><optional/></session>" +
		"<sm xmlns='" + wire.NSSM + "'/></stream:features>"
}

// focusClient serves the focus: PLAIN, bind, one room.
func (n *fakeNode) focusClient(conn net.Conn) {
	r := wire.NewReader(conn, wire.Limits{})
	c := newFakeClient(fakeFocus)
	defer c.attach(func(p []byte) error { _, err := conn.Write(p); return err })()
	features := "<mechanisms xmlns='" + wire.NSSASL + "'><mechanism>PLAIN</mechanism></mechanisms>"
	for {
		t, err := r.Next()
		if err != nil {
			return
		}
		if t.Kind == wire.StreamStart {
			header := wire.StreamHeader{From: "auth.meet.jitsi", ID: "x", Version: "1.0", Content: wire.NSClient}
			c.send(append(header.Append(nil, ""), "<stream:features>"+features+"</stream:features>"...))
			continue
		}
		if t.Kind == wire.StreamEnd {
			c.send([]byte("</stream:stream>"))
			continue
		}
		h, _ := wire.ParseHeader(t.Data)
		switch string(h.Name) {
		case "auth":
			auth := wire.Child{Header: h, Raw: t.Data}
			plain, _ := base64.StdEncoding.DecodeString(auth.Text())
			if string(plain) != "\x00focus\x00secret" {
				c.send([]byte("<failure xmlns='" + wire.NSSASL + "'><not-authorized/></failure>"))
				continue
			}
			c.send([]byte("<success xmlns='" + wire.NSSASL + "'/>"))
			features = "<bind xmlns='" + wire.NSBind + "'><required/></bind>"
			r.Restart()
		default:
			n.focusStanza(c, append([]byte(nil), t.Data...))
		}
	}
}

func (n *fakeNode) focusStanza(c *fakeClient, elem []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h, _ := wire.ParseHeader(elem)
	child, _ := wire.FirstChild(elem)
	payload := []byte(fakeNoReply)
	switch {
	case child.Space == wire.NSBind:
		payload = []byte("<bind xmlns='" + wire.NSBind + "'><jid>" + fakeFocus + "</jid></bind>")
	case string(h.Name) == "iq" && string(h.Type) == "get":
		payload = []byte("<query xmlns='" + wire.NSMUCOwner + "'><x xmlns='jabber:x:data' type='form'><field var='" + whois + "'/></x></query>")
	case string(h.Name) == "presence" && child.Space == wire.NSMUC:
		n.focus, n.room = c, strings.TrimSuffix(wire.Unescape(h.To), "/"+focusNick)
		n.focusSays = elem // visitors may come before the update
		c.send(selfPresence(n.room, c, "moderator", "owner"))
		return
	case string(h.Type) == "unavailable":
		c.send(fmt.Appendf(nil, "<presence type='unavailable' from='%s/%s' to='%s'><x xmlns='%s'><status code='110'/></x></presence>",
			n.room, focusNick, fakeFocus, wire.NSMUCUser))
		return
	case string(h.Name) == "presence":
		n.focusSays = elem
		for _, v := range n.visitors {
			n.deliver(v, elem, focusNick)
		}
		return
	}
	c.send(wire.AppendResult(nil, &h, "", fakeFocus, payload))
}

// waitTime is how long drained streams may take in tests of faults.
const waitTime = 500 * time.Millisecond
