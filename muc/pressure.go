package muc

import (
	"sync"
	"sync/atomic"
	"time"

	"vnode/muc/rate"
	"vnode/muc/room"
)

// nodeLoad is how busy all rooms together keep the focus and main.
type nodeLoad struct {
	requests atomic.Int64 // bytes of IQs that wait for the focus
	full     atomic.Int64 // until when main is told too much, in ns since 1970

	mu   sync.Mutex
	main rate.Bucket // guarded by mu
}

// state is what rooms are told of the node with the next event.
func (s *Service) state(now time.Time) room.Node {
	return room.Node{
		Now: now, Limits: s.limits.Load(), Visitors: int(s.visitors.Load()), Held: int(s.held.Load()),
		RequestsFull: s.load.requests.Load() >= room.MaxRequestBytes,
		MainFull:     now.UnixNano() < s.load.full.Load(),
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
	if !s.load.main.TakeSome(l, room.Units(size), now) {
		s.load.full.Store(now.Add(s.load.main.Wait(l, now)).UnixNano())
	}
}
