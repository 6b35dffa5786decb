//go:build linux

package crowd

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/internal/port"
	"vnode/internal/wire"
	"vnode/internal/xmpptest/conference"
)

func newCrowd(t *testing.T, s *fakeServer, url string) *Crowd {
	t.Helper()
	return newCrowdOf(t, s, url, 2)
}

func newCrowdOf(t *testing.T, s *fakeServer, url string, loops int) *Crowd {
	t.Helper()
	c, err := New(Options{URL: url, Domain: fakeDomain, Room: fakeRoom, Ledger: s.ledger, Loops: loops})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func requireNoFaults(t *testing.T, c *Crowd) {
	t.Helper()
	sum := c.Sum()
	require.Zero(t, sum.Tally.Faults(), "%+v", sum.Tally)
}

// Over every transport visitors join, hear everything once and in order, and
// leave.
func TestVisitorsJoinHearAndLeave(t *testing.T) {
	for name, start := range map[string]func(*fakeServer, *testing.T) string{
		"WebSocket":   func(s *fakeServer, _ *testing.T) string { return s.webSocket() },
		"unix socket": func(s *fakeServer, t *testing.T) string { return s.unixSocket(filepath.Join(t.TempDir(), "s")) },
		"TCP":         func(s *fakeServer, _ *testing.T) string { return s.tcp() },
		"BOSH":        func(s *fakeServer, _ *testing.T) string { return s.bosh() },
	} {
		t.Run(name, func(t *testing.T) {
			ctx := testContext(t)
			s := newFakeServer(t, 3)
			c := newCrowd(t, s, start(s, t))
			const n, rounds = 10, 20
			require.NoError(t, c.Join(ctx, Join{N: n, Parallel: 4}))
			c.Mark()
			for i := range rounds {
				s.say(i%3, conference.Presence)
				s.say(i%3, conference.Chat)
			}
			require.NoError(t, c.Drain(ctx))
			sum := c.Sum()
			require.Zero(t, sum.Ended, sum.First)
			require.Equal(t, n, sum.Joined)
			require.Zero(t, sum.Superseded)
			require.Zero(t, sum.Tally.Faults(), "%+v", sum.Tally)
			require.EqualValues(t, n*rounds*2, sum.Tally.Delivered)
			require.EqualValues(t, n*rounds*2, c.Delivery(Steady).Count)
			require.Nil(t, c.Delivery(Guests))
			require.Len(t, c.Nicks(), n)
			require.NoError(t, c.Leave(ctx))
			require.Zero(t, c.Sum().Joined)
			require.Zero(t, c.Sum().Ended, "an orderly end is no failure")
		})
	}
}

// What one of three visitors gets wrong is counted, each kind for itself.
func TestFaultsAreCounted(t *testing.T) {
	var held []byte
	for name, c := range map[string]struct {
		kind  conference.Kind
		fault func(elem []byte, n int) [][]byte // n: from 1, of the window
		want  conference.Tally
		lag   uint64
	}{
		"a line lost": {kind: conference.Chat, want: conference.Tally{Delivered: 14, Lost: 1}, fault: func(e []byte, n int) [][]byte {
			if n == 3 {
				return nil
			}
			return [][]byte{e}
		}},
		"the last line lost": {kind: conference.Chat, want: conference.Tally{Delivered: 14, Lost: 1}, fault: func(e []byte, n int) [][]byte {
			if n == 5 {
				return nil
			}
			return [][]byte{e}
		}},
		"a presence left out for the next": {kind: conference.Presence, want: conference.Tally{Delivered: 13}, lag: 2, fault: func(e []byte, n int) [][]byte {
			if n == 2 || n == 3 {
				return nil
			}
			return [][]byte{e}
		}},
		"twice": {kind: conference.Chat, want: conference.Tally{Delivered: 15, Duplicate: 1}, fault: func(e []byte, n int) [][]byte {
			if n == 3 {
				return [][]byte{e, e}
			}
			return [][]byte{e}
		}},
		"another content": {kind: conference.Presence, want: conference.Tally{Delivered: 15, Unexpected: 1}, fault: func(e []byte, n int) [][]byte {
			if n == 3 {
				return [][]byte{bytes.Replace(e, []byte("from='"), []byte("from='x"), 1)}
			}
			return [][]byte{e}
		}},
		"swapped": {kind: conference.Chat, want: conference.Tally{Delivered: 15, OutOfOrder: 1}, fault: func(e []byte, n int) [][]byte {
			switch n {
			case 3:
				held = e
				return nil
			case 4:
				return [][]byte{e, held}
			}
			return [][]byte{e}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := testContext(t)
			s := newFakeServer(t, 1)
			crowd := newCrowdOf(t, s, s.webSocket(), 1) // only visitors of one loop are compared
			require.NoError(t, crowd.Join(ctx, Join{N: 3}))
			crowd.Mark()
			before := s.said
			s.fault = func(member, stanza int, elem []byte) [][]byte {
				if member != 1 {
					return [][]byte{elem}
				}
				return c.fault(elem, stanza-before)
			}
			for range 5 {
				s.say(0, c.kind)
			}
			s.fault = nil
			// Another sequence shows that everything before has come.
			other := conference.Presence
			if c.kind == conference.Presence {
				other = conference.Chat
			}
			crowd.wait(ctx, func(v *client) bool { return v.handled >= 4 }, "")
			marker := viewOf(0, other)
			s.say(0, other)
			want := uint32(s.sources[0].Published(other))
			require.NoError(t, crowd.wait(ctx, func(v *client) bool { return v.seen.last(marker) >= want }, "wait"))
			sum := crowd.Sum()
			sum.Tally.Delivered -= 3 // the marker
			if c.want.Unexpected == 1 && sum.Tally.Unexpected == 2 {
				sum.Tally.Unexpected = 1 // what is heard first is believed: the two others differ from it
			}
			require.Equal(t, c.want, sum.Tally)
			require.Equal(t, c.lag, sum.Superseded)
		})
	}
}

// User names that begin alike are nicks of different visitors, and a UUID's
// begin is the nick that lib-jitsi-meet takes.
func TestNicksAreUnique(t *testing.T) {
	for names, nick := range map[string]string{
		"%08x-0000-4000-8000-000000000000": "00000002",
		"834123847712087%04d":              "8341238477120870002",
	} {
		ctx := testContext(t)
		s := newFakeServer(t, 1)
		s.names = names
		c := newCrowd(t, s, s.webSocket())
		require.NoError(t, c.Join(ctx, Join{N: 3}))
		require.Contains(t, c.Nicks(), nick)
	}
}

// A visitor without the newest of a source is not drained.
func TestDrainTellsWhoWaits(t *testing.T) {
	ctx := testContext(t)
	s := newFakeServer(t, 1)
	c := newCrowd(t, s, s.webSocket())
	require.NoError(t, c.Join(ctx, Join{N: 2}))
	s.fault = func(int, int, []byte) [][]byte { return nil }
	s.say(0, conference.Chat)
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	require.ErrorContains(t, c.Drain(short), "2 visitors wait for stanzas")
}

// <r/> is answered with the exact count of stanzas since <enabled/>.
func TestAcksAreExact(t *testing.T) {
	ctx := testContext(t)
	s := newFakeServer(t, 2)
	c := newCrowd(t, s, s.webSocket())
	require.NoError(t, c.Join(ctx, Join{N: 1}))
	for range 5 {
		s.say(0, conference.Presence) // with the 4 of the join: 9, so that an <r/> is last
	}
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.members[0].h == "9"
	}, testTime, time.Millisecond)
	require.NotZero(t, c.Count().Acks)
}

// A line of the history is older than the presences before it, which is no
// disorder; and nobody misses lines from before its join.
func TestHistoryIsNoDisorder(t *testing.T) {
	ctx := testContext(t)
	s := newFakeServer(t, 1)
	s.say(0, conference.Chat)
	st := s.sources[0].Publish(conference.Chat)
	s.history = append(s.history, fmt.Appendf(nil, "<message xmlns='jabber:client' from='%s/speaker0' type='groupchat'><body>%s</body><delay xmlns='%s'/></message>", fakeRoom, st, wire.NSDelay))
	s.say(0, conference.Presence)
	c := newCrowd(t, s, s.webSocket())
	require.NoError(t, c.Join(ctx, Join{N: 2}))
	s.fault = func(member, _ int, elem []byte) [][]byte {
		if member == 0 { // what these hear live
			s.history = append(s.history, bytes.Replace(elem, []byte("</body>"), []byte("</body><delay xmlns='"+wire.NSDelay+"'/>"), 1))
		}
		return [][]byte{elem}
	}
	s.say(0, conference.Chat)
	s.fault = nil
	require.NoError(t, c.Drain(ctx))
	require.NoError(t, c.Join(ctx, Join{N: 2})) // others get replayed
	s.say(0, conference.Chat)
	require.NoError(t, c.Drain(ctx))
	requireNoFaults(t, c)
}

// Who stalls takes nothing and is not waited for; when it reads again it has
// missed nothing.
func TestStalledVisitorsAreGuests(t *testing.T) {
	ctx := testContext(t)
	s := newFakeServer(t, 1)
	c := newCrowd(t, s, s.webSocket())
	require.NoError(t, c.Join(ctx, Join{N: 4}))
	require.Equal(t, 2, c.Stall(2))
	c.Mark()
	for range 10 {
		s.say(0, conference.Chat)
	}
	require.NoError(t, c.Drain(ctx))
	require.EqualValues(t, 20, c.Count().Delivered)
	c.Unstall()
	require.NoError(t, c.Drain(ctx))
	require.EqualValues(t, 40, c.Count().Delivered)
	require.EqualValues(t, 20, c.Delivery(Guests).Count)
	requireNoFaults(t, c)
}

// Visitors that lose their connection resume and get what they missed.
func TestCutVisitorsResume(t *testing.T) {
	ctx := testContext(t)
	s := newFakeServer(t, 2)
	c := newCrowd(t, s, s.webSocket())
	require.NoError(t, c.Join(ctx, Join{N: 6}))
	c.Mark()
	s.say(0, conference.Chat)
	require.Equal(t, 3, c.Cut(2))
	for i := range 10 {
		s.say(i%2, conference.Chat)
	}
	require.NoError(t, c.Resume(ctx, 0))
	s.say(1, conference.Presence)
	require.NoError(t, c.Drain(ctx))
	sum := c.Sum()
	require.Equal(t, 6, sum.Joined)
	require.Zero(t, sum.Ended, sum.First)
	require.Zero(t, sum.Tally.Faults(), "%+v", sum.Tally)
	require.EqualValues(t, 6*12, sum.Tally.Delivered)
	require.EqualValues(t, 3, c.Resumptions().Count)
}

// A session the server does not know any more is a failure that says so.
func TestARefusedResumptionIsTold(t *testing.T) {
	ctx := testContext(t)
	s := newFakeServer(t, 1)
	c := newCrowd(t, s, s.webSocket())
	require.NoError(t, c.Join(ctx, Join{N: 2}))
	c.Cut(1)
	s.mu.Lock()
	clear(s.sessions)
	s.mu.Unlock()
	require.ErrorContains(t, c.Resume(ctx, 0), "2 of 2 sessions were not resumed")
	require.Contains(t, c.Sum().First, "item-not-found")
}

// Visitors can speak, and hear themselves.
func TestVisitorsChat(t *testing.T) {
	ctx := testContext(t)
	s := newFakeServer(t, 1)
	c := newCrowd(t, s, s.webSocket())
	require.False(t, c.Chat(0, conference.Now(), 0), "nobody is there")
	require.NoError(t, c.Join(ctx, Join{N: 1}))
	require.True(t, c.Chat(5, conference.Now(), 0))
	_, lines := s.ledger.Published(conference.RoleVisitor)
	require.EqualValues(t, 1, lines)
}

func TestJoinsThatFail(t *testing.T) {
	ctx := testContext(t)
	join := func(t *testing.T, url string) error {
		c, err := New(Options{URL: url, Domain: fakeDomain, Room: fakeRoom, Ledger: conference.NewLedger()})
		require.NoError(t, err)
		t.Cleanup(c.Close)
		return c.Join(ctx, Join{N: 2})
	}
	t.Run("refused", func(t *testing.T) {
		s := newFakeServer(t, 1)
		s.refuse = true
		err := join(t, s.webSocket())
		require.ErrorContains(t, err, "2 of 2 visitors could not join")
		require.ErrorContains(t, err, "while joining: join refused")
		require.ErrorContains(t, err, "forbidden")
	})
	t.Run("no WebSocket", func(t *testing.T) {
		srv := httptest.NewServer(http.NotFoundHandler())
		defer srv.Close()
		require.ErrorContains(t, join(t, "ws"+strings.TrimPrefix(srv.URL, "http")), "404")
	})
	t.Run("no BOSH", func(t *testing.T) {
		srv := httptest.NewServer(http.NotFoundHandler())
		defer srv.Close()
		require.ErrorContains(t, join(t, srv.URL), "404")
	})
	t.Run("nobody listens", func(t *testing.T) {
		p, err := port.Hold()
		require.NoError(t, err)
		defer p.Close()
		require.ErrorContains(t, join(t, "ws://"+p.String()), "connection refused")
		require.Error(t, join(t, "ws+unix://"+filepath.Join(t.TempDir(), "none")+":/"))
	})
	t.Run("interrupted", func(t *testing.T) {
		s := newFakeServer(t, 1)
		c, err := New(Options{URL: s.webSocket(), Domain: fakeDomain, Room: fakeRoom, Ledger: s.ledger})
		require.NoError(t, err)
		t.Cleanup(c.Close)
		gone, cancel := context.WithCancel(ctx)
		cancel()
		require.ErrorIs(t, c.Join(gone, Join{N: 3}), context.Canceled)
	})
}

// A busy server is asked again, and the join counts from the first attempt.
func TestABusyServerIsAskedAgain(t *testing.T) {
	ctx := testContext(t)
	s := newFakeServer(t, 1)
	s.busy = 2
	c := newCrowd(t, s, s.webSocket())
	require.NoError(t, c.Join(ctx, Join{N: 3}))
	require.EqualValues(t, 2, c.Count().Refused)
	require.EqualValues(t, 3, c.Joins(Steady).Count)
	s.mu.Lock()
	s.busy = 1 << 20
	s.mu.Unlock()
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, c.Join(short, Join{N: 1}), context.DeadlineExceeded)
}

func TestByTLS(t *testing.T) {
	ctx := testContext(t)
	s := newFakeServer(t, 1)
	srv := httptest.NewTLSServer(http.HandlerFunc(s.serveWS))
	defer srv.Close()
	conf := srv.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	conf.NextProtos = nil
	c, err := New(Options{URL: "wss" + strings.TrimPrefix(srv.URL, "https") + "/", Domain: fakeDomain, Room: fakeRoom, Ledger: s.ledger, TLS: conf})
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.Join(ctx, Join{N: 3}))
	for range 10 {
		s.say(0, conference.Chat)
	}
	require.NoError(t, c.Drain(ctx))
	requireNoFaults(t, c)
	require.NoError(t, c.Leave(ctx))
}

func TestAddresses(t *testing.T) {
	for raw, want := range map[string]address{
		"ws://127.0.0.1:52803/xmpp-websocket?room=r": {transport: WebSocket, host: "127.0.0.1:52803", path: "/xmpp-websocket?room=r"},
		"wss://meet.example.org/xmpp-websocket":      {transport: WebSocket, tls: true, host: "meet.example.org:443", path: "/xmpp-websocket"},
		"ws+unix:///run/v3.sock:/xmpp?room=r":        {transport: WebSocket, unix: "/run/v3.sock", host: "localhost", path: "/xmpp?room=r"},
		"http://[::1]/http-bind":                     {transport: BOSH, host: "[::1]:80", path: "/http-bind"},
		"xmpp://127.0.0.1":                           {transport: XMPP, host: "127.0.0.1:5222", path: "/"},
	} {
		got, err := parseAddress(raw)
		require.NoError(t, err, raw)
		require.Equal(t, want, got, raw)
	}
	for _, raw := range []string{"127.0.0.1:80", "ftp://x", "ws+unix://", "ws://%zz"} {
		_, err := parseAddress(raw)
		require.Error(t, err, raw)
	}
	a := address{path: "/x"}
	require.Equal(t, "/x?previd=a", a.with("previd", "a"))
	a.path = "/x?room=r"
	require.Equal(t, "/x?room=r&previd=a", a.with("previd", "a"))
}

// What a source says has one order over presence and chat, but for a line of
// the history.
func TestOrderIsOverBothSequences(t *testing.T) {
	var s seen
	stamp := func(k conference.Kind, seq, order uint64) *conference.Stamp {
		return &conference.Stamp{Source: 1, Kind: k, Seq: seq, Order: order}
	}
	require.Equal(t, fresh, s.add(stamp(conference.Presence, 1, 1), false))
	require.Equal(t, fresh, s.add(stamp(conference.Chat, 1, 3), false))
	require.Equal(t, late, s.add(stamp(conference.Presence, 2, 2), false))
	require.Equal(t, fresh, s.add(stamp(conference.Presence, 3, 4), false))
	require.Equal(t, late, s.add(stamp(conference.Chat, 2, 4), false))
	require.Equal(t, fresh, s.add(stamp(conference.Chat, 3, 2), true))
	require.Equal(t, fresh, s.add(stamp(conference.Chat, 4, 5), false))
}

// Whatever sequence comes, what is counted agrees with a plain list.
func FuzzSeen(f *testing.F) {
	f.Add([]byte{1, 2, 3, 5, 4, 4, 9})
	f.Add([]byte{3, 2, 1, 1, 7})
	f.Fuzz(func(t *testing.T, numbers []byte) {
		var s seen
		got := map[byte]bool{}
		first, last := byte(0), byte(0)
		for i, n := range numbers {
			if n == 0 {
				continue
			}
			a := s.add(&conference.Stamp{Source: 2, Kind: conference.Chat, Seq: uint64(n), Order: uint64(i) + 1}, false)
			require.Equal(t, got[n], a == twice, "%d of %v", n, numbers)
			if !got[n] {
				require.Equal(t, n < last, a == late, "%d of %v", n, numbers)
			}
			if first == 0 || n < first {
				first = n
			}
			got[n], last = true, max(last, n)
		}
		const from, to = 3, 200
		var never, superseded uint64
		for n := byte(from); n <= to; n++ {
			if !got[n] {
				never++
				if n < last {
					superseded++
				}
			}
		}
		if last == 0 {
			superseded = 0
		}
		gotNever, gotSuperseded := s.missing(viewOf(2, conference.Chat), from, to)
		require.Equal(t, never, gotNever, "%v", numbers)
		require.Equal(t, superseded, gotSuperseded, "%v", numbers)
	})
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte("\x81\x01x"))
	f.Add([]byte("\x01\x02ab\x80\x01c"))
	f.Add([]byte("\x81\x7E\x00\x02ab"))
	f.Add([]byte("\x81\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"))
	f.Add([]byte("\x88\x02\x03\xE8"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for {
			fr, n := parseFrame(b)
			if n == 0 || fr.broken {
				return
			}
			require.LessOrEqual(t, len(fr.payload), n)
			b = b[n:]
		}
	})
}

func FuzzBOSHAnswers(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nabc"))
	f.Add([]byte("HTTP/1.1 404 Not Found\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		content, n, err := response(b)
		if err == nil && n > 0 {
			require.True(t, bytes.HasSuffix(b[:n], content))
		}
	})
}

// The stamp is found wherever it is, with and without a right guess.
func TestStampsAreFoundWhateverTheGuess(t *testing.T) {
	st := conference.Stamp{Source: 7, Kind: conference.Chat, Seq: 12, Order: 30, At: 1}
	var h hints
	for _, elem := range []string{
		"<message><body>" + st.String() + "</body></message>",
		"<message><body>" + st.String() + "</body><x/></message>",
		"<message><body>" + st.String() + strings.Repeat("y", 500) + "</body></message>",
		"<presence><s>" + st.String() + "</s></presence>",
	} {
		got, ok := h.find([]byte(elem))
		require.True(t, ok, elem)
		require.Equal(t, st, got)
	}
	_, ok := h.find([]byte("<message><subject/></message>"))
	require.False(t, ok)
}
