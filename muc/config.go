package muc

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"vnode/internal/address"
	"vnode/internal/guard"
	"vnode/muc/room"
)

// Config of a [Service]. Zero limits mean the defaults below.
type Config struct {
	// Guard keeps a panic to the room that met it; nil: a panic ends the process.
	Guard *guard.Guard
	// Domain of the rooms: RoomPrefix, a dot and the domain the visitors
	// log in to, e.g. conference.v3.meet.jitsi. Required.
	Domain string
	// RoomPrefix is the first label of the rooms' domain, here and on the
	// main server alike; "conference" when empty.
	RoomPrefix string
	// MainDomain is the main server's domain, e.g. meet.jitsi. Required.
	// Its rooms are at RoomPrefix.MainDomain and its visitors component at
	// visitors.MainDomain.
	MainDomain string
	// ParticipantDomains are domains other than MainDomain and those below
	// it whose users take part in main rooms: guests, recorders, gateways.
	ParticipantDomains []string

	// Room is the configuration of each room.
	Room room.Config
	// Limits are those that can be changed while the node runs.
	Limits room.Limits

	MaxMailbox      int // stanzas waiting for one room; default 1024
	MaxMailboxBytes int // and their bytes, one stanza beyond; default 8 MiB

	// AskJicofo sends jicofo a conference request for a visitor, for the room with
	// that address on the main server, and returns the id of the node that jicofo
	// chose. It blocks, and runs on a goroutine of its own. Nil: jicofo cannot be
	// asked.
	AskJicofo func(ctx context.Context, room string) (node string, err error)
	// CountParticipants asks jicofo how many participants are in the room with that
	// address on the main server. It blocks, and runs on a goroutine of its own.
	// Nil: jicofo cannot be asked.
	CountParticipants func(ctx context.Context, room string) (int, error)
}

func (c Config) withDefaults() Config {
	if c.RoomPrefix == "" {
		c.RoomPrefix = "conference"
	}
	if c.MaxMailbox == 0 {
		c.MaxMailbox = 1024
	}
	if c.MaxMailboxBytes == 0 {
		c.MaxMailboxBytes = 8 << 20
	}
	c.Room = c.Room.WithDefaults()
	c.Limits = c.Limits.WithDefaults()
	return c
}

// Validate reports what is missing or contradictory, all of it at once.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	if c.MainDomain == "" {
		errs = append(errs, errors.New("muc: the main domain is not set"))
	}
	host, ok := strings.CutPrefix(c.Domain, c.RoomPrefix+".")
	if !ok || host == "" {
		errs = append(errs, fmt.Errorf("muc: domain %q does not begin with %q", c.Domain, c.RoomPrefix+"."))
	} else if host == c.MainDomain {
		errs = append(errs, fmt.Errorf("muc: domain %q is that of the main server's rooms", c.Domain))
	}
	if c.MaxMailbox < 0 || c.MaxMailboxBytes < 0 {
		errs = append(errs, errors.New("muc: MaxMailbox or MaxMailboxBytes is negative"))
	}
	errs = append(errs, c.Room.Validate(), c.Limits.Validate())
	return errors.Join(errs...)
}

// domains are those that follow from a Config.
func (c *Config) domains() *address.Domains {
	return address.NewDomains(c.Domain, c.RoomPrefix, c.MainDomain, c.ParticipantDomains)
}
