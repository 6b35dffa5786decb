package fanout

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newBroadcaster(t testing.TB, cfg Config) *Broadcaster {
	t.Helper()
	b := New(cfg, prometheus.NewRegistry())
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, b.Close(ctx))
	})
	return b
}

// client is the other end of a session's connection.
type client struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
}

// attach connects a client over TCP on loopback.
func attach(t testing.TB, b *Broadcaster, o Options) (*Session, *client) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	far, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	near, err := ln.Accept()
	require.NoError(t, err)
	return attachTo(t, b, o, near, far)
}

func attachTo(t testing.TB, b *Broadcaster, o Options, near, far net.Conn) (*Session, *client) {
	t.Helper()
	o.Conn.Conn = near
	s := b.Attach(o)
	t.Cleanup(func() {
		s.Abort("test_over")
		<-s.Done()
		near.Close()
		far.Close()
	})
	require.NoError(t, far.SetDeadline(time.Now().Add(20*time.Second)))
	return s, &client{t: t, conn: far, r: bufio.NewReader(far)}
}

// next reads one element, "" at the end of the stream.
func (c *client) next() string {
	s, err := c.r.ReadString('>')
	if err == io.EOF && s == "" {
		return ""
	}
	require.NoError(c.t, err)
	return s
}

func (c *client) expect(want ...string) {
	c.t.Helper()
	for _, w := range want {
		require.Equal(c.t, w, c.next())
	}
}

func public(class Class, key, n string) *Message {
	return NewMessage(class, key, []byte("<p to='"), []byte("' n='"+n+"'/>"))
}

func private(n string) *Message { return NewPrivate([]byte("<i n='" + n + "'/>")) }

func TestFollowerGetsSnapshotThenEverythingAfterIt(t *testing.T) {
	b := newBroadcaster(t, Config{Shards: 1})
	l := b.NewLog()
	s, c := attach(t, b, Options{To: "a@x/1"})
	l.Append(public(Plain, "", "before"))
	require.True(t, s.Follow(l, public(Plain, "", "snapshot"), private("self")))
	l.Append(public(Plain, "", "1"))
	l.Append(public(Plain, "", "2"))
	c.expect("<p to='a@x/1' n='snapshot'/>", "<i n='self'/>", "<p to='a@x/1' n='1'/>", "<p to='a@x/1' n='2'/>")
}

func TestPrivateStanzaKeepsItsPlaceInTheRoom(t *testing.T) {
	b := newBroadcaster(t, Config{Shards: 1})
	l := b.NewLog()
	s, c := attach(t, b, Options{To: "a"})
	s.Follow(l)
	l.Append(public(Plain, "", "1"))
	s.Deliver(l, private("after 1"))
	l.Append(public(Plain, "", "2"))
	s.Deliver(l, private("after 2"))
	c.expect("<p to='a' n='1'/>", "<i n='after 1'/>", "<p to='a' n='2'/>", "<i n='after 2'/>")
}

func TestUnfollowEndsExactlyThere(t *testing.T) {
	b := newBroadcaster(t, Config{Shards: 1})
	l, other := b.NewLog(), b.NewLog()
	s, c := attach(t, b, Options{To: "a"})
	require.True(t, s.Follow(l))
	require.False(t, s.Follow(other), "a session follows one log at a time")
	l.Append(public(Plain, "", "1"))
	s.Unfollow(l, private("destroyed"))
	l.Append(public(Plain, "", "never seen"))
	require.True(t, s.Follow(other))
	other.Append(public(Plain, "", "of the other"))
	c.expect("<p to='a' n='1'/>", "<i n='destroyed'/>", "<p to='a' n='of the other'/>")
}

// A client leaves one room and joins another at once: two rooms' goroutines
// speak to the session, and neither may undo the other's word.
func TestSessionMovesBetweenRooms(t *testing.T) {
	b := newBroadcaster(t, Config{Shards: 2})
	s, c := attach(t, b, Options{To: "a"})
	const rounds = 500
	rooms := []*Log{b.NewLog(), b.NewLog()}
	require.True(t, s.Follow(rooms[0], private("join 0")))
	left := make(chan struct{})
	go func() {
		defer close(left)
		for i := range rounds {
			l := rooms[i%2]
			l.Append(public(Plain, "", fmt.Sprint("in ", i)))
			done := make(chan struct{})
			go func() { // the other room admits it as soon as it can
				defer close(done)
				for !s.Follow(rooms[(i+1)%2], private(fmt.Sprint("join ", i+1))) {
					runtime.Gosched()
				}
			}()
			s.Unfollow(l, private(fmt.Sprint("leave ", i)))
			<-done
		}
	}()
	for i := range rounds {
		c.expect(fmt.Sprintf("<i n='join %d'/>", i), fmt.Sprintf("<p to='a' n='in %d'/>", i), fmt.Sprintf("<i n='leave %d'/>", i))
	}
	<-left
}

func TestWebSocketFramesOfEverySize(t *testing.T) {
	b := newBroadcaster(t, Config{Shards: 1})
	for _, n := range []int{10, 125, 126, 0xFFFF, 0x10000, 200_000} {
		s, c := attach(t, b, Options{Conn: Conn{Framing: WebSocket}})
		payload := bytes.Repeat([]byte("x"), n)
		s.Deliver(nil, NewPrivate(payload))
		s.Close("bye")
		got, err := io.ReadAll(c.r)
		require.NoError(t, err)
		head := len(got) - n
		require.Equal(t, payload, got[head:])
		require.Equal(t, WebSocket.appendHeader(nil, n), got[:head])
	}
}

func TestAcks(t *testing.T) {
	b := newBroadcaster(t, Config{Shards: 1})
	l := b.NewLog()
	s, c := attach(t, b, Options{To: "a", Terms: b.Terms(Terms{AckRequest: NewNonza([]byte("<r/>")), AckEvery: 3})})
	s.Deliver(nil, private("uncounted"))
	s.EnableAcks(NewNonza([]byte("<enabled/>")), false)
	s.Follow(l, private("1"), private("2"))
	s.Deliver(nil, NewNonza([]byte("<a h='7'/>")))
	c.expect("<i n='uncounted'/>", "<enabled/>", "<i n='1'/>", "<i n='2'/>", "<a h='7'/>")
	l.Append(public(Plain, "", "3"))
	c.expect("<p to='a' n='3'/>", "<r/>")
	require.NoError(t, s.Acked(2))
	require.ErrorIs(t, s.Acked(4), ErrBadAck, "more than was sent")
	require.ErrorIs(t, s.Acked(1), ErrBadAck, "less than before")
	require.NoError(t, s.Acked(3))
}

// A fast room does not have every client acknowledge all the time.
func TestAckRequestsKeepTheirDistance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroadcaster(t, Config{Shards: 1, AckGap: 2 * time.Second})
		near, far := net.Pipe()
		s, c := attachTo(t, b, Options{Terms: b.Terms(Terms{AckRequest: NewNonza([]byte("<r/>")), AckEvery: 3})}, near, far)
		s.EnableAcks(NewNonza([]byte("<enabled/>")), false)
		c.expect("<enabled/>")
		say := func(n int) {
			for range n {
				s.Deliver(nil, private("x"))
				c.expect("<i n='x'/>")
			}
		}
		say(3)
		c.expect("<r/>")
		say(10) // without one
		time.Sleep(3 * time.Second)
		say(1)
		c.expect("<r/>")
		say(mostUnrequested)
		c.expect("<r/>")
	})
}

func TestMessagesGrowTooOldForTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroadcaster(t, Config{Shards: 1, LogAge: time.Minute})
		l := b.NewLog()
		for range 5 {
			l.Append(public(Plain, "", "x"))
			time.Sleep(20 * time.Second)
		}
		require.EqualValues(t, 5, l.Head())
		require.EqualValues(t, 1, l.floor.Load(), "80 s ago")
		time.Sleep(time.Hour)
		l.Append(public(Plain, "", "x"))
		require.EqualValues(t, 5, l.floor.Load())
		require.Equal(t, l.at(5).size(0), l.bytes)
	})
}

func TestCloseFlushesAndEndsTheStream(t *testing.T) {
	for _, pipe := range []bool{false, true} {
		b := newBroadcaster(t, Config{Shards: 1})
		o := Options{Conn: Conn{Trailer: NewRaw([]byte("<trailer/>"))}}
		var s *Session
		var c *client
		if pipe {
			near, far := net.Pipe()
			s, c = attachTo(t, b, o, near, far)
		} else {
			s, c = attach(t, b, o)
		}
		l := b.NewLog()
		s.Follow(l)
		l.Append(public(Plain, "", "1"))
		s.Close("system_shutdown", NewNonza([]byte("<close/>")))
		s.Deliver(nil, private("too late"))
		c.expect("<p to='' n='1'/>", "<close/>", "<trailer/>")
		<-s.Done()
		require.Equal(t, Reason("system_shutdown"), s.Reason())
		if !pipe { // a pipe has no half-close
			require.Empty(t, c.next())
		}
	}
}

func TestBrokenConnectionEndsTheSession(t *testing.T) {
	b := newBroadcaster(t, Config{Shards: 1})
	near, far := net.Pipe()
	s, _ := attachTo(t, b, Options{}, near, far)
	far.Close()
	s.Deliver(nil, private("1"))
	<-s.Done()
	require.Equal(t, WriteFailed, s.Reason())
}

func TestStalledClientIsEndedAndOthersDoNotNotice(t *testing.T) {
	b := newBroadcaster(t, Config{Shards: 1, StallTimeout: 50 * time.Millisecond})
	l := b.NewLog()
	near, far := net.Pipe() // nobody reads it
	stalled, _ := attachTo(t, b, Options{To: "stalled"}, near, far)
	healthy, c := attach(t, b, Options{To: "a"})
	stalled.Follow(l)
	healthy.Follow(l)
	for i := range 100 {
		l.Append(public(Plain, "", fmt.Sprint(i)))
		c.expect(fmt.Sprintf("<p to='a' n='%d'/>", i))
	}
	<-stalled.Done()
	require.Equal(t, Stalled, stalled.Reason())
}

func TestLaggardBeyondTheLogIsASlowConsumer(t *testing.T) {
	b := newBroadcaster(t, Config{Shards: 1, LogMessages: 16})
	l := b.NewLog()
	near, far := net.Pipe()
	s, c := attachTo(t, b, Options{To: "a", Terms: b.Terms(Terms{Overflow: NewNonza([]byte("<stream:error/>"))})}, near, far)
	s.Follow(l)
	l.Append(public(Plain, "", "0"))
	one := make([]byte, 1)
	_, err := io.ReadFull(c.conn, one) // the first write is under way, and held up
	require.NoError(t, err)
	for i := range 40 {
		l.Append(public(Plain, "", fmt.Sprint(i)))
	}
	rest, err := bufio.NewReader(c.conn).ReadString('>')
	require.NoError(t, err)
	require.Equal(t, "p to='a' n='0'/>", rest)
	c.r.Reset(c.conn)
	c.expect("<stream:error/>")
	<-s.Done()
	require.Equal(t, SlowConsumer, s.Reason())
	require.Equal(t, 1.0, testutil.ToFloat64(b.metrics.overflows))
}

func TestTooManyPrivateBytesIsASlowConsumer(t *testing.T) {
	b := newBroadcaster(t, Config{Shards: 1})
	near, far := net.Pipe()
	s, _ := attachTo(t, b, Options{Terms: b.Terms(Terms{MaxPrivate: 1000})}, near, far)
	for range 30 {
		s.Deliver(nil, NewPrivate(bytes.Repeat([]byte("x"), 100)))
	}
	<-s.Done()
	require.Equal(t, SlowConsumer, s.Reason())
}

// settle returns when the only shard has seen everything appended so far: it
// reads a log's head in the round after it was told of it, and answers a
// client in each.
func settle(t *testing.T, b *Broadcaster) {
	s, c := attach(t, b, Options{})
	for range 2 {
		s.Deliver(nil, private("settled"))
		c.expect("<i n='settled'/>")
	}
}

func TestLaggardGetsTheNewestStateOfEachOccupant(t *testing.T) {
	b := newBroadcaster(t, Config{Shards: 1, ConflateLag: 4})
	l := b.NewLog()
	near, far := net.Pipe()
	s, c := attachTo(t, b, Options{To: "a"}, near, far)
	s.Follow(l)
	l.Append(public(Plain, "alice", "held up"))
	_, err := io.ReadFull(c.conn, make([]byte, 1))
	require.NoError(t, err)
	l.Append(public(Plain, "", "bob joins"))
	l.Append(public(Update, "alice", "a1"))
	l.Append(public(Update, "bob", "b1"))
	l.Append(public(Plain, "", "chat"))
	l.Append(public(Update, "alice", "a2"))
	l.Append(public(Final, "bob", "bob leaves"))
	l.Append(public(Plain, "", "bob joins again"))
	l.Append(public(Update, "bob", "b2"))
	settle(t, b)
	_, err = bufio.NewReaderSize(c.conn, 16).ReadString('>')
	require.NoError(t, err)
	for _, want := range []string{"bob joins", "chat", "a2", "bob leaves", "bob joins again", "b2"} {
		require.Equal(t, "<p to='a' n='"+want+"'/>", c.next())
	}
	settle(t, b) // counts are added up at the end of a round
	require.Equal(t, 2.0, testutil.ToFloat64(b.metrics.conflated))
}

func TestByteBudgetOfTheLog(t *testing.T) {
	b := newBroadcaster(t, Config{Shards: 1, LogBytes: 1000})
	l := b.NewLog()
	for range 50 {
		l.Append(NewMessage(Plain, "", bytes.Repeat([]byte("x"), 100), nil))
	}
	require.LessOrEqual(t, l.bytes, 1000)
	require.Equal(t, uint64(40), l.floor.Load())
	require.Nil(t, l.at(39))
	require.NotNil(t, l.at(40))
}

func TestManyFollowersOnManyShards(t *testing.T) {
	b := newBroadcaster(t, Config{Shards: 4})
	l := b.NewLog()
	const sessions, messages = 40, 300
	clients := make([]*client, sessions)
	for i := range clients {
		var s *Session
		s, clients[i] = attach(t, b, Options{To: fmt.Sprintf("u%02d", i)})
		s.Follow(l)
	}
	for i := range messages {
		l.Append(public(Plain, "", fmt.Sprint(i)))
	}
	for u, c := range clients {
		for i := range messages {
			require.Equal(t, fmt.Sprintf("<p to='u%02d' n='%d'/>", u, i), c.next())
		}
	}
	require.Equal(t, float64(sessions*messages), testutil.ToFloat64(b.metrics.deliveries))
}

func TestCloseOfTheBroadcasterEndsWhatIsOpen(t *testing.T) {
	b := New(Config{Shards: 2}, prometheus.NewRegistry())
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	stuck := b.Attach(Options{Conn: Conn{Conn: near}})
	stuck.Deliver(nil, private("nobody reads this"))
	require.NoError(t, b.Close(t.Context()))
	<-stuck.Done()
	require.Equal(t, BroadcasterClosed, stuck.Reason())
}

// ownerFunc is an owner that is one call.
type ownerFunc func()

func (f ownerFunc) Released() { f() }

func TestOwnerIsToldBeforeDone(t *testing.T) {
	b := newBroadcaster(t, Config{Shards: 1, StallTimeout: time.Millisecond})
	near, far := net.Pipe() // nobody reads it
	var s *Session
	told := make(chan bool, 1)
	attached := make(chan struct{})
	s, _ = attachTo(t, b, Options{Conn: Conn{Owner: ownerFunc(func() {
		<-attached
		select {
		case <-s.Link().Done():
			told <- false
		default:
			told <- true
		}
	})}}, near, far)
	close(attached)
	s.Deliver(nil, private("1"))
	require.True(t, <-told)
	<-s.Done()
	require.Equal(t, Stalled, s.Reason())
}

func TestMetricNamesFollowPrometheusRules(t *testing.T) {
	reg := prometheus.NewRegistry()
	b := New(Config{Shards: 1}, reg)
	defer b.Close(context.Background())
	problems, err := testutil.GatherAndLint(reg)
	require.NoError(t, err)
	require.Empty(t, problems)
	families, err := reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		require.True(t, strings.HasPrefix(f.GetName(), "vnode_fanout_"), f.GetName())
	}
}
