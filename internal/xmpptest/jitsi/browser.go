package jitsi

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"

	"github.com/coder/websocket"
)

// Browser is a visitor as a web page would be one: by WebSocket under the public
// URL. It speaks just enough XMPP to get into a room. One goroutine uses it.
type Browser struct {
	conn *websocket.Conn
	jid  string
	web  *http.Transport
}

// Open connects to url, such as
// wss://meet.example.com/xmpp-websocket?room=demo&vnode=v1, and logs in to
// domain without a name. ctx bounds that. The caller calls Close.
func Open(ctx context.Context, url, domain string, trust *tls.Config, dial func(ctx context.Context, network, addr string) (net.Conn, error)) (*Browser, error) {
	web := &http.Transport{TLSClientConfig: trust, DialContext: dial}
	conn, resp, err := websocket.Dial(ctx, url, &websocket.DialOptions{
		Subprotocols: []string{"xmpp"}, HTTPClient: &http.Client{Transport: web},
	})
	if err != nil {
		web.CloseIdleConnections()
		if resp != nil {
			return nil, fmt.Errorf("%s: %s: %w", url, resp.Status, err)
		}
		return nil, fmt.Errorf("%s: %w", url, err)
	}
	conn.SetReadLimit(1 << 20)
	b := &Browser{conn: conn, web: web}
	if err := b.login(ctx, domain); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

func (b *Browser) login(ctx context.Context, domain string) error {
	open := fmt.Sprintf(`<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='%s' version='1.0'/>`, domain)
	for _, step := range []struct{ say, want string }{
		{open, "features"},
		{`<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'/>`, "<success"},
		{open, "bind"},
		{`<iq xmlns='jabber:client' type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>`, "<jid>"},
	} {
		if err := b.Say(ctx, step.say); err != nil {
			return err
		}
		answer, err := b.Hear(ctx, step.want)
		if err != nil {
			return err
		}
		if m := boundJID.FindStringSubmatch(answer); m != nil {
			b.jid = m[1]
		}
	}
	return nil
}

var boundJID = regexp.MustCompile(`<jid>([^<]+)</jid>`)

// Say sends one element.
func (b *Browser) Say(ctx context.Context, elem string) error {
	return b.conn.Write(ctx, websocket.MessageText, []byte(elem))
}

// Hear blocks until an element with all of the texts comes, and returns it. What
// comes before is passed over.
func (b *Browser) Hear(ctx context.Context, texts ...string) (string, error) {
	var last string
	for {
		_, message, err := b.conn.Read(ctx)
		if err != nil {
			return "", fmt.Errorf("waiting for %q after %s: %w", texts, last, err)
		}
		last = string(message)
		all := true
		for _, text := range texts {
			all = all && strings.Contains(last, text)
		}
		if all {
			return last, nil
		}
		if strings.Contains(last, "<failure") || strings.Contains(last, "type='error'") || strings.Contains(last, `type="error"`) {
			return "", fmt.Errorf("waiting for %q: %s", texts, last)
		}
	}
}

// Join enters a room and blocks until its own presence has come back.
func (b *Browser) Join(ctx context.Context, room string) error {
	nick, _, _ := strings.Cut(b.jid, "-")
	err := b.Say(ctx, fmt.Sprintf(`<presence xmlns='jabber:client' to='%s/%s'><x xmlns='http://jabber.org/protocol/muc'/></presence>`, room, nick))
	if err != nil {
		return err
	}
	_, err = b.Hear(ctx, "<presence", "110")
	return err
}

// Close ends the connection.
func (b *Browser) Close() {
	b.conn.CloseNow()
	b.web.CloseIdleConnections()
}
