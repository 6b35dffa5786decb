package visitorlist

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"vnode/internal/visitorlist/stomp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeRooms has at most one room, of the meeting "m".
type fakeRooms struct {
	mu       sync.Mutex
	open     bool
	visitors []Visitor
	watchers map[Watcher]bool
}

func (r *fakeRooms) RoomOfMeeting(_ context.Context, meeting string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if meeting != "m" || !r.open {
		return "", fmt.Errorf("%w: %s", ErrNoMeeting, meeting)
	}
	return "room@rooms", nil
}

func (r *fakeRooms) Watch(_ context.Context, _ string, w Watcher) ([]Visitor, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watchers[w] = true
	return append([]Visitor{}, r.visitors...), nil
}

func (r *fakeRooms) Unwatch(_ string, w Watcher) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.watchers, w)
}

func (r *fakeRooms) each(do func(Watcher)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for w := range r.watchers {
		do(w)
	}
}

func (r *fakeRooms) watched() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.watchers)
}

// set opens the room with these visitors, or closes it.
func (r *fakeRooms) set(open bool, visitors ...Visitor) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open, r.visitors = open, visitors
}

// fakeGate admits "good" to the room, and "other" to another one.
type fakeGate struct{}

func (fakeGate) Admit(_ context.Context, token string) (Pass, error) {
	switch token {
	case "good":
		return func(room string) bool { return room == "room@rooms" }, nil
	case "other":
		return func(room string) bool { return room == "other@rooms" }, nil
	}
	return nil, errors.New("the token is not accepted")
}

type harness struct {
	t     *testing.T
	rooms *fakeRooms
	srv   *Server
	http  *httptest.Server
}

func newHarness(t *testing.T) *harness {
	h := &harness{t: t, rooms: &fakeRooms{watchers: make(map[Watcher]bool)}}
	h.srv = New(Config{Rooms: h.rooms, Gate: fakeGate{}, MaxConnections: 2}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	h.srv.every = 5 * time.Millisecond
	h.http = httptest.NewServer(h.srv)
	t.Cleanup(func() {
		require.NoError(t, h.srv.Close(context.Background()))
		h.http.Close()
		require.Zero(t, h.rooms.watched(), "nobody watches any more")
	})
	return h
}

// client speaks as jitsi-meet's STOMP library does: binary messages, a frame
// in each.
type client struct {
	t    *testing.T
	conn net.Conn
}

func (h *harness) dial() *client {
	d := ws.Dialer{Protocols: []string{"v12.stomp", "v11.stomp", "v10.stomp"}, Timeout: 10 * time.Second}
	conn, _, hs, err := d.Dial(h.t.Context(), "ws"+strings.TrimPrefix(h.http.URL, "http")+Path)
	require.NoError(h.t, err)
	require.Equal(h.t, "v12.stomp", hs.Protocol)
	require.NoError(h.t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	h.t.Cleanup(func() { conn.Close() })
	return &client{h.t, conn}
}

func (c *client) send(text string) {
	c.t.Helper()
	require.NoError(c.t, wsutil.WriteClientBinary(c.conn, []byte(strings.ReplaceAll(text, "|", "\n")+"\x00")))
}

// next is the next frame that is no heart-beat.
func (c *client) next() stomp.Frame {
	c.t.Helper()
	for {
		b, err := wsutil.ReadServerText(c.conn)
		require.NoError(c.t, err)
		f, rest, ok, err := stomp.Parse(b)
		require.NoError(c.t, err)
		require.Empty(c.t, rest)
		if ok {
			return f
		}
	}
}

func (c *client) login() *client {
	c.t.Helper()
	c.send("CONNECT|Authorization:Bearer good|accept-version:1.2,1.1,1.0|heart-beat:10000,10000||")
	f := c.next()
	require.Equal(c.t, stomp.Connected, f.Command)
	require.Equal(c.t, "1.2", f.Get("version"))
	require.Equal(c.t, "10000,0", f.Get("heart-beat"))
	return c
}

func (c *client) message(subscription, body string) {
	c.t.Helper()
	f := c.next()
	require.Equal(c.t, stomp.Message, f.Command)
	require.Equal(c.t, subscription, f.Get("subscription"))
	require.JSONEq(c.t, body, string(f.Body))
}

// refused expects an ERROR with that text, and the end.
func (c *client) refused(text string) {
	c.t.Helper()
	f := c.next()
	require.Equal(c.t, stomp.Error, f.Command)
	require.Contains(c.t, f.Get("message"), text)
	_, err := wsutil.ReadServerText(c.conn)
	var closed wsutil.ClosedError
	require.ErrorAs(c.t, err, &closed)
	require.Equal(c.t, ws.StatusPolicyViolation, closed.Code)
}

const (
	topicM = "SUBSCRIBE|id:sub-0|destination:/secured/conference/visitors-list/topic/m||"
	queueM = "SUBSCRIBE|id:sub-1|destination:/secured/conference/visitors-list/queue/m/abcdef01||"
)

func TestAListAndThenChanges(t *testing.T) {
	h := newHarness(t)
	h.rooms.set(true, Visitor{"b", "Ben"}, Visitor{"a", "Ann"})
	c := h.dial().login()
	c.send(topicM)
	c.send(queueM)
	c.message("sub-1", `[{"r":"a","n":"Ann"},{"r":"b","n":"Ben"}]`)
	c.send("UNSUBSCRIBE|id:sub-1||")
	h.rooms.each(func(w Watcher) {
		f := w.(*feed)
		f.mu.Lock() // told together
		f.pending = append(f.pending, change{"Cy", "c", joined}, change{"", "a", left}, change{"Benno", "b", joined})
		f.mu.Unlock()
	})
	c.message("sub-0", `[{"r":"c","n":"Cy","s":"j"},{"r":"a","n":"","s":"l"},{"r":"b","n":"Benno","s":"j"}]`)

	// The room ends, and comes again with others.
	h.rooms.set(false)
	h.rooms.each(func(w Watcher) { w.Ended() })
	c.message("sub-0", `[{"r":"b","n":"","s":"l"},{"r":"c","n":"","s":"l"}]`)
	h.rooms.set(true, Visitor{"d", ""})
	c.message("sub-0", `[{"r":"d","n":"","s":"j"}]`)
	h.rooms.each(func(w Watcher) { w.Gone("d") })
	c.message("sub-0", `[{"r":"d","n":"","s":"l"}]`)

	c.send("DISCONNECT|receipt:bye||")
	f := c.next()
	require.Equal(t, stomp.Receipt, f.Command)
	require.Equal(t, "bye", f.Get("receipt-id"))
	_, err := wsutil.ReadServerText(c.conn)
	var closed wsutil.ClosedError
	require.ErrorAs(t, err, &closed)
	require.Equal(t, ws.StatusNormalClosure, closed.Code)
	require.Eventually(t, func() bool { return h.rooms.watched() == 0 }, 10*time.Second, time.Millisecond)
}

// A meeting that the node has no room for yet is an empty list until it has.
func TestAMeetingWithoutVisitors(t *testing.T) {
	h := newHarness(t)
	c := h.dial().login()
	c.send(topicM)
	c.send(queueM)
	c.message("sub-1", `[]`)
	h.rooms.set(true, Visitor{"a", "Ann"})
	c.message("sub-0", `[{"r":"a","n":"Ann","s":"j"}]`)
	c.send("UNSUBSCRIBE|id:sub-0||")
	c.send(strings.Replace(queueM, "sub-1", "sub-2", 1)) // a list alone
	c.message("sub-2", `[{"r":"a","n":"Ann"}]`)
	require.Zero(t, h.rooms.watched())
}

func TestWhoIsRefused(t *testing.T) {
	connect := "CONNECT|Authorization:Bearer good|accept-version:1.2||"
	for _, c := range []struct {
		name   string
		frames []string
		text   string
	}{
		{"no token", []string{"CONNECT|accept-version:1.2||"}, "not accepted"},
		{"a wrong token", []string{"CONNECT|Authorization:Bearer bad|accept-version:1.2||"}, "not accepted"},
		{"an old client", []string{"CONNECT|Authorization:Bearer good|accept-version:1.0||"}, "1.1 and 1.2"},
		{"no login", []string{topicM}, "CONNECT must be first"},
		{"no STOMP", []string{"GET / HTTP/1.1"}, "malformed"},
		{"two frames at once", []string{connect + "\x00SEND||"}, "one frame"},
		{"another meeting's token", []string{"CONNECT|Authorization:Bearer other|accept-version:1.1||", topicM}, "does not allow"},
		{"another meeting's token, for the list", []string{"CONNECT|Authorization:Bearer other|accept-version:1.2||", queueM}, "does not allow"},
		{"a queue service", []string{connect, "SUBSCRIBE|id:1|destination:/secured/conference/state/topic.room@x||"}, "no such destination"},
		{"a queue of nobody", []string{connect, "SUBSCRIBE|id:1|destination:/secured/conference/visitors-list/queue/m||"}, "no such destination"},
		{"no meeting", []string{connect, "SUBSCRIBE|id:1|destination:/secured/conference/visitors-list/topic/||"}, "no such destination"},
		{"no id", []string{connect, strings.Replace(topicM, "id:sub-0|", "", 1)}, "id of its own"},
		{"an id twice", []string{connect, topicM, topicM}, "id of its own"},
		{"who wants to speak", []string{connect, "SEND|destination:/x||hello"}, "not supported"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHarness(t)
			h.rooms.set(true)
			cl := h.dial()
			for i, f := range c.frames {
				cl.send(f)
				if i == 0 && len(c.frames) > 1 {
					connected := cl.next()
					require.Equal(t, stomp.Connected, connected.Command)
				}
			}
			cl.refused(c.text)
		})
	}
}

func TestConnectionsAndSubscriptionsAreBounded(t *testing.T) {
	h := newHarness(t)
	one := h.dial().login()
	two := h.dial().login()
	_, _, _, err := ws.Dial(t.Context(), "ws"+strings.TrimPrefix(h.http.URL, "http")+Path)
	require.ErrorContains(t, err, "503")
	for i := range maxSubscriptions + 1 {
		one.send(fmt.Sprintf("SUBSCRIBE|id:%d|destination:/secured/conference/visitors-list/topic/%d||", i, i))
	}
	one.refused("too many subscriptions")
	require.NoError(t, two.conn.Close())
	require.Eventually(t, func() bool { h.srv.mu.Lock(); defer h.srv.mu.Unlock(); return h.srv.connections == 0 }, 10*time.Second, time.Millisecond)
}

// One address does not take all the places: what connects needs no token yet.
func TestConnectionsOfOneAddressAreBounded(t *testing.T) {
	h := newHarness(t)
	h.srv.cfg.MaxConnections, h.srv.cfg.PerAddress = 3, 1
	addresses := make(chan netip.Addr, 1)
	h.srv.cfg.Client = func(*http.Request) netip.Addr { return <-addresses }
	from := func(address string) *client {
		addresses <- netip.MustParseAddr(address)
		return h.dial()
	}
	first := from("192.0.2.1")
	addresses <- netip.MustParseAddr("192.0.2.1")
	_, _, _, err := ws.Dial(t.Context(), "ws"+strings.TrimPrefix(h.http.URL, "http")+Path)
	require.ErrorContains(t, err, "503")
	from("192.0.2.2").login()
	require.NoError(t, first.conn.Close())
	require.Eventually(t, func() bool { h.srv.mu.Lock(); defer h.srv.mu.Unlock(); return len(h.srv.addresses) == 1 }, 10*time.Second, time.Millisecond)
	from("192.0.2.1").login()
}

func TestAClientThatIsTooSlow(t *testing.T) {
	h := newHarness(t)
	h.rooms.set(true)
	c := h.dial().login()
	c.send(topicM)
	c.send(queueM)
	c.message("sub-1", `[]`)
	h.rooms.each(func(w Watcher) {
		f := w.(*feed)
		f.mu.Lock() // nothing is told in between
		f.pending = make([]change, maxPending)
		f.note(change{"", "x", left})
		f.mu.Unlock()
	})
	for {
		f := c.next()
		if f.Command == stomp.Error {
			require.Contains(t, f.Get("message"), "faster than you read")
			return
		}
	}
}

// Close tells clients that the node goes.
func TestClose(t *testing.T) {
	h := newHarness(t)
	c := h.dial().login()
	done := make(chan error, 1)
	go func() { done <- h.srv.Close(context.Background()) }()
	for {
		_, err := wsutil.ReadServerText(c.conn)
		if err == nil {
			continue
		}
		var closed wsutil.ClosedError
		if errors.As(err, &closed) {
			require.Equal(t, ws.StatusGoingAway, closed.Code)
		} else {
			require.ErrorIs(t, err, io.EOF)
		}
		break
	}
	require.NoError(t, <-done)
	_, _, _, err := ws.Dial(t.Context(), "ws"+strings.TrimPrefix(h.http.URL, "http")+Path)
	require.ErrorContains(t, err, "503")
}

// Each list asked for costs the room a look at all its visitors: a client asks
// now and then, not as fast as it can.
func TestAClientThatAsksTooOftenIsSentAway(t *testing.T) {
	h := newHarness(t)
	h.srv.every = time.Hour
	h.rooms.set(true)
	c := h.dial()
	c.send("CONNECT|accept-version:1.2|Authorization:Bearer good||")
	require.Equal(t, stomp.Connected, c.next().Command)
	for range maxFrames/2 + 1 {
		c.send("SUBSCRIBE|id:q|destination:" + queuePrefix + "m/x||")
		c.send("UNSUBSCRIBE|id:q||")
	}
	for range maxFrames / 2 {
		require.Equal(t, stomp.Message, c.next().Command)
	}
	f := c.next()
	require.Equal(t, stomp.Error, f.Command)
	require.Contains(t, f.Get("message"), "too often")
}
