package s2s

import (
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"vnode/internal/guard"
)

// A panic in what a peer's stanza leads to ends the stream it came on, with
// internal-server-error. Another stream goes on, and the peer may come back.
func TestPanicEndsOneStream(t *testing.T) {
	within(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) {
			c.Guard = guard.New(slog.New(slog.NewTextHandler(io.Discard, nil)), prometheus.NewRegistry(), func(int) {})
		}, nil)
		w.in.hook = func(g got) {
			if strings.Contains(g.stanza, "fatal") {
				panic("a fault of the program")
			}
		}
		other := w.connect(fromMain, mainCert)
		other.authenticated(mainRooms, rooms, "")
		for range 2 {
			p := w.connect(fromMain, mainCert)
			p.authenticated(mainHost, rooms, "")
			p.write("<message from='a@main.example/x' to='r@conference.v3.meet.example'><body>fatal</body></message>")
			p.expect(streamError("internal-server-error", ""), end, closed)
		}
		other.write("<message from='r@" + mainRooms + "' to='r@conference.v3.meet.example'><body>goes on</body></message>")
		synctest.Wait()
		all := w.in.stanzas()
		require.Contains(t, all[len(all)-1], "goes on")
		time.Sleep(10 * time.Second) // the end of a stream waits for the peer
		require.EqualValues(t, 2, w.metric("vnode_s2s_closed_total", "in", "panic"))
		require.EqualValues(t, 1, w.metric("vnode_s2s_streams", "in", "ready"))
	})
}
