package visitor

import (
	"errors"
	"io"
	"time"

	"vnode/internal/socket"
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

	// polled is the same as src once a read must neither block nor wait.
	polled *socket.Conn
}

// errPace is returned by a read that must not wait when the client has sent more
// than it may: pay waits.
var errPace = errors.New("read again when the bucket has filled")

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
	if m.polled != nil {
		return m.tryRead(p)
	}
	m.pay()
	n, err := m.src.Read(m.portion(p))
	m.charge(n)
	return n, err
}

func (m *meter) tryRead(p []byte) (int, error) {
	if m.debt() > 0 {
		return 0, errPace
	}
	n, err := m.polled.TryRead(m.portion(p))
	m.charge(n)
	return n, err
}

// portion bounds the debt of one read.
func (m *meter) portion(p []byte) []byte {
	if m.rate == 0 {
		return p
	}
	return p[:min(len(p), m.maxRead)]
}

// pay waits until the client may send again.
func (m *meter) pay() {
	if d := m.debt(); d > 0 {
		time.Sleep(d)
	}
}

// debt is how long the client has to wait.
func (m *meter) debt() time.Duration {
	if m.rate == 0 {
		return 0
	}
	m.refill()
	if m.tokens >= 0 {
		return 0
	}
	return time.Duration(-m.tokens / m.rate * float64(time.Second))
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
