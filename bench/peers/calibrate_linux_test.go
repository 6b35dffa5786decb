package peers

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/bench/peers/floor"
)

// The closed loop tells what it sent and what that cost, over both kinds of
// socket.
func TestCalibrate(t *testing.T) {
	for name, unixSocket := range map[string]bool{"TCP": false, "unix": true} {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			c, err := Calibrate(t.Context(), o, unixSocket, floor.ClosedOptions{Sockets: 20, Size: 900, Batch: 4, For: 100 * time.Millisecond})
			require.NoError(t, err)
			require.Positive(t, c.Writes)
			require.Equal(t, 4*c.Writes, c.Stanzas)
			require.Positive(t, c.PerStanza)
			require.Positive(t, c.PerSecond)
		})
	}
}
