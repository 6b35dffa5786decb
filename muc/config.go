package muc

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"vnode/muc/address"
)

// Config of a [Service]. Zero limits mean the defaults below.
type Config struct {
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
	// TranscriptionLanguage is asked for visitors that request
	// transcription and name no language; "en" when empty.
	TranscriptionLanguage string

	// Limits are those that can be changed while the node runs.
	Limits

	MaxQueued       int // visitors waiting to be let into one room; default 500
	MaxParticipants int // mirrored participants in one room; default 2000
	MaxNick         int // bytes of an occupant's nick; default 256
	MaxPresence     int // bytes of a visitor's presence; default 32 KiB
	MaxMessage      int // bytes of a visitor's message; default 16 KiB
	MaxDisplayName  int // bytes of a visitor's display name, cut beyond; default 1024
	MaxMailbox      int // stanzas waiting for one room; default 1024
	MaxMailboxBytes int // and their bytes, one stanza beyond; default 8 MiB

	// HistoryMessages are kept for late joiners, together at most
	// HistoryBytes; defaults 20 and 256 KiB. Negative HistoryMessages keep
	// none.
	HistoryMessages int
	HistoryBytes    int

	// EmptyTimeout is how long a room outlives its last visitor; default
	// 15 s.
	EmptyTimeout time.Duration
	// NoTokenPromotion lets visitors with a token wait for a moderator like
	// others when they raise their hand.
	NoTokenPromotion bool
	// Tokens says that visitors' tokens are checked. Only then is one
	// without a token kept out of a room that main demands one for.
	Tokens bool
	// MainWithoutConnect is for a main server of 2022, which sends its
	// participants and neither connect nor anything else: visitors are let
	// in with the first of them, and it is sent nothing but that its
	// participants left.
	MainWithoutConnect bool

	// Comeback says what becomes of the visitors of a room that a fault has ended.
	Comeback Comeback

	// MainGrace is how long a connected room outlives the loss of all streams
	// to main, or of its room on main; default 60 s.
	MainGrace time.Duration
}

func (c Config) withDefaults() Config {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	if c.RoomPrefix == "" {
		c.RoomPrefix = "conference"
	}
	if c.TranscriptionLanguage == "" {
		c.TranscriptionLanguage = "en"
	}
	if c.EmptyTimeout == 0 {
		c.EmptyTimeout = 15 * time.Second
	}
	if c.MainGrace == 0 {
		c.MainGrace = time.Minute
	}
	c.Limits = c.Limits.withDefaults()
	c.Comeback = c.Comeback.withDefaults()
	def(&c.MaxQueued, 500)
	def(&c.MaxParticipants, 2000)
	def(&c.MaxNick, 256)
	def(&c.MaxPresence, 32<<10)
	def(&c.MaxMessage, 16<<10)
	def(&c.MaxDisplayName, 1024)
	def(&c.MaxMailbox, 1024)
	def(&c.MaxMailboxBytes, 8<<20)
	def(&c.HistoryMessages, 20)
	def(&c.HistoryBytes, 256<<10)
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
	for name, v := range map[string]int{
		"MaxQueued":       c.MaxQueued,
		"MaxParticipants": c.MaxParticipants, "MaxNick": c.MaxNick, "MaxPresence": c.MaxPresence,
		"MaxMessage": c.MaxMessage, "MaxDisplayName": c.MaxDisplayName, "MaxMailbox": c.MaxMailbox,
		"MaxMailboxBytes": c.MaxMailboxBytes, "HistoryBytes": c.HistoryBytes,
	} {
		if v < 0 {
			errs = append(errs, fmt.Errorf("muc: %s is negative", name))
		}
	}
	if err := c.Limits.Validate(); err != nil {
		errs = append(errs, err)
	}
	if err := c.Comeback.validate(); err != nil {
		errs = append(errs, err)
	}
	if c.EmptyTimeout < 0 {
		errs = append(errs, errors.New("muc: EmptyTimeout is negative"))
	}
	if c.MainGrace < 0 {
		errs = append(errs, errors.New("muc: MainGrace is negative"))
	}
	return errors.Join(errs...)
}

// domains are those that follow from a Config.
func (c *Config) domains() *address.Domains {
	return address.NewDomains(c.Domain, c.RoomPrefix, c.MainDomain, c.ParticipantDomains)
}
