package fanout

import (
	"context"
	"fmt"
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vnode/internal/guard"
)

// Config bounds a [Broadcaster]. A zero field means its default.
type Config struct {
	// Guard keeps a panic in the turn of a session to that session; nil: a panic
	// ends the process.
	Guard *guard.Guard
	// Shards is the number of goroutines that write; default GOMAXPROCS.
	Shards int
	// LogMessages is how many messages a log keeps, rounded up to a power of
	// two; default 4096.
	LogMessages int
	// LogBytes is how many bytes of messages a log keeps; default 8 MiB.
	LogBytes int
	// LogAge is how long a log keeps a message; default 3 minutes. It is
	// looked at when the next one comes, and is to be longer than sessions
	// may be without a connection.
	LogAge time.Duration
	// AckGap is the least time between two requests for an acknowledgement of
	// one session, unless 256 stanzas have been sent since; default 5 s. Each
	// answer costs as much as a third of a delivery, and what waits for it is
	// a place in the log.
	AckGap time.Duration
	// SweepGap is the least time between two sweeps over a log's sessions: what
	// is appended meanwhile goes out together, which is cheaper for the node,
	// a proxy and the clients. The first message after such a time goes out at
	// once. Default 0: a sweep begins as soon as there is something to send.
	SweepGap time.Duration
	// ConflateLag is how many messages a session must be behind before
	// superseded updates are left out for it; default 128.
	ConflateLag int
	// ConflateAge is how long a message must have waited for a session before
	// superseded updates are left out for it; default 2 s. In a quiet room a
	// client that was away for a minute lags but a few.
	ConflateAge time.Duration
	// MaxPrivate is how many bytes of private stanzas may wait for a session
	// that does not say otherwise; default 1 MiB.
	MaxPrivate int
	// StallTimeout ends a session whose connection, unless it is patient,
	// takes no byte for so long; default 30 s.
	StallTimeout time.Duration
	// CloseTimeout bounds the flush of a closing session; default 5 s.
	CloseTimeout time.Duration
	// SendBuffer is SO_SNDBUF of TCP and unix sockets in bytes; default
	// 128 KiB. Left to the kernel a stalled client grows it to 4 MiB.
	SendBuffer int
}

func (c Config) withDefaults() Config {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&c.Shards, runtime.GOMAXPROCS(0))
	def(&c.LogMessages, 4096)
	def(&c.LogBytes, 8<<20)
	def(&c.ConflateLag, 128)
	def(&c.MaxPrivate, 1<<20)
	def(&c.SendBuffer, 128<<10)
	c.LogMessages = 1 << bits.Len(uint(c.LogMessages-1))
	if c.LogAge <= 0 {
		c.LogAge = 3 * time.Minute
	}
	if c.ConflateAge <= 0 {
		c.ConflateAge = 2 * time.Second
	}
	if c.AckGap <= 0 {
		c.AckGap = 5 * time.Second
	}
	if c.StallTimeout <= 0 {
		c.StallTimeout = 30 * time.Second
	}
	if c.CloseTimeout <= 0 {
		c.CloseTimeout = 5 * time.Second
	}
	return c
}

// Broadcaster owns the write side of every client connection attached to it.
type Broadcaster struct {
	// Static after construction.
	cfg     Config
	shards  []*shard
	metrics *metrics
	terms   *Terms // of sessions that have none

	next    atomic.Uint64  // sessions attached so far, to deal them to shards
	running sync.WaitGroup // shards, and goroutines that wait for a connection
}

// New starts a Broadcaster. Metrics are registered with reg; it panics when
// they are registered there already.
func New(cfg Config, reg prometheus.Registerer) *Broadcaster {
	b := &Broadcaster{cfg: cfg.withDefaults(), metrics: newMetrics(reg)}
	b.terms = b.Terms(Terms{})
	for i := range b.cfg.Shards {
		s := newShard(b, i)
		b.shards = append(b.shards, s)
	}
	for _, s := range b.shards {
		b.running.Go(s.run)
	}
	return b
}

// Lag measures how late the shards are: how long the busiest takes to come to
// something new. It blocks for so long, or until ctx ends. It must not be called
// after Close.
func (b *Broadcaster) Lag(ctx context.Context) time.Duration {
	start := time.Now()
	answers := make(chan error, len(b.shards))
	for _, s := range b.shards {
		s.post(command{op: opProbe, answer: answers})
	}
	for range b.shards {
		select {
		case <-answers:
		case <-ctx.Done():
			return time.Since(start)
		}
	}
	return time.Since(start)
}

// Close ends every session still open at once and stops the shards. It blocks
// until they have stopped or ctx ends. Nothing may be attached afterwards.
func (b *Broadcaster) Close(ctx context.Context) error {
	for _, s := range b.shards {
		s.post(command{op: opStop})
	}
	stopped := make(chan struct{})
	go func() {
		b.running.Wait()
		close(stopped)
	}()
	select {
	case <-stopped:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("fanout: shards still running: %w", ctx.Err())
	}
}
