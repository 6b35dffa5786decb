package admission

import (
	"math/rand/v2"
	"net/netip"
	"time"
)

// Interval is between two calls of [Gate.Adapt].
const Interval = 100 * time.Millisecond

// How the rate is found: much as TCP finds its window. While logins wait and the
// node is on time, it grows by a tenth each interval, and more carefully near
// where the node was late before; in each interval in which the node is late, it
// falls to seven tenths. A delay of 50 ms is one that nobody in a conference sees, and that a machine
// with time to spare never has.
const (
	startRate = 500.0 // logins a second
	late      = 50 * time.Millisecond
	growth    = 1.1
	careful   = 1.02
	below     = 0.8 // of the rate at which the node was late
	above     = 1.1 // likewise
	cut       = 0.7

	// burst is how much of a second's logins may come at once.
	burst = 0.1
	// One of so many turns is a join's, however many come back.
	joinShare = 10

	maxRetry = 30 * time.Second
)

// pace lets those who wait in at the rate.
type pace struct {
	rate, max float64 // logins a second
	last      time.Time
	tokens    float64
	resumes   line // those who wait
	joins     line // likewise
	let       uint // in, of those who waited
	// backlog guesses how many are out there that were refused: each refusal
	// adds one, and the rate takes them off.
	backlog float64

	short   bool    // since the latest adapt somebody had to wait or was refused
	behind  bool    // the node was late at the latest adapt
	wasLate float64 // the rate at which it came to be so
}

func newPace(limit int, now time.Time) pace {
	rate := min(startRate, float64(limit))
	return pace{rate: rate, max: float64(limit), tokens: rate * burst, last: now, wasLate: float64(limit)}
}

// pass lets time pass, and those in whose turn it is.
func (p *pace) pass(now time.Time) {
	turns := p.rate * now.Sub(p.last).Seconds()
	p.last = now
	p.backlog = max(0, p.backlog-turns)
	p.tokens = min(max(1, burst*p.rate), p.tokens+turns)
	for p.tokens >= 1 && p.waiting() > 0 {
		q := &p.resumes
		if p.let++; q.len() == 0 || p.let%joinShare == 0 && p.joins.len() > 0 {
			q = &p.joins
		}
		q.pop()
		p.tokens--
	}
}

func (p *pace) waiting() int { return p.resumes.len() + p.joins.len() }

// next is when the next one's turn comes; not at all with nobody waiting. Turns
// come in groups: a timer for each would be work as well.
func (p *pace) next() (time.Duration, bool) {
	const group = 5 * time.Millisecond
	return max(group, seconds((1-p.tokens)/p.rate)), p.waiting() > 0
}

// enter lets somebody in, or lets it wait, unless it would have to for too long.
func (p *pace) enter(addr netip.Addr, kind Kind, patience time.Duration) (t *turn, ok bool) {
	queue, before := &p.joins, p.resumes.len()
	if kind == Resume {
		queue, before = &p.resumes, 0
	}
	if before+queue.len() == 0 && p.tokens >= 1 {
		p.tokens--
		return nil, true
	}
	p.short = true
	turns := int(p.rate*patience.Seconds()+p.tokens) - before
	if queue.ahead(addr, turns) >= turns {
		p.backlog++
		return nil, false
	}
	return queue.push(addr), true
}

// retry spreads those who are refused over the time it takes to let them in.
func (p *pace) retry() time.Duration {
	spread := min((p.backlog+float64(p.waiting()))/p.rate, maxRetry.Seconds())
	return time.Second + seconds(rand.Float64()*spread)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func (p *pace) adapt(now time.Time, delay time.Duration) {
	p.pass(now)
	switch {
	case delay > late:
		if !p.behind {
			p.wasLate = p.rate
		}
		p.rate = max(MinRate, cut*p.rate)
	case !p.short || delay > late/2:
	case p.rate > below*p.wasLate && p.rate < above*p.wasLate:
		p.rate = min(p.max, p.rate*careful)
	default:
		p.rate = min(p.max, p.rate*growth)
	}
	p.behind, p.short = delay > late, false
}
