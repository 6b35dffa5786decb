package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vnode/cmd/internal/admin/api"
	"vnode/muc"
	"vnode/muc/rate"
	"vnode/muc/room"
)

// moderator is the rooms as the operator's API sees them.
type moderator struct{ rooms *muc.Service }

// List implements api.Rooms.
func (m moderator) List(ctx context.Context) ([]api.Room, error) {
	infos, err := m.rooms.Rooms(ctx)
	list := make([]api.Room, len(infos))
	for i := range infos {
		list[i] = apiRoom(&infos[i])
	}
	return list, apiError(err)
}

func apiRoom(r *room.Info) api.Room {
	room := api.Room{
		Name: r.Name, Address: r.Address, MeetingID: r.MeetingID, Made: r.Made,
		Connected: r.Connected, MainLost: r.MainLost, Lobby: r.Lobby, Password: r.Password,
		Visitors: r.Visitors, Queued: r.Queued, Participants: r.Participants, Moderators: r.Moderators,
		RaisedHands: r.RaisedHands, Polls: r.Polls, Files: r.Files,
	}
	if !r.Created.IsZero() {
		room.Created = &r.Created
	}
	return room
}

// Look implements api.Rooms.
func (m moderator) Look(ctx context.Context, room string) (api.Room, api.People, error) {
	d, err := m.rooms.Room(ctx, room)
	if err != nil {
		return api.Room{}, api.People{}, apiError(err)
	}
	return apiRoom(&d.Info), api.People{Participants: apiPeople(d.ParticipantList), Visitors: apiPeople(d.VisitorList)}, nil
}

func apiPeople(list []room.OccupantInfo) []api.Person {
	people := make([]api.Person, len(list))
	for i, o := range list {
		people[i] = api.Person{
			ID: o.ID, Name: o.Name, JID: o.JID, Role: o.Role, Joined: o.Joined,
			RaisedHand: o.RaisedHand, Language: o.Language, UserID: o.UserID,
		}
		if o.Address.IsValid() {
			people[i].Address = o.Address.String()
		}
	}
	return people
}

// Kick implements api.Rooms.
func (m moderator) Kick(ctx context.Context, room, visitor, reason string) error {
	return apiError(m.rooms.Kick(ctx, room, visitor, reason))
}

// Ban implements api.Rooms.
func (m moderator) Ban(ctx context.Context, o api.BanOrder) (api.Ban, error) {
	b, err := m.rooms.Ban(ctx, o.Room, o.Visitor, muc.BanOrder{
		For: time.Duration(o.For), Everywhere: o.Everywhere, ByAddress: o.ByAddress, Reason: o.Reason,
	})
	if err != nil {
		return api.Ban{}, apiError(err)
	}
	return apiBan(&b), nil
}

func apiBan(b *muc.Ban) api.Ban {
	ban := api.Ban{
		ID: b.ID, Room: b.Room, Name: b.Name, UserID: b.UserID, GroupID: b.GroupID,
		Reason: b.Reason, Until: b.Until, Everywhere: b.Room == "",
	}
	if b.Address.IsValid() {
		ban.Address = b.Address.String()
	}
	return ban
}

// Bans implements api.Rooms.
func (m moderator) Bans() []api.Ban {
	bans := m.rooms.Bans()
	list := make([]api.Ban, len(bans))
	for i := range bans {
		list[i] = apiBan(&bans[i])
	}
	return list
}

// Unban implements api.Rooms.
func (m moderator) Unban(id uint64) bool { return m.rooms.Unban(id) }

// Announce implements api.Rooms.
func (m moderator) Announce(ctx context.Context, room, speaker, text string) (int, error) {
	n, err := m.rooms.Announce(ctx, room, speaker, text)
	return n, apiError(err)
}

// End implements api.Rooms.
func (m moderator) End(ctx context.Context, room, reason string) error {
	return apiError(m.rooms.End(ctx, room, reason))
}

// Limits implements api.Rooms.
func (m moderator) Limits() api.Limits { return apiLimits(m.rooms.Limits()) }

// ChangeLimits implements api.Rooms.
func (m moderator) ChangeLimits(change func(*api.Limits) error) (api.Limits, error) {
	var refused error // by change, which knows why
	l, err := m.rooms.ChangeLimits(func(l *room.Limits) error {
		shown := apiLimits(*l)
		if refused = change(&shown); refused != nil {
			return refused
		}
		takeLimits(l, &shown)
		return nil
	})
	switch {
	case refused != nil:
		return api.Limits{}, refused
	case err != nil:
		return api.Limits{}, fmt.Errorf("%w: %w", api.ErrInvalid, err)
	}
	return apiLimits(l), nil
}

func apiLimits(l room.Limits) api.Limits {
	return api.Limits{
		Rooms: l.MaxRooms, VisitorsPerRoom: l.MaxVisitors, Visitors: l.MaxVisitorsOnNode,
		Joins: api.Rate(l.Joins), Leaves: api.Rate(l.Leaves), Presences: api.Rate(l.Presences),
		Chat: api.Chat{
			Audience: string(l.Chat.Audience), Visitor: api.Rate(l.Chat.Visitor), Room: api.Rate(l.Chat.Room),
			SlowMode: api.Duration(l.Chat.SlowMode),
		},
		Main: api.Rate(l.Main),
	}
}

// takeLimits changes what the API shows of the rooms' limits.
func takeLimits(to *room.Limits, l *api.Limits) {
	to.MaxRooms, to.MaxVisitors, to.MaxVisitorsOnNode = l.Rooms, l.VisitorsPerRoom, l.Visitors
	to.Joins, to.Leaves, to.Presences = rate.Limit(l.Joins), rate.Limit(l.Leaves), rate.Limit(l.Presences)
	to.Chat.Audience, to.Chat.SlowMode = room.Audience(l.Chat.Audience), time.Duration(l.Chat.SlowMode)
	to.Chat.Visitor, to.Chat.Room = rate.Limit(l.Chat.Visitor), rate.Limit(l.Chat.Room)
	to.Main = rate.Limit(l.Main)
}

// apiError puts an error of the rooms into the API's class for it.
func apiError(err error) error {
	switch {
	case errors.Is(err, muc.ErrNoRoom), errors.Is(err, muc.ErrNoVisitor):
		return fmt.Errorf("%w: %w", api.ErrNotFound, err)
	case errors.Is(err, muc.ErrAnonymous), errors.Is(err, muc.ErrTooManyBans):
		return fmt.Errorf("%w: %w", api.ErrConflict, err)
	}
	return err
}
