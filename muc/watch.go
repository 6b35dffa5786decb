package muc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"vnode/internal/wire"
	"vnode/muc/room"
)

// Watcher is told of the visitors of a room as they come and go. Its methods
// are called by the room's goroutine, in order, and must not block.
type Watcher interface {
	// Here: a visitor came, or has another display name.
	Here(room.VisitorName)
	// Gone: a visitor with that id left.
	Gone(id string)
	// Ended: the room has ended; nothing more will be told.
	Ended()
}

// ErrWatched is in the tree of the error for a room with too many watchers.
var ErrWatched = errors.New("muc: too many watch the room")

// maxWatchers bounds those of one room: its moderators.
const maxWatchers = 200

// Watch lists the visitors of a room, in the order they came, and tells w of
// every change from then on, until [Service.Unwatch] or the room's end. w must
// be comparable. name is as for [Service.Room]. Watch blocks until the room has
// answered; the error is of [ErrNoRoom], [ErrWatched] or ctx's. After ctx's, the
// room may tell w still: Unwatch it.
func (s *Service) Watch(ctx context.Context, name string, w Watcher) (list []room.VisitorName, err error) {
	var refused error
	err = s.ask(ctx, name, func(_ time.Time, b *box) {
		if len(b.watchers) >= maxWatchers {
			refused = fmt.Errorf("%w: %s", ErrWatched, name)
			return
		}
		b.watchers = append(b.watchers, w)
		list = b.room.VisitorNames()
	})
	switch {
	case err != nil:
		return nil, err
	case refused != nil:
		return nil, refused
	}
	return list, nil
}

// Unwatch ends a [Service.Watch]. It does not wait for the room, which may tell
// w of something yet.
func (s *Service) Unwatch(name string, w Watcher) {
	b := s.find(name)
	if b == nil {
		return
	}
	b.mail.push(event{call: &call{done: make(chan bool, 1), do: func(_ time.Time, b *box) bool {
		b.watchers = slices.DeleteFunc(b.watchers, func(x Watcher) bool { return x == w })
		return true
	}}})
}

// RoomOfMeeting returns the address between servers of the room with that
// meeting id; ok is false when there is none. Of several it is the one that
// main told of last.
func (s *Service) RoomOfMeeting(meeting string) (address string, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b := s.meetings[meeting]
	if b == nil {
		return "", false
	}
	return wire.JID{Local: b.local, Domain: s.domains.Rooms}.String(), true
}

// meets notes the meeting of a room.
func (s *Service) meets(b *box, meeting string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.meetings[b.meeting] == b {
		delete(s.meetings, b.meeting)
	}
	b.meeting, s.meetings[meeting] = meeting, b
}
