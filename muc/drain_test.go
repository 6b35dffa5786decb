package muc

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A focus that is logged in is refused no room: jicofo would send visitors to it
// all the same.
func TestFocusIsRefusedNoRoom(t *testing.T) {
	cfg := testConfig()
	cfg.Limits.MaxRooms = 1
	inBubble(t, cfg, func(t *testing.T, p *player) {
		for _, room := range []string{"first", "second", "third"} {
			p.room = room
			p.joinAs("focus", "focus")
			require.Contains(t, p.got("focus"), "code='201'")
		}
		require.Equal(t, 2.0, counter(t, p.reg, "vnode_muc_rooms_beyond_limit_total"))
	})
}

// Jicofo can be sent away once there is no room, and none whose end it must hear of.
func TestIdle(t *testing.T) {
	inBubble(t, testConfig(), func(t *testing.T, p *player) {
		require.True(t, p.svc.Idle())
		p.setup([]string{"main1"})
		require.False(t, p.svc.Idle())
		p.svc.SessionClosed(p.client("focus"))
		p.settle()
		require.False(t, p.svc.Idle(), "the focus has not heard that its room is lost")
		p.svc.SessionOpened(p.client("focus2"))
		require.True(t, p.svc.Idle())
	})
}

// Rooms are ended some at a time. Jicofo hears of each visitor's leave before it
// hears of the end, so that it counts right; visitors see the focus leave, at which
// their pages reload and ask for another node.
func TestEndSome(t *testing.T) {
	inBubble(t, testConfig(), func(t *testing.T, p *player) {
		p.setup([]string{"main1"})
		p.joinAs("vis1", "one")
		p.got("vis1")
		p.room = "second"
		p.joinAs("focus", "focus")
		p.settle()
		require.Equal(t, 2, p.svc.EndSome(0))
		require.Equal(t, 2, p.svc.EndSome(1))
		p.settle()
		require.Equal(t, 1, p.svc.EndSome(5))
		p.settle()
		require.Zero(t, p.svc.EndSome(5))
		require.NotContains(t, p.got("vis1"), "<destroy>")
		told := p.got("focus")
		left, ended := strings.Index(told, "from='room@conference.v3.meet.jitsi/one' type='unavailable'"), strings.Index(told, "from='room@conference.v3.meet.jitsi/focus' type='unavailable'")
		require.Positive(t, left)
		require.Greater(t, ended, left)
	})
}
