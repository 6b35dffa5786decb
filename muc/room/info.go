package room

import (
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// Info is what the operator sees of a room. It is a copy.
type Info struct {
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

// Detail is a room with its occupants, but for the focus, oldest first.
type Detail struct {
	Info
	ParticipantList []OccupantInfo
	VisitorList     []OccupantInfo
}

// Info is the room as an operator sees it; false: there
// is nothing to be seen.
func (h *Room) Info() (Info, bool) {
	i := Info{Name: h.pub.String(), Address: h.addr.String(), Over: true}
	if h.life != nil {
		i = h.life.summary()
	}
	i.Queued += h.waiting.len()
	if d := h.held; d != nil && d.untold > 0 {
		i.Held, i.HeldWhy, i.HeldSince, i.HeldFor = d.untold, d.fault.why, d.since, d.waitsFor(h)
	}
	return i, !i.Over || i.Held > 0 || i.Queued > 0
}

func (r *conference) summary() Info {
	i := Info{
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

// Detail is the room with its occupants, oldest first; false: there is nothing to
// be seen.
func (h *Room) Detail() (d Detail, shown bool) {
	if h.life != nil {
		d = h.life.detail()
	}
	d.Info, shown = h.Info()
	return d, shown
}

func (r *conference) detail() Detail {
	d := Detail{
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

func (r *conference) occupantInfo(o *occupant) OccupantInfo {
	return OccupantInfo{
		Session: o.session,
		ID:      o.nick, Name: o.name(), JID: o.jid().String(), Role: o.role.String(), Joined: r.made.Add(o.joined),
		RaisedHand: o.hand, Language: o.language(),
	}
}
