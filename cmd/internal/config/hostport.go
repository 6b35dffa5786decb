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
	text = strings.TrimPrefix(text, "tcp://")
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
	if host == "" || strings.ContainsAny(host, "/?#@ []\"") {
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

// withoutScheme takes turn:, turns: or stun: off an address.
func withoutScheme(text string) string {
	for _, scheme := range []string{"turns:", "turn:", "stuns:", "stun:"} {
		if rest, ok := strings.CutPrefix(text, scheme); ok {
			return rest
		}
	}
	return text
}

// port reads a variable that holds a port. Kubernetes sets one of that name for
// each service, such as XMPP_PORT=tcp://10.0.0.1:5222 for the service xmpp.
func (e environment) port(name, otherwise string) (string, error) {
	v := e.get(name, otherwise)
	if isPort(v) {
		return v, nil
	}
	if u, err := url.Parse(v); err == nil && u.Scheme == "tcp" && isPort(u.Port()) {
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
