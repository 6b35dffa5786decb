package crowd

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// Transport is how visitors reach the server.
type Transport string

// The transports.
const (
	WebSocket Transport = "ws"   // RFC 7395
	XMPP      Transport = "xmpp" // client TCP, RFC 6120
	BOSH      Transport = "bosh" // XEP-0124 and XEP-0206
)

// address is a parsed URL.
type address struct {
	transport Transport
	tls       bool
	unix      string // path of a unix socket; empty: TCP
	host      string // host:port for TCP
	path      string // of the HTTP request, with its query
}

// parseAddress understands
//
//	ws://host:port/path?query      wss://…
//	http://host:port/path?query    https://…   (BOSH)
//	xmpp://host:port
//
// and each of them with +unix, whose socket comes before a colon:
// ws+unix:///run/vnode/v3.sock:/xmpp-websocket?room=demo.
func parseAddress(raw string) (address, error) {
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return address{}, fmt.Errorf("address %q: it must begin with ws://, wss://, http://, https:// or xmpp://", raw)
	}
	scheme, isUnix := strings.CutSuffix(scheme, "+unix")
	a := address{}
	port := "80"
	switch scheme {
	case "ws", "wss":
		a.transport, a.tls = WebSocket, scheme == "wss"
	case "http", "https":
		a.transport, a.tls = BOSH, scheme == "https"
	case "xmpp":
		a.transport, port = XMPP, "5222"
	default:
		return a, fmt.Errorf("address %q: scheme %q is none of ws, wss, http, https, xmpp", raw, scheme)
	}
	if a.tls {
		port = "443"
	}
	if isUnix {
		a.unix, a.path, _ = strings.Cut(rest, ":")
		a.host = "localhost"
		if a.unix == "" {
			return a, fmt.Errorf("address %q names no socket", raw)
		}
		return a, nil
	}
	u, err := url.Parse(raw)
	if err != nil {
		return a, fmt.Errorf("address: %w", err)
	}
	if u.Port() != "" {
		port = u.Port()
	}
	a.host, a.path = net.JoinHostPort(u.Hostname(), port), u.RequestURI()
	return a, nil
}

// with returns the path with one more parameter.
func (a *address) with(key, value string) string {
	sep := "?"
	if strings.Contains(a.path, "?") {
		sep = "&"
	}
	return a.path + sep + key + "=" + url.QueryEscape(value)
}

// perSource is how many connections leave from one loopback address: fewer than
// servers allow a single address, and than there are ports.
const perSource = 400

// source returns the address that visitor number n connects from: 127.0.0.2,
// .3 and so on where the server is on loopback, so that ports do not run out.
// ok is false when the kernel is to choose.
func source(server netip.Addr, n int) (netip.Addr, bool) {
	if !server.Is4() || !server.IsLoopback() {
		return netip.Addr{}, false
	}
	return netip.AddrFrom4([4]byte{127, 0, 1, byte(2 + n/perSource%200)}), true
}
