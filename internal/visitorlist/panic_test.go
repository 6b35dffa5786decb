package visitorlist

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/gobwas/ws/wsutil"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"vnode/internal/guard"
	"vnode/internal/visitorlist/stomp"
)

func newGuard() *guard.Guard {
	return guard.New(slog.New(slog.NewTextHandler(io.Discard, nil)), prometheus.NewRegistry(), func(int) {})
}

// fatalRooms meet a panic over the meeting "fatal".
type fatalRooms struct{ *fakeRooms }

func (r fatalRooms) RoomOfMeeting(ctx context.Context, meeting string) (string, error) {
	if meeting == "fatal" {
		panic("a fault of the program")
	}
	return r.fakeRooms.RoomOfMeeting(ctx, meeting)
}

// isCut expects that the connection is closed, and nothing said.
func (c *client) isCut() {
	c.t.Helper()
	for {
		if _, err := wsutil.ReadServerText(c.conn); err != nil {
			require.NoError(c.t, c.conn.Close())
			return
		}
	}
}

// A panic costs the moderator whose connection met it. What it watched is let go of,
// and its place is free; another one goes on.
func TestPanicCostsOneConnection(t *testing.T) {
	h := newHarness(t)
	h.srv.cfg.Guard, h.srv.cfg.Rooms = newGuard(), fatalRooms{h.rooms}
	h.rooms.set(true)
	other, bad := h.dial().login(), h.dial().login()
	for _, c := range []*client{other, bad} {
		c.send("SUBSCRIBE|id:1|destination:" + topicPrefix + "m||")
	}
	require.Eventually(t, func() bool { return h.rooms.watched() == 2 }, 10*time.Second, time.Millisecond)
	bad.send("SUBSCRIBE|id:2|destination:" + topicPrefix + "fatal||")
	bad.isCut()
	require.Eventually(t, func() bool { return h.rooms.watched() == 1 }, 10*time.Second, time.Millisecond)
	h.rooms.each(func(w Watcher) { w.Here(Visitor{"id1", "A"}) })
	require.Contains(t, string(other.next().Body), "id1")
	h.dial().login() // there are two places
}

// A panic of the reader costs no more.
func TestPanicOfAReader(t *testing.T) {
	read := make(chan error, 1)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"v12.stomp"}})
		if err != nil {
			read <- err
			return
		}
		c := newConnection(&Server{cfg: Config{Guard: newGuard()}}, conn, netip.Addr{})
		frames := make(chan stomp.Frame)
		close(frames) // as no connection has it
		read <- c.readAll(context.Background(), frames)
	}))
	t.Cleanup(web.Close)
	c := (&harness{t: t, http: web}).dial()
	c.send("CONNECT|accept-version:1.2||")
	require.ErrorIs(t, <-read, errFault)
	c.isCut()
}
