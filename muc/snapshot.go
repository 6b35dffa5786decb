package muc

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"vnode/muc/room"
)

// Rooms returns all rooms on the node, by name. Each room is asked in its own
// goroutine's turn, all at once; a room that ends meanwhile is left out. Rooms
// blocks until all have answered, or returns ctx's error.
func (s *Service) Rooms(ctx context.Context) ([]room.Info, error) {
	s.mu.RLock()
	boxes := slices.Collect(maps.Values(s.rooms))
	s.mu.RUnlock()
	infos := make(chan room.Info, len(boxes))
	calls := make([]*call, 0, len(boxes))
	for _, b := range boxes {
		c := &call{done: make(chan bool, 1), do: func(_ time.Time, b *box) bool {
			i, shown := b.room.Info()
			if shown {
				infos <- b.published(i)
			}
			return shown
		}}
		if b.mail.push(event{call: c}) {
			calls = append(calls, c)
		}
	}
	list := make([]room.Info, 0, len(calls))
	for _, c := range calls {
		select {
		case ran := <-c.done:
			if ran {
				list = append(list, <-infos)
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("muc: waiting for rooms: %w", ctx.Err())
		}
	}
	slices.SortFunc(list, func(a, b room.Info) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

// Room returns one room with its occupants. name is its address as clients or
// servers know it, or its localpart between servers. Room blocks until the room
// has answered; the error is of [ErrNoRoom] or ctx's.
func (s *Service) Room(ctx context.Context, name string) (room.Detail, error) {
	var d room.Detail
	err := s.askBox(ctx, name, func(_ time.Time, b *box) (shown bool) {
		d, shown = b.room.Detail()
		d.Info = b.published(d.Info)
		return shown
	})
	if err != nil {
		return room.Detail{}, err
	}
	for i := range d.VisitorList {
		o := &d.VisitorList[i]
		who := personOf(o.Session.(Session))
		o.UserID, o.Address, o.Session = who.user, who.address, nil
	}
	return d, nil
}

// published adds what the box knows of its room.
func (b *box) published(i room.Info) room.Info {
	i.Stanzas = b.log.Head()
	return i
}
