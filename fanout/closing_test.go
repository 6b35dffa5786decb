package fanout

import (
	"bufio"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// dam is a connection that takes bytes only as long as it is told to.
type dam struct {
	net.Conn
	open chan struct{} // one token for each write, or closed
}

func (d *dam) Write(b []byte) (int, error) {
	<-d.open
	return d.Conn.Write(b)
}

// behindDam attaches a resumable session whose <enabled/> is on its way.
func behindDam(t *testing.T, b *Broadcaster, o Options) (*Session, *client, *dam) {
	near, far := socketPair(t)
	d := &dam{near, make(chan struct{}, 1)}
	o.Conn.Conn = d
	s := b.Attach(o)
	t.Cleanup(func() {
		s.Abort("test_over")
		<-s.Done()
		near.Close()
		far.Close()
	})
	require.NoError(t, far.SetDeadline(time.Now().Add(20*time.Second)))
	s.EnableAcks(NewNonza([]byte("<enabled/>")), true)
	return s, &client{t: t, conn: far, r: bufio.NewReader(far)}, d
}

// A session that ends is not resumed any more: what its client leaves
// unacknowledged of the rest is nobody's concern.
func TestAClosingSessionKeepsNothing(t *testing.T) {
	b := newBroadcaster(t, Config{Shards: 1})
	l := b.NewLog()
	s, c, d := behindDam(t, b, Options{To: "a", Terms: b.Terms(Terms{MaxUnacked: 3})})
	require.True(t, s.Follow(l))
	for range 10 {
		l.Append(public(Plain, "", "x"))
	}
	s.Close("closed", NewNonza([]byte("</stream>")))
	close(d.open)
	c.expect("<enabled/>")
	for range 10 {
		c.expect("<p to='a' n='x'/>")
	}
	c.expect("</stream>")
	<-s.Done()
	require.Equal(t, Reason("closed"), s.Reason())
}

// The room goes on too far while a session that ends is still at something else.
func TestAClosingSessionLosesItsRoom(t *testing.T) {
	b := newBroadcaster(t, Config{Shards: 1, LogMessages: 4})
	l := b.NewLog()
	s, c, d := behindDam(t, b, Options{To: "a"})
	require.True(t, s.Follow(l))
	d.open <- struct{}{}
	c.expect("<enabled/>")
	l.Append(public(Plain, "", "on its way"))
	<-visits(b) // it is blocked now
	for range 10 {
		l.Append(public(Plain, "", "x"))
	}
	<-visits(b) // the shard knows
	s.Deliver(nil, private("for it alone"))
	s.Close("closed")
	close(d.open)
	<-s.Done()
	require.Equal(t, Reason("closed"), s.Reason())
}

// visits is closed when the shards have done what there was to do.
func visits(b *Broadcaster) <-chan struct{} {
	done := make(chan struct{})
	answers := make(chan error, len(b.shards))
	for range 2 { // behind the visits that the first round makes
		for _, sh := range b.shards {
			sh.post(command{op: opProbe, answer: answers})
			<-answers
		}
	}
	close(done)
	return done
}

// A client comes back and takes what it missed so slowly that its room forgets
// the rest.
func TestAReplayThatTheRoomOvertakes(t *testing.T) {
	b := newBroadcaster(t, Config{Shards: 1, LogMessages: 16})
	l := b.NewLog()
	s, c := resumable(t, b, Options{To: "a", Terms: b.Terms(Terms{Overflow: NewNonza([]byte("<overflow/>"))})})
	require.True(t, s.Follow(l))
	long := strings.Repeat("x", 20<<10)
	for range 8 {
		l.Append(public(Plain, "", long))
		c.next()
	}
	cut(s, c)
	near, far := socketPair(t)
	d := &dam{near, make(chan struct{}, 1)}
	t.Cleanup(func() { near.Close(); far.Close() })
	link, err := s.Resume(Conn{Conn: d}, 0, NewNonza([]byte("<resumed/>")))
	require.NoError(t, err)
	<-visits(b) // the first part is on its way
	for range 16 {
		l.Append(public(Plain, "", "later"))
	}
	close(d.open)
	require.NoError(t, far.SetDeadline(time.Now().Add(20*time.Second)))
	c = &client{t: t, conn: far, r: bufio.NewReader(far)}
	c.expect("<resumed/>")
	got := c.next()
	for strings.HasPrefix(got, "<p ") {
		got = c.next()
	}
	require.Equal(t, "<overflow/>", got)
	select {
	case <-s.Done():
	case <-time.After(10 * time.Second):
		t.Error("the session never ends")
		s.Abort("stuck")
	}
	<-link.Done()
	require.Equal(t, SlowConsumer, s.Reason())
}

// unwilling is a connection whose end takes its time, as that of TLS does,
// which has to be written.
type unwilling struct {
	net.Conn
	closing, mayClose chan struct{}
}

func (u *unwilling) CloseWrite() error {
	close(u.closing)
	<-u.mayClose
	return nil
}

func TestTheEndOfOneConnectionHoldsNobodyUp(t *testing.T) {
	b := newBroadcaster(t, Config{Shards: 1})
	near, far := socketPair(t)
	u := &unwilling{near, make(chan struct{}), make(chan struct{})}
	first, _ := attachTo(t, b, Options{To: "a"}, u, far)
	second, c := attach(t, b, Options{To: "b"})
	first.Close("closed")
	<-u.closing
	second.Deliver(nil, private("1"))
	require.NoError(t, c.conn.SetReadDeadline(time.Now().Add(5*time.Second)))
	defer close(u.mayClose)
	c.expect("<i n='1'/>")
}
