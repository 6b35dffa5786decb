package conference

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"

	"vnode/internal/wire"
)

// client is the session of an anonymous user by WebSocket (RFC 7395), the way
// lib-jitsi-meet opens it. One goroutine reads; any may send.
type client struct {
	// Static after login.
	domain string
	jid    string // full, as bound
	user   string // localpart
	acks   bool   // stream management is on
	id     string // to resume the session by (XEP-0198 §5); empty: it cannot be

	// Owned by the reading goroutine.
	handled uint32 // stanzas received since <enabled/>

	mu sync.Mutex
	// Guarded by mu.
	ws      *wsConn // replaced by the reading goroutine, which reads it without mu
	away    bool    // ws is cut: nothing is written before the session is resumed
	closed  bool
	sent    uint32   // stanzas since <enabled/>
	acked   uint32   // of them, as the server says
	unacked [][]byte // the rest of them, if the session can be resumed
	queue   [][]byte // to be written, in this order
	writing bool     // somebody is writing the queue
}

// loginOptions says where and how to log in.
type loginOptions struct {
	URL    string // ws: or wss:, with its query
	Domain string
	Acks   bool // enable stream management (XEP-0198)
	Dial   DialFunc
	TLS    *tls.Config
}

// errStreamClosed is a stream the server ended with <close/>.
var errStreamClosed = errors.New("the server closed the stream")

// login opens a stream, authenticates as ANONYMOUS and binds a resource. It
// blocks until ctx ends at the latest.
func login(ctx context.Context, o loginOptions) (*client, error) {
	return connect(ctx, o, func(c *client) error { return c.negotiate(o.Acks) })
}

// connect opens a connection and negotiates on it.
func connect(ctx context.Context, o loginOptions, negotiate func(*client) error) (*client, error) {
	ws, err := dialWebSocket(ctx, o.URL, o.Dial, o.TLS)
	if err != nil {
		return nil, err
	}
	c := &client{ws: ws, domain: o.Domain}
	stop := context.AfterFunc(ctx, ws.close)
	err = negotiate(c)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		ws.close()
		return nil, fmt.Errorf("log in at %s: %w", o.Domain, err)
	}
	return c, nil
}

func (c *client) negotiate(acks bool) error {
	features, err := c.authenticate()
	if err != nil {
		return err
	}
	if err := c.bind(); err != nil {
		return err
	}
	if features.session {
		if err := c.session(); err != nil {
			return err
		}
	}
	if !acks {
		return nil
	}
	if !features.acks {
		return errNoAcks
	}
	return c.enableAcks()
}

// authenticate returns the features of the stream behind it.
func (c *client) authenticate() (features, error) {
	if _, err := c.open(); err != nil {
		return features{}, err
	}
	if _, err := c.ask("success", "<auth xmlns='"+wire.NSSASL+"' mechanism='ANONYMOUS'/>"); err != nil {
		return features{}, err
	}
	return c.open()
}

type features struct{ session, acks bool }

// open sends <open/> and reads the answer and the features behind it.
func (c *client) open() (features, error) {
	var f features
	answer, err := c.ask("open", string(wire.StreamHeader{To: c.domain, Version: "1.0"}.AppendOpen(nil)))
	if err != nil {
		return f, err
	}
	if _, err := wire.ParseOpen(answer); err != nil {
		return f, err
	}
	elem, err := c.expect("stream:features")
	if err != nil {
		return f, err
	}
	for child := range wire.Children(elem) {
		switch {
		case child.Local == "session" && child.Space == wire.NSSession:
			f.session = true
		case child.Local == "sm" && child.Space == wire.NSSM:
			f.acks = true
		}
	}
	return f, nil
}

func (c *client) bind() error {
	err := c.ws.write([]byte("<iq xmlns='jabber:client' type='set' id='_bind_auth_2'><bind xmlns='" + wire.NSBind + "'/></iq>"))
	if err != nil {
		return err
	}
	answer, err := c.expectIQ("_bind_auth_2")
	if err != nil {
		return err
	}
	b, ok := wire.FindChild(answer, wire.NSBind, "bind")
	if !ok {
		return errors.New("bind: no <bind/> in the result")
	}
	j, ok := wire.FindChild(b.Raw, wire.NSBind, "jid")
	if !ok {
		return errors.New("bind: no JID in the result")
	}
	c.jid = j.Text()
	parsed, err := wire.ParseJID(c.jid)
	if err != nil || parsed.Local == "" || parsed.Resource == "" {
		return fmt.Errorf("bind: %q is not a full JID", c.jid)
	}
	c.user = parsed.Local
	return nil
}

// session asks for RFC 3921's session, as lib-jitsi-meet does wherever it is
// offered.
func (c *client) session() error {
	err := c.ws.write([]byte("<iq xmlns='jabber:client' type='set' id='_session_auth_2'><session xmlns='" + wire.NSSession + "'/></iq>"))
	if err != nil {
		return err
	}
	_, err = c.expectIQ("_session_auth_2")
	return err
}

// ask sends elem and reads the element with that name, which must be next.
func (c *client) ask(name, elem string) ([]byte, error) {
	if err := c.ws.write([]byte(elem)); err != nil {
		return nil, err
	}
	return c.expect(name)
}

func (c *client) expect(name string) ([]byte, error) {
	elem, err := c.ws.read()
	if err != nil {
		return nil, err
	}
	h, err := wire.ParseHeader(elem)
	if err != nil {
		return nil, err
	}
	if string(h.Name) != name {
		return nil, unexpected(elem, &h, name)
	}
	return elem, nil
}

// expectIQ reads the answer with that id, over what the server pushes before.
func (c *client) expectIQ(id string) ([]byte, error) {
	for {
		elem, err := c.ws.read()
		if err != nil {
			return nil, err
		}
		h, err := wire.ParseHeader(elem)
		if err != nil {
			return nil, err
		}
		switch {
		case string(h.Name) == "message":
			continue
		case string(h.Name) != "iq" || string(h.ID) != id || string(h.Type) != "result":
			return nil, unexpected(elem, &h, "the result of "+id)
		}
		return elem, nil
	}
}

func unexpected(elem []byte, h *wire.Header, want string) error {
	switch string(h.Name) {
	case "stream:error":
		return wire.ParseStreamError(elem)
	case "close":
		return errStreamClosed
	}
	const most = 200
	return fmt.Errorf("instead of %s came %.*s", want, most, elem)
}

// stanza is one received stanza, valid until the next call of next.
type stanza struct {
	wire.Header
	raw []byte
}

// next returns the next stanza. Stream management and what a server may ask
// any client are dealt with on the way. The error is what ended the stream: a
// wire.StreamError, errStreamClosed, errCut, or the connection's. It blocks until
// the connection is closed or cut.
func (c *client) next() (stanza, error) {
	for {
		elem, err := c.ws.read()
		if err != nil {
			return stanza{}, c.ws.cause(err)
		}
		h, err := wire.ParseHeader(elem)
		if err != nil {
			return stanza{}, err
		}
		switch string(h.Name) {
		case "message", "presence", "iq":
			c.handled++
			if string(h.Name) == "iq" && wire.Answerable(&h) {
				if err := c.answer(elem, &h); err != nil {
					return stanza{}, err
				}
				continue
			}
			return stanza{h, elem}, nil
		case "r":
			err = c.ws.cause(c.ws.write([]byte("<a xmlns='" + wire.NSSM + "' h='" + c.count() + "'/>")))
		case "a":
			err = c.takeAck(h.Attr("h"))
		default:
			err = unexpected(elem, &h, "a stanza")
		}
		if err != nil {
			return stanza{}, err
		}
	}
}

// answer replies to a request as a client without any feature: pings (XEP-0199)
// and disco#info get a result.
func (c *client) answer(elem []byte, h *wire.Header) error {
	child, _ := wire.FirstChild(elem)
	to := wire.Unescape(h.From)
	switch {
	case child.Space == wire.NSPing:
		return c.send(wire.AppendResult(nil, h, wire.NSClient, to, nil))
	case child.Space == wire.NSDisco && string(h.Type) == "get":
		return c.send(wire.AppendResult(nil, h, wire.NSClient, to, []byte("<query xmlns='"+wire.NSDisco+"'/>")))
	}
	return c.send(wire.AppendErrorReply(nil, h, wire.NSClient, to, wire.ErrServiceUnavailable))
}

// endStream says <close/> (RFC 7395 §3.6); next then returns errStreamClosed.
func (c *client) endStream() error {
	return c.ws.cause(c.ws.write([]byte("<close xmlns='" + wire.NSFraming + "'/>")))
}

// nick is the occupant nick lib-jitsi-meet takes: the first eight characters
// of the localpart.
func (c *client) nick() string { return c.user[:min(len(c.user), 8)] }
