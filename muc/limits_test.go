package muc

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/internal/wire"
	"vnode/muc/rate"
	"vnode/muc/room"
)

func TestLimitsValidate(t *testing.T) {
	for _, c := range []struct {
		name   string
		limits room.Limits
		want   string // part of the error, "" for none
	}{
		{"none", room.Limits{}, ""},
		{"all", room.Limits{MaxRooms: 1, Joins: rate.Limit{PerSecond: 0.5}, Chat: room.Chat{Audience: room.HeardByNobody, SlowMode: time.Minute}}, ""},
		{"rooms", room.Limits{MaxRooms: -1}, "MaxRooms"},
		{"visitors", room.Limits{MaxVisitors: -1}, "MaxVisitors"},
		{"on the node", room.Limits{MaxVisitorsOnNode: -1}, "MaxVisitorsOnNode"},
		{"rate", room.Limits{Leaves: rate.Limit{PerSecond: -1}}, "Leaves"},
		{"burst", room.Limits{Chat: room.Chat{Room: rate.Limit{PerSecond: 1, Burst: -1}}}, "Chat.Room"},
		{"slow mode", room.Limits{Chat: room.Chat{SlowMode: -1}}, "SlowMode"},
		{"audience", room.Limits{Chat: room.Chat{Audience: "some"}}, `"some" is none of all, visitors, nobody`},
	} {
		if c.want == "" {
			require.NoError(t, c.limits.Validate(), c.name)
			continue
		}
		require.ErrorContains(t, c.limits.Validate(), c.want, c.name)
		cfg := testConfig()
		cfg.Limits = c.limits
		require.ErrorContains(t, cfg.Validate(), c.want, c.name)
	}
}

// A change of limits that is wrong changes nothing; rooms beyond the limit are
// counted, not refused.
func TestRoomsOnTheNode(t *testing.T) {
	cfg := testConfig()
	cfg.Limits.MaxRooms = 1
	inBubble(t, cfg, func(t *testing.T, p *player) {
		p.setup([]string{"main1"})
		require.Error(t, p.svc.SetLimits(room.Limits{MaxRooms: -1}))
		p.room = "second"
		p.joinAs("focus", "focus")
		require.Contains(t, p.got("focus"), "code='201'")
		require.Equal(t, 1.0, counter(t, p.reg, "vnode_muc_rooms_beyond_limit_total"))
		require.NoError(t, p.svc.SetLimits(room.Limits{MaxRooms: 5}))
		p.room = "third"
		p.joinAs("focus", "focus")
		require.Contains(t, p.got("focus"), "code='201'")
		require.Equal(t, 1.0, counter(t, p.reg, "vnode_muc_rooms_beyond_limit_total"))
	})
}

// Visitors of two rooms count together, and give their places back however they
// go.
func TestVisitorsOfAllRoomsCountTogether(t *testing.T) {
	cfg := testConfig()
	cfg.Limits.MaxVisitorsOnNode = 2
	inBubble(t, cfg, func(t *testing.T, p *player) {
		for _, room := range []string{"room", "other"} {
			p.room = room
			p.setup([]string{"main1"})
		}
		p.joinAs("vis1", "one")
		p.room = "room"
		p.joinAs("vis2", "two")
		p.joinAs("vis3", "three")
		require.Contains(t, p.got("vis3"), "<service-unavailable")
		p.send("s2s", p.expand("<iq type='set' id='d' from='{m}' to='{cv}'><visitors xmlns='{vis}' room='other@conference.v3.meet.jitsi'><disconnect/></visitors></iq>"))
		p.joinAs("vis3", "three")
		require.Contains(t, p.got("vis3"), "code='110'")
		require.Equal(t, int64(2), p.svc.visitors.Load())
		p.svc.SessionClosed(p.client("vis2"))
		p.send("focus", p.expand("<iq type='set' id='k' to='{pub}'><query xmlns='{admin}'><item nick='three' role='none'/></query></iq>"))
		require.Zero(t, p.svc.visitors.Load())
	})
}

func TestLostRoomsAreBounded(t *testing.T) {
	focus := wire.JID{Local: "focus", Domain: "auth.meet.jitsi"}
	l, now := make(lostRooms), time.Unix(1000, 0)
	for i := range maxLost + 10 {
		l.add(string(rune(0x4e00+i)), lostRoom{focus: focus, ended: now.Add(time.Duration(i))})
	}
	require.Len(t, l, maxLost)
	locals, rooms := l.take(focus, now)
	require.Len(t, locals, maxLost)
	require.Equal(t, now.Add(10), rooms[0].ended, "the oldest made room; the rest in order")
	locals, _ = l.take(focus, now)
	require.Empty(t, locals, "they were told")
	l.closed(focus, now.Add(unheard))
	require.Len(t, l, maxLost, "and not heard")
	l.take(focus, now.Add(unheard))
	l.closed(focus, now.Add(3*unheard))
	require.Empty(t, l, "which they were after so long")
	l.add("y", lostRoom{focus: focus, ended: now})
	for range maxTellings {
		locals, _ = l.take(focus, now)
		require.Equal(t, []string{"y"}, locals)
		l.closed(focus, now)
	}
	require.Empty(t, l, "a drained node ends each session at which it tells of them")
	l.add("x", lostRoom{focus: wire.JID{Local: "other"}, ended: now})
	locals, _ = l.take(focus, now.Add(math.MaxInt32))
	require.Empty(t, locals)
}

// A focus that logs in again before the room has noticed the loss of its
// session is told when it has.
func TestFocusThatWasQuickerIsTold(t *testing.T) {
	inBubble(t, testConfig(), func(t *testing.T, p *player) {
		p.setup([]string{"main1"})
		stuck := &stuckRemote{mainServer: p.main, release: make(chan struct{})}
		p.svc.remote = stuck
		p.svc.SessionOpened(p.client("focus"))
		p.svc.SessionClosed(p.client("focus"))
		p.svc.SessionOpened(p.client("focus2"))
		require.Empty(t, p.got("focus2"))
		close(stuck.release)
		require.Contains(t, p.got("focus2"), "<destroy>")
	})
}

// Somebody else who logs in as the focus for a moment, as a check does, takes
// nothing away from jicofo: neither what it was told instead, nor its place.
func TestAnotherSessionOfTheFocusTakesNothingAway(t *testing.T) {
	inBubble(t, testConfig(), func(t *testing.T, p *player) {
		p.setup([]string{"main1"})
		p.svc.SessionOpened(p.client("focus"))
		p.svc.SessionClosed(p.client("focus"))
		p.settle()
		p.svc.SessionOpened(p.client("focus3"))
		require.Contains(t, p.got("focus3"), "<destroy>")
		p.svc.SessionClosed(p.client("focus3"))
		p.svc.SessionOpened(p.client("focus2"))
		require.Contains(t, p.got("focus2"), "<destroy>", "which has not heard it yet")

		p.joinAs("focus2", "focus")
		p.drain()
		p.svc.SessionOpened(p.client("focus3"))
		p.svc.SessionClosed(p.client("focus3"))
		require.Empty(t, p.got("focus2"), "the room is there again")
	})
}

// A session that is dead and not gone yet was sent the end of a room. The one
// that took its place is told when the first is gone.
func TestWhatADeadSessionOfTheFocusWasSentIsToldAgain(t *testing.T) {
	inBubble(t, testConfig(), func(t *testing.T, p *player) {
		p.svc.SessionOpened(p.client("focus"))
		p.setup([]string{"main1"})
		require.NoError(t, p.svc.End(t.Context(), "room", ""))
		p.svc.SessionOpened(p.client("focus2"))
		p.drain()
		p.svc.SessionClosed(p.client("focus"))
		require.Contains(t, p.got("focus2"), "<destroy>")
	})
}
