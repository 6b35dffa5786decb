package conference

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// Resumptions counts the connections that were cut on purpose, and the sessions
// that came back.
type Resumptions struct {
	Cuts    int       `json:"cuts"`
	Resumed int       `json:"resumed"`
	Took    Quantiles `json:"took"` // from the new connection's begin to <resumed/>
}

// outages are the cuts of a swarm.
type outages struct {
	// Static after construction: how long a visitor is without a network.
	least, most time.Duration

	cuts, resumed atomic.Int64
	took          recorder
}

func (u *outages) sum() Resumptions {
	// In this order: there are never more resumed than cut.
	resumed := int(u.resumed.Load())
	return Resumptions{Cuts: int(u.cuts.Load()), Resumed: resumed, Took: u.took.quantiles()}
}

// wait is how long this outage lasts.
func (u *outages) wait() time.Duration { return u.least + rand.N(u.most-u.least+1) }

// Cut breaks the visitor's connection without a goodbye, as a lost network
// does. The visitor connects again after the swarm's delay and resumes its
// session; nothing it is due may be lost for that. Cut does not wait for it.
// The error is that of a visitor who is not in the room, who is cut already, or
// whose session cannot be resumed.
func (v *Visitor) Cut() error { return v.o.cut(false) }

// CutHalfOpen is Cut, but the node is not told by TCP either: it has the old
// connection until the session is resumed on the new one.
func (v *Visitor) CutHalfOpen() error { return v.o.cut(true) }

// away reports whether the visitor is without a connection.
func (v *Visitor) away() bool {
	v.o.mu.Lock()
	defer v.o.mu.Unlock()
	return v.o.client != nil && v.o.client.isAway()
}

func (o *occupant) cut(halfOpen bool) error {
	if !o.isJoined() {
		return errGone
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.leaving || o.end != (End{}) {
		return errGone
	}
	if err := o.client.cut(halfOpen); err != nil {
		return err
	}
	o.outages.cuts.Add(1)
	if o.source != nil {
		o.source.waits()
	}
	return nil
}

// comeBack resumes the session on a new connection. The error is why it is
// lost.
func (o *occupant) comeBack(ctx context.Context, c *client) error {
	if err := Sleep(ctx, o.outages.wait()); err != nil {
		return err
	}
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	if err := c.resume(ctx, o.login); err != nil {
		return fmt.Errorf("after a lost connection: %w", err)
	}
	o.back()
	o.outages.took.record(o.number, time.Since(begin))
	o.outages.resumed.Add(1)
	if o.ending() != (End{}) {
		return o.endStream(c) // the cut has swallowed it
	}
	return nil
}

// back ends the time whose stanzas say nothing about latency.
func (o *occupant) back() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tracker.Resumed(Now())
	if o.source != nil {
		o.source.resumed()
	}
}
