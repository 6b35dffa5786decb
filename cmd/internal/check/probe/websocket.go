package probe

import (
	"context"
	"crypto/tls"
	"encoding/xml"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// WebAnswer is what came under a WebSocket URL.
type WebAnswer struct {
	Status int       // of HTTP, 101 when the protocol changed
	Page   bool      // it was a page to look at
	Date   time.Time // of the server's clock, zero if it did not tell
	TLS    *tls.ConnectionState
	From   string // the domain that answered the stream
	Error  string // its stream error, a condition
	Login  bool   // a visitor could log in
}

// Web says how to get there.
type Web struct {
	TLS  *tls.Config
	Dial func(ctx context.Context, network, addr string) (net.Conn, error) // nil: TCP
}

// Visit connects to a WebSocket URL as a browser does (RFC 7395), opens a stream
// to domain and logs in without a name. The answer holds what was seen, as far
// as it went, with an error too. ctx bounds it.
func (w Web) Visit(ctx context.Context, url, domain string) (WebAnswer, error) {
	var a WebAnswer
	transport := &http.Transport{TLSClientConfig: w.TLS, DialContext: w.Dial}
	defer transport.CloseIdleConnections()
	conn, resp, err := websocket.Dial(ctx, url, &websocket.DialOptions{
		Subprotocols: []string{"xmpp"}, HTTPClient: &http.Client{Transport: transport},
	})
	if resp != nil {
		a.Status, a.TLS = resp.StatusCode, resp.TLS
		a.Page = strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html")
		// No date is no time.
		a.Date, _ = http.ParseTime(resp.Header.Get("Date"))
	}
	if err != nil {
		return a, err
	}
	defer conn.CloseNow()
	say := func(elem string) error { return conn.Write(ctx, websocket.MessageText, []byte(elem)) }
	if err := say(fmt.Sprintf(`<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='%s' version='1.0'/>`, domain)); err != nil {
		return a, err
	}
	for authenticating := false; ; {
		_, frame, err := conn.Read(ctx)
		if err != nil {
			return a, err
		}
		var elem webElement
		if err := xml.Unmarshal(frame, &elem); err != nil {
			return a, fmt.Errorf("not XMPP: %w", err)
		}
		switch elem.XMLName.Local {
		case "open":
			a.From = elem.From
		case "error":
			a.Error = elem.condition()
			return a, fmt.Errorf("stream error %s", a.Error)
		case "close":
			return a, fmt.Errorf("the stream was closed")
		case "features":
			if authenticating {
				continue
			}
			authenticating = true
			if err := say(`<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'/>`); err != nil {
				return a, err
			}
		case "success":
			a.Login = true
			return a, nil
		case "failure":
			return a, fmt.Errorf("a visitor may not log in: %s", elem.condition())
		}
	}
}

type webElement struct {
	XMLName xml.Name
	From    string `xml:"from,attr"`
	Items   []struct {
		XMLName xml.Name
	} `xml:",any"`
}

func (e *webElement) condition() string {
	if len(e.Items) == 0 {
		return "undefined-condition"
	}
	return e.Items[0].XMLName.Local
}
