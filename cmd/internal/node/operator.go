package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"vnode/cmd/internal/admin"
	"vnode/muc"
	"vnode/muc/room"
)

// operator is the node as the operator's listener sees it.
type operator struct{ *Node }

// Links implements admin.Source.
func (o operator) Links() []admin.Link {
	kept := o.kept()
	links := make([]admin.Link, len(kept))
	for i, p := range kept {
		links[i] = admin.Link{Name: p.name, From: p.from, To: p.to, Up: o.federation.Up(p.from, p.to)}
		if !links[i].Up {
			links[i].Reason = o.federation.Trouble(p.from, p.to)
		}
	}
	return links
}

// Alive implements admin.Source: every room and every shard answers.
func (o operator) Alive(ctx context.Context) error {
	if _, err := o.rooms.Rooms(ctx); err != nil {
		return err
	}
	_, _, err := o.fan.Laggards(ctx, 0)
	return err
}

// Rooms implements admin.Source.
func (o operator) Rooms(ctx context.Context) ([]admin.Room, error) {
	infos, err := o.rooms.Rooms(ctx)
	list := make([]admin.Room, len(infos))
	for i, r := range infos {
		list[i] = shownRoom(r)
	}
	return list, err
}

func shownRoom(r room.Info) admin.Room {
	state := "connected"
	switch {
	case r.Held > 0:
		state = "held: " + r.HeldWhy + "; " + r.HeldFor
	case r.Over:
		state = "waits for jicofo"
	case r.MainLost:
		state = "main is lost"
	case !r.Connected:
		state = "waits for main"
	case r.Lobby:
		state = "lobby is on"
	}
	return admin.Room{
		Name: r.Name, Address: r.Address, MeetingID: r.MeetingID, Made: r.Made, State: state,
		Visitors: r.Visitors, Queued: r.Queued, Held: r.Held, HeldWhy: r.HeldWhy, HeldFor: r.HeldFor, Participants: r.Participants, Moderators: r.Moderators,
		RaisedHands: r.RaisedHands, Stanzas: r.Stanzas,
	}
}

// Room implements admin.Source.
func (o operator) Room(ctx context.Context, name string) (admin.RoomDetail, error) {
	d, err := o.rooms.Room(ctx, name)
	if errors.Is(err, muc.ErrNoRoom) {
		return admin.RoomDetail{}, fmt.Errorf("%w: %s", admin.ErrNoRoom, name)
	}
	if err != nil {
		return admin.RoomDetail{}, err
	}
	shown := admin.RoomDetail{
		Room: shownRoom(d.Info), Participants: shownOccupants(d.ParticipantList), Visitors: shownOccupants(d.VisitorList),
	}
	for _, e := range o.logs.Events(d.Address) {
		shown.Events = append(shown.Events, admin.Event{Time: e.Time, Level: e.Level.String(), Text: e.Text})
	}
	return shown, nil
}

func shownOccupants(list []room.OccupantInfo) []admin.Occupant {
	shown := make([]admin.Occupant, len(list))
	for i, o := range list {
		shown[i] = admin.Occupant{ID: o.ID, Name: o.Name, JID: o.JID, Role: o.Role, Joined: o.Joined, Hand: o.RaisedHand}
	}
	return shown
}

// Slow implements admin.Source.
func (o operator) Slow(ctx context.Context, limit int) ([]admin.Slow, int, error) {
	laggards, count, err := o.fan.Laggards(ctx, limit)
	list := make([]admin.Slow, len(laggards))
	for i, l := range laggards {
		list[i] = admin.Slow{Session: l.To, Lag: l.Lag, Blocked: l.Blocked}
	}
	return list, count, err
}

// Debugged implements admin.Source.
func (o operator) Debugged() []admin.DebugTarget {
	list := []admin.DebugTarget{}
	for _, t := range o.logs.Debugged() {
		list = append(list, admin.DebugTarget{Name: t.Name, Until: t.Until})
	}
	return list
}

// Drain implements admin.Control.
func (o operator) Drain(ctx context.Context, timeout time.Duration, why string, force bool) error {
	if !force {
		if err := o.takesOver(ctx); err != nil {
			return err
		}
	}
	o.drain.begin(timeout, why)
	return nil
}

// Focus implements admin.Source.
func (o operator) Focus() admin.Focus {
	c := o.cfg.Load()
	f := admin.Focus{LoggedIn: o.rooms.FocusIn(), Wanted: !c.ReadyWithoutJicofo}
	state, _ := o.health.Get()
	switch {
	case f.LoggedIn:
	case state == admin.Drained:
		f.Reason = "jicofo is refused while the node is drained"
	default:
		f.Reason = fmt.Sprintf("jicofo is not logged in: no conference can begin here; is it running, and does jicofo.conf have this node, %s and the password in %s?",
			strings.Join(o.Addresses().C2S, ", "), o.passwordFile)
	}
	return f
}

// Undrain implements admin.Control.
func (o operator) Undrain() error { return o.drain.cancel() }

// lookUp bounds the search for a room.
const lookUp = time.Second

// Debug implements admin.Control. A tenant's room has an address for clients
// and one between servers; the log has both.
func (o operator) Debug(name string, d time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), lookUp)
	defer cancel()
	if r, err := o.rooms.Room(ctx, name); err == nil && r.Name != r.Address {
		return errors.Join(o.logs.Debug(r.Name, d), o.logs.Debug(r.Address, d))
	}
	return o.logs.Debug(name, d)
}
