package fanout

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// write reads what came in one write; the far end of a net.Pipe tells.
func (c *client) write() string {
	c.t.Helper()
	b := make([]byte, 64<<10)
	n, err := c.conn.Read(b)
	require.NoError(c.t, err)
	return string(b[:n])
}

// With a gap the first message after a quiet time goes out at once, and what
// comes soon after it goes out together when the gap is over.
func TestSweepsKeepTheirDistance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const gap = 20 * time.Millisecond
		b := newBroadcaster(t, Config{Shards: 1, SweepGap: gap})
		near, far := net.Pipe()
		s, c := attachTo(t, b, Options{To: "a"}, near, far)
		l := b.NewLog()
		require.True(t, s.Follow(l))
		synctest.Wait()

		start := time.Now()
		l.Append(public(Plain, "", "1"))
		require.Equal(t, "<p to='a' n='1'/>", c.write())
		require.Zero(t, time.Since(start))

		time.Sleep(gap / 4)
		l.Append(public(Plain, "", "2"))
		synctest.Wait()
		time.Sleep(gap / 4)
		l.Append(public(Plain, "", "3"))
		s.Deliver(l, private("after 3"))
		require.Equal(t, "<p to='a' n='2'/><p to='a' n='3'/><i n='after 3'/>", c.write())
		require.Equal(t, gap, time.Since(start))

		s.Deliver(nil, private("signalling"))
		require.Equal(t, "<i n='signalling'/>", c.write())
		require.Equal(t, gap, time.Since(start), "what is for one client does not wait")

		time.Sleep(gap)
		start = time.Now()
		l.Append(public(Plain, "", "4"))
		require.Equal(t, "<p to='a' n='4'/>", c.write())
		require.Zero(t, time.Since(start))
	})
}

// Each log has its own gap, and one that loses its followers meanwhile is
// forgotten.
func TestGapsOfLogsAreTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const gap = 20 * time.Millisecond
		b := newBroadcaster(t, Config{Shards: 1, SweepGap: gap})
		begin := func(to string) (*Session, *client, *Log) {
			near, far := net.Pipe()
			s, c := attachTo(t, b, Options{To: to}, near, far)
			l := b.NewLog()
			require.True(t, s.Follow(l))
			return s, c, l
		}
		_, alice, red := begin("a")
		gone, bob, blue := begin("b")
		start := time.Now()
		red.Append(public(Plain, "", "1"))
		require.Equal(t, "<p to='a' n='1'/>", alice.write())
		time.Sleep(gap / 2)
		blue.Append(public(Plain, "", "1"))
		require.Equal(t, "<p to='b' n='1'/>", bob.write())
		red.Append(public(Plain, "", "2"))
		blue.Append(public(Plain, "", "2"))
		gone.Abort("test_over")
		<-gone.Done()
		require.Equal(t, "<p to='a' n='2'/>", alice.write())
		require.Equal(t, gap, time.Since(start))
		time.Sleep(gap)
	})
}

// In a quiet room a client that was away for some seconds is not behind by
// many, and yet nobody needs what has been replaced since.
func TestOldUpdatesAreLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroadcaster(t, Config{Shards: 1})
		near, far := net.Pipe()
		s, c := attachTo(t, b, Options{To: "a"}, near, far)
		s.EnableAcks(NewNonza([]byte("<enabled/>")), false)
		c.expect("<enabled/>")
		l := b.NewLog()
		require.True(t, s.Follow(l))
		say := func(ns ...string) {
			for _, n := range ns {
				l.Append(public(Update, "alice", n))
				synctest.Wait()
			}
		}
		say("1") // on its way, whatever follows
		say("2", "3")
		l.Append(public(Plain, "", "hello"))
		say("4")
		time.Sleep(time.Second)
		c.expect("<p to='a' n='1'/>", "<p to='a' n='2'/>", "<p to='a' n='3'/>", "<p to='a' n='hello'/>", "<p to='a' n='4'/>")

		say("5", "6", "7")
		l.Append(public(Plain, "", "bye"))
		say("8")
		time.Sleep(3 * time.Second)
		c.expect("<p to='a' n='5'/>", "<p to='a' n='bye'/>", "<p to='a' n='8'/>")
		require.EqualValues(t, 8, s.sent.Load(), "what was left out does not count")
	})
}
