// Package request reads what a client's HTTP request says besides XMPP: who it
// comes from, its token, which session it returns to, and whether pages of its
// origin may ask at all.
package request

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// Policy says what is believed and who may ask. The zero value believes no proxy
// and lets every page ask.
type Policy struct {
	// Proxies are those whose X-Forwarded-For is believed, UnixProxies says
	// the same of whoever connects to a unix socket. A proxy that passes on
	// what its clients write there must not be one.
	Proxies     []netip.Prefix
	UnixProxies bool
	// Origins are those whose pages may ask (RFC 6454), such as
	// https://meet.example.com or https://*.example.com. Empty: all. Clients
	// that are no browsers send none and may ask in any case.
	Origins []string
	// RegionHeader is the header in which the proxy says where the client is;
	// empty: X-Proxy-Region.
	RegionHeader string
}

// Info is what a request says. It holds nothing of the request's memory.
type Info struct {
	// Client is the address of the client, invalid if it is none.
	Client netip.Addr
	// Token is a JSON Web Token, not yet verified; a secret.
	Token string
	// PrevID is the id of the session the client comes back to; a secret.
	PrevID string
	// Tenant is that of the URL, in lower case.
	Tenant string
	// Region is where the proxy says the client is: letters, digits, '.', '_'
	// and '-'.
	Region string
	// Secure says that nobody listens on the way here: TLS, this machine, or
	// a proxy that is believed.
	Secure bool
}

// Longest of what is kept.
const (
	maxToken  = 16<<10 + 1 // one byte too many is seen to be too many
	maxPrevID = 64
	maxName   = 255
	maxRegion = 64
)

// said is what a request says, however it was read.
type said interface {
	// values returns those of a header field, in order.
	values(name string) []string
	// Param returns the first value of a parameter of the query.
	Param(name string) string
}

// httpRequest is one that net/http has read.
type httpRequest struct {
	header http.Header
	query  url.Values
}

func (r httpRequest) values(name string) []string { return r.header.Values(name) }

// Param implements said.
func (r httpRequest) Param(name string) string { return r.query.Get(name) }

// Read reads a request. Of the query's parameters only those count that decide
// something here: 'room' is what the client's stanzas say anyway, and
// 'customusername' is for main.
func (p *Policy) Read(r *http.Request) Info {
	from, ok := parseAddr(r.RemoteAddr)
	if !ok {
		from = netip.Addr{}
	}
	i := p.read(httpRequest{r.Header, r.URL.Query()}, from)
	i.Secure = i.Secure || r.TLS != nil
	return i
}

// ReadHead reads a handshake that came from an address, invalid for a unix
// socket, not by TLS.
func (p *Policy) ReadHead(h *Head, from netip.Addr) Info {
	return p.read(h, from.Unmap().WithZone(""))
}

func (p *Policy) read(r said, from netip.Addr) Info {
	i := Info{
		Token:  bearer(r),
		PrevID: bounded(r.Param("previd"), maxPrevID),
		Tenant: strings.ToLower(bounded(r.Param("prefix"), maxName)),
		Region: p.region(r),
	}
	i.Client, i.Secure = p.client(r, from)
	return i
}

// first is the first value of a header field.
func first(r said, name string) string {
	if v := r.values(name); len(v) > 0 {
		return v[0]
	}
	return ""
}

// bearer is the token of the URL or else of the header (RFC 6750 §2.1).
func bearer(r said) string {
	if t := r.Param("token"); t != "" {
		return strings.Clone(t[:min(len(t), maxToken)])
	}
	scheme, t, _ := strings.Cut(first(r, "Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	t = strings.TrimSpace(t)
	return strings.Clone(t[:min(len(t), maxToken)])
}

// bounded is a copy of s, or empty if it is too long for what it should be.
func bounded(s string, longest int) string {
	if len(s) > longest {
		return ""
	}
	return strings.Clone(s)
}

func (p *Policy) region(r said) string {
	name := p.RegionHeader
	if name == "" {
		name = "X-Proxy-Region"
	}
	v := bounded(first(r, name), maxRegion)
	if strings.ContainsFunc(v, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-')
	}) {
		return ""
	}
	return v
}

// client finds who made a request that came from an address: the last of those
// named in X-Forwarded-For that is not a proxy we believe. direct says that it
// came from this machine or such a proxy.
func (p *Policy) client(r said, from netip.Addr) (client netip.Addr, direct bool) {
	client = from
	switch {
	case !from.IsValid() && !p.UnixProxies:
		return netip.Addr{}, true // a unix socket, or a test's pipe
	case from.IsValid() && !p.Proxy(from):
		return client, client.IsLoopback()
	}
	hops := strings.Split(strings.Join(r.values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		addr, ok := parseAddr(strings.TrimSpace(hop))
		if !ok {
			break
		}
		client = addr
		if !p.Proxy(addr) {
			break
		}
	}
	return client, true
}

// Proxy reports whether an address is that of a proxy which is believed.
func (p *Policy) Proxy(addr netip.Addr) bool {
	return slices.ContainsFunc(p.Proxies, func(n netip.Prefix) bool { return n.Contains(addr) })
}

// parseAddr takes an address with or without a port.
func parseAddr(s string) (netip.Addr, bool) {
	if host, _, err := net.SplitHostPort(s); err == nil {
		s = host
	}
	addr, err := netip.ParseAddr(strings.Trim(s, "[]"))
	return addr.Unmap().WithZone(""), err == nil
}

// Allowed reports whether a page of the request's origin may ask, and sets the
// CORS header that says so to the browser.
func (p *Policy) Allowed(w http.ResponseWriter, r *http.Request) bool {
	if len(p.Origins) == 0 {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		return true
	}
	w.Header().Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	if !p.knows(origin) {
		return false
	}
	w.Header().Set("Access-Control-Allow-Origin", origin)
	return true
}

// AllowedHead is [Policy.Allowed] for a handshake, whose answer no page reads.
func (p *Policy) AllowedHead(h *Head) bool {
	if len(p.Origins) == 0 {
		return true
	}
	origin := first(h, "Origin")
	return origin == "" || p.knows(origin)
}

func (p *Policy) knows(origin string) bool {
	return slices.ContainsFunc(p.Origins, func(o string) bool { return matches(o, origin) })
}

// matches compares an origin with one that may have a wildcard in place of the
// first labels of its host. Scheme and host are compared without case.
func matches(pattern, origin string) bool {
	before, after, wild := strings.Cut(strings.ToLower(pattern), "*.")
	origin = strings.ToLower(origin)
	if !wild {
		return origin == before
	}
	label, ok := strings.CutPrefix(origin, before)
	if !ok {
		return false
	}
	label, ok = strings.CutSuffix(label, "."+after)
	return ok && label != "" && !strings.ContainsAny(label, "/:@")
}
