package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// maxBody bounds what an operator may send.
const maxBody = 4 << 10

// decode reads a request's JSON body into v; an empty body leaves it as it is.
// What it does not know it refuses: a misspelt timeout must not be none.
func decode(w http.ResponseWriter, r *http.Request, v any) bool {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil && !errors.Is(err, io.EOF) {
		writeJSON(w, http.StatusBadRequest, problem{fmt.Sprintf("the body is not what was expected: %v", err)})
		return false
	}
	return true
}

// duration is written as in the configuration: "10m".
type duration time.Duration

func (d *duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil || v < 0 {
		return fmt.Errorf("%q is not a duration such as 10m", text)
	}
	*d = duration(v)
	return nil
}

// drain answers POST /admin/drain, {"timeout": "30m", "force": true}.
func (s *Server) drain(w http.ResponseWriter, r *http.Request) {
	var ask struct {
		Timeout duration `json:"timeout"`
		Force   bool     `json:"force"`
	}
	if !decode(w, r, &ask) {
		return
	}
	if err := s.o.Control.Drain(r.Context(), time.Duration(ask.Timeout), "an operator drains the node", ask.Force); err != nil {
		writeJSON(w, http.StatusConflict, problem{err.Error()})
		return
	}
	s.o.Log.Info("an operator drains the node", "timeout", time.Duration(ask.Timeout), "forced", ask.Force)
	writeJSON(w, http.StatusAccepted, s.report())
}

// undrain answers DELETE /admin/drain.
func (s *Server) undrain(w http.ResponseWriter, _ *http.Request) {
	if err := s.o.Control.Undrain(); err != nil {
		writeJSON(w, http.StatusConflict, problem{err.Error()})
		return
	}
	s.o.Log.Info("an operator called the drain off")
	writeJSON(w, http.StatusOK, s.report())
}

// How long a target is logged in detail: a debug log that nobody turns off
// fills a disk.
const (
	debugFor    = 15 * time.Minute
	debugAtMost = 24 * time.Hour
)

// debugged answers GET /admin/debug.
func (s *Server) debugged(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, s.o.Source.Debugged())
}

// debug answers POST /admin/debug, {"target": "room or session", "for": "15m"}.
func (s *Server) debug(w http.ResponseWriter, r *http.Request) {
	ask := struct {
		Target string   `json:"target"`
		For    duration `json:"for"`
	}{For: duration(debugFor)}
	if !decode(w, r, &ask) {
		return
	}
	d := time.Duration(ask.For)
	switch {
	case ask.Target == "":
		writeJSON(w, http.StatusBadRequest, problem{`name a room or a session: {"target": "demo@conference.v3.meet.jitsi"}`})
		return
	case d <= 0 || d > debugAtMost:
		writeJSON(w, http.StatusBadRequest, problem{fmt.Sprintf("for: between 1s and %s", debugAtMost)})
		return
	}
	if err := s.o.Control.Debug(ask.Target, d); err != nil {
		writeJSON(w, http.StatusConflict, problem{err.Error()})
		return
	}
	s.o.Log.Info("an operator turned a debug log on", "target", ask.Target, "for", d)
	writeJSON(w, http.StatusOK, s.o.Source.Debugged())
}

// undebug answers DELETE /admin/debug?target=….
func (s *Server) undebug(w http.ResponseWriter, r *http.Request) {
	target := r.URL.Query().Get("target")
	if err := s.o.Control.Debug(target, 0); err != nil {
		writeJSON(w, http.StatusConflict, problem{err.Error()})
		return
	}
	s.o.Log.Info("an operator turned a debug log off", "target", target)
	writeJSON(w, http.StatusOK, s.o.Source.Debugged())
}
