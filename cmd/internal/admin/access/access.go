// Package access tells who asks at the operator's listener: somebody with the
// admin token, a program on this machine, or anybody else.
package access

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
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
	for _, h := range []string{"Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via"} {
		if r.Header.Get(h) != "" {
			return false
		}
	}
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}
