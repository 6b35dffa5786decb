package muc

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What a process leaves behind is what the next one tells the focus of.
func TestRecordsTellTheFocusOfACrash(t *testing.T) {
	var left []RoomRecord
	inBubble(t, testConfig(), func(t *testing.T, p *player) {
		p.setup([]string{"main1"})
		p.room = "[tenant]other"
		p.joinAs("focus", "focus")
		p.room = "__jicofo-health-check-1"
		p.joinAs("focus", "focus")
		p.settle()
		select {
		case <-p.svc.RecordsChanged():
		default:
			require.Fail(t, "nobody was told that the records changed")
		}
		left = p.svc.Records()
	})
	require.Equal(t, []RoomRecord{
		{Local: "[tenant]other", Focus: "focus@auth.meet.jitsi", Nick: "focus"},
		{Local: "room", Focus: "focus@auth.meet.jitsi", Nick: "focus"},
	}, left)

	inBubble(t, testConfig(), func(t *testing.T, p *player) {
		require.Equal(t, 2, p.svc.Recall(left))
		require.Len(t, p.svc.Records(), 2, "a second crash before the focus is back forgets nothing")
		p.svc.SessionOpened(p.client("focus"))
		told := p.got("focus")
		require.Contains(t, told, "from='room@conference.v3.meet.jitsi/focus'")
		require.Contains(t, told, "from='other@conference.tenant.v3.meet.jitsi/focus'")
		require.Contains(t, told, "<destroy><reason>Conference ended.</reason></destroy>")
		time.Sleep(unheard + time.Second)
		require.Empty(t, p.svc.Records())
	})
}

// Records that name nobody, or a room that lives, are left out.
func TestRecallTakesOnlyWhatItCan(t *testing.T) {
	inBubble(t, testConfig(), func(t *testing.T, p *player) {
		p.setup([]string{"main1"})
		require.Zero(t, p.svc.Recall([]RoomRecord{
			{Local: "room", Focus: "focus@auth.meet.jitsi", Nick: "focus"},
			{Local: "a", Focus: "auth.meet.jitsi", Nick: "focus"},
			{Local: "b", Focus: "@", Nick: "focus"},
			{Local: "", Focus: "focus@auth.meet.jitsi", Nick: "focus"},
			{Local: "c", Focus: "focus@auth.meet.jitsi", Nick: ""},
		}))
		p.svc.Recall(make([]RoomRecord, 3*MaxRecords))
	})
}
