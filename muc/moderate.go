package muc

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"vnode/internal/wire"
	"vnode/muc/room"
)

// What the operator does in rooms. Each is done by the room's goroutine in its
// turn, as if the focus had asked for it.

// Bounds of what an operator may say, in bytes.
const (
	MaxAnnouncement     = 4096
	MaxAnnouncementName = 256
)

// Kick puts a visitor out of a room (XEP-0045 §8.2). It may come back. name is
// as for [Service.Room], id the visitor's nick; the reason, at most 1024 bytes
// of which are sent, is shown to it. Kick blocks until the room has done it; the
// error is of [ErrNoRoom], [ErrNoVisitor] or ctx's.
func (s *Service) Kick(ctx context.Context, name, id, reason string) error {
	var failed error
	err := s.ask(ctx, name, func(now time.Time, b *box) {
		v, ok := b.room.VisitorNamed(id)
		if !ok {
			failed = fmt.Errorf("%w: %s", ErrNoVisitor, id)
			return
		}
		b.happens(now, room.Expel{Sessions: []room.Session{v.Session}, Reason: wire.Clip(reason, room.MaxReason)})
	})
	return cmp.Or(err, failed)
}

// BanOrder is how a visitor is to be banned.
type BanOrder struct {
	For time.Duration
	// Everywhere: from all rooms of the node, not only from this one.
	Everywhere bool
	// ByAddress bans the network address, and whoever shares it, although
	// the visitor has a token that names its user.
	ByAddress bool
	Reason    string
}

// Ban keeps a visitor out of a room for a time: by the user that its token
// names, else by its network address. It is put out, and so is everybody else
// that the ban is about. Ban blocks like [Service.Kick], whose errors it
// returns, or [ErrAnonymous] or [ErrTooManyBans].
func (s *Service) Ban(ctx context.Context, name, id string, order BanOrder) (Ban, error) {
	var ban Ban
	var failed error
	err := s.ask(ctx, name, func(now time.Time, b *box) { ban, failed = b.ban(now, id, order) })
	if err := cmp.Or(err, failed); err != nil {
		return Ban{}, err
	}
	if order.Everywhere {
		s.everyBox(func(now time.Time, b *box) { b.enforce(now, &ban) })
	}
	return ban, nil
}

// everyBox lets all boxes do something without waiting for them.
func (s *Service) everyBox(do func(time.Time, *box)) {
	s.mu.RLock()
	boxes := slices.Collect(maps.Values(s.rooms))
	s.mu.RUnlock()
	for _, b := range boxes {
		b.mail.push(event{call: &call{done: make(chan bool, 1), do: func(now time.Time, b *box) bool {
			do(now, b)
			return true
		}}})
	}
}

// Bans returns the bans in force, oldest first.
func (s *Service) Bans() []Ban { return s.bans.all(time.Now()) }

// Unban ends a ban and reports whether it was in force.
func (s *Service) Unban(id uint64) bool { return s.bans.lift(id) }

// Announce tells all visitors of a room something, in the chat, as the room
// itself. speaker is shown as who says it; "" leaves that to the client. It is not
// kept for those who come later. It returns how many visitors there are, and
// blocks until the room has told them; the error is of [ErrNoRoom] or ctx's.
func (s *Service) Announce(ctx context.Context, name, speaker, text string) (visitors int, err error) {
	// As main's module for system messages does it; jitsi-meet shows it.
	said, err := json.Marshal(struct {
		Type    string `json:"type"`
		Name    string `json:"displayName,omitempty"`
		Message string `json:"message"`
	}{"system_chat_message", wire.Clip(speaker, MaxAnnouncementName), wire.Clip(text, MaxAnnouncement)})
	if err != nil {
		return 0, fmt.Errorf("muc: announcement: %w", err)
	}
	err = s.ask(ctx, name, func(now time.Time, b *box) {
		visitors = b.room.Visitors()
		b.happens(now, room.Announce{JSON: said})
	})
	if err != nil {
		return 0, err
	}
	return visitors, nil
}

// End destroys a room (XEP-0045 §10.9) with a reason that clients show, "" for
// the usual one. The focus is told so, and makes it anew for the next visitor.
// End blocks until that is done; the error is of [ErrNoRoom] or ctx's.
func (s *Service) End(ctx context.Context, name, reason string) error {
	return s.askBox(ctx, name, func(now time.Time, b *box) bool {
		if !b.room.Lives() && !b.room.Holds() {
			return false
		}
		b.happens(now, room.Dismiss{Reason: wire.Clip(reason, room.MaxReason)})
		return true
	})
}

// ChangeLimits is [Service.SetLimits] of what change makes of those in force. It
// is called again when they were replaced meanwhile. Its error changes nothing.
func (s *Service) ChangeLimits(change func(*room.Limits) error) (room.Limits, error) {
	for {
		old := s.limits.Load()
		l := *old
		if err := change(&l); err != nil {
			return room.Limits{}, err
		}
		if err := l.Validate(); err != nil {
			return room.Limits{}, err
		}
		l = l.WithDefaults()
		if s.limits.CompareAndSwap(old, &l) {
			return l, nil
		}
	}
}

// ban puts a ban on a visitor in force.
func (b *box) ban(now time.Time, nick string, order BanOrder) (Ban, error) {
	v, ok := b.room.VisitorNamed(nick)
	if !ok {
		return Ban{}, fmt.Errorf("%w: %s", ErrNoVisitor, nick)
	}
	ban := Ban{Room: b.room.Address().String(), Name: v.Name, Reason: wire.Clip(order.Reason, room.MaxReason), Until: now.Add(order.For)}
	if order.Everywhere {
		ban.Room = ""
	}
	switch who := personOf(v.Session.(Session)); {
	case who.user != "" && !order.ByAddress:
		ban.UserID, ban.GroupID = who.user, who.group
	case who.address.IsValid():
		ban.Address = who.address
	default:
		return Ban{}, ErrAnonymous
	}
	ban, err := b.service.bans.add(now, ban)
	if err != nil {
		return Ban{}, err
	}
	b.enforce(now, &ban)
	return ban, nil
}

// enforce puts out everybody that a ban is about, and lets nobody of them wait.
// Whoever comes later is seen to be banned, see [box.who].
func (b *box) enforce(now time.Time, ban *Ban) {
	var out []room.Session
	for _, s := range b.service.sessionsIn(b) {
		if who := personOf(s); !s.Admin() && ban.of(&who) {
			out = append(out, s)
		}
	}
	if len(out) > 0 {
		b.happens(now, room.Expel{Sessions: out, Reason: ban.Reason})
	}
}

// sessionsIn returns those that have sent a join to a room of that box, in no
// order.
func (s *Service) sessionsIn(b *box) (list []Session) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for g := range s.guests.All() {
		if g.in(b) {
			list = append(list, g.session)
		}
	}
	return list
}
