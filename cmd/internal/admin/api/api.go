package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"vnode/cmd/internal/admin/access"
)

// Prefix is where the handler of [New] is to be mounted.
const Prefix = "/api/v1/"

const (
	maxBody    = 16 << 10
	maxAtOnce  = 8 // requests: each puts something into rooms' mailboxes
	answerTime = 5 * time.Second
)

// api serves the requests.
type api struct {
	// Static after construction.
	rooms  Rooms
	gate   access.Gate
	log    *slog.Logger
	atOnce chan struct{}
}

// New returns the handler. token, which must not be empty, allows everything.
func New(rooms Rooms, token string, log *slog.Logger) http.Handler {
	a := &api{rooms: rooms, gate: access.New(token), log: log, atOnce: make(chan struct{}, maxAtOnce)}
	mux := http.NewServeMux()
	look := func(path string, h handler) { mux.Handle("GET "+Prefix+path, a.handle(h, looks)) }
	do := func(method, path string, h handler) { mux.Handle(method+" "+Prefix+path, a.handle(h, acts)) }
	look("rooms", a.list)
	look("rooms/{room}", a.look)
	do("DELETE", "rooms/{room}", a.end)
	do("POST", "rooms/{room}/announcements", a.announce)
	do("DELETE", "rooms/{room}/visitors/{visitor}", a.kick)
	do("GET", "bans", a.bans)
	do("POST", "bans", a.ban)
	do("DELETE", "bans/{ban}", a.unban)
	do("GET", "limits", a.limits)
	do("PATCH", "limits", a.setLimits)
	mux.HandleFunc(Prefix, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusNotFound, problem{"no such request; see docs/OPERATORS-API.md"})
	})
	return mux
}

// handler carries out a request and returns the answer, nil for none. trusted
// is whether it bears the token.
type handler func(r *http.Request, trusted bool) (any, error)

// what a request is about to do.
type intent bool

const (
	looks intent = false // allowed on this machine without the token
	acts  intent = true
)

// handle checks who asks, bounds the request and answers it.
func (a *api) handle(h handler, what intent) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		trusted := a.gate.Bears(r)
		if !trusted && (what == acts || !access.Local(r)) {
			if r.Header.Get("Authorization") != "" {
				a.log.Warn("operator's request with a wrong token", "peer", r.RemoteAddr)
			}
			w.Header().Set("WWW-Authenticate", `Bearer realm="vnode"`)
			answer(w, http.StatusUnauthorized, problem{"the admin token is needed: Authorization: Bearer TOKEN"})
			return
		}
		select {
		case a.atOnce <- struct{}{}:
			defer func() { <-a.atOnce }()
		default:
			w.Header().Set("Retry-After", "1")
			answer(w, http.StatusServiceUnavailable, problem{"too many requests at once"})
			return
		}
		// Who does not take the answer must not keep the place. It fails
		// where there is no connection: in tests of the handler alone.
		conn := http.NewResponseController(w)
		_ = conn.SetWriteDeadline(time.Now().Add(2 * answerTime))
		defer func() { _ = conn.SetWriteDeadline(time.Time{}) }() // the connection's next request may not be ours
		ctx, cancel := context.WithTimeout(r.Context(), answerTime)
		defer cancel()
		r = r.WithContext(ctx)
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		v, err := h(r, trusted)
		a.finish(w, r, v, err)
	})
}

// finish answers a request with its result.
func (a *api) finish(w http.ResponseWriter, r *http.Request, v any, err error) {
	var tooLarge *http.MaxBytesError
	status := http.StatusInternalServerError
	switch {
	case err == nil && v == nil:
		w.WriteHeader(http.StatusNoContent)
		return
	case err == nil:
		answer(w, http.StatusOK, v)
		return
	case errors.As(err, &tooLarge):
		status = http.StatusRequestEntityTooLarge
	case errors.Is(err, ErrNotFound):
		status = http.StatusNotFound
	case errors.Is(err, ErrConflict):
		status = http.StatusConflict
	case errors.Is(err, ErrInvalid):
		status = http.StatusBadRequest
	case errors.Is(err, context.DeadlineExceeded):
		status = http.StatusGatewayTimeout
	}
	if status == http.StatusInternalServerError {
		a.log.Error("operator's request failed", "path", r.URL.Path, "error", err)
	}
	answer(w, status, problem{err.Error()})
}

// problem says why a request was not carried out.
type problem struct {
	Error string `json:"error"`
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// It fails only when the client is gone.
	_ = json.NewEncoder(w).Encode(v)
}

// read reads a request's body into v; an empty one leaves it as it is. What it
// does not know it refuses: a misspelt member must not be ignored.
func read(r *http.Request, v any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if errors.Is(err, io.EOF) {
		return nil
	}
	return invalid(err)
}

// invalid puts an error of reading a body into the right class.
func invalid(err error) error {
	var tooLarge *http.MaxBytesError
	if err == nil || errors.As(err, &tooLarge) {
		return err
	}
	return fmt.Errorf("%w: the body: %w", ErrInvalid, err)
}
