// Package rate bounds how often something happens, with token buckets whose
// limits can change at any time.
package rate

import "time"

// Limit is a long-term rate and what may come at once. The zero value limits
// nothing.
type Limit struct {
	PerSecond float64 // 0: no limit
	Burst     int     // at once; 1 when less
}

func (l Limit) burst() float64 { return float64(max(l.Burst, 1)) }

// Bucket counts against a [Limit] given with each call. The zero value is a
// full one. It is not safe for concurrent use.
type Bucket struct {
	used float64   // tokens taken and not filled up since
	at   time.Time // when used was right
}

// Take takes a token if there is one at the time now.
func (b *Bucket) Take(l Limit, now time.Time) bool { return b.TakeSome(l, 1, now) }

// TakeSome takes n tokens, or as many as there can be at once if that is less. It
// takes none when they are not all there at the time now.
func (b *Bucket) TakeSome(l Limit, n int, now time.Time) bool {
	if l.PerSecond <= 0 {
		return true
	}
	if !b.Has(l, n, now) {
		return false
	}
	b.used += min(float64(n), l.burst())
	return true
}

// Spend takes n tokens whether they are there or not, and returns how long from now
// there is none. A debt is for a burst at most.
func (b *Bucket) Spend(l Limit, n int, now time.Time) time.Duration {
	if l.PerSecond <= 0 {
		return 0
	}
	b.drain(l, now)
	b.used = min(b.used+float64(n), 2*l.burst())
	return b.wait(l)
}

// Has reports whether [Bucket.TakeSome] would take n tokens.
func (b *Bucket) Has(l Limit, n int, now time.Time) bool {
	if l.PerSecond <= 0 {
		return true
	}
	b.fill(l, now)
	// Rounding must not make one wait for a token that [Bucket.Wait] promised.
	const rounding = 1e-6
	return b.used+min(float64(n), l.burst()) <= l.burst()+rounding
}

// Wait returns how long from now there is no token; 0 when there is one.
func (b *Bucket) Wait(l Limit, now time.Time) time.Duration {
	if l.PerSecond <= 0 {
		return 0
	}
	b.fill(l, now)
	return b.wait(l)
}

func (b *Bucket) wait(l Limit) time.Duration {
	missing := b.used + 1 - l.burst()
	if missing <= 0 {
		return 0
	}
	return time.Duration(missing / l.PerSecond * float64(time.Second))
}

func (b *Bucket) fill(l Limit, now time.Time) {
	b.drain(l, now)
	b.used = min(b.used, l.burst()) // the limit may have been a larger one
}

func (b *Bucket) drain(l Limit, now time.Time) {
	if d := now.Sub(b.at); d > 0 {
		b.used = max(0, b.used-d.Seconds()*l.PerSecond)
		b.at = now
	}
}
