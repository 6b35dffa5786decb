package fanout

import (
	"fmt"
	"io"
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"vnode/internal/guard"
)

// newGuard returns a guard that outlives any number of panics.
func newGuard() *guard.Guard {
	return guard.New(slog.New(slog.NewTextHandler(io.Discard, nil)), prometheus.NewRegistry(), func(int) {})
}

// A panic in the turn of a session ends that session alone: whoever shares the
// room, or the shard, gets everything once and in order, also when the panic comes
// in the middle of a sweep or among other commands.
func TestPanicEndsOneSession(t *testing.T) {
	for _, gap := range []bool{false, true} {
		cfg := Config{Shards: 1, Guard: newGuard()}
		if gap {
			cfg.SweepGap = 1 // a nanosecond
		}
		t.Run(fmt.Sprint("gap ", gap), func(t *testing.T) { playPanics(t, newBroadcaster(t, cfg)) })
	}
}

func playPanics(t *testing.T, b *Broadcaster) {
	const others, lines = 40, 200
	logs := []*Log{b.NewLog(), b.NewLog()}
	var clients []*client
	var sessions []*Session
	for i := range others {
		s, c := attach(t, b, Options{To: fmt.Sprint("c", i)})
		require.True(t, s.Follow(logs[i%2]))
		clients, sessions = append(clients, c), append(sessions, s)
	}
	victims := make(chan *Session, lines)
	for n := range lines {
		if n%10 == 5 {
			v, _ := attach(t, b, Options{To: "v"})
			require.True(t, v.Follow(logs[n%2]))
			v.Drained(func() { panic("a fault of the program") })
			victims <- v
		}
		for _, l := range logs {
			l.Append(public(Plain, "", fmt.Sprint(n)))
		}
		sessions[n%others].Deliver(logs[n%others%2], private(fmt.Sprint(n)))
	}
	close(victims)
	for v := range victims {
		<-v.Done()
		require.Equal(t, Panicked, v.Reason())
	}
	for i, c := range clients {
		for n := range lines {
			c.expect(fmt.Sprintf("<p to='c%d' n='%d'/>", i, n))
			if n%others == i {
				c.expect(fmt.Sprintf("<i n='%d'/>", n))
			}
		}
	}
	require.Equal(t, float64(others), testutil.ToFloat64(b.metrics.sessions))
}

// A request whose turn meets a panic is answered.
func TestPanicAnswersWhoWaits(t *testing.T) {
	b := newBroadcaster(t, Config{Shards: 1, Guard: newGuard()})
	s, c := attach(t, b, Options{To: "a"})
	s.EnableAcks(private("enabled"), true)
	c.expect("<i n='enabled'/>")
	answer := make(chan error, 1)
	s.shard.post(command{op: opResume, s: s, ms: []*Message{nil}, answer: answer})
	require.ErrorIs(t, <-answer, errPanicked)
	<-s.Done()
}

// So does a panic while a quiet shard forgets what clients have acknowledged.
func TestPanicWhileTidying(t *testing.T) {
	b := newBroadcaster(t, Config{Shards: 1, Guard: newGuard()})
	bad, _ := attach(t, b, Options{To: "bad"})
	other, c := attach(t, b, Options{To: "other"})
	bad.Drained(func() {
		bad.unacked = &unacked{count: 5, runs: []run{{n: 5}}} // of which none is kept, as no session is
		bad.shard.keeping++
		bad.acked.Store(3)
		bad.shard.untidy = true
	})
	for n := range 100 {
		other.Deliver(nil, private(fmt.Sprint(n)))
	}
	<-bad.Done()
	require.Equal(t, Panicked, bad.Reason())
	for n := range 100 {
		c.expect(fmt.Sprintf("<i n='%d'/>", n))
	}
}
