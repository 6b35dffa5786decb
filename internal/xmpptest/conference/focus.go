package conference

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"

	"mellium.im/sasl"
	"mellium.im/xmlstream"
	"mellium.im/xmpp"
	"mellium.im/xmpp/jid"

	"vnode/internal/wire"
)

// FocusOptions says how the focus logs in.
type FocusOptions struct {
	Addr     string // host:port of the client listener
	JID      string // full, e.g. focus@auth.meet.jitsi/focus: the resource is asked for
	Password string
	Plain    bool        // SASL PLAIN instead of SCRAM-SHA-1
	TLS      *tls.Config // nil: no STARTTLS, as on a loopback interface
}

// Focus is one connection of a scripted jicofo, by mellium.im/xmpp: an
// implementation of the client side that shares nothing with the node.
// Its methods are safe for concurrent use.
type Focus struct {
	// Static after construction.
	session *xmpp.Session
	conn    net.Conn
	done    chan struct{} // closed when the stream has ended

	mu sync.Mutex
	// Guarded by mu.
	rooms map[string]*FocusRoom // by bare JID
	err   error                 // why the stream ended
}

// DialFocus connects, authenticates and binds. It blocks until ctx ends at the
// latest. Close the Focus.
func DialFocus(ctx context.Context, o FocusOptions) (*Focus, error) {
	origin, err := jid.Parse(o.JID)
	if err == nil && (origin.Localpart() == "" || origin.Resourcepart() == "") {
		err = errors.New("not a full JID")
	}
	if err != nil {
		return nil, fmt.Errorf("focus %q: %w", o.JID, err)
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", o.Addr)
	if err != nil {
		return nil, fmt.Errorf("focus: %w", err)
	}
	mechanism := sasl.ScramSha1
	if o.Plain {
		mechanism = sasl.Plain
	}
	features := []xmpp.StreamFeature{xmpp.SASL("", o.Password, mechanism), bindAs(origin.Resourcepart())}
	state := xmpp.Secure // what a client may think of a loopback connection
	if o.TLS != nil {
		features = append(features, xmpp.StartTLS(o.TLS))
		state = 0
	}
	negotiator := xmpp.NewNegotiator(func(*xmpp.Session, *xmpp.StreamConfig) xmpp.StreamConfig {
		return xmpp.StreamConfig{Features: features}
	})
	// The library loses the wake-up of a context's end; a closed connection it
	// cannot miss.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	session, err := xmpp.NewSession(ctx, origin.Domain(), origin, conn, state, negotiator)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("focus: log in at %s: %w", origin.Domain(), err)
	}
	f := &Focus{session: session, conn: conn, done: make(chan struct{}), rooms: make(map[string]*FocusRoom)}
	go f.serve()
	return f, nil
}

func (f *Focus) serve() {
	err := f.session.Serve(xmpp.HandlerFunc(f.handle))
	f.mu.Lock()
	f.err = err
	f.mu.Unlock()
	close(f.done)
}

// ended says why the stream is over; done is closed.
func (f *Focus) ended() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		return errStreamClosed
	}
	return fmt.Errorf("focus: the stream has ended: %w", f.err)
}

// Done is closed when the stream has ended.
func (f *Focus) Done() <-chan struct{} { return f.done }

// Send sends a complete stanza.
func (f *Focus) Send(ctx context.Context, stanza string) error { return f.send(ctx, []byte(stanza)) }

// JID returns the full JID bound.
func (f *Focus) JID() string { return f.session.LocalAddr().String() }

// Close ends the stream and waits for the server's end of it, until ctx ends.
func (f *Focus) Close(ctx context.Context) error {
	err := f.session.Close()
	select {
	case <-f.done:
	case <-ctx.Done():
		err = errors.Join(err, fmt.Errorf("focus: the server did not close its stream: %w", ctx.Err()))
	}
	_ = f.conn.Close()
	<-f.done
	return err
}

func (f *Focus) handle(t xmlstream.TokenReadEncoder, start *xml.StartElement) error {
	if start.Name.Local != "presence" {
		return nil // requests get service-unavailable by the library
	}
	var p focusPresence
	d := xml.NewTokenDecoder(xmlstream.MultiReader(xmlstream.Token(*start), t))
	if err := d.Decode(&p); err != nil {
		return fmt.Errorf("presence from the server: %w", err)
	}
	room, nick, _ := strings.Cut(p.From, "/")
	f.mu.Lock()
	r := f.rooms[room]
	f.mu.Unlock()
	if r != nil {
		r.presence(nick, &p)
	}
	return nil
}

// focusPresence is what jicofo reads of a presence.
type focusPresence struct {
	From string `xml:"from,attr"`
	Type string `xml:"type,attr"`
	X    struct {
		Item struct {
			Role        string `xml:"role,attr"`
			Affiliation string `xml:"affiliation,attr"`
		} `xml:"item"`
		Status []struct {
			Code string `xml:"code,attr"`
		} `xml:"status"`
		Destroy *struct {
			Reason string `xml:"reason"`
		} `xml:"destroy"`
	} `xml:"http://jabber.org/protocol/muc#user x"`
	Error *focusError `xml:"error"`
}

func (p *focusPresence) self() bool {
	for _, s := range p.X.Status {
		if s.Code == "110" {
			return true
		}
	}
	return false
}

// focusError is a stanza error.
type focusError struct {
	Type     string `xml:"type,attr"`
	Children []struct {
		XMLName xml.Name
		Text    string `xml:",chardata"`
	} `xml:",any"`
}

func (e *focusError) Error() string {
	s := e.Type
	for _, c := range e.Children {
		s += "/" + c.XMLName.Local
		if c.XMLName.Local == "text" {
			s += ": " + c.Text
		}
	}
	return s
}

// send sends an encoded element.
func (f *Focus) send(ctx context.Context, elem []byte) error {
	return f.session.Send(ctx, rawTokens(elem))
}

// iq sends an encoded IQ of type get or set, and decodes the answer into v,
// whose fields are the IQ's children. An error answer is returned.
func (f *Focus) iq(ctx context.Context, elem []byte, v any) error {
	resp, err := f.session.SendIQ(ctx, rawTokens(elem))
	if err != nil {
		return err
	}
	defer func() { _ = resp.Close() }()
	d := xml.NewTokenDecoder(resp)
	tok, err := d.Token()
	if err != nil {
		return err
	}
	start, ok := tok.(xml.StartElement)
	if !ok {
		return fmt.Errorf("answer begins with %T", tok)
	}
	for _, a := range start.Attr {
		if a.Name.Local != "type" || a.Value != "error" {
			continue
		}
		var refused struct {
			Error focusError `xml:"error"`
		}
		if err := d.DecodeElement(&refused, &start); err != nil {
			return err
		}
		return &refused.Error
	}
	if v == nil {
		return nil
	}
	return d.DecodeElement(v, &start)
}

// rawTokens reads an element's tokens with its namespace declarations as plain
// attributes: decoded names would be declared a second time by the encoder.
func rawTokens(elem []byte) xml.TokenReader {
	d := xml.NewDecoder(bytes.NewReader(elem))
	return xmlstream.ReaderFunc(d.RawToken)
}

// ConnectVNode asks main's visitors component to connect the room, by its bare
// JID on main, to the node with that vnode name, such as v3.
func (f *Focus) ConnectVNode(ctx context.Context, component, room, vnode string) error {
	return f.visitorsIQ(ctx, "connect-vnode", component, room, vnode)
}

// DisconnectVNode asks main's visitors component to end the room on that node.
func (f *Focus) DisconnectVNode(ctx context.Context, component, room, vnode string) error {
	return f.visitorsIQ(ctx, "disconnect-vnode", component, room, vnode)
}

func (f *Focus) visitorsIQ(ctx context.Context, what, component, room, vnode string) error {
	b := wire.NewBuilder(nil).Start("iq", "type", "get", "to", component)
	b.Start("visitors", "xmlns", wire.NSVisitors, "room", room)
	b.Elem(what, "", "xmlns", wire.NSVisitors, "vnode", vnode)
	if err := f.iq(ctx, b.Bytes(), nil); err != nil {
		return fmt.Errorf("%s %s: %w", what, vnode, err)
	}
	return nil
}
