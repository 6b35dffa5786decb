package bosh

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// house is a Server whose sessions a test takes by hand.
type house struct {
	t      testing.TB
	srv    *Server
	conns  chan *Conn
	refuse bool
}

func newHouse(t testing.TB, cfg Config) *house {
	h := &house{t: t, conns: make(chan *Conn, 16)}
	h.srv = NewServer(cfg, func(c *Conn, r *http.Request) bool {
		if h.refuse {
			return false
		}
		h.conns <- c
		return true
	})
	return h
}

// inBubble runs a story with fake time. At its end no session may be left.
func inBubble(t *testing.T, cfg Config, story func(t *testing.T, h *house)) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, cfg)
		story(t, h)
		time.Sleep(10 * time.Minute) // whatever was forgotten has expired
		synctest.Wait()
		require.Empty(t, h.srv.sessions)
	})
}

// call is a request under way.
type call struct {
	h      *house
	rec    *httptest.ResponseRecorder
	cancel context.CancelFunc
	done   chan struct{}
}

func (h *house) do(r *http.Request) *call {
	ctx, cancel := context.WithCancel(context.Background())
	c := &call{h: h, rec: httptest.NewRecorder(), cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		defer cancel()
		h.srv.ServeHTTP(c.rec, r.WithContext(ctx))
	}()
	synctest.Wait()
	return c
}

func (h *house) post(body string) *call {
	return h.do(httptest.NewRequest(http.MethodPost, "/http-bind?room=x", strings.NewReader(body)))
}

// waits reports whether the request has no answer yet.
func (c *call) waits() bool {
	synctest.Wait()
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// answer waits for the response.
func (c *call) answer() string {
	c.h.t.Helper()
	<-c.done
	require.Equal(c.h.t, http.StatusOK, c.rec.Code)
	require.Equal(c.h.t, "text/xml; charset=utf-8", c.rec.Header().Get("Content-Type"))
	return c.rec.Body.String()
}

// hangUp is the client's connection breaking off.
func (c *call) hangUp() {
	c.cancel()
	<-c.done
	synctest.Wait()
}

const (
	bodyStart = "<body xmlns='http://jabber.org/protocol/httpbind' xmlns:stream='http://etherx.jabber.org/streams'"
	createFmt = "<body rid='100' xmlns='http://jabber.org/protocol/httpbind' to='v1.meet.jitsi' xml:lang='en' wait='60' hold='1' ver='1.6' " +
		"content='text/xml; charset=utf-8' xmpp:version='1.0' xmlns:xmpp='urn:xmpp:xbosh'></body>"
	features = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>ANONYMOUS</mechanism></mechanisms></stream:features>"
)

// session is a client and the server's end of its session.
type session struct {
	*house
	conn *Conn
	sid  string
	rid  int
}

// begin creates a session; its creation has been answered with the features.
func (h *house) begin(change ...string) *session {
	h.t.Helper()
	c := h.post(strings.NewReplacer(change...).Replace(createFmt))
	s := &session{house: h, conn: <-h.conns, rid: 100}
	s.expect(Open, "")
	s.write(features)
	m := regexp.MustCompile(` sid='([A-Z2-7]{26})'`).FindStringSubmatch(c.answer())
	require.NotNil(h.t, m)
	s.sid = m[1]
	return s
}

// send sends the next request.
func (s *session) send(attrs, content string) *call {
	s.rid++
	return s.sendAs(s.rid, attrs, content)
}

func (s *session) sendAs(rid int, attrs, content string) *call {
	return s.post(s.body(rid, attrs, content))
}

func (s *session) body(rid int, attrs, content string) string {
	return "<body rid='" + itoa(rid) + "' xmlns='http://jabber.org/protocol/httpbind' sid='" + s.sid + "'" + attrs + ">" + content + "</body>"
}

// with is the response that carries content.
func (s *session) with(content string) string {
	head := bodyStart + " sid='" + s.sid + "'"
	if content == "" {
		return head + "/>"
	}
	return head + ">" + content + "</body>"
}

func ended(cond, content string) string {
	s := bodyStart + " type='terminate'"
	if cond != "" {
		s += " condition='" + cond + "'"
	}
	if content == "" {
		return s + "/>"
	}
	return s + ">" + content + "</body>"
}

func (s *session) write(elems string) {
	s.t.Helper()
	n, err := s.conn.Write([]byte(elems))
	require.NoError(s.t, err)
	require.Equal(s.t, len(elems), n)
}

// expect reads the next event.
func (s *session) expect(kind Kind, data string) Event {
	s.t.Helper()
	require.NoError(s.t, s.conn.SetReadDeadline(time.Now().Add(time.Hour)))
	ev, err := s.conn.Next()
	require.NoError(s.t, err)
	require.Equal(s.t, kind, ev.Kind)
	require.Equal(s.t, data, string(ev.Data))
	return ev
}

func (s *session) expectError(want error) {
	s.t.Helper()
	_, err := s.conn.Next()
	require.ErrorIs(s.t, err, want)
}

// leave ends the session in order.
func (s *session) leave() {
	s.t.Helper()
	c := s.send(" type='terminate'", "")
	for {
		ev, err := s.conn.Next()
		require.NoError(s.t, err)
		if ev.Kind == End {
			break
		}
	}
	require.NoError(s.t, s.conn.CloseWrite())
	require.Contains(s.t, c.answer(), "type='terminate'")
	s.expectError(io.EOF)
	require.NoError(s.t, s.conn.Close())
}
