package node

import (
	"context"
	"io"
	"net/http"
	"time"

	"vnode/visitor"
)

// webHealthTimeout is less than docker's health check waits.
const webHealthTimeout = 5 * time.Second

// withHealth answers GET /health where browsers connect, as the container of the
// visitor prosody does in docker-jitsi-meet (its module http_health): its health
// check asks there. 200 and OK when the node answers, else 500 and HAS ERRORS;
// 403 for whoever does not ask from this machine. The operator's /healthz tells
// more.
func (n *Node) withHealth(web http.Handler, clients *visitor.Config) http.Handler {
	answer := func(w http.ResponseWriter, r *http.Request) {
		from := clients.Requests.Read(r).Client
		if from.IsValid() && !from.IsLoopback() { // a unix socket has no address
			http.Error(w, "only programs of this machine may ask", http.StatusForbidden)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), webHealthTimeout)
		defer cancel()
		status, text := http.StatusOK, "OK\n"
		if err := (operator{n}).Alive(ctx); err != nil {
			status, text = http.StatusInternalServerError, "HAS ERRORS\n"
		}
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text) // who is gone needs no answer
	}
	mux := http.NewServeMux()
	mux.Handle("/", web)
	mux.HandleFunc("GET /health", answer)
	mux.HandleFunc("GET /health/{$}", answer)
	return visitor.OneSlash(mux)
}
