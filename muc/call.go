package muc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vnode/internal/wire"
)

// ErrNoRoom is in the tree of the error for a room that is not on the node.
var ErrNoRoom = errors.New("muc: no such room")

// call is something the operator wants of a room, done in its turn by the
// room's goroutine.
type call struct {
	do   func(now time.Time, b *box) bool // false: there is nothing to do it to
	done chan bool                        // buffered; false: the room ended before
}

// answer tells whoever waits, unless it has been told.
func (c *call) answer(ran bool) {
	if c == nil {
		return
	}
	select {
	case c.done <- ran:
	default:
	}
}

// find returns the room of that name: its address, in either form, or only its
// localpart between servers.
func (s *Service) find(name string) *box {
	j, err := wire.ParseJID(name)
	if err != nil {
		return nil
	}
	local := name // a localpart reads as a domain
	if j.Local != "" {
		var ok bool
		if local, ok = s.domains.Real(j.Local, j.Domain); !ok {
			return nil
		}
	}
	return s.boxOf(local)
}

// ask lets a room do something and waits until it has. The error is of
// [ErrNoRoom] or ctx's; after the latter the room does it still.
func (s *Service) ask(ctx context.Context, name string, do func(time.Time, *box)) error {
	return s.askBox(ctx, name, onRoom(do))
}

// onRoom does something if a room lives.
func onRoom(do func(time.Time, *box)) func(time.Time, *box) bool {
	return func(now time.Time, b *box) bool {
		if !b.room.Lives() {
			return false
		}
		do(now, b)
		return true
	}
}

// askBox is ask for what can be done also while no room lives.
func (s *Service) askBox(ctx context.Context, name string, do func(time.Time, *box) bool) error {
	b := s.find(name)
	if b == nil {
		return fmt.Errorf("%w: %s", ErrNoRoom, name)
	}
	c := &call{do: do, done: make(chan bool, 1)}
	if !b.mail.push(event{call: c}) {
		return fmt.Errorf("%w: %s", ErrNoRoom, name)
	}
	select {
	case ran := <-c.done:
		if !ran {
			return fmt.Errorf("%w: %s", ErrNoRoom, name)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("muc: waiting for room %s: %w", name, ctx.Err())
	}
}
