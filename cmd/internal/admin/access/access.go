// Package access tells who asks at the operator's listener: somebody with the
// admin token, a program on this machine, or anybody else.
package access

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Gate knows the admin token. The zero value knows none: nobody bears it.
type Gate struct {
	digest [sha256.Size]byte
	open   bool
}

// New returns a gate for a token; "" for none.
func New(token string) Gate { return Gate{sha256.Sum256([]byte(token)), token != ""} }

// Exists reports whether there is a token at all.
func (g Gate) Exists() bool { return g.open }

// Bears reports whether a request bears the token (RFC 6750 §2.1). It compares
// digests, so that neither the time it takes nor the length of a wrong token
// tells anything of the right one.
func (g Gate) Bears(r *http.Request) bool {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !g.open || !ok || !strings.EqualFold(scheme, "Bearer") { // RFC 9110 §11.1
		return false
	}
	given := sha256.Sum256([]byte(strings.TrimSpace(token)))
	return subtle.ConstantTimeCompare(given[:], g.digest[:]) == 1
}

// Local reports whether a program on this machine asks, by a name of this
// machine: a browser here that was sent by some page comes with that page's
// host, and what a proxy passes on is from elsewhere.
func Local(r *http.Request) bool {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err == nil && !ap.Addr().Unmap().IsLoopback() {
		return false
	}
	if proxied(r.Header) {
		return false
	}
	host := hostOf(r)
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// Named reports whether a request names this listener by an address or by a name
// that nobody else can have pointed here: one of names, or one without a dot. A
// page whose name was made to resolve to this listener (DNS rebinding) is read by
// its own browser as if it were from there; its requests come with that name. A
// request without a host is not a browser's.
func Named(r *http.Request, names ...string) bool {
	host := strings.TrimSuffix(hostOf(r), ".")
	if _, err := netip.ParseAddr(host); err == nil || !strings.Contains(host, ".") {
		return true
	}
	return slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(name, host) })
}

// hostOf is the host that a request names, without its port.
func hostOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	return strings.ToLower(strings.Trim(host, "[]"))
}

// proxied reports whether a header says, or may say, that a proxy has passed the
// request on. Its value does not matter: a proxy that is misconfigured leaves it
// empty.
func proxied(h http.Header) bool {
	for name := range h {
		if marksProxy(strings.ToLower(name)) {
			return true
		}
	}
	return false
}

// marksProxy goes by the kind of a field's name, because each proxy and each
// content delivery network has one of its own: X-Forwarded-Host, CF-Connecting-IP,
// True-Client-IP, X-Azure-ClientIP, X-Original-URL, X-Envoy-External-Address.
func marksProxy(name string) bool {
	switch name {
	case "via", "cdn-loop", "x-amzn-trace-id", "x-varnish", "x-arr-log-id", "x-scheme", "front-end-https", "max-forwards":
		return true
	}
	for _, part := range []string{"forwarded", "real-ip", "realip", "client-ip", "clientip", "connecting-ip", "remote-addr", "remote-ip", "user-ip", "cluster-ip", "proxy"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	for _, start := range []string{"cf-", "x-envoy-", "x-original-", "x-azure-", "x-appengine-", "fastly-", "fly-", "x-akamai-"} {
		if strings.HasPrefix(name, start) {
			return true
		}
	}
	return false
}
