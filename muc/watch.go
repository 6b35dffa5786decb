package muc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"vnode/internal/wire"
)

// Watcher is told of the visitors of a room as they come and go. Its methods
// are called by the room's goroutine, in order, and must not block.
type Watcher interface {
	// Here: a visitor came, or has another display name.
	Here(VisitorName)
	// Gone: a visitor with that id left.
	Gone(id string)
	// Ended: the room has ended; nothing more will be told.
	Ended()
}

// VisitorName is a visitor as others know it.
type VisitorName struct {
	ID   string // nick in the room
	Name string // display name, "" for none
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
func (s *Service) Watch(ctx context.Context, name string, w Watcher) (list []VisitorName, err error) {
	var refused error
	err = s.ask(ctx, name, func(_ time.Time, r *room) {
		if len(r.watchers) >= maxWatchers {
			refused = fmt.Errorf("%w: %s", ErrWatched, name)
			return
		}
		r.watchers = append(r.watchers, w)
		list = r.visitorNames()
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
	b.mail.push(event{kind: evCall, call: &call{done: make(chan bool, 1), do: func(now time.Time, h *hall) bool {
		return h.onRoom(now, func(_ time.Time, r *room) {
			r.watchers = slices.DeleteFunc(r.watchers, func(x Watcher) bool { return x == w })
		})
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

func (r *room) visitorNames() []VisitorName {
	var visitors []*occupant
	for o := range r.nicks.All() {
		if o.kind == visitor {
			visitors = append(visitors, o)
		}
	}
	slices.SortFunc(visitors, func(a, b *occupant) int { return cmp.Or(cmp.Compare(a.joined, b.joined), cmp.Compare(a.nick, b.nick)) })
	names := make([]VisitorName, len(visitors))
	for i, o := range visitors {
		names[i] = VisitorName{ID: o.nick, Name: o.name()}
	}
	return names
}

// tellHere tells watchers that a visitor is here, under that name.
func (r *room) tellHere(o *occupant) {
	for _, w := range r.watchers {
		w.Here(VisitorName{ID: o.nick, Name: o.name()})
	}
}

// tellEnded tells watchers that the room has ended, once.
func (r *room) tellEnded() {
	for _, w := range r.watchers {
		w.Ended()
	}
	r.watchers = nil
}
