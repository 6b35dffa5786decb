package fanout

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

// resumable attaches a session with acks enabled and its <enabled/> read.
func resumable(t *testing.T, b *Broadcaster, o Options) (*Session, *client) {
	t.Helper()
	s, c := attach(t, b, o)
	s.EnableAcks(NewNonza([]byte("<enabled/>")), true)
	c.expect("<enabled/>")
	return s, c
}

// cut breaks the connection as a lost network does, seen by the reader.
func cut(s *Session, c *client) {
	c.conn.Close()
	l := s.Link()
	s.Suspend(l)
	<-l.Done()
}

// reconnect resumes s with h and returns the client's new end.
func reconnect(t *testing.T, s *Session, h uint32) (*client, error) {
	t.Helper()
	near, far := socketPair(t)
	near = polled(t, near)
	t.Cleanup(func() { near.Close(); far.Close() })
	l, err := s.Resume(Conn{Conn: near}, h, NewNonza([]byte("<resumed/>")))
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { s.Abort("test_over"); <-l.Done() })
	require.Equal(t, l, s.Link())
	require.NoError(t, far.SetDeadline(time.Now().Add(20*time.Second)))
	return &client{t: t, conn: far, r: bufio.NewReader(far)}, nil
}

func TestResumeSendsExactlyWhatWasMissed(t *testing.T) {
	b := newBroadcaster(t, Config{Shards: 1})
	l := b.NewLog()
	s, c := resumable(t, b, Options{To: "a"})
	s.Follow(l, private("self"))
	l.Append(public(Plain, "", "1"))
	s.Deliver(l, private("2"))
	c.expect("<i n='self'/>", "<p to='a' n='1'/>", "<i n='2'/>")
	require.NoError(t, s.Acked(1))
	cut(s, c)
	require.Equal(t, 1.0, testutil.ToFloat64(b.metrics.suspended))
	l.Append(public(Plain, "", "3"))
	s.Deliver(l, private("4"))
	s.Deliver(nil, NewNonza([]byte("<a h='9'/>"))) // of the old connection
	l.Append(public(Plain, "", "5"))

	c, err := reconnect(t, s, 2) // it has seen self and 1
	require.NoError(t, err)
	c.expect("<resumed/>", "<i n='2'/>", "<p to='a' n='3'/>", "<i n='4'/>", "<p to='a' n='5'/>")
	require.Zero(t, testutil.ToFloat64(b.metrics.suspended))
	require.NoError(t, s.Acked(6))
	require.ErrorIs(t, s.Acked(7), ErrBadAck, "nothing was counted twice")
}

// A phone changes networks: its new socket comes before the old one is known
// to be dead.
func TestResumeTakesThePlaceOfAHalfOpenConnection(t *testing.T) {
	b := newBroadcaster(t, Config{Shards: 1})
	s, old := resumable(t, b, Options{})
	first := s.Link()
	s.Deliver(nil, private("1"))
	old.expect("<i n='1'/>")
	c, err := reconnect(t, s, 0)
	require.NoError(t, err)
	<-first.Done()
	c.expect("<resumed/>", "<i n='1'/>")
	s.Suspend(first) // the old reader finds out late
	s.Deliver(nil, private("2"))
	c.expect("<i n='2'/>")
}

func TestResumeWhileTheOldConnectionIsStuck(t *testing.T) {
	b := newBroadcaster(t, Config{Shards: 1})
	near, far := net.Pipe()
	s, old := attachTo(t, b, Options{}, near, far)
	s.EnableAcks(NewNonza([]byte("<enabled/>")), true)
	old.expect("<enabled/>")
	first := s.Link()
	s.Deliver(nil, private("1")) // nobody reads it
	c, err := reconnect(t, s, 0)
	require.NoError(t, err)
	c.expect("<resumed/>", "<i n='1'/>")
	<-first.Done()
}

func TestStalledConnectionSuspendsAResumableSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroadcaster(t, Config{Shards: 1})
		near, far := net.Pipe()
		s, old := attachTo(t, b, Options{}, near, far)
		s.EnableAcks(NewNonza([]byte("<enabled/>")), true)
		old.expect("<enabled/>")
		s.Deliver(nil, private("1"))
		<-s.Link().Done()
		select {
		case <-s.Done():
			t.Fatal("the session ended with its connection")
		default:
		}
		near, far = net.Pipe()
		defer far.Close()
		defer near.Close()
		_, err := s.Resume(Conn{Conn: near}, 0, NewNonza([]byte("<resumed/>")))
		require.NoError(t, err)
		c := &client{t: t, conn: far, r: bufio.NewReader(far)}
		c.expect("<resumed/>", "<i n='1'/>")
	})
}

func TestResumeRefusals(t *testing.T) {
	b := newBroadcaster(t, Config{Shards: 1, LogMessages: 16})
	s, c := resumable(t, b, Options{To: "a"})
	s.Deliver(nil, private("1"))
	c.expect("<i n='1'/>")
	require.NoError(t, s.Acked(1))
	for _, h := range []uint32{0, 2, 1 << 31} {
		_, err := reconnect(t, s, h)
		require.ErrorIs(t, err, ErrBadAck)
	}
	s.Deliver(nil, private("2"))
	c.expect("<i n='2'/>") // the session stands as it stood

	l := b.NewLog()
	s.Follow(l)
	l.Append(public(Plain, "", "x"))
	c.expect("<p to='a' n='x'/>")
	cut(s, c)
	for range 40 {
		l.Append(public(Plain, "", "x"))
	}
	_, err := reconnect(t, s, 3)
	require.ErrorIs(t, err, ErrOverrun, "the room went on too far")

	s.Close("over")
	<-s.Done()
	_, err = reconnect(t, s, 3)
	require.ErrorIs(t, err, ErrOverrun)

	plain, c := attach(t, b, Options{})
	plain.EnableAcks(NewNonza([]byte("<enabled/>")), false)
	c.expect("<enabled/>")
	_, err = reconnect(t, plain, 0)
	require.ErrorIs(t, err, ErrOverrun, "not resumable")
}

func TestSuspendedSessionIsBounded(t *testing.T) {
	b := newBroadcaster(t, Config{Shards: 1})
	s, c := resumable(t, b, Options{Terms: b.Terms(Terms{MaxPrivate: 1000})})
	cut(s, c)
	for range 30 {
		s.Deliver(nil, NewPrivate(make([]byte, 100)))
	}
	<-s.Done()
	require.Equal(t, SlowConsumer, s.Reason())
	require.Zero(t, testutil.ToFloat64(b.metrics.suspended))
}

func TestClientThatNeverAcknowledgesIsASlowConsumer(t *testing.T) {
	b := newBroadcaster(t, Config{Shards: 1})
	s, c := resumable(t, b, Options{Terms: b.Terms(Terms{MaxUnacked: 3, Overflow: NewNonza([]byte("<stream:error/>"))})})
	for i := range 3 {
		s.Deliver(nil, private(fmt.Sprint(i)))
	}
	c.expect("<i n='0'/>", "<i n='1'/>", "<i n='2'/>")
	require.NoError(t, s.Acked(1))
	s.Deliver(nil, private("3"))
	c.expect("<i n='3'/>")
	s.Deliver(nil, private("4"))
	c.expect("<i n='4'/>", "<stream:error/>")
	<-s.Done()
	require.Equal(t, SlowConsumer, s.Reason())
}

// What a client is sent for itself alone nobody else keeps: it is asked for an
// acknowledgement before that becomes much, however short ago it was asked.
func TestMuchForOneClientIsAcknowledgedSoon(t *testing.T) {
	b := newBroadcaster(t, Config{Shards: 1, AckGap: time.Hour})
	s, c := resumable(t, b, Options{Terms: b.Terms(Terms{AckRequest: NewNonza([]byte("<r/>")), AckEvery: 1000})})
	big := strings.Repeat("x", mostUnasked/4)
	h := uint32(0)
	for range 3 {
		for i := range 4 {
			s.Deliver(nil, NewSplit([]byte(fmt.Sprintf("<i n='%d'", i)), []byte(" a='"+big+"'/>")))
			c.expect(fmt.Sprintf("<i n='%d' a='%s'/>", i, big))
		}
		c.expect("<r/>")
		h += 4
		require.NoError(t, s.Acked(h))
	}
	s.Deliver(nil, private("last"))
	c.expect("<i n='last'/>")
	settle(t, b)
	require.Equal(t, len("<i n='last'/>"), s.unacked.bytes)
}

func TestUnacknowledgedBytesOfOneClientAreBounded(t *testing.T) {
	b := newBroadcaster(t, Config{Shards: 1})
	s, c := resumable(t, b, Options{Terms: b.Terms(Terms{MaxPrivate: 500, Overflow: NewNonza([]byte("<stream:error/>"))})})
	stanza := "<i a='" + strings.Repeat("x", 290) + "'/>"
	for range 3 {
		s.Deliver(nil, NewPrivate([]byte(stanza)))
		c.expect(stanza)
	}
	s.Deliver(nil, NewPrivate([]byte(stanza)))
	c.expect(stanza, "<stream:error/>")
	<-s.Done()
	require.Equal(t, SlowConsumer, s.Reason())
}

func TestCountersGoRoundAtTheirEnd(t *testing.T) {
	b := newBroadcaster(t, Config{Shards: 1})
	l := b.NewLog()
	start := uint32(1<<32 - 3)
	u := unacked{first: start}
	var want []*Message
	for i := range 40 { // a chat line to the one, two to all, and so on
		m := private(fmt.Sprint(i))
		want = append(want, m)
		if i%3 == 0 {
			u.add(m)
			continue
		}
		u.extend(l, l.Head(), 1)
		l.Append(m)
	}
	require.Len(t, u.runs, 27, "a run for each stretch of a kind")
	rest := func(i uint32) (got []*Message) {
		require.True(t, u.has(i))
		require.True(t, u.from(i, func(m *Message) bool { got = append(got, m); return true }))
		return got
	}
	for done := uint32(0); done < 40; done += 7 {
		require.Equal(t, want[min(done+3, 40):], rest(start+min(done+3, 40)), "without forgetting any")
		u.trim(start + done)
		require.Equal(t, 40-done, u.count)
		require.Equal(t, want[done:], rest(start+done))
	}
	u.trim(start + 40)
	require.Zero(t, u.count)
	require.Empty(t, u.runs)
	require.Empty(t, u.own)
}

// What the room has said is not kept for a session: what its log has lost is
// lost, and the client is told so.
func TestUnacknowledgedStanzasThatTheLogHasLost(t *testing.T) {
	b := newBroadcaster(t, Config{Shards: 1, LogMessages: 16})
	l := b.NewLog()
	s, c := resumable(t, b, Options{To: "a"})
	s.Follow(l)
	for i := range 20 {
		l.Append(public(Plain, "", fmt.Sprint(i)))
		c.expect(fmt.Sprintf("<p to='a' n='%d'/>", i))
	}
	cut(s, c)
	_, err := reconnect(t, s, 2)
	require.ErrorIs(t, err, ErrOverrun, "number 2 is gone")
	c, err = reconnect(t, s, 18)
	require.NoError(t, err, "the session stands as it stood")
	c.expect("<resumed/>", "<p to='a' n='18'/>", "<p to='a' n='19'/>")
}

// A client that acknowledged everything costs no memory of what it was sent,
// even if nothing is sent to it any more.
func TestAcknowledgedStanzasAreForgotten(t *testing.T) {
	b, sh := idleShard(Config{})
	s := followers(b, b.NewLog(), 1)[0]
	s.Deliver(nil, private("1"), private("2"))
	sh.turn()
	require.Equal(t, uint32(2), s.unacked.count)
	require.Equal(t, 1, sh.keeping)
	require.NoError(t, s.Acked(1))
	sh.tidy()
	require.Equal(t, uint32(1), s.unacked.count)
	require.NoError(t, s.Acked(2))
	sh.tidy()
	require.Nil(t, s.unacked)
	require.Zero(t, sh.keeping)
}

// A client on a bad network loses its connection again and again, in the
// middle of anything, and resumes with what it has seen. In the end it has
// every stanza once and in order.
func TestRandomLossesAndResumptions(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 2))
			b := newBroadcaster(t, Config{Shards: 1 + int(seed%2), AckGap: time.Nanosecond})
			l := b.NewLog()
			s, c := resumable(t, b, Options{To: "a", Terms: b.Terms(Terms{AckRequest: NewNonza([]byte("<r/>")), AckEvery: 3})})
			s.Follow(l)
			const total = 600
			published := make(chan struct{})
			pace := rand.New(rand.NewPCG(seed, 3))
			go func() { // the room
				defer close(published)
				for i := range total {
					if pace.IntN(3) == 0 {
						s.Deliver(l, NewPrivate(fmt.Appendf(nil, "<i n='%d' %s/>", i, strings.Repeat("x", pace.IntN(2000)))))
					} else {
						l.Append(NewMessage(Plain, "", []byte("<m to='"), fmt.Appendf(nil, "' n='%d' %s/>", i, strings.Repeat("y", pace.IntN(2000)))))
					}
					if pace.IntN(8) == 0 {
						runtime.Gosched()
					}
				}
			}()
			var seen uint32
			for seen < total {
				for range rnd.IntN(60) {
					if seen == total {
						break
					}
					elem := c.next()
					switch {
					case elem == "<r/>":
						require.NoError(t, s.Acked(seen))
					case elem == "<resumed/>":
					default:
						require.Contains(t, elem, fmt.Sprintf("n='%d'", seen))
						seen++
					}
				}
				if rnd.IntN(2) == 0 { // cut by the reader, else taken over half-open
					cut(s, c)
				}
				var err error
				c, err = reconnect(t, s, seen)
				require.NoError(t, err)
			}
			<-published
			require.Equal(t, uint32(total), s.sent.Load())
		})
	}
}
