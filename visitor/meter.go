package visitor

import (
	"errors"
	"io"
	"os"
	"time"

	"vnode/internal/socket"
)

// meter reads a connection no faster than a token bucket fills, and counts
// what it read. It holds the client back by not reading, so that TCP tells it
// to wait; nothing is lost.
type meter struct {
	src    io.Reader
	polled *socket.Conn // src if a read must neither block nor wait; else nil
	limits *Limits      // nil: none
	total  uint64       // bytes read so far
	tokens float64
	last   time.Duration // when tokens was right, since epoch
}

// epoch is what meters and sessions count their time from: a time.Duration is a third of
// a time.Time.
var epoch = time.Now()

// errPace is returned by a read that must not wait when the client has sent more
// than it may: pay waits.
var errPace = errors.New("read again when the bucket has filled")

// maxWait is the longest wait that the bytes of one read can make, and the
// longest in one go: a stream that is to end is not held up by its meter. A read
// that has to wait for longer fails as if its deadline had passed.
const maxWait = time.Second / 4

func newMeter(src io.Reader, l *Limits) meter {
	return meter{src: src, limits: l, tokens: float64(l.RateBurst), last: time.Since(epoch)}
}

// unlimited lifts the limit.
func (m *meter) unlimited() { m.limits = nil }

func (m *meter) Read(p []byte) (int, error) {
	if m.polled != nil {
		return m.tryRead(p)
	}
	if !m.pay() {
		return 0, os.ErrDeadlineExceeded
	}
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
	if m.limits == nil {
		return p
	}
	most := int(float64(m.limits.BytesPerSecond) * maxWait.Seconds())
	return p[:min(len(p), max(1, most))]
}

// pay waits until the client may send again, for maxWait at most: many small
// stanzas in one read can make a larger debt, and paid is false then.
func (m *meter) pay() (paid bool) {
	d := m.debt()
	time.Sleep(min(d, maxWait))
	return d <= maxWait
}

// debt is how long the client has to wait.
func (m *meter) debt() time.Duration {
	if m.limits == nil {
		return 0
	}
	rate := float64(m.limits.BytesPerSecond)
	now := time.Since(epoch)
	m.tokens = min(float64(m.limits.RateBurst), m.tokens+(now-m.last).Seconds()*rate)
	m.last = now
	if m.tokens >= 0 {
		return 0
	}
	return time.Duration(-m.tokens / rate * float64(time.Second))
}

// charge counts n bytes that came in.
func (m *meter) charge(n int) {
	m.total += uint64(n)
	m.tokens -= float64(n)
}

// took counts a stanza, or a control frame, of n bytes, which charge has seen: it costs as much as one
// of which StanzasPerSecond make BytesPerSecond.
func (m *meter) took(n int) {
	if m.limits != nil {
		m.tokens -= float64(max(0, m.limits.BytesPerSecond/m.limits.StanzasPerSecond-n))
	}
}
