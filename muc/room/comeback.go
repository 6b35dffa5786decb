package room

import (
	"errors"
	"fmt"
	"time"
)

// Comeback says how the audience of a room that a fault has ended comes back:
// that the focus's session died, that the focus left while participants remain,
// that the main server was lost, or that its participants were thrown out. T0 is
// when the node noticed the fault.
type Comeback struct {
	// Mode is how visitors are told to come back; ComebackReload when empty.
	Mode ComebackMode
	// Word is how long the main server's word is waited for after the focus has
	// left while participants remain, and how long it takes browsers to notice
	// that the main server is back; default 3 s.
	Word time.Duration
	// Settle is how long after T0 pages are first sent to reload; default 22 s.
	// The page waits 10 to 29 s more, so nobody asks jicofo before T0 + 32 s, when
	// the participants, whose pages reload in the same way, have asked. Where jicofo
	// says how many participants are back, they are sent once all are, and wait for
	// them until Ask.
	Settle time.Duration
	// Ask is how long after T0 the node itself asks jicofo for the conference as
	// a visitor, if it has not seen before that all participants are back; default
	// 32 s.
	Ask time.Duration
	// GiveUp is how long after T0 the audience is told that the conference has
	// ended; default 120 s.
	GiveUp time.Duration
	// JoinWait is how long a visitor's join waits for a room that is not there
	// yet; default 8 s.
	JoinWait time.Duration
	// Rate is how many visitors of the node may come back in a second; default
	// 100, negative: any number.
	Rate float64
}

// ComebackMode is how an audience comes back.
type ComebackMode string

const (
	// ComebackReload lets pages see the focus leave: they reload after 10 to 29 s.
	ComebackReload ComebackMode = "reload"
	// ComebackSilent destroys the room with its own address as the reason, once
	// jicofo has made it again: pages of 2026 join again at once. Where jicofo has
	// chosen another node the pages reload.
	ComebackSilent ComebackMode = "silent"
	// ComebackOff ends the room as a normal end does.
	ComebackOff ComebackMode = "off"
)

func (c Comeback) withDefaults() Comeback {
	def := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	if c.Mode == "" {
		c.Mode = ComebackReload
	}
	def(&c.Word, 3*time.Second)
	def(&c.Settle, 22*time.Second)
	def(&c.Ask, 32*time.Second)
	def(&c.GiveUp, 2*time.Minute)
	def(&c.JoinWait, 8*time.Second)
	if c.Rate == 0 {
		c.Rate = 100
	}
	return c
}

func (c Comeback) validate() error {
	var errs []error
	switch c.Mode {
	case ComebackReload, ComebackSilent, ComebackOff:
	default:
		errs = append(errs, fmt.Errorf("muc: Comeback.Mode %q is none of reload, silent, off", c.Mode))
	}
	if c.Word < 0 || c.Settle < 0 || c.Ask < 0 || c.GiveUp < 0 || c.JoinWait < 0 {
		errs = append(errs, errors.New("muc: a time of Comeback is negative"))
	}
	if c.GiveUp < c.Settle || c.GiveUp < c.Ask {
		errs = append(errs, errors.New("muc: Comeback.GiveUp is before Settle or Ask"))
	}
	return errors.Join(errs...)
}

// patience is how long after T0 the participants have had their time. Browsers that
// lost the main server try to resume first: they see the fault up to 39 s late, and
// reload after that.
func (c *Comeback) patience(counted, resumes bool) time.Duration {
	d := c.Settle
	if counted || c.Mode == ComebackSilent {
		d = c.Ask
	}
	if resumes {
		d *= 2
	}
	return d
}

// firstReload is the shortest time that a page takes to reload once it is told.
func (c *Comeback) firstReload() time.Duration { return max(0, c.Ask-c.Settle) }

// on reports whether audiences are held at all.
func (c *Comeback) on() bool { return c.Mode != ComebackOff }

// tick is how often a room looks at what it waits for.
func (c *Comeback) tick() time.Duration {
	return min(time.Second, max(5*time.Millisecond, min(c.Settle, c.JoinWait, c.GiveUp)/10))
}

// pageSpread is over how long jitsi-meet's pages spread their coming back by
// themselves once they are told: a reload comes after 10 to 29 s, a new join
// within a second or so.
func pageSpread(silent bool) time.Duration {
	if silent {
		return time.Second
	}
	return 19 * time.Second
}

// spreadOver is over how long the telling of all who are held on the node is
// spread.
func (c *Comeback) spreadOver(held int, silent bool) time.Duration {
	if c.Rate < 0 {
		return 0
	}
	return max(0, time.Duration(float64(held)/c.Rate*float64(time.Second))-pageSpread(silent))
}
