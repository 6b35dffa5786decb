package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// maxWatchers is how many event streams there may be: each costs an encoding
// of its own when it shows a room, and a connection.
const maxWatchers = 32

// writeTimeout ends an event stream whose client takes nothing any more.
const writeTimeout = 10 * time.Second

// hub hands each status to the event streams. A stream that is still busy with
// the one before misses one: it shows what is, not what was.
type hub struct {
	// Static after construction.
	limit int

	// Owned by the watching goroutine.
	rates roomRates

	mu       sync.Mutex
	watchers map[chan []byte]bool // guarded by mu; whether they are told of people
}

func newHub(limit int) *hub {
	return &hub{limit: limit, watchers: make(map[chan []byte]bool)}
}

// join adds a stream, which is told of people or not; nil when there are too
// many.
func (h *hub) join(people bool) chan []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.watchers) >= h.limit {
		return nil
	}
	c := make(chan []byte, 1)
	h.watchers[c] = people
	return c
}

func (h *hub) leave(c chan []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.watchers, c)
}

func (h *hub) any() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.watchers) > 0
}

// tell tells each stream what it may know.
func (h *hub) tell(whole, public []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c, people := range h.watchers {
		status := public
		if people {
			status = whole
		}
		select {
		case c <- status:
		default:
		}
	}
}

// events answers GET /status/events with server-sent events: "status" each
// second, and with ?room= also "room", or "gone" when it is not there.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	people := s.gate.Bears(r)
	news := s.hub.join(people)
	if news == nil {
		w.Header().Set("Retry-After", "10")
		writeJSON(w, http.StatusServiceUnavailable, problem{fmt.Sprintf("%d status pages are open already", maxWatchers)})
		return
	}
	defer s.hub.leave(news)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would hold events back
	out := stream{w: w, c: http.NewResponseController(w)}
	out.rates.at = time.Now()
	name := r.URL.Query().Get("room")
	first := s.status(r.Context(), new(roomRates))
	if !people {
		first = first.public()
	}
	b, err := json.Marshal(first)
	for err == nil {
		err = out.event("status", b)
		if err == nil && name != "" {
			err = s.roomEvent(r.Context(), &out, name, people)
		}
		if err == nil {
			err = out.flush()
		}
		if err != nil {
			return
		}
		select {
		case b = <-news:
		case <-s.stopped:
			return
		case <-r.Context().Done():
			return
		}
	}
}

func (s *Server) roomEvent(ctx context.Context, out *stream, name string, people bool) error {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	d, err := s.room(ctx, name, people)
	switch {
	case errors.Is(err, ErrNoRoom):
		return out.event("gone", []byte(`{}`))
	case err != nil:
		return nil // the next status tells of the trouble
	}
	rooms := []Room{d.Room}
	out.rates.update(time.Now(), rooms)
	d.Room = rooms[0]
	b, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("encode room: %w", err)
	}
	return out.event("room", b)
}

// stream is one response of events.
type stream struct {
	w     http.ResponseWriter
	c     *http.ResponseController
	rates roomRates
}

// event writes one event; data is one line.
func (s *stream) event(name string, data []byte) error {
	// It fails where there is no connection: in tests of the handler alone.
	_ = s.c.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err := fmt.Fprintf(s.w, "event: %s\ndata: %s\n\n", name, data)
	return err
}

func (s *stream) flush() error { return s.c.Flush() }
