package room

import (
	"errors"
	"fmt"
	"time"

	"vnode/muc/rate"
)

// Limits are what an operator changes while conferences run, see
// muc.Service.SetLimits. Zero counts mean the defaults below, zero rates none.
type Limits struct {
	MaxRooms          int // rooms on the node; default 10000
	MaxVisitors       int // visitors in one room, the focus not counted; default 20000
	MaxVisitorsOnNode int // visitors in all rooms; default 20000

	// Joins and Leaves bound how often visitors come and go in one room, as
	// the focus sees it. What exceeds them waits, in order: a leave never
	// overtakes a join, nor a join a leave. A visitor that left is out at
	// once; it is the focus that hears of it later.
	Joins, Leaves rate.Limit

	// Presences bounds those of one visitor after its join. The latest of
	// what exceeds it waits.
	Presences rate.Limit

	Chat Chat

	// Main bounds what visitors of all rooms make the main server hear. A
	// stanza counts once for each KiB. When the limit is reached, messages are
	// refused and raised hands wait; a room may always say a little.
	Main rate.Limit
}

// Audience says who hears what visitors write.
type Audience string

const (
	HeardByAll      Audience = "all"      // visitors and the main room
	HeardByVisitors Audience = "visitors" // those of the room here; main gets nothing
	HeardByNobody   Audience = "nobody"   // visitors may not write
)

// Chat bounds what visitors write, to the room and to single participants.
type Chat struct {
	Audience Audience      // all when empty
	Visitor  rate.Limit    // messages of one visitor; a long one counts once for each KiB
	Room     rate.Limit    // messages of all visitors of a room, counted likewise
	SlowMode time.Duration // between two messages of one visitor; 0 for none
}

func (l Limits) WithDefaults() Limits {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&l.MaxRooms, 10000)
	def(&l.MaxVisitors, 20000)
	def(&l.MaxVisitorsOnNode, 20000)
	if l.Chat.Audience == "" {
		l.Chat.Audience = HeardByAll
	}
	return l
}

// Validate reports what is out of range, all of it at once.
func (l Limits) Validate() error {
	l = l.WithDefaults()
	var errs []error
	for name, n := range map[string]int{"MaxRooms": l.MaxRooms, "MaxVisitors": l.MaxVisitors, "MaxVisitorsOnNode": l.MaxVisitorsOnNode} {
		if n < 0 {
			errs = append(errs, fmt.Errorf("muc: %s is negative", name))
		}
	}
	for name, r := range map[string]rate.Limit{"Joins": l.Joins, "Leaves": l.Leaves, "Presences": l.Presences, "Chat.Visitor": l.Chat.Visitor, "Chat.Room": l.Chat.Room, "Main": l.Main} {
		if r.PerSecond < 0 || r.Burst < 0 {
			errs = append(errs, fmt.Errorf("muc: %s is negative", name))
		}
	}
	if l.Chat.SlowMode < 0 {
		errs = append(errs, errors.New("muc: Chat.SlowMode is negative"))
	}
	switch l.Chat.Audience {
	case HeardByAll, HeardByVisitors, HeardByNobody:
	default:
		errs = append(errs, fmt.Errorf("muc: Chat.Audience %q is none of all, visitors, nobody", l.Chat.Audience))
	}
	return errors.Join(errs...)
}
