package muc

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/internal/xmpptest/cast"
	"vnode/muc/room"
)

func TestOperatorSeesRoomsAndOccupants(t *testing.T) {
	inBubble(t, testConfig(), func(t *testing.T, p *player) {
		began := time.Now()
		p.room = "[acme]standup"
		p.setup([]string{"main1", "main2"})
		time.Sleep(time.Second)
		p.send("vis2", p.expand("<presence to='{pub}/{vis2.nick}'><x xmlns='{muc}'/><nick xmlns='{nick}'>Bea</nick><jitsi_participant_raisedHand>1</jitsi_participant_raisedHand></presence>"))
		time.Sleep(time.Second)
		p.joinAs("vis1", "nameless")
		p.room = "early"
		p.joinAs("focus", "focus")
		p.joinAs("vis3", "waits")
		p.settle()

		list, err := p.svc.Rooms(t.Context())
		require.NoError(t, err)
		require.Len(t, list, 2)
		require.Equal(t, "early@conference.v3.meet.jitsi", list[0].Name)
		require.False(t, list[0].Connected)
		require.Equal(t, 1, list[0].Queued)
		require.Zero(t, list[0].Created)
		require.NotZero(t, list[1].Stanzas)
		list[1].Stanzas = 0
		require.Equal(t, room.Info{
			Name: "standup@conference.acme.v3.meet.jitsi", Address: "[acme]standup@conference.v3.meet.jitsi",
			MeetingID: "meeting", Made: began, Created: time.UnixMilli(1795335615000), Connected: true,
			Visitors: 2, Participants: 2, RaisedHands: 1,
		}, list[1])

		for _, name := range []string{list[1].Name, list[1].Address, "[acme]standup"} {
			d, err := p.svc.Room(t.Context(), name)
			require.NoError(t, err)
			require.NotZero(t, d.Stanzas)
			d.Stanzas = 0
			require.Equal(t, list[1], d.Info)
			require.Len(t, d.ParticipantList, 2)
			require.Equal(t, cast.Address("main1"), d.ParticipantList[0].JID)
			require.Equal(t, []room.OccupantInfo{
				{ID: cast.Address("vis2")[:8], Name: "Bea", JID: cast.Address("vis2"), Role: "visitor", Joined: began.Add(time.Second), RaisedHand: true},
				{ID: "nameless", JID: cast.Address("vis1"), Role: "visitor", Joined: began.Add(2 * time.Second)},
			}, d.VisitorList, "by the time they came")
		}
		for _, name := range []string{"", "@", "nobody", "early@conference.meet.jitsi"} {
			_, err := p.svc.Room(t.Context(), name)
			require.ErrorIs(t, err, ErrNoRoom, name)
		}
	})
}

// A room that is busy does not make the operator wait for ever, and a full
// mailbox does not keep its question out.
func TestOperatorDoesNotWaitForABusyRoom(t *testing.T) {
	cfg := testConfig()
	cfg.MaxMailbox = 1
	inBubble(t, cfg, func(t *testing.T, p *player) {
		p.setup([]string{"main1"})
		b := p.svc.find("room")
		busy, free := make(chan struct{}), make(chan struct{})
		go func() {
			_ = p.svc.ask(context.Background(), "room", func(time.Time, *box) { close(busy); <-free })
		}()
		<-busy
		require.True(t, b.mail.put(event{what: room.MainLink{}}), "the mailbox is full now")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := p.svc.Room(ctx, "room")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, err = p.svc.Rooms(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		close(free)
		_, err = p.svc.Room(t.Context(), "room")
		require.NoError(t, err)
	})
}

// Who asked a room that ended before it came to the question is told so.
func TestOperatorAsksARoomThatEnds(t *testing.T) {
	inBubble(t, testConfig(), func(t *testing.T, p *player) {
		p.setup([]string{"main1"})
		busy, free := make(chan struct{}), make(chan struct{})
		go func() {
			_ = p.svc.ask(context.Background(), "room", func(now time.Time, b *box) { close(busy); <-free; b.happens(now, room.Dismiss{}) })
		}()
		<-busy
		failed := make(chan error, 1)
		go func() {
			_, err := p.svc.Room(context.Background(), "room")
			failed <- err
		}()
		synctest.Wait()
		close(free)
		require.ErrorIs(t, <-failed, ErrNoRoom)
		list, err := p.svc.Rooms(t.Context())
		require.NoError(t, err)
		require.Empty(t, list)
	})
}
