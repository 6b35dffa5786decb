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
	n := room.Node{
		Now: now, Limits: s.limits.Load(), Visitors: int(s.visitors.Load()), Held: int(s.held.Load()),
		RequestsFull: s.load.requests.Load() >= room.MaxRequestBytes,
		MainFull:     now.UnixNano() < s.load.full.Load(),
	}
	if n.MainFull {
		n.MainShare = mainShare(n.Limits.Main, s.living())
	}
	return n
}

// mainShare is what each of so many rooms may tell main while all of them tell it
// too much.
func mainShare(l rate.Limit, rooms int) rate.Limit {
	const enough, burst = 2, 10
	rooms = max(rooms, 1)
	return rate.Limit{PerSecond: min(enough, l.PerSecond/float64(rooms)), Burst: min(burst, l.Burst/rooms)}
}

func (s *Service) living() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.lives
}

// waits counts bytes of IQs that wait for the focus.
func (s *Service) waits(n int) {
	s.load.requests.Add(int64(n))
	s.metrics.requestBytes.Add(float64(n))
}

// tellsMain counts a stanza of visitors that goes to main.
func (s *Service) tellsMain(now time.Time, size int) {
	l := s.limits.Load().Main
	if l.PerSecond <= 0 {
		return
	}
	s.load.mu.Lock()
	defer s.load.mu.Unlock()
	if wait := s.load.main.Spend(l, room.Units(size), now); wait > 0 {
		s.load.full.Store(now.Add(wait).UnixNano())
	}
}
