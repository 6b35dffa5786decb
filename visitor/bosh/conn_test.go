package bosh

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWriteBlocksWhileTooMuchWaits(t *testing.T) {
	inBubble(t, Config{OutputBytes: 100}, func(t *testing.T, h *house) {
		s := h.begin()
		full := "<message>" + strings.Repeat("x", 200) + "</message>"
		s.write(full)
		require.NoError(t, s.conn.SetWriteDeadline(time.Now().Add(30*time.Second)))
		start := time.Now()
		_, err := s.conn.Write([]byte(pong))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, 30*time.Second, time.Since(start))

		require.NoError(t, s.conn.SetWriteDeadline(time.Time{}))
		wrote := make(chan error, 1)
		go func() {
			_, err := s.conn.Write([]byte(pong))
			wrote <- err
		}()
		synctest.Wait()
		require.Empty(t, wrote)
		require.Equal(t, s.with(full), s.send("", presence).answer())
		require.NoError(t, <-wrote)
		s.leave()
	})
}

func TestABlockedWriteEndsWithTheSession(t *testing.T) {
	inBubble(t, Config{OutputBytes: 1}, func(t *testing.T, h *house) {
		s := h.begin()
		s.write(pong)
		_, err := s.conn.Write([]byte(pong))
		require.ErrorIs(t, err, io.ErrClosedPipe, "it was inactive")
		s.expectError(ErrInactive)
	})
}

// A client that is read too slowly waits; nothing of its requests is lost, and
// what is kept of them is bounded.
func TestInputIsBounded(t *testing.T) {
	inBubble(t, Config{InputBytes: 1000}, func(t *testing.T, h *house) {
		s := h.begin()
		big := "<message><body>" + strings.Repeat("x", 1000) + "</body></message>"
		a := s.send("", big)
		b := s.send("", "<message id='b'/>")
		s.write(pong)
		require.Equal(t, s.with(pong), a.answer())
		s.write(pong)
		time.Sleep(10 * time.Minute)
		require.True(t, b.waits(), "it is not taken yet")
		s.expect(Element, big)
		require.Equal(t, s.with(pong), b.answer())
		s.expect(Element, "<message id='b'/>")
		s.leave()
	})
}

func TestReadIsANetConns(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, h *house) {
		s := h.begin()
		var conn net.Conn = s.conn
		require.Equal(t, "192.0.2.1:1234", conn.RemoteAddr().String())
		require.Equal(t, "", conn.LocalAddr().String())
		require.Equal(t, "bosh", conn.LocalAddr().Network())
		s.send("", "")
		s.send(" type='terminate'", ping+presence)
		got := make([]byte, len(ping)+10)
		_, err := io.ReadFull(conn, got)
		require.NoError(t, err)
		require.NoError(t, s.conn.CloseWrite())
		rest, err := io.ReadAll(conn)
		require.NoError(t, err)
		require.Equal(t, ping+presence, string(got)+string(rest))
		require.NoError(t, conn.Close())
	})
}

func TestSessionsAreCounted(t *testing.T) {
	inBubble(t, Config{Sessions: 1}, func(t *testing.T, h *house) {
		s := h.begin()
		c := h.post(createFmt)
		<-c.done
		require.Equal(t, http.StatusServiceUnavailable, c.rec.Code)
		require.Equal(t, "5", c.rec.Header().Get("Retry-After"))
		s.leave()
		h.refuse = true
		c = h.post(createFmt)
		<-c.done
		require.Equal(t, http.StatusServiceUnavailable, c.rec.Code)
		require.Empty(t, h.srv.sessions)
		h.refuse = false
		h.begin().leave()
	})
}

func TestOtherMethods(t *testing.T) {
	h := newHouse(t, Config{Shard: "s1"})
	for _, c := range []struct {
		method string
		code   int
		body   string
	}{
		{http.MethodGet, 200, page}, {http.MethodHead, 200, page}, {http.MethodOptions, 204, ""}, {http.MethodPut, 405, "method not allowed\n"},
	} {
		rec := httptest.NewRecorder()
		h.srv.ServeHTTP(rec, httptest.NewRequest(c.method, "/http-bind", nil))
		require.Equal(t, c.code, rec.Code)
		require.Equal(t, c.body, rec.Body.String())
		require.Equal(t, "s1", rec.Header().Get("X-Jitsi-Shard"))
		if c.method == http.MethodOptions {
			require.Contains(t, rec.Header().Get("Access-Control-Allow-Methods"), "POST")
			require.Contains(t, rec.Header().Get("Access-Control-Allow-Headers"), "Content-Type")
		}
	}
}

func TestVersionIsTheLower(t *testing.T) {
	for asked, want := range map[string]string{
		"1.6": "1.6", "1.11": "1.11", "1.12": "1.11", "1.8": "1.8", "": "1.6", "2.0": "1.6", "1.x": "1.6",
	} {
		require.Equal(t, want, version(asked), asked)
	}
}
