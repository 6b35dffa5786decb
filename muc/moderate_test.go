package muc

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/internal/xmpptest/cast"
	"vnode/muc/room"
)

// known gives a client a token's user, or an address.
func (p *player) known(name, user, address string) {
	c := p.client(name)
	if user != "" {
		c.identity = &room.Identity{UserID: user, GroupID: "acme"}
	}
	if address != "" {
		c.address = netip.MustParseAddr(address)
	}
}

func TestOperatorKicksAVisitor(t *testing.T) {
	inBubble(t, testConfig(), func(t *testing.T, p *player) {
		p.setup([]string{"main1"})
		p.joinAs("vis1", "one")
		p.joinAs("vis2", "two")
		p.drain()
		require.NoError(t, p.svc.Kick(t.Context(), "room", "one", "Enough & out"))
		got := p.got("vis1")
		require.Contains(t, got, "type='unavailable'")
		require.Contains(t, got, "<status code='307'/>")
		require.Contains(t, got, "<status code='110'/>")
		require.Contains(t, got, "<reason>Enough &amp; out</reason>")
		require.Contains(t, p.got("focus"), "<status code='307'/>")
		require.Empty(t, p.got("vis2"))
		for _, nick := range []string{"one", "focus", "bbbbbbb1", ""} {
			require.ErrorIs(t, p.svc.Kick(t.Context(), "room", nick, ""), ErrNoVisitor, nick)
		}
		require.ErrorIs(t, p.svc.Kick(t.Context(), "elsewhere", "one", ""), ErrNoRoom)
		p.joinAs("vis1", "one")
		require.Contains(t, p.got("vis1"), "code='110'", "it may come back")
	})
}

func TestOperatorBansAUser(t *testing.T) {
	inBubble(t, testConfig(), func(t *testing.T, p *player) {
		p.setup([]string{"main1"})
		p.known("vis1", "ann", "192.0.2.1")
		p.known("vis2", "ann", "192.0.2.2")
		p.known("vis3", "ben", "192.0.2.1")
		p.joinAs("vis1", "one")
		p.joinAs("vis2", "two")
		p.joinAs("vis3", "three")
		p.drain()
		ban, err := p.svc.Ban(t.Context(), "room", "one", BanOrder{For: time.Hour, Reason: "spam"})
		require.NoError(t, err)
		require.Equal(t, Ban{
			ID: 1, Room: "room@conference.v3.meet.jitsi", UserID: "ann", GroupID: "acme", Reason: "spam", Until: time.Now().Add(time.Hour),
		}, ban)
		require.Contains(t, p.got("vis1"), "code='307'")
		require.Contains(t, p.got("vis2"), "code='307'", "the same user, elsewhere")
		require.Empty(t, p.got("vis3"))
		p.joinAs("vis1", "one")
		require.Contains(t, p.got("vis1"), "<forbidden")
		p.room = "other"
		p.setup([]string{"main1"})
		p.joinAs("vis1", "one")
		require.Contains(t, p.got("vis1"), "code='110'", "another room")

		p.room = "room"
		require.Len(t, p.svc.Bans(), 1)
		require.True(t, p.svc.Unban(ban.ID))
		require.False(t, p.svc.Unban(ban.ID))
		require.Empty(t, p.svc.Bans())
		p.joinAs("vis2", "two")
		require.Contains(t, p.got("vis2"), "code='110'")
	})
}

func TestOperatorBansAnAddressEverywhere(t *testing.T) {
	inBubble(t, testConfig(), func(t *testing.T, p *player) {
		p.known("vis1", "ann", "192.0.2.1")
		p.known("vis2", "", "192.0.2.1")
		p.known("vis3", "", "192.0.2.3")
		p.setup([]string{"main1"})
		p.joinAs("vis1", "one")
		p.joinAs("vis3", "three")
		p.room = "other"
		p.setup([]string{"main1"})
		p.joinAs("vis2", "two")
		p.drain()
		_, err := p.svc.Ban(t.Context(), "room", "one", BanOrder{For: time.Minute, Everywhere: true, ByAddress: true})
		require.NoError(t, err)
		require.Contains(t, p.got("vis1"), "code='307'")
		require.Contains(t, p.got("vis2"), "code='307'")
		require.Empty(t, p.got("vis3"))
		p.joinAs("vis2", "two")
		require.Contains(t, p.got("vis2"), "<forbidden")
		time.Sleep(time.Minute)
		p.joinAs("vis2", "two")
		require.NotContains(t, p.got("vis2"), "<forbidden", "it is over")
		require.Empty(t, p.svc.Bans())
	})
}

// Who waits for connect is looked at when it is let in.
func TestABanCatchesWhoWaits(t *testing.T) {
	inBubble(t, testConfig(), func(t *testing.T, p *player) {
		p.known("vis1", "ann", "")
		_, err := p.svc.bans.add(time.Now(), Ban{UserID: "ann", GroupID: "acme", Until: time.Now().Add(time.Hour)})
		require.NoError(t, err)
		p.joinAs("focus", "focus")
		p.joinAs("vis1", "one")
		p.drain()
		p.send("s2s", p.expand("<iq type='set' id='c' from='meet.jitsi' to='{cv}'><visitors xmlns='{vis}' room='{room}'><connect/></visitors></iq>"))
		require.Contains(t, p.got("vis1"), "<forbidden")
	})
}

func TestBansAreBounded(t *testing.T) {
	now := time.Unix(1000, 0)
	b := new(bans)
	for i := range maxBans {
		_, err := b.add(now, Ban{UserID: fmt.Sprint(i), Until: now.Add(time.Hour)})
		require.NoError(t, err)
	}
	_, err := b.add(now, Ban{UserID: "7", Until: now.Add(time.Minute)})
	require.NoError(t, err, "in place of the earlier one")
	_, err = b.add(now, Ban{UserID: "x", Until: now.Add(time.Minute)})
	require.ErrorIs(t, err, ErrTooManyBans)
	_, err = b.add(now.Add(time.Minute), Ban{UserID: "x", Until: now.Add(time.Hour)})
	require.NoError(t, err, "one is over")
}

func TestOperatorBansNobodyItDoesNotKnow(t *testing.T) {
	inBubble(t, testConfig(), func(t *testing.T, p *player) {
		p.setup([]string{"main1"})
		p.joinAs("vis1", "one")
		_, err := p.svc.Ban(t.Context(), "room", "one", BanOrder{For: time.Hour})
		require.ErrorIs(t, err, ErrAnonymous)
		_, err = p.svc.Ban(t.Context(), "room", "two", BanOrder{For: time.Hour})
		require.ErrorIs(t, err, ErrNoVisitor)
		require.Empty(t, p.svc.Bans())
		p.drain()
		require.False(t, new(bans).hold(time.Now(), p.svc.find("room").room.Address(), p.client("vis1")))
	})
}

func TestOperatorAnnounces(t *testing.T) {
	inBubble(t, testConfig(), func(t *testing.T, p *player) {
		p.setup([]string{"main1"})
		p.joinAs("vis1", "one")
		p.joinAs("vis2", "two")
		p.drain()
		n, err := p.svc.Announce(t.Context(), "room@conference.v3.meet.jitsi", "Operator", "Maintenance at <noon>")
		require.NoError(t, err)
		require.Equal(t, 2, n)
		for _, name := range []string{"vis1", "vis2"} {
			require.Equal(t, "<message xmlns='jabber:client' from='room@conference.v3.meet.jitsi' to='"+cast.Address(name)+"'><json-message xmlns='http://jitsi.org/jitmeet'>"+
				escaped(`{"type":"system_chat_message","displayName":"Operator","message":"Maintenance at \u003cnoon\u003e"}`)+"</json-message></message>\n", p.got(name))
		}
		require.Empty(t, p.main.take())
		_, err = p.svc.Announce(t.Context(), "elsewhere", "", "x")
		require.ErrorIs(t, err, ErrNoRoom)
	})
}

func TestOperatorEndsARoom(t *testing.T) {
	inBubble(t, testConfig(), func(t *testing.T, p *player) {
		p.setup([]string{"main1"})
		p.joinAs("vis1", "one")
		p.drain()
		require.NoError(t, p.svc.End(t.Context(), "room", "Maintenance"))
		require.Contains(t, p.got("vis1"), "<destroy><reason>Maintenance</reason></destroy>")
		require.Contains(t, p.got("focus"), "<destroy><reason>Maintenance</reason></destroy>")
		synctest.Wait()
		require.ErrorIs(t, p.svc.End(context.Background(), "room", ""), ErrNoRoom)
	})
}

func TestLimitsChangeOneByOne(t *testing.T) {
	inBubble(t, testConfig(), func(t *testing.T, p *player) {
		before := p.svc.Limits()
		calls := 0
		got, err := p.svc.ChangeLimits(func(l *room.Limits) error {
			if calls++; calls == 1 { // somebody else is quicker
				other := before
				other.MaxRooms = 7
				require.NoError(t, p.svc.SetLimits(other))
			}
			l.MaxVisitors = 1
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, 2, calls)
		require.Equal(t, 7, got.MaxRooms)
		require.Equal(t, 1, got.MaxVisitors)
		require.Equal(t, got, p.svc.Limits())
		_, err = p.svc.ChangeLimits(func(l *room.Limits) error { l.MaxRooms = -1; return nil })
		require.ErrorContains(t, err, "MaxRooms")
		require.Equal(t, got, p.svc.Limits())
		p.setup([]string{"main1"})
		p.joinAs("vis1", "one")
		p.joinAs("vis2", "two")
		require.Contains(t, p.got("vis2"), "<service-unavailable")
	})
}
