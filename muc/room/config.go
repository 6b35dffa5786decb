package room

import (
	"errors"
	"fmt"
	"time"
)

// Config of a room. Zero limits mean the defaults below.
type Config struct {
	// TranscriptionLanguage is asked for visitors that request
	// transcription and name no language; "en" when empty.
	TranscriptionLanguage string

	MaxQueued       int // visitors waiting to be let into one room; default 500
	MaxParticipants int // mirrored participants in one room; default 2000
	MaxNick         int // bytes of an occupant's nick; default 256
	MaxPresence     int // bytes of a visitor's presence; default 32 KiB
	MaxMessage      int // bytes of a visitor's message; default 16 KiB
	MaxDisplayName  int // bytes of a visitor's display name, cut beyond; default 1024

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

// WithDefaults returns c with the defaults in place of zero values.
func (c Config) WithDefaults() Config {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
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
	c.Comeback = c.Comeback.withDefaults()
	def(&c.MaxQueued, 500)
	def(&c.MaxParticipants, 2000)
	def(&c.MaxNick, 256)
	def(&c.MaxPresence, 32<<10)
	def(&c.MaxMessage, 16<<10)
	def(&c.MaxDisplayName, 1024)
	def(&c.HistoryMessages, 20)
	def(&c.HistoryBytes, 256<<10)
	return c
}

// Validate reports what is out of range, all of it at once.
func (c Config) Validate() error {
	c = c.WithDefaults()
	var errs []error
	for name, v := range map[string]int{
		"MaxQueued":       c.MaxQueued,
		"MaxParticipants": c.MaxParticipants, "MaxNick": c.MaxNick, "MaxPresence": c.MaxPresence,
		"MaxMessage": c.MaxMessage, "MaxDisplayName": c.MaxDisplayName, "HistoryBytes": c.HistoryBytes,
	} {
		if v < 0 {
			errs = append(errs, fmt.Errorf("muc: %s is negative", name))
		}
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
