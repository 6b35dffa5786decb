package muc

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
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
	err := s.ask(ctx, name, func(now time.Time, r *room) {
		r.now = now
		o := r.visitorNamed(id)
		if o == nil {
			failed = fmt.Errorf("%w: %s", ErrNoVisitor, id)
			return
		}
		r.expel(o, reason)
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
	err := s.ask(ctx, name, func(now time.Time, r *room) {
		r.now = now
		ban, failed = r.ban(id, order)
	})
	if err := cmp.Or(err, failed); err != nil {
		return Ban{}, err
	}
	if order.Everywhere {
		s.everyRoom(func(now time.Time, r *room) {
			r.now = now
			r.enforce(&ban)
		})
	}
	return ban, nil
}

// everyRoom lets all rooms do something without waiting for them.
func (s *Service) everyRoom(do func(time.Time, *room)) {
	s.mu.RLock()
	boxes := slices.Collect(maps.Values(s.rooms))
	s.mu.RUnlock()
	for _, b := range boxes {
		b.mail.push(event{kind: evCall, call: &call{done: make(chan bool, 1), do: func(now time.Time, h *hall) bool { return h.onRoom(now, do) }}})
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
	}{"system_chat_message", clip(speaker, MaxAnnouncementName), clip(text, MaxAnnouncement)})
	if err != nil {
		return 0, fmt.Errorf("muc: announcement: %w", err)
	}
	err = s.ask(ctx, name, func(_ time.Time, r *room) {
		visitors = r.visitors
		r.toVisitors(componentPacket(r.pubFrom, said))
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
	return s.askHall(ctx, name, func(now time.Time, h *hall) bool {
		ended := h.onRoom(now, func(now time.Time, r *room) {
			r.now = now
			r.end(endOperator, clip(reason, maxReason))
		})
		if h.held != nil {
			h.dismiss(now)
			ended = true
		}
		return ended
	})
}

// ChangeLimits is [Service.SetLimits] of what change makes of those in force. It
// is called again when they were replaced meanwhile. Its error changes nothing.
func (s *Service) ChangeLimits(change func(*Limits) error) (Limits, error) {
	for {
		old := s.limits.Load()
		l := *old
		if err := change(&l); err != nil {
			return Limits{}, err
		}
		if err := l.Validate(); err != nil {
			return Limits{}, err
		}
		l = l.withDefaults()
		if s.limits.CompareAndSwap(old, &l) {
			return l, nil
		}
	}
}

// visitorNamed returns the visitor with that nick, or nil.
func (r *room) visitorNamed(nick string) *occupant {
	if o := r.nicks.Get(nick); o != nil && o.kind == visitor {
		return o
	}
	return nil
}

// expel puts a visitor out.
func (r *room) expel(o *occupant, reason string) {
	r.log.Info("visitor kicked", "session", o.jid().String())
	r.visitorGone(o, nil, status{gone: true, codes: []string{"307"}, reason: clip(reason, maxReason)})
}

// ban puts a ban on a visitor in force.
func (r *room) ban(nick string, order BanOrder) (Ban, error) {
	o := r.visitorNamed(nick)
	if o == nil {
		return Ban{}, fmt.Errorf("%w: %s", ErrNoVisitor, nick)
	}
	b := Ban{Room: r.addr.String(), Name: o.name(), Reason: clip(order.Reason, maxReason), Until: r.now.Add(order.For)}
	if order.Everywhere {
		b.Room = ""
	}
	switch who := personOf(o.session); {
	case who.user != "" && !order.ByAddress:
		b.UserID, b.GroupID = who.user, who.group
	case who.address.IsValid():
		b.Address = who.address
	default:
		return Ban{}, ErrAnonymous
	}
	b, err := r.bans.add(r.now, b)
	if err != nil {
		return Ban{}, err
	}
	r.enforce(&b)
	return b, nil
}

// enforce puts out everybody that a ban is about, in the order they came.
func (r *room) enforce(b *Ban) {
	var out []*occupant
	for o := range r.nicks.All() {
		if o.kind == visitor {
			if who := personOf(o.session); b.of(&who) {
				out = append(out, o)
			}
		}
	}
	slices.SortFunc(out, func(x, y *occupant) int { return cmp.Or(cmp.Compare(x.joined, y.joined), cmp.Compare(x.nick, y.nick)) })
	for _, o := range out {
		r.expel(o, b.Reason)
	}
}
