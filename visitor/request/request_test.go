package request

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func get(target, remote string, headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.RemoteAddr = remote
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

func TestWhatARequestSays(t *testing.T) {
	var p Policy
	for _, c := range []struct {
		name string
		r    *http.Request
		want Info
	}{
		{"all of it", get("/x?prefix=ACME&room=r&vnode=v3&token=a.b.c&previd=I-d_1&customusername=x", "192.0.2.1:5", "X-Proxy-Region", "eu-1.a"),
			Info{Client: netip.MustParseAddr("192.0.2.1"), Token: "a.b.c", PrevID: "I-d_1", Tenant: "acme", Region: "eu-1.a"}},
		{"nothing", get("/x", "@"), Info{Secure: true}},
		{"the proxy's prefix comes first", get("/x?prefix=a&prefix=b", "@"), Info{Tenant: "a", Secure: true}},
		{"token in a header", get("/x", "@", "Authorization", "bearer  a.b.c"), Info{Token: "a.b.c", Secure: true}},
		{"another scheme", get("/x", "@", "Authorization", "Basic a"), Info{Secure: true}},
		{"the URL's token counts", get("/x?token=u", "@", "Authorization", "Bearer h"), Info{Token: "u", Secure: true}},
		{"too long", get("/x?previd="+strings.Repeat("a", 65)+"&prefix="+strings.Repeat("a", 256), "@", "X-Proxy-Region", strings.Repeat("a", 65)), Info{Secure: true}},
		{"a region that is none", get("/x", "@", "X-Proxy-Region", "<b>"), Info{Secure: true}},
		{"broken query", get("/x?%zz&previd=a", "@"), Info{PrevID: "a", Secure: true}},
		{"this machine", get("/x", "[::1]:5"), Info{Client: netip.IPv6Loopback(), Secure: true}},
	} {
		require.Equal(t, c.want, p.Read(c.r), c.name)
	}
	long := p.Read(get("/x?token="+strings.Repeat("a", 1<<20), "@"))
	require.Len(t, long.Token, maxToken)
	own := Policy{RegionHeader: "X-Where"}
	require.Equal(t, "us", own.Read(get("/x", "@", "X-Where", "us", "X-Proxy-Region", "eu")).Region)
	over := get("/x", "192.0.2.1:5")
	over.TLS = new(tls.ConnectionState)
	require.True(t, p.Read(over).Secure)
	require.False(t, p.Read(get("/x", "192.0.2.1:5")).Secure)
}

// Who says it comes from elsewhere is believed as far as proxies vouch for it.
func TestForwardedFor(t *testing.T) {
	p := Policy{Proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("127.0.0.1/32")}}
	unix := p
	unix.UnixProxies = true
	for _, c := range []struct {
		name    string
		policy  Policy
		remote  string
		headers []string
		want    string
		secure  bool
	}{
		{"a stranger", p, "192.0.2.1:5", []string{"1.1.1.1"}, "192.0.2.1", false},
		{"a proxy", p, "10.1.1.1:5", []string{"198.51.100.7"}, "198.51.100.7", true},
		{"a proxy in IPv6 form", p, "[::ffff:10.1.1.1]:5", []string{"198.51.100.7"}, "198.51.100.7", true},
		{"with a port", p, "10.1.1.1:5", []string{"198.51.100.7:99"}, "198.51.100.7", true},
		{"IPv6 with a port", p, "10.1.1.1:5", []string{"[2001:db8::1]:99"}, "2001:db8::1", true},
		{"two proxies", p, "10.1.1.1:5", []string{"198.51.100.7, 10.2.2.2"}, "198.51.100.7", true},
		{"what the client has made up", p, "10.1.1.1:5", []string{"1.1.1.1, 198.51.100.7"}, "198.51.100.7", true},
		{"two headers", p, "10.1.1.1:5", []string{"1.1.1.1", "198.51.100.7, 10.2.2.2"}, "198.51.100.7", true},
		{"nonsense", p, "10.1.1.1:5", []string{"unknown"}, "10.1.1.1", true},
		{"nonsense behind a proxy", p, "10.1.1.1:5", []string{"unknown, 10.2.2.2"}, "10.2.2.2", true},
		{"nothing", p, "10.1.1.1:5", nil, "10.1.1.1", true},
		{"loopback that is believed", p, "127.0.0.1:5", []string{"198.51.100.7"}, "198.51.100.7", true},
		{"loopback that is not", Policy{}, "127.0.0.1:5", []string{"198.51.100.7"}, "127.0.0.1", true},
		{"unix socket that is believed", unix, "@", []string{"198.51.100.7"}, "198.51.100.7", true},
		{"unix socket that is not", p, "@", []string{"198.51.100.7"}, "invalid IP", true},
	} {
		r := get("/x", c.remote)
		for _, h := range c.headers {
			r.Header.Add("X-Forwarded-For", h)
		}
		i := c.policy.Read(r)
		require.Equal(t, c.want, i.Client.String(), c.name)
		require.Equal(t, c.secure, i.Secure, c.name)
	}
}

func TestOrigins(t *testing.T) {
	p := Policy{Origins: []string{"https://Meet.example.com", "https://*.example.org", "http://localhost:8080"}}
	for origin, want := range map[string]bool{
		"":                              true,
		"https://meet.example.com":      true,
		"HTTPS://MEET.example.com":      true,
		"http://meet.example.com":       false,
		"https://meet.example.com:8443": false,
		"https://a.example.org":         true,
		"https://a.b.example.org":       true,
		"https://example.org":           false,
		"https://evil.com/.example.org": false,
		"https://evilexample.org":       false,
		"https://.example.org":          false,
		"http://localhost:8080":         true,
		"null":                          false,
	} {
		w := httptest.NewRecorder()
		r := get("/x", "@")
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		require.Equal(t, want, p.Allowed(w, r), origin)
		require.Equal(t, "Origin", w.Header().Get("Vary"))
		if want {
			require.Equal(t, origin, w.Header().Get("Access-Control-Allow-Origin"))
		}
	}
	var open Policy
	w := httptest.NewRecorder()
	require.True(t, open.Allowed(w, get("/x", "@", "Origin", "https://any.example")))
	require.Equal(t, "*", w.Header().Get("Access-Control-Allow-Origin"))
}

func FuzzRequest(f *testing.F) {
	f.Add("prefix=a&token=b", "1.1.1.1, [::1]:5", "https://a.example.org")
	f.Add("%zz;previd", ",,,", "*.")
	p := Policy{Proxies: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/1")}, UnixProxies: true, Origins: []string{"https://*.example.org"}}
	f.Fuzz(func(t *testing.T, query, forwarded, origin string) {
		r := get("/x", "10.0.0.1:1")
		r.URL.RawQuery = query
		r.Header["X-Forwarded-For"] = []string{forwarded}
		r.Header["X-Proxy-Region"] = []string{forwarded}
		r.Header["Origin"] = []string{origin}
		i := p.Read(r)
		require.True(t, i.Client.IsValid())
		require.LessOrEqual(t, len(i.PrevID), maxPrevID)
		require.NotContains(t, i.Region, "<")
		p.Allowed(httptest.NewRecorder(), r)
	})
}
