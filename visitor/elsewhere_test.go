package visitor

import (
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/visitor/request"
)

// nextDoor is a node for v4.meet.jitsi that gives back what it is sent.
type nextDoor struct {
	away bool
	sent []byte
}

func (d *nextDoor) Has(vnode string) bool { return vnode == "v4" }

func (d *nextDoor) Node(domain string, handshake *http.Request) func(net.Conn, []byte) error {
	if domain != "v4.meet.jitsi" || handshake.Header.Get("Via") != "" {
		return nil
	}
	return func(client net.Conn, sent []byte) error {
		if d.away {
			return errors.New("away")
		}
		d.sent = sent
		_, _ = io.Copy(client, client)
		return client.Close()
	}
}

// askingAs connects a client to a node by WebSocket whose handshake is known.
func (h *house) askingAs(r *http.Request) *peer {
	near, far := net.Pipe()
	st := h.srv.newWebSocket(near, nil, true)
	st.tell(st.peer, request.Info{})
	st.asked = r
	h.admitted(st)
	return &peer{t: h.t, conn: far, ws: true}
}

const openV4 = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='v4.meet.jitsi' version='1.0'/>"

// A WebSocket whose first header is for another node's domain is that node's
// from there on, whatever it sends and however long it is quiet.
func TestElsewhere(t *testing.T) {
	door := new(nextDoor)
	inBubble(t, func(c *Config) { c.Elsewhere = door }, func(t *testing.T, h *house) {
		p := h.askingAs(&http.Request{})
		p.send(openV4)
		synctest.Wait()
		require.Equal(t, append([]byte{0x81, 0x80 | byte(len(openV4)), 0, 0, 0, 0}, openV4...), door.sent)
		require.Zero(t, h.inState(transportWebSocket, stateNegotiating))
		require.Equal(t, 1, h.open())
		time.Sleep(time.Hour)
		_, err := p.conn.Write([]byte("anything"))
		require.NoError(t, err)
		b := make([]byte, 8)
		_, err = io.ReadFull(p.conn, b)
		require.NoError(t, err)
		require.Equal(t, "anything", string(b))
		p.hangUp()
		synctest.Wait()
		require.Zero(t, h.open())
		require.Zero(t, h.inState(transportWebSocket, stateNegotiating))

		left := h.askingAs(&http.Request{})
		left.send(openV4)
		synctest.Wait()
		require.NoError(t, h.srv.Close(t.Context()), "it does not wait for what is another node's")
		_, err = left.conn.Read(b)
		require.ErrorIs(t, err, io.EOF)
	})
}

func TestElsewhereCannotBe(t *testing.T) {
	for name, c := range map[string]struct {
		door *nextDoor
		via  string
		to   string
		want string
	}{
		"the node does not answer": {&nextDoor{away: true}, "", "v4.meet.jitsi", "<resource-constraint "},
		"passed on already":        {new(nextDoor), "1.1 vnode", "v4.meet.jitsi", "<host-unknown "},
		"nobody's":                 {new(nextDoor), "", "v5.meet.jitsi", "<host-unknown "},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(cfg *Config) { cfg.Elsewhere = c.door }, func(t *testing.T, h *house) {
				p := h.askingAs(&http.Request{Header: http.Header{"Via": {c.via}}})
				p.send("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='" + c.to + "' version='1.0'/>")
				require.Contains(t, p.next(), "<open ")
				require.Contains(t, p.next(), c.want)
				p.expectEnd()
			})
		})
	}
	// After the first header the stream is this node's.
	inBubble(t, func(c *Config) { c.Elsewhere = new(nextDoor) }, func(t *testing.T, h *house) {
		p := h.askingAs(&http.Request{})
		p.open(testDomain)
		p.play("C: "+anonymousAuth, "S: "+saslSuccess)
		p.send(openV4)
		require.Contains(t, p.next(), "<open ")
		require.Contains(t, p.next(), "<host-unknown ")
		p.expectEnd()
	})
}
