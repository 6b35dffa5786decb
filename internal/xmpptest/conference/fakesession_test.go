package conference

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/coder/websocket"

	"vnode/internal/wire"
)

// faults are what the node does wrong on purpose: for the n-th stanza to a
// visitor, and at every resumption.
type faults struct {
	drop, double, swap, misaddress int

	skip   int    // of what the client missed: not replayed; negative: replayed again
	deny   int    // of what the client sent: not known any more; negative: claimed
	refuse bool   // <failed/>
	other  string // the session resumed instead
}

// fakeClient is the session of a client; its stanzas are kept for ever, so that
// it can be resumed from anywhere.
type fakeClient struct {
	jid, nick string
	held      []byte // a stanza that the next one overtakes

	// A stanza is counted and handled under serving, and only for the
	// connection that owns the session: what the old one still had in hand
	// when another resumed would be counted although the client was told
	// otherwise.
	serving sync.Mutex
	owner   *websocket.Conn // guarded by serving

	mu sync.Mutex
	// Guarded by mu.
	log     [][]byte    // stanzas sent, while they are counted
	counts  bool        // since <enable/>
	handled int         // of the client's stanzas
	out     chan []byte // to the present connection, nil: there is none
	gone    chan struct{}
}

func newFakeClient(jid string) *fakeClient { return &fakeClient{jid: jid, nick: focusNick} }

// attach makes a connection the session's; detach ends what it has begun.
func (c *fakeClient) attach(write func([]byte) error, first ...[]byte) (detach func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropLocked()
	out, gone, written := make(chan []byte, 4096), make(chan struct{}), make(chan struct{})
	for _, p := range first {
		out <- p
	}
	c.out, c.gone = out, gone
	go func() {
		defer close(written)
		for {
			select {
			case p := <-out:
				_ = write(p) // a broken connection shows when reading
			case <-gone:
				return
			}
		}
	}()
	return func() {
		c.mu.Lock()
		if c.out == out {
			c.dropLocked()
		}
		c.mu.Unlock()
		<-written
	}
}

func (c *fakeClient) dropLocked() {
	if c.out != nil {
		close(c.gone)
		c.out = nil
	}
}

func isStanza(p []byte) bool {
	h, err := wire.ParseHeader(p)
	return err == nil && h.IsStanza(wire.NSClient)
}

func (c *fakeClient) send(p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts && isStanza(p) {
		c.log = append(c.log, p)
	}
	if c.out != nil {
		c.out <- p
	}
}

// count counts what the client sent.
func (c *fakeClient) count(p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts && isStanza(p) {
		c.handled++
	}
}

func (c *fakeClient) enable() {
	c.mu.Lock()
	c.counts = true
	c.mu.Unlock()
	c.send(fmt.Appendf(nil, "<enabled xmlns='%s' id='sm-%s' resume='true'/>", wire.NSSM, c.nick))
}

func (c *fakeClient) ack() {
	c.mu.Lock()
	h := c.handled
	c.mu.Unlock()
	c.send(fmt.Appendf(nil, "<a xmlns='%s' h='%d'/>", wire.NSSM, h))
}

// resume is the answer to <resume/> and what the client has missed, with the
// faults asked for.
func (c *fakeClient) resume(id string, h int, f faults) [][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.other != "" {
		id = f.other
	}
	c.handled -= f.deny
	resumed := fmt.Appendf(nil, "<resumed xmlns='%s' previd='%s' h='%d'/>", wire.NSSM, id, c.handled)
	return append([][]byte{resumed}, slices.Clone(c.log[h+f.skip:])...)
}

// visitor serves one visitor.
func (n *fakeNode) visitor(ctx context.Context, ws *websocket.Conn) {
	_, user := newRealJID(fakeDomain)
	c := newFakeClient(user + "-fake@" + fakeDomain + "/r")
	c.nick = user
	write := func(p []byte) error { return ws.Write(ctx, websocket.MessageText, p) }
	c.owner = ws
	detach := c.attach(write)
	defer func() { detach() }()
	opened := 0
	for {
		_, p, err := ws.Read(ctx)
		if err != nil {
			return
		}
		h, _ := wire.ParseHeader(p)
		if string(h.Name) == "resume" {
			n.mu.Lock()
			old, f := n.sessions[h.Attr("previd")], n.faults
			n.mu.Unlock()
			if old == nil || f.refuse || ctx.Value(previd{}) != h.Attr("previd") {
				c.send([]byte("<failed xmlns='" + wire.NSSM + "'><item-not-found xmlns='" + wire.NSStanzas + "'/></failed>"))
				continue
			}
			detach()
			known, _ := strconv.Atoi(h.Attr("h"))
			old.serving.Lock()
			// Nobody sends to the session in between: whoever does holds mu.
			n.mu.Lock()
			c = old
			c.owner = ws
			detach = c.attach(write, c.resume(h.Attr("previd"), known, f)...)
			n.mu.Unlock()
			c.serving.Unlock()
			continue
		}
		if string(h.Name) == "open" {
			opened++
		}
		c.serving.Lock()
		owned := c.owner == ws
		if owned {
			c.count(p)
			n.handle(c, p, &h, opened)
		}
		c.serving.Unlock()
		if !owned {
			return
		}
	}
}

// handle does what the client asks for. opened is how many streams it has
// opened on the connection.
func (n *fakeNode) handle(c *fakeClient, p []byte, h *wire.Header, opened int) {
	switch string(h.Name) {
	case "open":
		c.send([]byte("<open xmlns='" + wire.NSFraming + "' from='" + fakeDomain + "' id='x' version='1.0'/>"))
		c.send([]byte(fakeFeatures(opened)))
	case "auth":
		c.send([]byte("<success xmlns='" + wire.NSSASL + "'/>"))
	case "enable":
		n.mu.Lock()
		n.sessions["sm-"+c.nick] = c
		n.mu.Unlock()
		c.enable()
	case "r":
		c.ack()
	case "iq":
		c.send(fmt.Appendf(nil, "<message xmlns='jabber:client' from='%s' to='%s'/>", fakeDomain, c.jid))
		c.send(fmt.Appendf(nil, "<iq xmlns='jabber:client' type='result' id='%s'><bind xmlns='%s'><jid>%s</jid></bind></iq>", h.ID, wire.NSBind, c.jid))
	case "presence":
		if string(h.Type) == "unavailable" {
			n.leave(c)
			return
		}
		n.join(c, strings.TrimPrefix(wire.Unescape(h.To), n.room+"/"))
		c.send([]byte("<r xmlns='" + wire.NSSM + "'/>"))
	case "message":
		n.say(c, p)
	case "close":
		c.send([]byte("<close xmlns='" + wire.NSFraming + "'/>"))
	}
}
