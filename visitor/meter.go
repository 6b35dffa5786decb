package visitor

import (
	"io"
	"time"
)

// meter reads a connection no faster than a token bucket fills, and counts
// what it read. It holds the client back by not reading, so that TCP tells it
// to wait; nothing is lost.
type meter struct {
	src    io.Reader
	total  uint64  // bytes read so far
	rate   float64 // bytes a second; 0 means no limit
	burst  float64
	tokens float64
	last   time.Time // when tokens was right

	maxRead int // bytes
}

// maxWait is the longest wait the debt of one read can make: a stream that is
// to end is not held up by its meter.
const maxWait = time.Second / 4

func newMeter(src io.Reader, l *Limits) *meter {
	rate := float64(l.BytesPerSecond)
	return &meter{
		src: src, rate: rate, burst: float64(l.RateBurst), tokens: float64(l.RateBurst), last: time.Now(),
		maxRead: max(1, int(rate*maxWait.Seconds())),
	}
}

// unlimited lifts the limit.
func (m *meter) unlimited() { m.rate = 0 }

func (m *meter) Read(p []byte) (int, error) {
	m.pay()
	if m.rate > 0 {
		p = p[:min(len(p), m.maxRead)]
	}
	n, err := m.src.Read(p)
	m.charge(n)
	return n, err
}

// pay waits until the client may send again.
func (m *meter) pay() {
	if m.rate == 0 {
		return
	}
	m.refill()
	if m.tokens < 0 {
		time.Sleep(time.Duration(-m.tokens / m.rate * float64(time.Second)))
	}
}

// charge counts n bytes that came in.
func (m *meter) charge(n int) {
	m.total += uint64(n)
	m.tokens -= float64(n)
}

func (m *meter) refill() {
	now := time.Now()
	m.tokens = min(m.burst, m.tokens+now.Sub(m.last).Seconds()*m.rate)
	m.last = now
}
