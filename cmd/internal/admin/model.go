package admin

import (
	"context"
	"errors"
	"time"
)

// Identity is what never changes while a node runs.
type Identity struct {
	Host    string    `json:"host"`  // v3.meet.jitsi
	Rooms   string    `json:"rooms"` // conference.v3.meet.jitsi
	Version string    `json:"version"`
	Started time.Time `json:"started"`
}

// Link is a stream to main that the node keeps open.
type Link struct {
	// Name says what it is for: main, rooms, visitors or polls.
	Name string `json:"name"`
	From string `json:"from"`
	To   string `json:"to"`
	Up   bool   `json:"up"`
	// Reason says in words why it is down, "" when nothing is known.
	Reason string `json:"reason"`
}

// words tells that the link is down, and why.
func (l Link) words() string {
	if l.Reason == "" {
		return "no stream to " + l.To + " yet"
	}
	return "no stream to " + l.To + ": " + l.Reason
}

// Focus is jicofo, as far as the node sees it.
type Focus struct {
	LoggedIn bool `json:"loggedIn"`
	// Wanted: while it is not logged in the node is not ready.
	Wanted bool `json:"-"`
	// Reason says in words what follows while it is not, and what to do; "" while
	// it is.
	Reason string `json:"reason"`
}

// Room is a room as the status page shows it.
type Room struct {
	Name      string    `json:"name"`    // as visitors know it
	Address   string    `json:"address"` // as logs and main know it
	MeetingID string    `json:"meetingId"`
	Made      time.Time `json:"made"`
	// State says in a word or two what is with it: connected, waiting for
	// main, main lost.
	State    string `json:"state"`
	Visitors int    `json:"visitors"`
	Queued   int    `json:"queued"`
	// Held are visitors of a room that a fault has ended, who wait until they can
	// come back; HeldWhy says why, HeldFor what they wait for.
	Held         int    `json:"held"`
	HeldWhy      string `json:"heldWhy"`
	HeldFor      string `json:"heldFor"`
	Participants int    `json:"participants"`
	Moderators   int    `json:"moderators"`
	RaisedHands  int    `json:"raisedHands"`
	// Stanzas is how many the room has published so far.
	Stanzas uint64 `json:"-"`
	// Rate is how many it publishes a second, each of which goes to every
	// visitor.
	Rate float64 `json:"rate"`
}

// Occupant of a room.
type Occupant struct {
	ID     string    `json:"id"`   // the nick
	Name   string    `json:"name"` // display name, "" for none
	JID    string    `json:"jid"`
	Role   string    `json:"role"`
	Joined time.Time `json:"joined"`
	Hand   bool      `json:"hand"` // raised
}

// Event is something that happened in a room, or to the node.
type Event struct {
	Time  time.Time `json:"time"`
	Level string    `json:"level"`
	Text  string    `json:"text"`
}

// RoomDetail is a room with those who are in it and what happened lately.
type RoomDetail struct {
	Room
	Participants []Occupant `json:"participantList"`
	Visitors     []Occupant `json:"visitorList"`
	Events       []Event    `json:"events"` // newest first
	// People: the request bore the admin token, so the three above are told.
	People bool `json:"people"`
}

// Slow is a visitor that does not keep up.
type Slow struct {
	Session string `json:"session"`
	// Lag is how many stanzas it is behind its room.
	Lag uint64 `json:"lag"`
	// Blocked: its connection takes no more bytes at present.
	Blocked bool `json:"blocked"`
}

// ErrNoRoom is in the tree of a Source's error for a room that is not there.
var ErrNoRoom = errors.New("no such room")

// Source is where the facts come from. Those with a context may block until it
// ends. What they return is the caller's.
type Source interface {
	// Links are the streams to main.
	Links() []Link
	// Focus is jicofo.
	Focus() Focus
	// Alive reports whether every part of the node still answers.
	Alive(ctx context.Context) error
	// Rooms are all rooms of the node.
	Rooms(ctx context.Context) ([]Room, error)
	// Room is one of them by its Address or Name; the error is of [ErrNoRoom]
	// or ctx's.
	Room(ctx context.Context, name string) (RoomDetail, error)
	// Slow are at most limit visitors that do not keep up, the slowest
	// first, and how many there are.
	Slow(ctx context.Context, limit int) (worst []Slow, count int, err error)
	// Debugged are the rooms and sessions whose debug log is on.
	Debugged() []DebugTarget
}

// DebugTarget is a room or session that is logged in every detail.
type DebugTarget struct {
	Name  string    `json:"name"`
	Until time.Time `json:"until"`
}

// Control is what an operator may do. Its methods block for a second at most.
type Control interface {
	// Drain empties the node: conferences go on, and end politely when timeout has
	// passed; 0: they go on as long as they last. Once none is left jicofo is sent
	// away. A second call replaces the timeout. It fails when no other node is
	// known to take over, unless it is forced.
	Drain(ctx context.Context, timeout time.Duration, why string, force bool) error
	// Undrain takes new conferences again. It fails when the node is about
	// to end.
	Undrain() error
	// Debug logs everything about a room or session for so long; 0 turns it
	// off. It fails when too many are on.
	Debug(name string, d time.Duration) error
}
