package muc

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// RoomInfo is what the operator sees of a room. It is a copy.
type RoomInfo struct {
	// Name is the room's address as clients know it, and Address the one
	// between servers; they differ for a tenant's room.
	Name, Address string
	// MeetingID is main's, or the node's own until main has told it.
	MeetingID string
	// Made is when the focus made the room on this node; Created when the
	// meeting began on main, zero while main has not said.
	Made, Created time.Time
	// Connected: main has connected the room, visitors are let in.
	Connected bool
	// MainLost: main, or its room, has gone; the room ends when it does not
	// come back in time.
	MainLost bool
	// Lobby is on in the main room; Password protects it.
	Lobby, Password bool

	Visitors     int // in the room
	Queued       int // waiting for main's connect
	Participants int // of the main room
	Moderators   int // among them
	RaisedHands  int // of visitors
	Polls, Files int

	// Over: no room lives. The visitors of one that a fault has ended are held, or
	// joins wait for one.
	Over bool
	// Held are visitors of an earlier room that have not been told to come back,
	// HeldWhy says why they are held, and HeldFor what they wait for, in words;
	// HeldSince is when it began.
	Held             int
	HeldWhy, HeldFor string
	HeldSince        time.Time

	// Stanzas is how many the room has published to its visitors so far.
	Stanzas uint64
}

// OccupantInfo is what the operator sees of an occupant. It is a copy.
type OccupantInfo struct {
	// Session is a visitor's; nil for participants.
	Session Session
	// ID is the occupant's nick, which Jitsi uses as its endpoint id. It is
	// unique in the room.
	ID string
	// Name is the display name a visitor gave; "" for none, and for others.
	Name string
	// JID is the real full JID.
	JID  string
	Role string
	// Joined is when it came into the room on this node.
	Joined time.Time
	// RaisedHand and Language (it wants transcribed) are of visitors.
	RaisedHand bool
	Language   string
	// UserID is what a visitor's token calls it, Address where it connects
	// from; zero for who has none or is not known.
	UserID  string
	Address netip.Addr
}

// RoomDetail is a room with its occupants, but for the focus, oldest first.
type RoomDetail struct {
	RoomInfo
	ParticipantList []OccupantInfo
	VisitorList     []OccupantInfo
}

// Rooms returns all rooms on the node, by name. Each room is asked in its own
// goroutine's turn, all at once; a room that ends meanwhile is left out. Rooms
// blocks until all have answered, or returns ctx's error.
func (s *Service) Rooms(ctx context.Context) ([]RoomInfo, error) {
	s.mu.RLock()
	boxes := slices.Collect(maps.Values(s.rooms))
	s.mu.RUnlock()
	infos := make(chan RoomInfo, len(boxes))
	calls := make([]*call, 0, len(boxes))
	for _, b := range boxes {
		c := &call{done: make(chan bool, 1), do: func(_ time.Time, b *box) bool {
			i, shown := b.hall.summary()
			if shown {
				infos <- b.published(i)
			}
			return shown
		}}
		if b.mail.push(event{kind: evCall, call: c}) {
			calls = append(calls, c)
		}
	}
	list := make([]RoomInfo, 0, len(calls))
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
	slices.SortFunc(list, func(a, b RoomInfo) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

// Room returns one room with its occupants. name is its address as clients or
// servers know it, or its localpart between servers. Room blocks until the room
// has answered; the error is of [ErrNoRoom] or ctx's.
func (s *Service) Room(ctx context.Context, name string) (RoomDetail, error) {
	var d RoomDetail
	err := s.askBox(ctx, name, func(_ time.Time, b *box) (shown bool) {
		d, shown = b.hall.detail()
		d.RoomInfo = b.published(d.RoomInfo)
		return shown
	})
	if err != nil {
		return RoomDetail{}, err
	}
	for i := range d.VisitorList {
		o := &d.VisitorList[i]
		who := personOf(o.Session)
		o.UserID, o.Address, o.Session = who.user, who.address, nil
	}
	return d, nil
}

// published adds what the box knows of its room.
func (b *box) published(i RoomInfo) RoomInfo {
	i.Stanzas = b.log.Head()
	return i
}

// summary is the room that lives, with what the hall knows besides; false: there
// is nothing to be seen.
func (h *hall) summary() (RoomInfo, bool) {
	i := RoomInfo{Name: h.pub.String(), Address: h.addr.String(), Over: true}
	if h.life != nil {
		i = h.life.summary()
	}
	i.Queued += h.waiting.len()
	if d := h.held; d != nil && d.untold > 0 {
		i.Held, i.HeldWhy, i.HeldSince, i.HeldFor = d.untold, d.why, d.since, d.waitsFor(h)
	}
	return i, !i.Over || i.Held > 0 || i.Queued > 0
}

func (r *room) summary() RoomInfo {
	i := RoomInfo{
		Name: r.pub.String(), Address: r.addr.String(), MeetingID: r.meetingID,
		Made: r.made, Created: createdTime(r.created),
		Connected: r.connected, MainLost: r.armed[alarmMain], Lobby: r.lobby, Password: r.password != "",
		Visitors: r.visitors, Queued: r.queue.joins(), Participants: len(r.participants),
		Polls: r.polls.Len(), Files: r.files.Len(),
	}
	for _, p := range r.participants {
		if p.role == roleModerator {
			i.Moderators++
		}
	}
	for o := range r.nicks.All() {
		if o.hand {
			i.RaisedHands++
		}
	}
	return i
}

// createdTime reads milliseconds since 1970; zero for what is none.
func createdTime(milliseconds string) time.Time {
	n, err := strconv.ParseInt(milliseconds, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(n)
}

// detail is the room with its occupants, oldest first; false: there is nothing to
// be seen.
func (h *hall) detail() (d RoomDetail, shown bool) {
	if h.life != nil {
		d = h.life.detail()
	}
	d.RoomInfo, shown = h.summary()
	return d, shown
}

func (r *room) detail() RoomDetail {
	d := RoomDetail{
		ParticipantList: make([]OccupantInfo, 0, len(r.participants)),
		VisitorList:     make([]OccupantInfo, 0, r.visitors),
	}
	participants := slices.Clone(r.participants)
	byArrival(participants)
	for _, o := range participants {
		d.ParticipantList = append(d.ParticipantList, r.occupantInfo(o))
	}
	for _, o := range r.audience() {
		d.VisitorList = append(d.VisitorList, r.occupantInfo(o))
	}
	return d
}

func (r *room) occupantInfo(o *occupant) OccupantInfo {
	return OccupantInfo{
		Session: o.session,
		ID:      o.nick, Name: o.name(), JID: o.jid().String(), Role: o.role.String(), Joined: r.made.Add(o.joined),
		RaisedHand: o.hand, Language: o.language(),
	}
}
