package muc

import (
	"cmp"
	"slices"
	"time"

	"vnode/internal/wire"
	"vnode/muc/room"
)

// RoomRecord is what must outlive the process of a room: enough to tell the focus,
// when it logs in to the next process, that the room is gone.
type RoomRecord struct {
	Local string    `json:"room"`  // localpart between servers
	Focus string    `json:"focus"` // bare JID
	Nick  string    `json:"nick"`  // of the focus
	Ended time.Time `json:"ended"` // zero while the room lives
}

// MaxRecords bounds what [Service.Records] returns: the rooms that live, and as
// many that ended without the focus knowing.
const MaxRecords = 2 * maxLost

// Records returns the rooms that a crash would make the focus believe in, by
// name: those that live, and those whose end it may not have heard of.
func (s *Service) Records() []RoomRecord {
	list := s.records()
	slices.SortFunc(list, func(a, b RoomRecord) int {
		return cmp.Or(cmp.Compare(a.Local, b.Local), a.Ended.Compare(b.Ended))
	})
	return list[:min(len(list), MaxRecords)]
}

func (s *Service) records() []RoomRecord {
	now := time.Now()
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := make([]RoomRecord, 0, len(s.rooms)+len(s.lost))
	for local, b := range s.rooms {
		if b.lives && b.focus != (wire.JID{}) && !room.IsHealthCheck(local) {
			list = append(list, RoomRecord{Local: local, Focus: b.focus.String(), Nick: b.nick})
		}
	}
	for local, room := range s.lost {
		if room.told && now.Sub(room.at) > unheard {
			continue
		}
		list = append(list, RoomRecord{Local: local, Focus: room.focus.String(), Nick: room.nick, Ended: room.ended})
	}
	return list
}

// RecordsChanged gets a value when [Service.Records] may have changed.
func (s *Service) RecordsChanged() <-chan struct{} { return s.changed }

// recordsChange says that the records have changed. It does not block.
func (s *Service) recordsChange() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// Recall takes over the records of the process before this one, before anybody
// logs in: their rooms are gone, and the focus is told so when it logs in. A
// record that names no focus is left out. It returns how many were taken.
func (s *Service) Recall(records []RoomRecord) (taken int) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range records[:min(len(records), MaxRecords)] {
		focus, err := wire.ParseJID(x.Focus)
		if err != nil || focus.Local == "" || x.Local == "" || x.Nick == "" || s.rooms[x.Local] != nil && s.rooms[x.Local].lives {
			continue
		}
		ended := x.Ended
		if ended.IsZero() || ended.After(now) {
			ended = now
		}
		s.lost.add(x.Local, lostRoom{focus: focus.Bare(), nick: x.Nick, ended: ended, reason: room.Lost()})
		taken++
	}
	return taken
}
