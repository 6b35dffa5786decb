package bosh

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"vnode/internal/guard"
)

// shatter leaves the session as no request leaves it: whatever looks at its requests
// meets a panic.
func (s *session) shatter() {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	s.conn.slots = append(s.conn.slots, nil)
}

// A panic ends the session that met it, wherever that is: requests that wait are
// answered, the next one learns that there is no session, whoever reads is told, and
// no other session notices.
func TestPanicEndsOneSession(t *testing.T) {
	for name, meet := range map[string]func(s *session){
		"a request": func(s *session) {
			s.shatter()
			require.Contains(s.t, s.send("", "<presence/>").answer(), "internal-server-error")
		},
		"the end of a connection": func(s *session) { c := s.send("", ""); s.shatter(); c.hangUp() },
		"a request that breaks the rules": func(s *session) {
			s.shatter()
			require.Contains(s.t, s.send("", "<presence>").answer(), "type='terminate'")
		},
		"a timer": func(s *session) { s.send("", ""); s.shatter(); time.Sleep(s.srv.cfg.Wait) },
		"writing": func(s *session) { s.shatter(); _, _ = s.conn.Write([]byte("<message/>")) },
		"the end": func(s *session) { s.shatter(); _ = s.conn.CloseWrite() },
		"closing": func(s *session) { s.shatter(); _ = s.conn.Close() },
		"reading": func(s *session) {
			s.send("", "<presence/>")
			s.shatter()
			_, err := s.conn.Next()
			require.ErrorIs(s.t, err, ErrBroken)
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := guard.New(slog.New(slog.NewTextHandler(io.Discard, nil)), prometheus.NewRegistry(), func(int) {})
			inBubble(t, Config{Guard: g}, func(t *testing.T, h *house) {
				s, other := h.begin(), h.begin()
				waits := s.send("", "")
				s.expect(Poll, "")
				meet(s)
				synctest.Wait()
				require.False(t, waits.waits(), "the request that waited is answered")
				require.Equal(t, ended("item-not-found", ""), s.send("", "").answer())
				_, err := s.conn.Next()
				require.Error(t, err)
				_, err = s.conn.Write([]byte("<message/>"))
				require.Error(t, err)

				c := other.send("", "<presence/>")
				other.expect(Element, "<presence/>")
				other.write("<message/>")
				require.Equal(t, other.with("<message/>"), c.answer())
			})
		})
	}
}

// A panic of whoever takes a new session leaves none behind.
func TestPanicWhileASessionIsTaken(t *testing.T) {
	s := NewServer(Config{}, func(*Conn, *http.Request) bool { panic("a fault of the program") })
	body := strings.NewReader(createFmt)
	require.Panics(t, func() { s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/http-bind", body)) })
	require.Empty(t, s.sessions)
}
