package muc

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"vnode/internal/wire"
)

// Errors of what the operator asks of a room.
var (
	ErrNoVisitor   = errors.New("muc: no such visitor")
	ErrAnonymous   = errors.New("muc: neither a token nor a network address tells who the visitor is")
	ErrTooManyBans = errors.New("muc: too many bans")
)

// Located is a [Session] that knows where its client connects from.
type Located interface {
	// Address is the client's network address, an IPv6 network's for IPv6.
	// It is invalid when it is not known: behind a proxy that does not tell.
	Address() netip.Addr
}

// Ban keeps somebody out of rooms: the user of a token, or whoever comes from
// a network address.
type Ban struct {
	ID uint64 // for [Service.Unban]
	// Room is the address between servers; "" for every room.
	Room string
	// UserID and GroupID are of the token; both are to match. Address is
	// valid when UserID is empty.
	UserID, GroupID string
	Address         netip.Addr
	// Name is the display name at the time of the ban.
	Name   string
	Reason string
	Until  time.Time
}

// maxBans bounds the bans of a node, each of which is looked at for each join.
const maxBans = 1000

// bans are those in force.
type bans struct {
	mu sync.RWMutex
	// Guarded by mu.
	list []Ban
	last uint64
}

// add puts a ban in force and returns it with its id. It takes the place of
// another one of the same person and room.
func (b *bans) add(now time.Time, x Ban) (Ban, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.list = slices.DeleteFunc(b.list, func(y Ban) bool { return !now.Before(y.Until) || y.same(&x) })
	if len(b.list) >= maxBans {
		return Ban{}, ErrTooManyBans
	}
	b.last++
	x.ID = b.last
	b.list = append(b.list, x)
	return x, nil
}

func (x *Ban) same(y *Ban) bool {
	return x.Room == y.Room && x.UserID == y.UserID && x.GroupID == y.GroupID && x.Address == y.Address
}

// lift ends a ban and reports whether it was in force.
func (b *bans) lift(id uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := len(b.list)
	b.list = slices.DeleteFunc(b.list, func(x Ban) bool { return x.ID == id })
	return len(b.list) < n
}

// all returns those in force, oldest first.
func (b *bans) all(now time.Time) []Ban {
	b.mu.RLock()
	defer b.mu.RUnlock()
	list := slices.Clone(b.list)
	return slices.DeleteFunc(list, func(x Ban) bool { return !now.Before(x.Until) })
}

// hold reports whether a ban keeps a session out of a room.
func (b *bans) hold(now time.Time, room wire.JID, s Session) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if len(b.list) == 0 {
		return false
	}
	who, address := personOf(s), room.String()
	return slices.ContainsFunc(b.list, func(x Ban) bool {
		return now.Before(x.Until) && (x.Room == "" || x.Room == address) && x.of(&who)
	})
}

// person is what a session is known by beyond its own life: a visitor without
// a token gets a new address with each login.
type person struct {
	user, group string
	address     netip.Addr
}

func personOf(s Session) (p person) {
	if i := s.Identity(); i != nil {
		p.user, p.group = i.UserID, i.GroupID
	}
	if l, ok := s.(Located); ok {
		p.address = l.Address()
	}
	return p
}

func (x *Ban) of(p *person) bool {
	if x.UserID != "" {
		return x.UserID == p.user && x.GroupID == p.group
	}
	return x.Address.IsValid() && x.Address == p.address
}
