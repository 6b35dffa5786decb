package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Addresses as people write them into variables: a name, an IPv4 or IPv6 address
// with or without brackets, each with or without a port.

// hostPort returns host:port for such an address; port is the one of an address
// without.
func hostPort(text, port string) (string, error) {
	text = strings.TrimSpace(text)
	if rest, ok := strings.CutPrefix(text, "tcp://"); ok {
		text = strings.TrimSuffix(rest, "/")
	}
	bare := text
	if inner, ok := strings.CutPrefix(text, "["); ok && strings.HasSuffix(inner, "]") {
		bare = strings.TrimSuffix(inner, "]")
	}
	if a, err := netip.ParseAddr(bare); err == nil {
		return net.JoinHostPort(a.String(), port), nil
	}
	host := text
	if strings.Contains(text, ":") {
		var err error
		if host, port, err = net.SplitHostPort(text); err != nil {
			return "", notAHost(text)
		}
		if !isPort(port) {
			return "", notAHost(text)
		}
	}
	if host == "" || strings.ContainsAny(host, "/?#@ []\",") {
		return "", notAHost(text)
	}
	return net.JoinHostPort(host, port), nil
}

func notAHost(text string) error {
	return fmt.Errorf("%q is neither a host nor host:port, such as meet.example.com, 10.0.0.5:5269 or [2001:db8::5]:5269", text)
}

// isPort reports whether a text is the number of a port.
func isPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && n > 0
}

// relay is the address of a STUN or TURN server in the place of a host: it may be a
// URI (RFC 7064, RFC 7065), also with the slashes that URLs have.
type relay struct{ scheme, host, query string }

func relayOf(text, scheme, query string) relay {
	r := relay{scheme, text, query}
	for _, own := range []string{"turns", "turn", "stuns", "stun"} {
		if rest, ok := strings.CutPrefix(text, own+":"); ok {
			r.scheme, r.host = own, strings.TrimPrefix(rest, "//")
			break
		}
	}
	r.host = strings.TrimPrefix(r.host, "udp://")
	if host, own, ok := strings.Cut(r.host, "?"); ok {
		r.host, r.query = host, "?"+own
	}
	if strings.HasPrefix(r.scheme, "stun") {
		r.query = ""
	} else if r.scheme == "turns" && r.query == query {
		r.query = "?transport=tcp"
	}
	return r
}

// port reads a variable that holds a port. Kubernetes sets one of that name for
// each service, such as XMPP_PORT=tcp://10.0.0.1:5222 for the service xmpp, or
// TURN_PORT=udp://10.0.0.1:3478 for the service turn.
func (e environment) port(name, otherwise string) (string, error) {
	v := e.get(name, otherwise)
	if isPort(v) {
		return v, nil
	}
	relays := strings.HasPrefix(name, "TURN") || strings.HasPrefix(name, "STUN")
	if u, err := url.Parse(v); err == nil && (u.Scheme == "tcp" || u.Scheme == "udp" && relays) && isPort(u.Port()) {
		return u.Port(), nil
	}
	return "", fmt.Errorf("%s: %q is not a port between 1 and 65535", name, v)
}

// named puts a variable's name before an error.
func named(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", name, err)
}

// Dialable is where a listener is reached from its own machine: one on all
// addresses at loopback.
func Dialable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if a, err := netip.ParseAddr(host); host == "" || err == nil && a.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
