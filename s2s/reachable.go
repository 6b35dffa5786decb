package s2s

import (
	"math/rand/v2"
	"time"
)

// One pair that finds main again knows something for all: without telling them
// each would find out by itself, up to RetryMax later, and what main's
// components send meanwhile over streams only we open (history, promotion
// answers) would be lost.

const (
	// soon is the longest pause left to a pair that was told.
	soon = 200 * time.Millisecond
	// tellEvery bounds how often one pair is told: two whose streams are
	// refused right after authentication must not keep each other busy.
	tellEvery = 10 * time.Second
)

// reachable tells all pairs that wait to dial remote's address that something
// there answers: a stream with remote became ready, whoever opened it.
func (s *Server) reachable(remote string) {
	c := s.cfg.Load()
	address := c.target(remote)
	for _, p := range s.allPairs() {
		if c.target(p.remote) == address {
			p.encourage()
		}
	}
}

// encourage cuts the pause of a waiting dial loop short.
func (p *pair) encourage() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.dialing || len(p.carriers) > 0 || time.Since(p.encouraged) < tellEvery {
		return
	}
	p.encouraged, p.hopeful = time.Now(), true
	p.nudge()
}

// takeHope reports, once, that the pair was encouraged.
func (p *pair) takeHope() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	hopeful := p.hopeful
	p.hopeful = false
	return hopeful
}

// jitter is a random part of soon.
func jitter() time.Duration { return rand.N(soon) }
