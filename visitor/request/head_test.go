package request

import (
	"bufio"
	"bytes"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	handshakeFields = "Host: meet.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: xmpp\r\n"
	chromium = "GET /xmpp-websocket?room=demo&previd=abc%2D1&token=a.b%2ec&prefix=Some+Tenant HTTP/1.1\r\n" +
		"Host: meet.example:8443\r\nConnection: keep-alive, Upgrade\r\nPragma: no-cache\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n" +
		"Upgrade: WebSocket\r\nOrigin: https://meet.example\r\nSec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate, br\r\n" +
		"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" +
		"Sec-WebSocket-Protocol: chat, xmpp\r\nX-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For:  198.51.100.2 , 10.0.0.1 \r\nX-Proxy-Region: eu-1\r\n\r\n"
)

func parse(b string) (*Head, int, Verdict) {
	h := new(Head)
	n, v := h.Parse([]byte(b), "/xmpp-websocket", "xmpp")
	return h, n, v
}

func TestHeadOfABrowserBehindAProxy(t *testing.T) {
	h, n, v := parse(chromium + "\x81\x80more")
	require.Equal(t, Handshake, v)
	require.Equal(t, len(chromium), n)
	require.Equal(t, "dGhlIHNhbXBsZSBub25jZQ==", string(h.Key))
	p := Policy{Proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Origins: []string{"https://meet.example"}}
	require.True(t, p.AllowedHead(h))
	require.Equal(t, Info{
		Client: netip.MustParseAddr("198.51.100.2"), Token: "a.b.c", PrevID: "abc-1", Tenant: "some tenant", Region: "eu-1", Secure: true,
	}, p.ReadHead(h, netip.MustParseAddr("::ffff:10.0.0.2")))
	p.Origins = []string{"https://other.example"}
	require.False(t, p.AllowedHead(h))
	require.False(t, (&Policy{}).ReadHead(h, netip.MustParseAddr("192.0.2.1")).Secure)
	require.True(t, (&Policy{}).ReadHead(h, netip.Addr{}).Secure, "a unix socket")

	for i := range len(chromium) {
		_, _, v := parse(chromium[:i])
		require.Equal(t, Incomplete, v, "the first %d bytes", i)
	}
}

// A slash at the end is the same place, with a query and without.
func TestHeadWithASlash(t *testing.T) {
	for _, target := range []string{"/xmpp-websocket/", "/xmpp-websocket/?", "/xmpp-websocket/?room=demo"} {
		head := "GET " + target + " HTTP/1.1\r\n" + handshakeFields + "\r\n"
		h, n, v := parse(head)
		require.Equal(t, Handshake, v, target)
		require.Equal(t, len(head), n)
		if strings.HasSuffix(target, "demo") {
			require.Equal(t, "demo", h.Param("room"))
		}
		for i := range len(head) {
			_, _, v := parse(head[:i])
			require.Equal(t, Incomplete, v, "the first %d bytes", i)
		}
	}
}

// What is not exactly such a handshake is for net/http.
func TestHeadsThatAreForOthers(t *testing.T) {
	line, f := "GET /xmpp-websocket HTTP/1.1\r\n", handshakeFields
	_, _, v := parse(line + f + "\r\n")
	require.Equal(t, Handshake, v)
	for name, head := range map[string]string{
		"another method":              strings.Replace(line, "GET", "POST", 1) + f,
		"in lower case":               strings.Replace(line, "GET", "get", 1) + f,
		"another path":                "GET /xmpp-websockets HTTP/1.1\r\n" + f,
		"a path below it":             "GET /xmpp-websocket/x HTTP/1.1\r\n" + f,
		"two slashes":                 "GET /xmpp-websocket// HTTP/1.1\r\n" + f,
		"a whole URL":                 "GET http://x/xmpp-websocket HTTP/1.1\r\n" + f,
		"HTTP/1.0":                    "GET /xmpp-websocket HTTP/1.0\r\n" + f,
		"no version":                  "GET /xmpp-websocket\r\n" + f,
		"two spaces":                  "GET /xmpp-websocket  HTTP/1.1\r\n" + f,
		"a space in the query":        "GET /xmpp-websocket?a b HTTP/1.1\r\n" + f,
		"a query that is not ASCII":   "GET /xmpp-websocket?a=\xc3\xa4 HTTP/1.1\r\n" + f,
		"bytes that are no HTTP":      "\x16\x03\x01\x02\x00\x01",
		"an empty line first":         "\r\n" + line + f,
		"a body":                      line + f + "Content-Length: 5\r\n",
		"an empty body":               line + f + "content-length: 0\r\n",
		"chunks":                      line + f + "Transfer-Encoding: chunked\r\n",
		"a promise":                   line + f + "Expect: 100-continue\r\n",
		"two hosts":                   line + f + "Host: other\r\n",
		"no host":                     line + strings.Replace(f, "Host", "Hosts", 1),
		"a host with a path":          line + strings.Replace(f, "meet.example", "meet.example/x", 1),
		"an empty host":               line + strings.Replace(f, "meet.example", "", 1),
		"a folded line":               line + f + "X-A: b\r\n c\r\n",
		"a space before the colon":    line + f + "Content-Length : 5\r\n",
		"a line without a colon":      line + f + "nothing\r\n",
		"an empty name":               line + f + ": x\r\n",
		"a bare LF":                   line + f + "X-A: b\nContent-Length: 5\r\n",
		"a bare CR":                   line + f + "X-A: b\rContent-Length: 5\r\n",
		"a NUL":                       line + f + "X-A: b\x00\r\n",
		"a value that is not ASCII":   line + f + "X-A: \xc3\xa4\r\n",
		"a name that is none":         line + f + "X(A): b\r\n",
		"no subprotocol":              line + strings.Replace(f, ": xmpp", ": XMPP, chat", 1),
		"another version":             line + strings.Replace(f, ": 13", ": 8", 1),
		"two versions":                line + f + "Sec-WebSocket-Version: 13\r\n",
		"a short key":                 line + strings.Replace(f, "dGhl", "", 1),
		"a key that is no base64":     line + strings.Replace(f, "dGhl", "d hl", 1),
		"two keys":                    line + f + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
		"no upgrade":                  line + strings.Replace(f, "Connection: Upgrade", "Connection: close", 1),
		"an upgrade to something new": line + strings.Replace(f, ": websocket", ": h2c", 1),
		"too many fields":             line + f + strings.Repeat("A: b\r\n", MaxFields),
	} {
		_, n, v := parse(head + "\r\n")
		require.Equal(t, Other, v, name)
		require.Zero(t, n, name)
	}
	_, _, v = parse(strings.ReplaceAll(line+f+"\r\n", "\r\n", "\n"))
	require.Equal(t, Other, v, "it will never have the end that is waited for")
}

func TestParam(t *testing.T) {
	for query, want := range map[string]string{
		"": "", "x=1": "", "token=a": "a", "b&token=a&token=c": "a", "token": "", "token=": "", "%74oken=a": "a",
		"token=%zz&token=b": "b", "token=a;b&token=c": "c", "token=a+b%20c": "a b c", "tok%zzen=1&token=2": "2", "&&token=x=y": "x=y",
	} {
		require.Equal(t, want, param([]byte(query), "token"), query)
	}
}

// A handshake is one for net/http as well, and says the same there.
func FuzzHead(f *testing.F) {
	f.Add([]byte(chromium))
	f.Add([]byte("GET /xmpp-websocket HTTP/1.1\r\n" + handshakeFields + "\r\nearly"))
	f.Add([]byte("GET /xmpp-websocket?a;b&token=%zz HTTP/1.1\r\n" + handshakeFields + "Origin: x\r\n\r\n"))
	p := Policy{Origins: []string{"https://meet.example"}, Proxies: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}
	f.Fuzz(func(t *testing.T, b []byte) {
		h := new(Head)
		n, v := h.Parse(b, "/xmpp-websocket", "xmpp")
		if v != Handshake {
			require.Zero(t, n)
			return
		}
		from := bufio.NewReaderSize(bytes.NewReader(b), len(b)+16)
		r, err := http.ReadRequest(from)
		require.NoError(t, err)
		require.Equal(t, len(b)-n, from.Buffered(), "where it ends")
		require.Equal(t, http.MethodGet, r.Method)
		require.Equal(t, "/xmpp-websocket", r.URL.Path)
		require.Zero(t, r.ContentLength)
		require.Equal(t, string(h.Key), r.Header.Get("Sec-WebSocket-Key"))
		r.RemoteAddr = "192.0.2.1:5"
		require.Equal(t, p.Read(r), p.ReadHead(h, netip.MustParseAddr("192.0.2.1")))
		require.Equal(t, r.Header.Get("Origin") == "" || p.knows(r.Header.Get("Origin")), p.AllowedHead(h))
	})
}

func FuzzParam(f *testing.F) {
	f.Add("token=a&token=b", "token")
	f.Add("%74oken=%zz;&+=1", " ")
	f.Fuzz(func(t *testing.T, query, name string) {
		values, _ := url.ParseQuery(query) // what does not parse is left out
		require.Equal(t, values.Get(name), param([]byte(query), name))
	})
}

func BenchmarkHead(b *testing.B) {
	h, head := new(Head), []byte(chromium)
	b.ReportAllocs()
	for b.Loop() {
		h.Parse(head, "/xmpp-websocket", "xmpp")
	}
}
