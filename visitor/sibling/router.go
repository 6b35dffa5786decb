// Package sibling lets several nodes be reached at one HTTP address. A browser
// names its node in the URL, as ?vnode=; the node that gets the request answers
// it if it is its own, and passes it on to the sibling otherwise. So a proxy that
// sends everything to one address works. It costs that node's connections and
// copying: where there are many visitors the proxy should choose by itself.
package sibling

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"time"
)

// pseudonym marks requests that a node has passed on, in Via (RFC 9110 §7.6.3).
const pseudonym = "vnode"

// Router passes requests for other nodes on to them.
type Router struct {
	own    http.Handler
	others map[string]http.Handler // by vnode
}

// Address is where a sibling serves HTTP: of network "tcp" or "unix".
type Address struct{ Network, Addr string }

// New returns a Router that gives what is for no other node to own. A request is
// passed on once at most. The addresses in X-Forwarded-For are kept, and the one
// that the request came from is added: siblings must trust this node as a proxy
// to count clients by them.
func New(own http.Handler, siblings map[string]Address, log *slog.Logger) *Router {
	r := &Router{own: own, others: make(map[string]http.Handler)}
	for vnode, at := range siblings {
		r.others[vnode] = forward(vnode, at, log)
	}
	return r
}

// ServeHTTP implements http.Handler.
func (r *Router) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if h := r.others[req.URL.Query().Get("vnode")]; h != nil && !passedOn(req) {
		h.ServeHTTP(w, req)
		return
	}
	r.own.ServeHTTP(w, req)
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

func forward(vnode string, at Address, log *slog.Logger) http.Handler {
	dialer := &net.Dialer{Timeout: dialTimeout}
	return &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = "http", vnode, p.In.Host
			p.Out.URL.RawQuery = p.In.URL.RawQuery // parameters that do not parse are the sibling's to judge
			p.Out.Header["X-Forwarded-For"] = forwardedFor(p.In)
			p.Out.Header.Add("Via", "1.1 "+pseudonym)
		},
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, at.Network, at.Addr)
			},
			MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute, DisableCompression: true,
		},
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			log.Warn("sibling does not answer", "vnode", vnode, "error", err)
			w.Header().Set("Retry-After", "5")
			http.Error(w, "the node "+vnode+" does not answer", http.StatusBadGateway)
		},
	}
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
