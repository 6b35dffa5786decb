//go:build !race

package request

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHeadsCostNoMemory(t *testing.T) {
	h, b := new(Head), []byte(chromium)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if _, v := h.Parse(b, "/xmpp-websocket", "xmpp"); v != Handshake {
			t.Error("no handshake")
		}
	}))
}
