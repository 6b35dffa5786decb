package fanout

import "sync/atomic"

// signal is a channel that is closed once and made only when somebody asks for
// it: of ten thousand sessions hardly one is waited for.
type signal struct{ ch atomic.Pointer[chan struct{}] }

var fired = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// wait returns the channel.
func (s *signal) wait() <-chan struct{} {
	if c := s.ch.Load(); c != nil {
		return *c
	}
	c := make(chan struct{})
	s.ch.CompareAndSwap(nil, &c)
	return *s.ch.Load()
}

// fire closes the channel. It is called once.
func (s *signal) fire() {
	if !s.ch.CompareAndSwap(nil, &fired) {
		close(*s.ch.Load())
	}
}
