package visitor

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"vnode/visitor/admission"
)

// exhaust takes all turns there are, and those of the next seconds.
func (h *house) exhaust() {
	for h.srv.gate.Enter(h.srv.lifetime, addressOf(textAddr("@")), admission.Join, 0) == nil {
		h.srv.gate.Leave(addressOf(textAddr("@")))
	}
}

// Who must wait is told so by each transport's own means.
func TestWhoMustWaitIsToldSo(t *testing.T) {
	inBubble(t, func(c *Config) {
		c.Limits.JoinsPerSecond, c.Limits.JoinPatience = admission.MinRate, time.Millisecond
	}, func(t *testing.T, h *house) {
		h.exhaust()
		busy := func(r *http.Request) {
			w := httptest.NewRecorder()
			h.srv.HTTPHandler().ServeHTTP(w, r)
			require.Equal(t, http.StatusServiceUnavailable, w.Code)
			after, err := strconv.Atoi(w.Header().Get("Retry-After"))
			require.NoError(t, err)
			require.Positive(t, after)
		}
		busy(handshake(""))
		busy(handshake("?previd=made-up"))
		busy(httptest.NewRequest(http.MethodPost, BOSHPath,
			strings.NewReader(`<body xmlns='http://jabber.org/protocol/httpbind' rid='1' to='v3.meet.jitsi' ver='1.6' wait='60' hold='1' xmpp:version='1.0' xmlns:xmpp='urn:xmpp:xbosh'/>`)))
		near, far := net.Pipe()
		go h.srv.acceptTCP(near, false)
		got, err := io.ReadAll(far)
		require.NoError(t, err)
		require.Contains(t, string(got), "<resource-constraint ")
		require.GreaterOrEqual(t, testutil.ToFloat64(h.srv.metrics.refused[admission.Rate]), 4.0)

		h.tcp(true).focus().leave() // who is beside the node comes in at any time

	})
}

func handshake(query string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, WebSocketPath+query, nil)
	for name, v := range map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
		"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "xmpp",
	} {
		r.Header.Set(name, v)
	}
	return r
}

// A handshake waits for its turn, if that comes soon. Who comes back to a session
// has the next one.
func TestHandshakesWaitForTheirTurn(t *testing.T) {
	inBubble(t, func(c *Config) { c.Limits.JoinsPerSecond = admission.MinRate }, func(t *testing.T, h *house) {
		old := h.websocket().visitor()
		old.send(`<enable xmlns='urn:xmpp:sm:3' resume='true'/>`)
		id := old.expect(`<enabled xmlns='urn:xmpp:sm:3' id='{id}' resume='true' max='60'/>`)
		h.exhaust()
		start := time.Now()
		gone, leave := context.WithCancel(t.Context())
		var order []string
		var mu sync.Mutex
		for _, c := range []struct {
			name, query string
			ctx         context.Context
			code        int
		}{
			{"first", "", t.Context(), http.StatusInternalServerError}, // no Hijacker: it gets as far as the handshake
			{"has gone", "", gone, http.StatusServiceUnavailable},
			{"second", "?previd=made-up", t.Context(), http.StatusInternalServerError},
			{"comes back", "?previd=" + id, t.Context(), http.StatusInternalServerError},
		} {
			go func() {
				w := httptest.NewRecorder()
				h.srv.HTTPHandler().ServeHTTP(w, handshake(c.query).WithContext(c.ctx))
				mu.Lock()
				defer mu.Unlock()
				require.Equal(t, c.code, w.Code, c.name)
				order = append(order, c.name)
			}()
			synctest.Wait()
		}
		leave()
		synctest.Wait()
		time.Sleep(time.Second)
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, []string{"has gone", "comes back", "first", "second"}, order)
		require.Equal(t, time.Second, time.Since(start))
		old.hangUp()
	})
}

// Watch finds a node that is busy with a room, and lets fewer in.
func TestWatchSlowsLoginsDown(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { h.srv.Watch(ctx); close(done) }()
		time.Sleep(time.Second)
		synctest.Wait()
		before := testutil.ToFloat64(h.srv.metrics.rate)
		block := make(chan struct{})
		h.mu.Lock()
		h.block = block
		h.mu.Unlock()
		p := h.websocket().visitor()
		p.send(`<presence xmlns='jabber:client' to='r@conference.v3.meet.jitsi/n'/>`)
		time.Sleep(time.Second)
		close(block)
		time.Sleep(admission.Interval + time.Millisecond)
		synctest.Wait()
		require.Less(t, testutil.ToFloat64(h.srv.metrics.rate), before)
		cancel()
		<-done
		p.leave()
	})
}

// Small stanzas count as larger ones: it is their number that costs.
func TestManySmallStanzasAreReadSlowly(t *testing.T) {
	inBubble(t, func(c *Config) {
		c.Limits.BytesPerSecond, c.Limits.RateBurst, c.Limits.StanzasPerSecond = 10_000, 10_000, 10
	}, func(t *testing.T, h *house) {
		p := h.websocket().visitor()
		start := time.Now()
		for range 100 {
			p.send(`<presence xmlns='jabber:client' to='r@conference.v3.meet.jitsi/n'/>`)
		}
		for len(h.handled()) < 100 {
			time.Sleep(10 * time.Millisecond)
		}
		require.InDelta(t, 9, time.Since(start).Seconds(), 1, "ten at once, then ten a second")
		p.leave()

		f := h.tcp(true).focus()
		start = time.Now()
		for range 1000 {
			f.send(`<presence to='r@conference.v3.meet.jitsi/n'/>`)
		}
		for len(h.handled()) < 1100 {
			time.Sleep(time.Millisecond)
		}
		require.Less(t, time.Since(start), time.Second)
		f.leave()
	})
}

// So do WebSocket pings, each of which costs an answer.
func TestManyPingsAreReadSlowly(t *testing.T) {
	inBubble(t, func(c *Config) {
		c.Limits.BytesPerSecond, c.Limits.RateBurst, c.Limits.StanzasPerSecond = 10_000, 10_000, 10
	}, func(t *testing.T, h *house) {
		p := h.websocket().visitor()
		start := time.Now()
		go func() {
			for range 100 {
				p.write(clientFrame(0x89, "here?"))
			}
		}()
		for range 100 {
			p.expect("PONG here?")
		}
		require.InDelta(t, 9, time.Since(start).Seconds(), 1, "ten at once, then ten a second")
		p.leave()
	})
}
