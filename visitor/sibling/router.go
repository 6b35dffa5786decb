// Package sibling lets several nodes be reached at one HTTP address. The node
// that gets a request answers it if it is its own, and passes it on to the
// sibling otherwise. Whose it is the URL says, as ?vnode=, or what the client
// sends: the 'to' of its stream, and over BOSH the domain in the sid afterwards.
// So a proxy that sends everything to one address works. It costs that node's
// connections and copying: where there are many visitors the proxy should choose
// by itself.
package sibling

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"time"

	"vnode/internal/guard"
	"vnode/internal/wire"
)

// pseudonym marks requests that a node has passed on, in Via (RFC 9110 §7.6.3).
const pseudonym = "vnode"

// Address is where a sibling serves HTTP: of network "tcp" or "unix".
type Address struct{ Network, Addr string }

// Sibling is another node.
type Sibling struct {
	VNode  string // v4, as in ?vnode=
	Domain string // v4.meet.jitsi, as in the 'to' of a stream
	Address
}

// Router passes what is for siblings on to them. It is never changed.
type Router struct {
	guard             *guard.Guard
	byVNode, byDomain map[string]*way
}

// way is a sibling and the handler that passes requests on to it.
type way struct {
	Sibling
	http.Handler
	dialer net.Dialer
}

// New returns a Router. g keeps a panic to the client that met it; nil: it ends the
// process. A request is passed on once at most. The addresses in
// X-Forwarded-For are kept, and the one that the request came from is added:
// siblings must trust this node as a proxy to count clients by them.
func New(siblings []Sibling, g *guard.Guard, log *slog.Logger) *Router {
	r := &Router{guard: g, byVNode: make(map[string]*way), byDomain: make(map[string]*way)}
	for _, s := range siblings {
		w := &way{Sibling: s, dialer: net.Dialer{Timeout: dialTimeout}}
		w.Handler = w.forward(log)
		r.byVNode[s.VNode], r.byDomain[s.Domain] = w, w
	}
	return r
}

// Handler returns one that gives what is for no sibling to own.
func (r *Router) Handler(own http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if to := r.find(w, req); to != nil {
			to.ServeHTTP(w, req)
			return
		}
		own.ServeHTTP(w, req)
	})
}

// Has reports whether a sibling is named so in ?vnode=.
func (r *Router) Has(vnode string) bool { return r.byVNode[vnode] != nil }

func (r *Router) find(w http.ResponseWriter, req *http.Request) *way {
	if passedOn(req) {
		return nil
	}
	if to := r.byVNode[req.URL.Query().Get("vnode")]; to != nil || req.Method != http.MethodPost {
		return to
	}
	return r.byDomain[boshDomain(w, req)]
}

// What of a body is looked at, and for how long it is waited for: its start tag
// alone matters.
const (
	headBytes = 2 << 10
	headTime  = 30 * time.Second
)

// boshDomain returns the domain that a request of BOSH is for, "" if it does not
// say. The body can be read as before.
func boshDomain(w http.ResponseWriter, req *http.Request) string {
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(headTime)) // not every ResponseWriter has one
	body := bufio.NewReaderSize(req.Body, headBytes)
	head, _ := body.Peek(headBytes) // what it lacks is for the reader to find
	_ = rc.SetReadDeadline(time.Time{})
	req.Body = struct {
		io.Reader
		io.Closer
	}{body, req.Body}
	h, err := wire.ParseHeader(bytes.TrimLeft(head, " \t\r\n"))
	if err != nil {
		return ""
	}
	if sid := h.Attr("sid"); sid != "" {
		_, domain, _ := strings.Cut(sid, ".")
		return domain
	}
	return wire.Unescape(h.To)
}

func passedOn(r *http.Request) bool {
	for _, via := range r.Header.Values("Via") {
		for hop := range strings.SplitSeq(via, ",") {
			if _, by, _ := strings.Cut(strings.TrimSpace(hop), " "); by == pseudonym {
				return true
			}
		}
	}
	return false
}

const dialTimeout = 5 * time.Second

func (to *way) forward(log *slog.Logger) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = "http", to.VNode, p.In.Host
			p.Out.URL.RawQuery = p.In.URL.RawQuery // parameters that do not parse are the sibling's to judge
			mark(p.Out.Header, p.In)
		},
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return to.dialer.DialContext(ctx, to.Network, to.Addr)
			},
			MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute, DisableCompression: true,
		},
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			log.Warn("sibling does not answer", "vnode", to.VNode, "error", err)
			w.Header().Set("Retry-After", "5")
			http.Error(w, "the node "+to.VNode+" does not answer", http.StatusBadGateway)
		},
	}
}

// mark notes in the header of a request where it comes from.
func mark(h http.Header, in *http.Request) {
	h["X-Forwarded-For"] = forwardedFor(in)
	h.Add("Via", "1.1 "+pseudonym)
}

// forwardedFor is what the request says, and where it comes from.
func forwardedFor(r *http.Request) []string {
	hops := append([]string(nil), r.Header.Values("X-Forwarded-For")...)
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		hops = append(hops, host)
	}
	if hops == nil {
		return nil
	}
	return []string{strings.Join(hops, ", ")}
}
