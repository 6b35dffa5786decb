package fanout

import (
	"context"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Who does not keep up is named, the worst first; who does is not.
func TestLaggardsAreNamed(t *testing.T) {
	b := newBroadcaster(t, Config{Shards: 2})
	l := b.NewLog()
	for _, name := range []string{"stuck1", "stuck2"} {
		near, far := net.Pipe() // nobody reads it
		s, c := attachTo(t, b, Options{To: name}, near, far)
		s.Follow(l)
		l.Append(public(Plain, "", name))
		_, err := io.ReadFull(c.conn, make([]byte, 1)) // its first write is under way
		require.NoError(t, err)
	}
	healthy, c := attach(t, b, Options{To: "well"})
	healthy.Follow(l)
	for i := range lagging + 1 {
		l.Append(public(Plain, "", fmt.Sprint(i)))
		c.expect(fmt.Sprintf("<p to='well' n='%d'/>", i))
	}
	worst, count, err := b.Laggards(t.Context(), 1)
	require.NoError(t, err)
	require.Equal(t, 2, count)
	require.Len(t, worst, 1)
	require.Equal(t, "stuck1", worst[0].To, "it has waited for longer")
	require.Greater(t, worst[0].Lag, uint64(lagging))

	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	cancel()
	_, _, err = (&Broadcaster{shards: []*shard{newShard(b, 0)}}).Laggards(ctx, 1) // one that nobody runs
	require.ErrorIs(t, err, context.Canceled)
}
