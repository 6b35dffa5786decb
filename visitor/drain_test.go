package visitor

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// Sessions are ended some at a time, each once, with system-shutdown; meanwhile
// the others go on, and nobody new is let in.
func TestSessionsEndSomeAtATime(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		peers := []*peer{h.websocket().visitor(), h.websocket().visitor(), h.websocket().visitor()}
		h.srv.Refuse()
		require.Equal(t, 3, h.srv.EndSome(0))
		require.Equal(t, 3, h.srv.EndSome(1))
		require.Equal(t, 2, h.srv.EndSome(0))
		require.Equal(t, 2, h.srv.EndSome(10))
		require.Zero(t, h.srv.EndSome(10))
		for _, p := range peers {
			p.expectShutdown()
			p.hangUp()
		}
		synctest.Wait()
		require.Len(t, h.ended(), 3)
	})
}
