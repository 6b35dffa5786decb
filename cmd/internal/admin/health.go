package admin

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// State is what a node is about to do with new conferences.
type State string

// The states, in the order a node goes through them; a drain may be called
// off.
const (
	Starting State = "starting"
	Ready    State = "ready"
	Draining State = "draining" // until no conference is left
	Drained  State = "drained"  // none is, and jicofo was sent away
	Stopping State = "stopping"
)

// States are all of them.
var States = []State{Starting, Ready, Draining, Drained, Stopping}

// Health is the state of a node and the reason for it. The zero value is
// starting.
type Health struct {
	mu sync.Mutex
	// Guarded by mu.
	state State
	why   string
}

// Set changes the state; why says the reason in words, "" for none.
func (h *Health) Set(state State, why string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.state, h.why = state, why
}

// Get returns the state and its reason.
func (h *Health) Get() (state State, why string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state == "" {
		return Starting, "the node is starting"
	}
	return h.state, h.why
}

// Report is the answer of /readyz and /healthz.
type Report struct {
	// OK is what was asked for: healthy or ready.
	OK    bool  `json:"ok"`
	Ready bool  `json:"ready"`
	State State `json:"state"`
	// Reasons say in words what is wrong or unusual, the worst first.
	Reasons []string `json:"reasons"`
	// Focus: jicofo is logged in.
	Focus bool `json:"focus"`
	// Links are the streams to main: whether each is up.
	Links map[string]bool `json:"links"`
}

// aliveTimeout is how long the parts of the node have to answer. Each answers
// in its turn, behind the work that waits: seconds mean that a visitor waits
// as long.
const aliveTimeout = 5 * time.Second

// report tells how the node is. A link that is down makes it neither unhealthy
// nor unready: rooms wait for main. Nor does a jicofo that is away, unless it is
// wanted: what is there goes on.
func (s *Server) report() Report {
	state, why := s.o.Health.Get()
	r := Report{Ready: state == Ready, State: state, Reasons: []string{}, Links: make(map[string]bool)}
	if why != "" {
		r.Reasons = append(r.Reasons, why)
	}
	focus := s.o.Source.Focus()
	if r.Focus = focus.LoggedIn; !r.Focus && focus.Reason != "" {
		r.Ready = r.Ready && !focus.Wanted
		r.Reasons = append(r.Reasons, focus.Reason)
	}
	for _, l := range s.o.Source.Links() {
		r.Links[l.From+" -> "+l.To] = l.Up
		if !l.Up {
			r.Reasons = append(r.Reasons, l.words())
		}
	}
	return r
}

func (s *Server) readyz(w http.ResponseWriter, req *http.Request) {
	r := s.report()
	r.OK = r.Ready
	s.answerHealth(w, req, r)
}

func (s *Server) healthz(w http.ResponseWriter, req *http.Request) {
	ctx, cancel := context.WithTimeout(req.Context(), aliveTimeout)
	defer cancel()
	r := s.report()
	r.OK = true
	if err := s.o.Source.Alive(ctx); err != nil {
		r.OK = false
		r.Reasons = append([]string{fmt.Sprintf("the node does not answer: %v", err)}, r.Reasons...)
	}
	s.answerHealth(w, req, r)
}

// answerHealth tells who asks by a name that is not the node's, as some load
// balancers do, no more than the state.
func (s *Server) answerHealth(w http.ResponseWriter, req *http.Request, r Report) {
	if !s.gate.Bears(req) && !s.knows(req) {
		r.Reasons, r.Links = []string{}, map[string]bool{}
	}
	status := http.StatusOK
	if !r.OK {
		status = http.StatusServiceUnavailable
	}
	writeJSON(w, status, r)
}
