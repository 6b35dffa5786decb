package muc

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A node that drains refuses new rooms, and goes on with those it has.
func TestDrainRefusesNewRoomsAlone(t *testing.T) {
	inBubble(t, testConfig(), func(t *testing.T, p *player) {
		p.setup([]string{"main1"})
		p.svc.Drain(true)
		p.joinAs("vis1", "one")
		require.Contains(t, p.got("vis1"), "code='110'")
		p.room = "second"
		p.joinAs("focus", "focus")
		require.Contains(t, p.got("focus"), "<service-unavailable")
		p.svc.Drain(false)
		p.joinAs("focus", "focus")
		require.Contains(t, p.got("focus"), "code='201'")
	})
}

// Rooms are ended some at a time, with the reason they always end with.
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
		require.Contains(t, p.got("vis1"), "<destroy><reason>Conference ended.</reason>")
	})
}
