package muc

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"vnode/fanout"
	"vnode/internal/wire"
	"vnode/muc/room"
)

// inBubble runs a test with a whole service whose room is set up.
func inBubble(t *testing.T, cfg Config, test func(*testing.T, *player)) {
	synctest.Test(t, func(t *testing.T) {
		p := &player{bubble: newBubble(t, cfg), cfg: cfg, room: "room", expected: make(map[string][]expectation)}
		defer p.end()
		test(t, p)
	})
}

// got returns what a client got since the last look, as one text.
func (p *player) got(name string) string {
	p.settle()
	var b strings.Builder
	for _, s := range p.client(name).take() {
		b.Write(s)
		b.WriteByte('\n')
	}
	return b.String()
}

func (p *player) joinAs(name, nick string) {
	p.send(name, p.expand("<presence to='{pub}/"+nick+"'><x xmlns='{muc}'/></presence>"))
}

func TestQueueIsBounded(t *testing.T) {
	cfg := testConfig()
	cfg.Room.MaxQueued = 2
	inBubble(t, cfg, func(t *testing.T, p *player) {
		p.joinAs("focus", "focus")
		p.joinAs("vis1", "one")
		p.joinAs("vis2", "two")
		p.joinAs("vis2", "two") // again, in its place
		p.joinAs("vis3", "three")
		require.Contains(t, p.got("vis3"), "<resource-constraint")
		require.Empty(t, p.got("vis2"))
		p.svc.SessionClosed(p.client("vis1"))
		p.joinAs("vis3", "three")
		require.Empty(t, p.got("vis3"))
	})
}

func TestJoinLimits(t *testing.T) {
	cfg := testConfig()
	cfg.Room.MaxNick, cfg.Room.MaxPresence = 8, 500
	inBubble(t, cfg, func(t *testing.T, p *player) {
		p.setup([]string{"main1"})
		p.joinAs("vis1", "ninechars")
		require.Contains(t, p.got("vis1"), "<jid-malformed")
		p.send("vis1", p.expand("<presence to='{pub}/one'><x xmlns='{muc}'/><status>"+strings.Repeat("x", 500)+"</status></presence>"))
		require.Contains(t, p.got("vis1"), "<policy-violation")
		p.joinAs("vis1", "one")
		require.Contains(t, p.got("vis1"), "code='110'")
		p.send("vis1", p.expand("<presence to='{pub}/one'><status>"+strings.Repeat("x", 500)+"</status></presence>"))
		require.Contains(t, p.got("vis1"), "<policy-violation")
	})
}

func TestChatIsLimitedInSize(t *testing.T) {
	cfg := testConfig()
	cfg.Room.MaxMessage = 500
	inBubble(t, cfg, func(t *testing.T, p *player) {
		p.setup([]string{"main1"})
		p.joinAs("vis1", "one")
		p.drain()
		for _, to := range []string{"{pub}' type='groupchat", "{pub}/{main1.nick}' type='chat"} {
			p.send("vis1", p.expand("<message to='"+to+"'><body>"+strings.Repeat("x", 500)+"</body></message>"))
			require.Contains(t, p.got("vis1"), "<policy-violation")
			require.Empty(t, p.main.take())
		}
	})
}

func TestHealthRoomRefusesVisitors(t *testing.T) {
	inBubble(t, testConfig(), func(t *testing.T, p *player) {
		p.room = "__jicofo-health-check-1"
		p.joinAs("focus", "focus")
		p.joinAs("vis1", "one")
		require.Contains(t, p.got("vis1"), "<service-unavailable")
	})
}

// A session follows one log; in a second room it gets each stanza by itself.
func TestSessionInTwoRooms(t *testing.T) {
	inBubble(t, testConfig(), func(t *testing.T, p *player) {
		p.setup([]string{"main1"})
		p.joinAs("vis1", "one")
		p.room = "other"
		p.setup([]string{"main1"})
		p.joinAs("vis1", "one")
		p.drain()
		for _, room := range []string{"room", "other"} {
			p.room = room
			p.send("s2s", p.expand("<message type='groupchat' from='{main1}' to='{room}'><body>in "+room+"</body></message>"))
			require.Equal(t, 1, strings.Count(p.got("vis1"), "in "+room))
		}
		p.send("vis1", p.expand("<presence type='unavailable' to='{pub}/one'/>"))
		require.Contains(t, p.got("vis1"), "code='110'")
		p.send("s2s", p.expand("<message type='groupchat' from='{main1}' to='{room}'><body>x</body></message>"))
		require.Empty(t, p.got("vis1"))
		p.svc.SessionClosed(p.client("vis1"))
		p.settle()
		require.Zero(t, gauge(t, p.reg, "vnode_muc_occupants", "visitor"))
	})
}

func TestCloseEndsRoomsWithAReason(t *testing.T) {
	inBubble(t, testConfig(), func(t *testing.T, p *player) {
		p.setup([]string{"main1"})
		p.joinAs("vis1", "one")
		p.drain()
		require.NoError(t, p.svc.Close(t.Context()))
		require.Contains(t, p.got("vis1"), "from='room@conference.v3.meet.jitsi/focus' type='unavailable'")
		require.Contains(t, p.got("focus"), "<reason>Conference ended.</reason>")
		require.Len(t, p.main.take(), 1)
		p.joinAs("focus", "focus")
		require.Contains(t, p.got("focus"), "<service-unavailable")
		require.Zero(t, gauge(t, p.reg, "vnode_muc_rooms", ""))
	})
}

// stuckRemote holds the room that sends until it is released.
type stuckRemote struct {
	*mainServer
	release chan struct{}
}

func (r *stuckRemote) Send(from, to string, stanza []byte) {
	<-r.release
	r.mainServer.Send(from, to, stanza)
}

// ending brings a room to its end and holds it there, so that what comes next
// finds a room that will not take it.
func ending(p *player) *stuckRemote {
	p.setup([]string{"main1"})
	stuck := &stuckRemote{mainServer: p.main, release: make(chan struct{})}
	p.svc.remote = stuck
	p.send("s2s", p.expand("<iq type='set' id='d' from='meet.jitsi' to='{cv}'><visitors xmlns='{vis}' room='{room}'><disconnect/></visitors></iq>"))
	p.drain()
	return stuck
}

func TestJoinDuringTheEndMakesANewRoom(t *testing.T) {
	inBubble(t, testConfig(), func(t *testing.T, p *player) {
		stuck := ending(p)
		p.joinAs("focus", "focus")
		p.joinAs("vis1", "one")
		p.send("vis2", p.expand("<message type='groupchat' id='m' to='{pub}'><body>x</body></message>"))
		close(stuck.release)
		require.Contains(t, p.got("focus"), "code='201'")
		require.Empty(t, p.got("vis1"), "waits for connect")
		require.Contains(t, p.got("vis2"), "type='error'")
	})
}

func TestJoinOfAClosedSessionDuringTheEndIsForgotten(t *testing.T) {
	inBubble(t, testConfig(), func(t *testing.T, p *player) {
		stuck := ending(p)
		p.joinAs("focus", "focus")
		p.svc.SessionClosed(p.client("focus"))
		close(stuck.release)
		p.settle()
		require.Zero(t, gauge(t, p.reg, "vnode_muc_rooms", ""))
	})
}

func TestCloseGivesUpWithItsContext(t *testing.T) {
	inBubble(t, testConfig(), func(t *testing.T, p *player) {
		stuck := ending(p)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, p.svc.Close(ctx), context.DeadlineExceeded)
		close(stuck.release)
	})
}

// TestFullMailboxHoldsTheSender: back-pressure on one room's senders, and on
// nobody else's.
func TestFullMailboxHoldsTheSender(t *testing.T) {
	cfg := testConfig()
	cfg.MaxMailbox = 2
	inBubble(t, cfg, func(t *testing.T, p *player) {
		stuck := ending(p)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 4 {
				p.svc.FromClient(p.client("vis1"), parsed(t, "%s", p.expand("<message type='groupchat' to='{pub}'><body>x</body></message>")))
			}
		}()
		p.settle()
		select {
		case <-done:
			require.Fail(t, "the sender did not wait")
		default:
		}
		p.room = "other"
		p.joinAs("focus", "focus")
		require.Contains(t, p.got("focus"), "code='201'")
		close(stuck.release)
		<-done
	})
}

// nullSession is a client whose output nobody reads.
type nullSession struct {
	jid   wire.JID
	admin bool
}

func (s *nullSession) JID() wire.JID                               { return s.jid }
func (s *nullSession) Admin() bool                                 { return s.admin }
func (s *nullSession) HangUp()                                     {}
func (s *nullSession) Identity() *room.Identity                    { return nil }
func (s *nullSession) Region() string                              { return "" }
func (s *nullSession) Deliver(*fanout.Log, ...*fanout.Message)     {}
func (s *nullSession) Follow(*fanout.Log, ...*fanout.Message) bool { return true }
func (s *nullSession) Unfollow(*fanout.Log, ...*fanout.Message)    {}
func (s *nullSession) Drained(tell func())                         { tell() }
func (s *nullSession) Pause(bool)                                  {}

type nullRemote struct{}

func (nullRemote) Send(string, string, []byte) {}

// TestManyAtOnce: many goroutines at the same rooms, which come and go; when
// all is over nothing is left.
func TestManyAtOnce(t *testing.T) {
	reg := prometheus.NewRegistry()
	caster := fanout.New(fanout.Config{Shards: 1}, prometheus.NewRegistry())
	svc := New(testConfig(), nullRemote{}, caster, slog.New(slog.NewTextHandler(io.Discard, nil)), reg)
	var wg sync.WaitGroup
	const rooms, turns = 3, 60
	bare := func(i int) string { return fmt.Sprintf("r%d@conference.v3.meet.jitsi", i%rooms) }
	wg.Go(func() { // the focus makes rooms again and again
		for i := range turns {
			f := &nullSession{jid: wire.JID{Local: "focus", Domain: "auth.meet.jitsi", Resource: fmt.Sprint(i)}, admin: true}
			for r := range rooms {
				svc.FromClient(f, parsed(t, "<presence to='%s/focus'><x xmlns='%s'/></presence>", bare(r), wire.NSMUC))
				svc.FromRemote(parsed(t, "<iq type='set' id='c' from='meet.jitsi' to='conference.v3.meet.jitsi'><visitors xmlns='%s' room='%s'><connect password=''/></visitors></iq>", wire.NSVisitors, bare(r)))
			}
			if i%3 == 0 {
				svc.SessionClosed(f)
			}
		}
	})
	wg.Go(func() { // main mirrors participants
		for i := range turns * 5 {
			from := fmt.Sprintf("p%d@meet.jitsi/x", i%4)
			svc.FromRemote(parsed(t, "<presence from='%s' to='%s/p%d'><x xmlns='%s'/></presence>", from, bare(i), i%4, wire.NSMUC))
			svc.FromRemote(parsed(t, "<message type='groupchat' from='%s' to='%s'><body>x</body></message>", from, bare(i)))
			if i%7 == 0 {
				svc.FromRemote(parsed(t, "<presence type='unavailable' from='%s' to='%s/p%d'/>", from, bare(i), i%4))
			}
		}
	})
	wg.Go(func() { // main's streams come and go
		for i := range uint64(turns * 3) {
			svc.MainLink(i + 1)
		}
	})
	for n := range 6 { // visitors come and go
		wg.Go(func() {
			for i := range turns {
				v := &nullSession{jid: wire.JID{Local: fmt.Sprint("v", n), Domain: "v3.meet.jitsi", Resource: fmt.Sprint(i)}}
				svc.FromClient(v, parsed(t, "<presence to='%s/v%d'><x xmlns='%s'/></presence>", bare(i), n, wire.NSMUC))
				svc.FromClient(v, parsed(t, "<message type='groupchat' to='%s'><body>x</body></message>", bare(i)))
				if i%2 == 0 {
					svc.FromClient(v, parsed(t, "<presence type='unavailable' to='%s/v%d'/>", bare(i), n))
				}
				svc.SessionClosed(v)
			}
		})
	}
	wg.Wait()
	require.NoError(t, svc.Close(t.Context()))
	require.NoError(t, caster.Close(t.Context()))
	require.Empty(t, svc.rooms)
	for _, name := range []string{"vnode_muc_rooms", "vnode_muc_queued_visitors"} {
		require.Zero(t, gauge(t, reg, name, ""), name)
	}
	for _, role := range []string{"visitor", "participant", "moderator"} {
		require.Zero(t, gauge(t, reg, "vnode_muc_occupants", role), role)
	}
}

// gauge reads a gauge; label is the value of its label, "" for none.
func gauge(t *testing.T, reg *prometheus.Registry, name, label string) float64 {
	families, err := reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				return m.GetGauge().GetValue()
			}
		}
	}
	require.Fail(t, "no such metric", name)
	return 0
}

// counter reads a counter without labels.
func counter(t *testing.T, reg *prometheus.Registry, name string) float64 {
	families, err := reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	require.Fail(t, "no such metric", name)
	return 0
}

// A join waits for its room in bounded memory: who exceeds that is let reload at
// once.
func TestWaitingJoinsAreBounded(t *testing.T) {
	cfg := testConfig()
	cfg.Room.MaxQueued = 2
	inBubble(t, cfg, func(t *testing.T, p *player) {
		for _, name := range []string{"vis1", "vis2", "vis3"} {
			p.joinAs(name, name)
		}
		p.joinAs("vis2", "again")
		require.True(t, p.client("vis3").hungUp.Load())
		require.False(t, p.client("vis2").hungUp.Load())
		p.joinAs("focus", "focus")
		p.got("focus")
		require.Equal(t, 1.0, gauge(t, p.reg, "vnode_muc_rooms", ""))
		require.Equal(t, 2.0, gauge(t, p.reg, "vnode_muc_queued_visitors", ""))
	})
	inBubble(t, testConfig(), func(t *testing.T, p *player) {
		for i := range maxUnmade {
			p.room = fmt.Sprint("room", i)
			p.joinAs("vis1", "one")
		}
		require.False(t, p.client("vis2").hungUp.Load())
		p.room = "another"
		p.joinAs("vis2", "two")
		require.True(t, p.client("vis2").hungUp.Load())
		time.Sleep(time.Minute)
		p.settle()
		p.svc.mu.RLock()
		defer p.svc.mu.RUnlock()
		require.Empty(t, p.svc.rooms, "nothing is left of those that waited in vain")
	})
}
