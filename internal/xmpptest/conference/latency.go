package conference

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Range of the histograms: one microsecond to ten minutes, in microseconds, to
// three significant digits. What is beyond counts as the bound.
const (
	minLatency = 1
	maxLatency = int64(10 * time.Minute / time.Microsecond)
	digits     = 3
)

// Quantiles sums up a distribution of durations. The zero value means that
// nothing was measured.
type Quantiles struct {
	Count int64         `json:"count"`
	P50   time.Duration `json:"p50_ns"`
	P95   time.Duration `json:"p95_ns"`
	P99   time.Duration `json:"p99_ns"`
	Max   time.Duration `json:"max_ns"`
}

// shards spreads the receivers' measurements over so many histograms: one
// lock for thousands of goroutines would be measured instead of the node.
const shards = 16

// recorder collects durations from many goroutines.
type recorder struct {
	parts [shards]struct {
		mu sync.Mutex
		h  *hdrhistogram.Histogram // guarded by mu; nil until used
	}
}

// record adds d to the part of receiver number i.
func (r *recorder) record(i int, d time.Duration) {
	p := &r.parts[uint(i)%shards]
	us := min(max(d.Microseconds(), minLatency), maxLatency)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.h == nil {
		p.h = newHistogram()
	}
	// The value is within the range, the only error there is.
	_ = p.h.RecordValue(us)
}

// quantiles sums up everything recorded so far.
func (r *recorder) quantiles() Quantiles {
	all := newHistogram()
	for i := range r.parts {
		p := &r.parts[i]
		p.mu.Lock()
		if p.h != nil {
			all.Merge(p.h)
		}
		p.mu.Unlock()
	}
	if all.TotalCount() == 0 {
		return Quantiles{}
	}
	at := func(q float64) time.Duration { return time.Duration(all.ValueAtQuantile(q)) * time.Microsecond }
	return Quantiles{
		Count: all.TotalCount(), P50: at(50), P95: at(95), P99: at(99),
		Max: time.Duration(all.Max()) * time.Microsecond,
	}
}

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(minLatency, maxLatency, digits)
}
