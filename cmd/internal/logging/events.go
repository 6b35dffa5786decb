package logging

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// Event is something that happened in a room.
type Event struct {
	Time  time.Time
	Level slog.Level
	Text  string
}

// What is remembered: so many events of each of so many rooms.
const (
	maxEvents     = 50
	maxEventRooms = 500
)

// events are what happened lately, by room.
type events struct {
	mu    sync.Mutex
	rooms map[string]*diary // guarded by mu
}

// diary is one room's events, the next one at next % maxEvents. They are not
// put into words: most are overwritten unread.
type diary struct {
	ring [maxEvents]slog.Record
	next int
}

func (e *events) add(room string, r slog.Record) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.rooms == nil {
		e.rooms = make(map[string]*diary)
	}
	d := e.rooms[room]
	if d == nil {
		e.makeSpace()
		d = new(diary)
		e.rooms[room] = d
	}
	d.ring[d.next%maxEvents] = r.Clone()
	d.next++
}

// makeSpace forgets the room that has been silent for longest when there are
// too many.
func (e *events) makeSpace() {
	if len(e.rooms) < maxEventRooms {
		return
	}
	var oldest string
	var since time.Time
	for room, d := range e.rooms {
		if t := d.ring[(d.next-1)%maxEvents].Time; oldest == "" || t.Before(since) {
			oldest, since = room, t
		}
	}
	delete(e.rooms, oldest)
}

// Events returns what happened in a room lately, the newest first: what its
// loggers were told from debug on.
func (l *Logs) Events(room string) []Event {
	l.events.mu.Lock()
	defer l.events.mu.Unlock()
	d := l.events.rooms[room]
	if d == nil {
		return nil
	}
	list := make([]Event, 0, maxEvents)
	for i := d.next - 1; i >= 0 && i >= d.next-maxEvents; i-- {
		r := d.ring[i%maxEvents]
		list = append(list, Event{r.Time, r.Level, words(r)})
	}
	return list
}

// words puts a record into a line.
func words(r slog.Record) string {
	var b strings.Builder
	b.WriteString(r.Message)
	separator := " ("
	r.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&b, "%s%s %s", separator, a.Key, a.Value)
		separator = ", "
		return true
	})
	if separator != " (" {
		b.WriteByte(')')
	}
	return b.String()
}
