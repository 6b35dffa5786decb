package admin

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"slices"
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

// Process names this process by chance: it tells nothing of the node.
var Process = rand.Text()

// Report is the answer of /readyz and /healthz.
type Report struct {
	// Process is [Process] of the node: one that finds its own has asked itself.
	Process string `json:"process"`
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
// nor unready: rooms wait for main. But a node that has never reached main is not
// ready: most likely it was told a wrong address, and who replaces nodes one after
// the other must not go on to the next. A jicofo that is away makes a node unready
// only where it is wanted: what is there goes on.
func (s *Server) report() Report {
	state, why := s.o.Health.Get()
	r := Report{Process: Process, Ready: state == Ready, State: state, Reasons: []string{}, Links: make(map[string]bool)}
	if why != "" {
		r.Reasons = append(r.Reasons, why)
	}
	focus := s.o.Source.Focus()
	if r.Focus = focus.LoggedIn; !r.Focus && focus.Reason != "" {
		r.Ready = r.Ready && !focus.Wanted
		r.Reasons = append(r.Reasons, focus.Reason)
	}
	links := s.o.Source.Links()
	if !s.reachedMain(links) {
		r.Ready = false
		r.Reasons = append(r.Reasons, "main has not been reached since the start")
	}
	for _, l := range links {
		r.Links[l.From+" -> "+l.To] = l.Up
		if !l.Up {
			r.Reasons = append(r.Reasons, l.words())
		}
	}
	return r
}

// mainLink names the stream that a node cannot do without.
const mainLink = "main"

// reachedMain reports whether the stream to main has been up since the start.
func (s *Server) reachedMain(links []Link) bool {
	if slices.ContainsFunc(links, func(l Link) bool { return l.Name == mainLink && l.Up }) {
		s.reached.Store(true)
	}
	return s.reached.Load()
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
