package muc

import (
	"sync"
	"sync/atomic"
	"time"

	"vnode/muc/rate"
)

// nodeLoad is how busy all rooms together keep the focus and main.
type nodeLoad struct {
	requests atomic.Int64 // bytes of IQs that wait for the focus
	full     atomic.Int64 // until when main is told too much, in ns since 1970

	mu   sync.Mutex
	main rate.Bucket // guarded by mu
}

// state is what rooms are told of the node with the next event.
func (s *Service) state(now time.Time) nodeState {
	return nodeState{
		limits: s.limits.Load(), visitors: int(s.visitors.Load()), held: int(s.held.Load()),
		requestsFull: s.load.requests.Load() >= maxNodeRequestBytes,
		mainFull:     now.UnixNano() < s.load.full.Load(),
	}
}

// waits counts bytes of IQs that wait for the focus.
func (s *Service) waits(n int) {
	s.load.requests.Add(int64(n))
	s.metrics.requestBytes.Add(float64(n))
}

// tellsMain counts a stanza that goes to main.
func (s *Service) tellsMain(now time.Time, size int) {
	l := s.limits.Load().Main
	if l.PerSecond <= 0 {
		return
	}
	s.load.mu.Lock()
	defer s.load.mu.Unlock()
	if !s.load.main.TakeSome(l, units(size), now) {
		s.load.full.Store(now.Add(s.load.main.Wait(l, now)).UnixNano())
	}
}

// units is what a stanza of that size counts where its length matters: one for
// each KiB, or part of it.
func units(size int) int { return max(1, (size+1<<10-1)>>10) }
