// Package admin is the operator's HTTP listener: metrics and health.
package admin

import (
	"encoding/json"
	"net/http"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Health is whether the node takes new work. The zero value is not ready.
type Health struct{ ready atomic.Bool }

// SetReady says whether the node takes new visitors.
func (h *Health) SetReady(ready bool) { h.ready.Store(ready) }

// report is the answer of /readyz and /healthz.
type report struct {
	Ready bool `json:"ready"`
	// Links are the streams to main: whether each is up.
	Links map[string]bool `json:"links"`
}

// Handler serves /metrics of reg; /healthz, 200 as long as the process
// answers; and /readyz, 200 when the node takes visitors and 503 before and
// after. Both tell in JSON which of links are up. A node without main is still
// ready: rooms wait for it.
func Handler(reg *prometheus.Registry, h *Health, links func() map[string]bool) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{Registry: reg}))
	answer := func(w http.ResponseWriter, status int) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		// It fails only when the client is gone.
		_ = json.NewEncoder(w).Encode(report{Ready: h.ready.Load(), Links: links()})
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if h.ready.Load() {
			answer(w, http.StatusOK)
			return
		}
		answer(w, http.StatusServiceUnavailable)
	})
	return mux
}
