// Package api is what an operator asks of a running node's rooms, and does in
// them, over HTTP: docs/OPERATORS-API.md.
//
// Who may: everything is allowed to a request with the token. Without it a
// request from this very machine may look at rooms and their numbers, not at
// the people in them; any other gets nothing.
package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Room is a room in numbers.
type Room struct {
	Name         string     `json:"name"`    // as clients know it
	Address      string     `json:"address"` // between servers; in logs
	MeetingID    string     `json:"meetingId"`
	Made         time.Time  `json:"made"`              // on this node
	Created      *time.Time `json:"created,omitempty"` // on main; absent while it has not said
	Connected    bool       `json:"connected"`         // main has connected it: visitors are let in
	MainLost     bool       `json:"mainLost"`
	Lobby        bool       `json:"lobby"`
	Password     bool       `json:"password"`
	Visitors     int        `json:"visitors"`
	Queued       int        `json:"queued"` // waiting for main to connect the room
	Participants int        `json:"participants"`
	Moderators   int        `json:"moderators"`
	RaisedHands  int        `json:"raisedHands"`
	Polls        int        `json:"polls"`
	Files        int        `json:"files"`
}

// Person is somebody in a room.
type Person struct {
	ID         string    `json:"id"` // the nick; what the other requests name it by
	Name       string    `json:"name"`
	JID        string    `json:"jid"`
	Role       string    `json:"role"`
	Joined     time.Time `json:"joined"`
	RaisedHand bool      `json:"raisedHand"`
	Language   string    `json:"language,omitempty"` // it wants transcribed
	UserID     string    `json:"userId,omitempty"`   // of its token
	Address    string    `json:"address,omitempty"`  // of its network
}

// People are those in a room, each list in the order they came.
type People struct {
	Participants []Person
	Visitors     []Person
}

// Ban keeps a user or a network address out.
type Ban struct {
	ID         uint64    `json:"id"`
	Room       string    `json:"room,omitempty"` // its address; absent: every room
	Name       string    `json:"name,omitempty"` // shown at the time
	UserID     string    `json:"userId,omitempty"`
	GroupID    string    `json:"groupId,omitempty"`
	Address    string    `json:"address,omitempty"`
	Reason     string    `json:"reason,omitempty"`
	Until      time.Time `json:"until"`
	Everywhere bool      `json:"everywhere"`
}

// BanOrder asks for a ban of a visitor who is in a room.
type BanOrder struct {
	Room       string   `json:"room"`
	Visitor    string   `json:"visitor"` // its id
	For        Duration `json:"for"`
	Everywhere bool     `json:"everywhere"`
	ByAddress  bool     `json:"byAddress"` // although its token names its user
	Reason     string   `json:"reason"`
}

// Limits are those that change while conferences run.
type Limits struct {
	Rooms           int  `json:"rooms"`           // on the node
	VisitorsPerRoom int  `json:"visitorsPerRoom"` // the focus not counted
	Visitors        int  `json:"visitors"`        // on the node
	Joins           Rate `json:"joins"`           // of one room
	Leaves          Rate `json:"leaves"`          // of one room
	Presences       Rate `json:"presences"`       // of one visitor, after its join
	Chat            Chat `json:"chat"`
	Main            Rate `json:"main"` // of all rooms' visitors to the main server
}

// Chat is what visitors may write.
type Chat struct {
	Audience string   `json:"audience"` // all, visitors, nobody
	Visitor  Rate     `json:"visitor"`  // messages of one visitor
	Room     Rate     `json:"room"`     // messages of all visitors of a room
	SlowMode Duration `json:"slowMode"` // between two messages of one visitor
}

// Rate is so many a second, 0 for no limit, and so many at once, at least 1.
type Rate struct {
	PerSecond float64 `json:"perSecond"`
	Burst     int     `json:"burst"`
}

// Duration is a time.Duration, in JSON as "1h30m".
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil || v < 0 {
		return fmt.Errorf("%q is not a duration such as 1h30m", text)
	}
	*d = Duration(v)
	return nil
}

// Errors of [Rooms], in the trees of its methods' errors.
var (
	ErrNotFound = errors.New("not found")         // the room or the visitor
	ErrConflict = errors.New("cannot be done")    // and the text says why
	ErrInvalid  = errors.New("not a valid value") // and the text says which
)

// Rooms are the node's. Methods with a context block until the room has
// answered or the context ends; a room is named by its Name or Address.
type Rooms interface {
	// List returns all rooms by name.
	List(ctx context.Context) ([]Room, error)
	// Look returns one room and who is in it.
	Look(ctx context.Context, room string) (Room, People, error)
	// Kick puts a visitor out; it may come back.
	Kick(ctx context.Context, room, visitor, reason string) error
	// Ban puts a visitor out and keeps it out.
	Ban(ctx context.Context, order BanOrder) (Ban, error)
	// Bans returns the bans in force, oldest first.
	Bans() []Ban
	// Unban ends a ban and reports whether it was in force.
	Unban(id uint64) bool
	// Announce tells the visitors of a room something and returns how many
	// they are. speaker may be empty.
	Announce(ctx context.Context, room, speaker, text string) (visitors int, err error)
	// End destroys a room; reason may be empty.
	End(ctx context.Context, room, reason string) error
	// Limits returns those in force.
	Limits() Limits
	// ChangeLimits lets change change a copy of them and puts that in force
	// for all rooms at once. change may be called again when somebody else
	// has changed them meanwhile. Its error, or one of [ErrInvalid], changes
	// nothing.
	ChangeLimits(change func(*Limits) error) (Limits, error)
}

// patch changes what a JSON merge patch (RFC 7396) names. A null, which would
// remove a member, is refused: a limit cannot be absent.
func (l *Limits) patch(body []byte) error {
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		return fmt.Errorf("%w: the body: %w", ErrInvalid, err)
	}
	if _, ok := v.(map[string]any); !ok || hasNull(v) {
		return fmt.Errorf("%w: the body: an object without null is wanted", ErrInvalid)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(l); err != nil {
		return fmt.Errorf("%w: the body: %w", ErrInvalid, err)
	}
	return nil
}

func hasNull(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case map[string]any:
		for _, x := range v {
			if hasNull(x) {
				return true
			}
		}
	}
	return false
}
