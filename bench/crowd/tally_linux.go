package crowd

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"vnode/bench/report"
	"vnode/internal/xmpptest/conference"
)

// tally is what one loop has counted. The loop's mu guards it.
type tally struct {
	hints hints

	// In the window.
	delivered, deliveredBytes uint64
	delay                     [groups]delays
	joins                     [groups]delays
	resumed                   delays
	joinBytes                 uint64
	requests, requestBytes    uint64
	requestDelay              delays
	bytes, stanzas, acks      uint64
	refused                   uint64 // attempts to join, by a server that was busy

	// Since the begin.
	late, twice, unexpected, errors uint64
}

// delays is a distribution of durations.
type delays struct{ h *hdrhistogram.Histogram }

// Range of the distributions: one microsecond to ten minutes, to three digits.
const (
	leastDelay = 1
	mostDelay  = int64(10 * time.Minute / time.Microsecond)
	digits     = 3
)

func newDelays() delays { return delays{hdrhistogram.New(leastDelay, mostDelay, digits)} }

func (d *delays) record(t time.Duration) { d.recordNano(int64(t)) }

func (d *delays) recordNano(ns int64) {
	// Within the range, the only error there is.
	_ = d.h.RecordValue(min(max(ns/1000, leastDelay), mostDelay))
}

// reset begins a window.
func (t *tally) reset() {
	*t = tally{hints: t.hints, late: t.late, twice: t.twice, unexpected: t.unexpected, errors: t.errors}
	for i := range t.delay {
		t.delay[i], t.joins[i] = newDelays(), newDelays()
	}
	t.resumed, t.requestDelay = newDelays(), newDelays()
}

// Mark begins a window: what counts as delivered, and every distribution, is of
// stanzas published from here on.
func (c *Crowd) Mark() {
	c.since.Store(conference.Now())
	for _, l := range c.loops {
		l.mu.Lock()
		l.tally.reset()
		l.mu.Unlock()
	}
}

// Count is what has come since [Crowd.Mark].
type Count struct {
	Delivered      uint64 // stamped stanzas, each once
	DeliveredBytes uint64 // of those, without their frames
	Stanzas        uint64 // all
	Bytes          uint64 // from the sockets
	Acks           uint64 // answers to <r/>
	Requests       uint64 // IQs with a stamp
	RequestBytes   uint64
	Refused        uint64 // attempts to join that a busy server put off (HTTP 503)
	JoinBytes      uint64 // received by visitors up to the end of their joins
}

// Count returns what has come so far.
func (c *Crowd) Count() Count {
	var n Count
	for _, l := range c.loops {
		l.mu.Lock()
		t := &l.tally
		n.Delivered += t.delivered
		n.DeliveredBytes += t.deliveredBytes
		n.Stanzas += t.stanzas
		n.Bytes += t.bytes
		n.Acks += t.acks
		n.Requests += t.requests
		n.RequestBytes += t.requestBytes
		n.JoinBytes += t.joinBytes
		n.Refused += t.refused
		l.mu.Unlock()
	}
	return n
}

// Delivery returns the time from when a stanza was due to be published to each
// visitor's receipt of it, for one group.
func (c *Crowd) Delivery(g Group) *report.Distribution {
	return c.merge(func(t *tally) *delays { return &t.delay[g] })
}

// Joins returns the time of joins, from when they were due to the visitor's own
// presence, behind which everybody else is known.
func (c *Crowd) Joins(g Group) *report.Distribution {
	return c.merge(func(t *tally) *delays { return &t.joins[g] })
}

// Resumptions returns the time from when a resumption was due to <resumed/>.
func (c *Crowd) Resumptions() *report.Distribution {
	return c.merge(func(t *tally) *delays { return &t.resumed })
}

// Requests returns the time of IQs from when they were sent.
func (c *Crowd) Requests() *report.Distribution {
	return c.merge(func(t *tally) *delays { return &t.requestDelay })
}

// merge adds up one distribution of all loops; nil when it is empty.
func (c *Crowd) merge(of func(*tally) *delays) *report.Distribution {
	sum := newDelays()
	for _, l := range c.loops {
		l.mu.Lock()
		sum.h.Merge(of(&l.tally).h)
		l.mu.Unlock()
	}
	return distribution(sum.h)
}

func distribution(h *hdrhistogram.Histogram) *report.Distribution {
	if h.TotalCount() == 0 {
		return nil
	}
	at := func(q float64) time.Duration { return time.Duration(h.ValueAtQuantile(q)) * time.Microsecond }
	d := &report.Distribution{
		Count: uint64(h.TotalCount()), P50: at(50), P95: at(95), P99: at(99),
		Max: time.Duration(h.Max()) * time.Microsecond,
	}
	// Dense where tails are.
	for _, q := range quantiles() {
		p := report.Point{At: at(100 * q), Fraction: q}
		if n := len(d.CDF); n > 0 && d.CDF[n-1].At == p.At {
			d.CDF[n-1] = p
			continue
		}
		d.CDF = append(d.CDF, p)
	}
	return d
}

// quantiles are at most 100 fractions, every 2 % up to 90 % and finer behind.
func quantiles() []float64 {
	var qs []float64
	for q := 2; q <= 90; q += 2 {
		qs = append(qs, float64(q)/100)
	}
	for q := 905; q <= 995; q += 5 {
		qs = append(qs, float64(q)/1000)
	}
	return append(qs, 0.996, 0.997, 0.998, 0.999, 0.9995, 0.9999, 1)
}

// Sum is what became of everything that was published, for all visitors since
// they joined.
type Sum struct {
	Joined int    // in the room now
	Ended  int    // were in the room or on their way, and broke
	First  string // why the first of them did
	Tally  conference.Tally
	// Superseded are presences that never came but were followed by a newer one
	// of the same occupant: what a server may leave out for a client that lags.
	// They are not among the lost.
	Superseded uint64
}

// Sum counts. Nobody may publish meanwhile, and what is under way counts as
// lost: drain first.
func (c *Crowd) Sum() Sum {
	var s Sum
	sources := c.opt.Ledger.Sources()
	c.each(func(v *client) {
		if v.err != nil {
			s.Ended++
			if s.First == "" {
				s.First = v.err.Error()
			}
		}
		if v.stage != stageIn {
			return
		}
		s.Joined++
		for i, src := range sources {
			for _, k := range []conference.Kind{conference.Presence, conference.Chat} {
				from, to := src.Due(k, v.joinedAt)
				never, superseded := v.seen.missing(viewOf(i, k), from, to)
				if k == conference.Presence && !v.stalled {
					s.Superseded += superseded
					never -= superseded
				}
				if !v.stalled {
					s.Tally.Lost += never
				}
			}
		}
	})
	for _, l := range c.loops {
		l.mu.Lock()
		s.Tally.Duplicate += l.tally.twice
		s.Tally.OutOfOrder += l.tally.late
		s.Tally.Unexpected += l.tally.unexpected
		s.Tally.Errors += l.tally.errors
		l.mu.Unlock()
	}
	s.Tally.Delivered = c.Count().Delivered
	return s
}
