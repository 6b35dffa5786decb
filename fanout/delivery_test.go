package fanout

import (
	"fmt"
	"io"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// devNull takes everything at once: what remains is the broadcaster's own
// work.
type devNull struct{}

func (devNull) send(b []byte) (int, bool, error) { return len(b), false, nil }
func (devNull) arm(time.Time)                    {}
func (devNull) await(func(func()), func(error))  {}
func (devNull) closeWrite() bool                 { return false }

// idleShard is a shard whose loop the test runs by hand.
func idleShard(cfg Config) (*Broadcaster, *shard) {
	cfg.Shards = 1
	b := &Broadcaster{cfg: cfg.withDefaults(), metrics: newMetrics(prometheus.NewRegistry())}
	b.shards = []*shard{newShard(b, 0)}
	return b, b.shards[0]
}

func (sh *shard) turn() {
	for more := true; more || len(sh.ready) > 0; {
		sh.refresh()
		sh.visitReady()
		more = sh.sweepSome()
		sh.tally.flush(sh.b.metrics)
	}
}

func followers(b *Broadcaster, l *Log, n int) (all []*Session) {
	for i := range n {
		s := b.Attach(Options{To: fmt.Sprintf("%036d@v3.meet.jitsi/abcdefgh", i), Conn: Conn{Framing: WebSocket}, Terms: b.Terms(Terms{AckRequest: NewNonza([]byte("<r xmlns='urn:xmpp:sm:3'/>"))})})
		s.Link().out = devNull{}
		s.EnableAcks(NewNonza(nil), true)
		s.Follow(l)
		all = append(all, s)
	}
	return all
}

// ackAll acknowledges everything, as clients do when asked.
func ackAll(all []*Session) {
	for _, s := range all {
		if s.Acked(s.sent.Load()) != nil {
			panic("ack refused")
		}
	}
}

func stanza900() *Message {
	return NewMessage(Update, "alice", make([]byte, 200), make([]byte, 650))
}

func TestDeliveryDoesNotAllocate(t *testing.T) {
	b, sh := idleShard(Config{})
	l := b.NewLog()
	all := followers(b, l, 500)
	sh.turn()
	messages := make([]*Message, 2001)
	for i := range messages {
		messages[i] = stanza900()
	}
	i := 0
	step := func() {
		l.Append(messages[i])
		i++
		sh.turn()
		ackAll(all)
	}
	for range 100 { // buffers grow to their size
		step()
	}
	require.Zero(t, testing.AllocsPerRun(1000, step), "per message to 500 sessions")
}

func BenchmarkDelivery(b *testing.B) {
	for _, batch := range []int{1, 4, 16} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			bc, sh := idleShard(Config{})
			l := bc.NewLog()
			const n = 1000
			all := followers(bc, l, n)
			sh.turn()
			b.ReportAllocs()
			b.ResetTimer()
			for done := 0; done < b.N; done += n * batch {
				for range batch {
					l.Append(stanza900())
				}
				sh.turn()
				ackAll(all)
			}
		})
	}
}

// BenchmarkSocketDelivery sends over loopback TCP, the receivers' half of the
// kernel's work included, and stops the clock when all has arrived.
func BenchmarkSocketDelivery(b *testing.B) {
	for _, batch := range []int{1, 16} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			bc := newBroadcaster(b, Config{})
			l := bc.NewLog()
			const n = 200
			var arrived atomic.Int64
			for i := range n {
				s, c := attach(b, bc, Options{To: fmt.Sprintf("%d", 1000+i), Conn: Conn{Framing: WebSocket}})
				require.NoError(b, c.conn.SetDeadline(time.Time{}))
				s.Follow(l)
				go func() { _, _ = io.Copy(counter{&arrived}, c.conn) }()
			}
			frame := int64(4 + 850 + 4)
			b.ReportAllocs()
			b.ResetTimer()
			for done := int64(0); done < int64(b.N); {
				for range batch {
					l.Append(stanza900())
				}
				done += n * int64(batch)
				for arrived.Load() < done*frame {
					runtime.Gosched()
				}
			}
		})
	}
}

type counter struct{ n *atomic.Int64 }

func (c counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}
