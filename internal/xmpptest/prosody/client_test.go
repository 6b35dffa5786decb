package prosody

import (
	"context"
	"crypto/tls"
	"encoding/xml"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	"mellium.im/sasl"
	"mellium.im/xmlstream"
	"mellium.im/xmpp"
	"mellium.im/xmpp/jid"
)

// client is a logged-in client, whatever its transport.
type client struct {
	jid  string
	got  inbox[element]
	send func(stanza string)
	quit func() // closes the transport without a word
}

// ask sends an IQ and returns its answer.
func (c *client) ask(t *testing.T, id, kind, to, payload string) element {
	t.Helper()
	c.send(fmt.Sprintf(`<iq id='%s' type='%s' to='%s'>%s</iq>`, id, kind, to, payload))
	return c.got.take(t, "answer to "+id, answerTo(id))
}

// join enters a room and returns the own presence.
func (c *client) join(t *testing.T, room, nick string) element {
	t.Helper()
	c.send(fmt.Sprintf(`<presence to='%s/%s'><x xmlns='http://jabber.org/protocol/muc'/>`+
		`<nick xmlns='http://jabber.org/protocol/nick'>%s</nick></presence>`, room, nick, nick))
	return c.got.take(t, "own presence in "+room, presenceFrom(room+"/"+nick))
}

// dialTCP logs in over TCP with STARTTLS, checking the certificate.
func dialTCP(t *testing.T, s *Server, address, password string, mechanisms ...sasl.Mechanism) *client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	pool, err := s.CertPool()
	require.NoError(t, err)
	origin := jid.MustParse(address)
	conn, err := net.Dial("tcp", s.C2SAddr().String())
	require.NoError(t, err)
	session, err := xmpp.NewClientSession(ctx, origin, conn,
		xmpp.StartTLS(&tls.Config{RootCAs: pool, ServerName: origin.Domainpart()}),
		xmpp.SASL("", password, mechanisms...),
		xmpp.BindResource())
	require.NoError(t, err)

	c := &client{jid: session.LocalAddr().String(), got: newInbox[element]()}
	c.send = func(stanza string) { require.NoError(t, session.Send(t.Context(), tokens(stanza))) }
	c.quit = func() { _ = conn.Close() }
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = session.Serve(xmpp.HandlerFunc(func(r xmlstream.TokenReadEncoder, start *xml.StartElement) error {
			var e element
			err := xml.NewTokenDecoder(xmlstream.MultiReader(xmlstream.Token(*start), r)).Decode(&e)
			c.got <- e
			return err
		}))
	}()
	t.Cleanup(func() { c.quit(); <-served })
	return c
}

func focus(t *testing.T, s *Server) *client {
	t.Helper()
	return dialTCP(t, s, "focus@"+s.AuthDomain()+"/focus", s.FocusPassword(), sasl.ScramSha1, sasl.Plain)
}

// tokens reads a stanza without the namespace declarations the encoder of the
// session writes itself.
func tokens(stanza string) xml.TokenReader {
	return xmlstream.RemoveAttr(func(_ xml.StartElement, a xml.Attr) bool {
		return a.Name.Local == "xmlns"
	})(xml.NewDecoder(strings.NewReader(stanza)))
}

// participant logs in as browsers do: WebSocket, ANONYMOUS (RFC 7395).
func participant(t *testing.T, s *Server) *client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, s.WebSocketURL(), &websocket.DialOptions{Subprotocols: []string{"xmpp"}})
	require.NoError(t, err)
	conn.SetReadLimit(1 << 20)

	read := func(ctx context.Context) (e element, err error) {
		_, frame, err := conn.Read(ctx)
		if err != nil {
			return e, err
		}
		return e, xml.Unmarshal(frame, &e)
	}
	c := &client{got: newInbox[element]()}
	c.send = func(stanza string) {
		// A frame has no stream header to inherit the namespace from.
		name, rest, _ := strings.Cut(stanza, " ")
		if !strings.Contains(name, "xmlns") && !strings.HasPrefix(rest, "xmlns=") {
			stanza = name + " xmlns='jabber:client' " + rest
		}
		require.NoError(t, conn.Write(t.Context(), websocket.MessageText, []byte(stanza)))
	}
	c.quit = func() { _ = conn.CloseNow() }

	expect := func(local string) element {
		e, err := read(ctx)
		require.NoError(t, err)
		require.Equal(t, local, e.XMLName.Local, "got %v", e)
		return e
	}
	open := fmt.Sprintf(`<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='%s' version='1.0'/>`, s.MainDomain())
	c.send(open)
	expect("open")
	expect("features")
	c.send(`<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'/>`)
	expect("success")
	c.send(open)
	expect("open")
	expect("features")
	c.send(`<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>`)
	c.jid = expect("iq").find("bind", "jid").Text
	require.NotEmpty(t, c.jid)

	readCtx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			e, err := read(readCtx)
			if err != nil {
				return
			}
			c.got <- e
		}
	}()
	t.Cleanup(func() { stop(); c.quit(); <-done })
	return c
}
