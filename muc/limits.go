package muc

import "vnode/muc/room"

// Limits returns the limits in force.
func (s *Service) Limits() room.Limits { return *s.limits.Load() }

// SetLimits replaces the limits, for all rooms and at once: who is in stays in,
// whoever comes or writes from now on is bound by l. On an error nothing has
// changed. It does not block.
func (s *Service) SetLimits(l room.Limits) error {
	if err := l.Validate(); err != nil {
		return err
	}
	l = l.WithDefaults()
	s.limits.Store(&l)
	return nil
}
