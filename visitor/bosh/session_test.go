package bosh

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/internal/wire"
)

func itoa(n int) string { return strconv.Itoa(n) }

const (
	presence = "<presence xmlns='jabber:client' to='r@conference.v1.meet.jitsi/n'/>"
	ping     = "<iq xmlns='jabber:client' type='get' id='p1' to='v1.meet.jitsi'><ping xmlns='urn:xmpp:ping'/></iq>"
	pong     = "<iq xmlns='jabber:client' type='result' id='p1' from='v1.meet.jitsi'/>"
)

// The session of the transcript bosh-login, from creation to terminate.
func TestLoginTranscript(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, h *house) {
		c := h.post(createFmt)
		s := &session{house: h, conn: <-h.conns, rid: 100}
		ev := s.expect(Open, "")
		require.Equal(t, wire.StreamHeader{To: "v1.meet.jitsi", Version: "1.0", Lang: "en", Content: "jabber:client"}, ev.Header)
		require.True(t, c.waits(), "the features come with the creation response")
		s.write(features)
		got := c.answer()
		s.sid = s.conn.sid
		require.Equal(t, bodyStart+" sid='"+s.sid+"' wait='55' hold='1' requests='2' inactivity='60' polling='5' maxpause='120' ver='1.6'"+
			" from='v1.meet.jitsi' authid='"+s.sid+"' secure='true' xmlns:xmpp='urn:xmpp:xbosh' xmpp:version='1.0' xmpp:restartlogic='true'>"+
			features+"</body>", got)
		require.NoError(t, wire.CheckWellFormed([]byte(got), wire.Limits{}))

		auth := "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'></auth>"
		success := "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"
		c = s.send("", auth)
		s.expect(Element, auth)
		s.write(success)
		require.Equal(t, s.with(success), c.answer())

		poll := s.send("", "")
		s.expect(Poll, "")
		restart := s.send(" to='v1.meet.jitsi' xml:lang='en' xmpp:restart='true' xmlns:xmpp='urn:xmpp:xbosh'", "")
		ev = s.expect(Open, "")
		require.Equal(t, wire.StreamHeader{To: "v1.meet.jitsi", Version: "1.0", Lang: "en", Content: "jabber:client"}, ev.Header)
		s.write("<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>")
		require.Equal(t, s.with("<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>"), poll.answer())
		require.True(t, restart.waits())

		c = s.send("", ping+presence)
		s.expect(Element, ping)
		s.expect(Element, presence)
		s.write(pong)
		s.write(pong) // a burst shares a response
		require.Equal(t, s.with(pong+pong), restart.answer())

		bye := s.send(" type='terminate'", "<presence xmlns='jabber:client' type='unavailable'/>")
		s.expect(Element, "<presence xmlns='jabber:client' type='unavailable'/>")
		s.expect(End, "")
		s.write("<presence xmlns='jabber:client' type='unavailable' from='me'/>")
		require.True(t, c.waits())
		require.NoError(t, s.conn.CloseWrite())
		require.Equal(t, ended("", "<presence xmlns='jabber:client' type='unavailable' from='me'/>"), c.answer())
		require.Equal(t, ended("", ""), bye.answer())
		s.expectError(io.EOF)
		require.NoError(t, s.conn.Close())
	})
}

// What is no session gets its condition, with HTTP 200 (XEP-0124 §17.1: codes
// are for clients of old).
func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct{ body, cond string }{
		"unknown sid":         {"<body rid='5' sid='nobody' xmlns='" + nsBind + "'/>", "item-not-found"},
		"unknown sid, broken": {"<body rid='5' sid='nobody' xmlns='" + nsBind + "'>", "item-not-found"},
		"no to":               {strings.Replace(createFmt, "to='v1.meet.jitsi'", "", 1), "improper-addressing"},
		"empty to":            {strings.Replace(createFmt, "v1.meet.jitsi", "", 1), "improper-addressing"},
		"no rid":              {strings.Replace(createFmt, "rid='100'", "", 1), "bad-request"},
		"rid zero":            {strings.Replace(createFmt, "rid='100'", "rid='0'", 1), "bad-request"},
		"rid negative":        {strings.Replace(createFmt, "rid='100'", "rid='-1'", 1), "bad-request"},
		"rid too large":       {strings.Replace(createFmt, "rid='100'", "rid='9007199254740992'", 1), "bad-request"},
		"no wait":             {strings.Replace(createFmt, "wait='60'", "", 1), "bad-request"},
		"wait a fraction":     {strings.Replace(createFmt, "wait='60'", "wait='0.5'", 1), "bad-request"},
		"hold negative":       {strings.Replace(createFmt, "hold='1'", "hold='-1'", 1), "bad-request"},
		"pause no number":     {strings.Replace(createFmt, "hold='1'", "pause='x'", 1), "bad-request"},
		"nothing":             {"", "bad-request"},
		"no XML":              {"{}", "bad-request"},
		"unclosed":            {"<body rid='1' wait='1' to='a' xmlns='" + nsBind + "'>", "bad-request"},
		"other element":       {strings.ReplaceAll(createFmt, "body", "bodies"), "bad-request"},
		"other namespace":     {strings.Replace(createFmt, nsBind, "jabber:client", 1), "bad-request"},
		"DTD":                 {"<!DOCTYPE body [<!ENTITY a 'b'>]>" + createFmt, "bad-request"},
		"entity":              {strings.Replace(createFmt, "></body>", "><message>&lol;</message></body>", 1), "bad-request"},
		"comment":             {strings.Replace(createFmt, "></body>", "><!-- --></body>", 1), "bad-request"},
		"attribute twice":     {strings.Replace(createFmt, "hold='1'", "hold='1' hold='1'", 1), "bad-request"},
		"undeclared prefix":   {strings.Replace(createFmt, "></body>", "><a:b/></body>", 1), "bad-request"},
		"two bodies":          {createFmt + createFmt, "bad-request"},
		"large":               {strings.Replace(createFmt, "></body>", ">"+strings.Repeat(" ", 9000)+"</body>", 1), "policy-violation"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, Config{BodyBytes: 8 << 10}, func(t *testing.T, h *house) {
				require.Equal(t, ended(c.cond, ""), h.post(c.body).answer())
				require.Empty(t, h.conns)
			})
		})
	}
}

// A breach ends the session; the owner learns which, and a stranger nothing.
func TestBreachesEndTheSession(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(s *session) *call
		cond Condition
	}{
		"rid too far":   {func(s *session) *call { return s.sendAs(s.rid+3, "", ping) }, ItemNotFound},
		"rid of old":    {func(s *session) *call { return s.sendAs(50, "", ping) }, ItemNotFound},
		"not XML":       {func(s *session) *call { return s.send("", "<a></b>") }, BadRequest},
		"too large":     {func(s *session) *call { return s.send("", strings.Repeat(" ", 9000)) }, PolicyViolation},
		"unclosed":      {func(s *session) *call { return s.post(strings.TrimSuffix(s.body(101, "", ping), "</body>")) }, BadRequest},
		"pause too far": {func(s *session) *call { return s.send(" pause='121'", "") }, PolicyViolation},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, Config{BodyBytes: 8 << 10}, func(t *testing.T, h *house) {
				s := h.begin()
				require.Equal(t, ended(string(c.cond), ""), c.do(s).answer())
				_, err := s.conn.Next()
				var e Error
				require.ErrorAs(t, err, &e)
				require.Equal(t, c.cond, e.Condition)
				_, err = s.conn.Write([]byte(ping))
				require.ErrorIs(t, err, io.ErrClosedPipe)
				require.NoError(t, s.conn.Close())
				require.Equal(t, ended("item-not-found", ""), s.sendAs(101, "", ping).answer())
			})
		})
	}
}

// Who has logged in may send more.
func TestTheLimitOfASession(t *testing.T) {
	inBubble(t, Config{BodyBytes: 1 << 10}, func(t *testing.T, h *house) {
		s := h.begin()
		s.conn.SetLimit(10 << 10)
		big := "<message>" + strings.Repeat("x", 9<<10) + "</message>"
		s.send("", big)
		s.expect(Element, big)
		s.send("", strings.Repeat("<a/>", maxElements))
		for range maxElements {
			s.expect(Element, "<a/>")
		}
		require.Equal(t, ended("policy-violation", ""), s.sendAs(103, "", big+big).answer())
		s.expectError(errTooLarge)
	})
	inBubble(t, Config{}, func(t *testing.T, h *house) {
		s := h.begin()
		require.Equal(t, ended("policy-violation", ""), s.send("", strings.Repeat("<a/>", maxElements+1)).answer())
		s.expectError(errTooFull)
	})
}

func TestHeldRequestsAreToldOfABreach(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, h *house) {
		s := h.begin()
		held := s.send("", "")
		require.True(t, held.waits())
		require.Equal(t, ended("bad-request", ""), s.send("", "<a>").answer())
		require.Equal(t, ended("bad-request", ""), held.answer())
		s.expect(Poll, "")
		s.expectError(Error{BadRequest, errBody.Text})
	})
}

func TestThreeRequestsAtOnceAreTooMany(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, h *house) {
		s := h.begin()
		a, b := s.send("", ping), s.send("", ping)
		c := s.send("", ping)
		for _, c := range []*call{a, b, c} {
			require.Equal(t, ended("policy-violation", ""), c.answer())
		}
		require.NoError(t, s.conn.Close())
	})
}

// A page that is left says so without waiting for anything, as
// navigator.sendBeacon does it.
func TestTheLastRequestMayBeAThird(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, h *house) {
		s := h.begin()
		a, b := s.send("", ping), s.send("", presence)
		c := s.send(" type='terminate'", "<presence type='unavailable'/>")
		s.expect(Element, ping)
		s.expect(Element, presence)
		s.expect(Element, "<presence type='unavailable'/>")
		s.expect(End, "")
		s.write(pong)
		require.NoError(t, s.conn.CloseWrite())
		require.Equal(t, ended("", pong), a.answer())
		require.Equal(t, ended("", ""), b.answer())
		require.Equal(t, ended("", ""), c.answer())
	})
}

func TestTimesOfARequest(t *testing.T) {
	t.Run("it is held for the wait, then answered with nothing", func(t *testing.T) {
		inBubble(t, Config{}, func(t *testing.T, h *house) {
			s := h.begin("wait='60'", "wait='30'")
			start := time.Now()
			require.Equal(t, s.with(""), s.send("", "").answer())
			require.Equal(t, 30*time.Second, time.Since(start))
			s.leave()
		})
	})
	t.Run("the wait has a limit", func(t *testing.T) {
		inBubble(t, Config{}, func(t *testing.T, h *house) {
			s := h.begin("wait='60'", "wait='3600'", "hold='1'", "hold='9'")
			start := time.Now()
			require.Equal(t, s.with(""), s.send("", "").answer())
			require.Equal(t, 55*time.Second, time.Since(start))
			s.leave()
		})
	})
	t.Run("a second one makes the first go, when the answer had its chance", func(t *testing.T) {
		inBubble(t, Config{}, func(t *testing.T, h *house) {
			s := h.begin()
			start := time.Now()
			first := s.send("", "")
			second := s.send("", ping)
			require.Equal(t, s.with(""), first.answer())
			require.Equal(t, grace, time.Since(start))
			require.True(t, second.waits())
			s.leave()
			require.Contains(t, second.answer(), "terminate")
		})
	})
	t.Run("a large burst waits for no more", func(t *testing.T) {
		inBubble(t, Config{}, func(t *testing.T, h *house) {
			s := h.begin()
			start := time.Now()
			c := s.send("", "")
			s.write("<message><body>" + strings.Repeat("x", flushBytes) + "</body></message>")
			c.answer()
			require.Equal(t, start, time.Now())
			s.leave()
		})
	})
	t.Run("a session that polls gets its answers at once", func(t *testing.T) {
		inBubble(t, Config{}, func(t *testing.T, h *house) {
			s := h.begin("wait='60'", "wait='0'")
			start := time.Now()
			require.Equal(t, s.with(""), s.send("", ping).answer())
			require.Equal(t, grace, time.Since(start))
			s.write(pong)
			require.Equal(t, s.with(pong), s.send("", "").answer())
			s.leave()
		})
	})
}

func TestPollingTooFast(t *testing.T) {
	t.Run("without hold the second in vain is one too many", func(t *testing.T) {
		inBubble(t, Config{}, func(t *testing.T, h *house) {
			s := h.begin("hold='1'", "hold='0'")
			require.Equal(t, s.with(""), s.send("", "").answer())
			time.Sleep(5 * time.Second)
			require.Equal(t, s.with(""), s.send("", "").answer())
			require.Equal(t, ended("policy-violation", ""), s.send("", "").answer())
			s.expect(Poll, "")
			s.expectError(errTooFast)
		})
	})
	t.Run("polls that are worth it are not", func(t *testing.T) {
		inBubble(t, Config{}, func(t *testing.T, h *house) {
			s := h.begin("hold='1'", "hold='0'")
			for range 10 {
				s.write(pong)
				require.Equal(t, s.with(pong), s.send("", "").answer())
			}
			s.leave()
		})
	})
	t.Run("with hold a loop of empty requests is", func(t *testing.T) {
		inBubble(t, Config{}, func(t *testing.T, h *house) {
			s := h.begin()
			a := s.send("", "")
			b := s.send("", "")
			require.Equal(t, s.with(""), a.answer())
			require.Equal(t, ended("policy-violation", ""), s.send("", "").answer())
			require.Equal(t, ended("policy-violation", ""), b.answer())
			require.NoError(t, s.conn.Close())
		})
	})
	t.Run("a short wait is no loop", func(t *testing.T) {
		inBubble(t, Config{}, func(t *testing.T, h *house) {
			s := h.begin("wait='60'", "wait='1'")
			for range 10 {
				require.Equal(t, s.with(""), s.send("", "").answer())
			}
			s.leave()
		})
	})
}

func TestRequestsThatOvertakeEachOther(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, h *house) {
		s := h.begin()
		late := s.sendAs(102, "", "<message id='2'/>")
		s.write("<message id='early'/>")
		time.Sleep(time.Second)
		require.True(t, late.waits(), "responses keep the order of the requests")
		first := s.sendAs(101, "", "<message id='1'/>")
		s.expect(Element, "<message id='1'/>")
		s.expect(Element, "<message id='2'/>")
		require.Equal(t, s.with("<message id='early'/>"), first.answer())
		require.True(t, late.waits())
		s.rid = 102
		s.leave()
		require.Contains(t, late.answer(), "terminate")
	})
}

func TestAMissingRequestIsWaitedForOnlySoLong(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, h *house) {
		s := h.begin()
		start := time.Now()
		require.Equal(t, ended("item-not-found", ""), s.sendAs(102, "", ping).answer())
		require.Equal(t, 55*time.Second+time.Minute, time.Since(start))
		s.expectError(errGap)
		require.NoError(t, s.conn.Close())
	})
}

func TestARepeatedRequest(t *testing.T) {
	t.Run("gets the same answer, and is handled once", func(t *testing.T) {
		inBubble(t, Config{}, func(t *testing.T, h *house) {
			s := h.begin()
			c := s.send("", ping)
			s.expect(Element, ping)
			s.write(pong)
			require.Equal(t, s.with(pong), c.answer())
			require.Equal(t, s.with(pong), s.sendAs(s.rid, "", ping).answer())
			require.Equal(t, s.with(pong), s.sendAs(s.rid, "", ping).answer())
			s.send("", ping)
			s.expect(Element, ping)
			require.Equal(t, s.with(pong), s.sendAs(s.rid-1, "", ping).answer())
			s.leave()
			require.Equal(t, ended("item-not-found", ""), s.sendAs(101, "", ping).answer())
		})
	})
	t.Run("takes the place of the one that waits", func(t *testing.T) {
		inBubble(t, Config{}, func(t *testing.T, h *house) {
			s := h.begin()
			lost := s.send("", ping)
			again := s.sendAs(s.rid, "", ping)
			<-lost.done
			require.Equal(t, http.StatusServiceUnavailable, lost.rec.Code)
			s.write(pong)
			require.Equal(t, s.with(pong), again.answer())
			s.expect(Element, ping)
			s.leave()
		})
	})
	t.Run("takes the place of one that the client has left", func(t *testing.T) {
		inBubble(t, Config{}, func(t *testing.T, h *house) {
			s := h.begin()
			s.send("", ping).hangUp()
			s.write(pong)
			time.Sleep(time.Second)
			require.Equal(t, s.with(pong), s.sendAs(s.rid, "", ping).answer())
			s.expect(Element, ping)
			s.leave()
		})
	})
	t.Run("and a newer one gets what nobody took", func(t *testing.T) {
		inBubble(t, Config{}, func(t *testing.T, h *house) {
			s := h.begin()
			s.send("", ping).hangUp()
			s.write(pong)
			time.Sleep(time.Second)
			s.write(pong)
			require.Equal(t, s.with(pong+pong), s.send("", presence).answer())
			require.Equal(t, s.with(""), s.sendAs(s.rid-1, "", ping).answer())
			s.expect(Element, ping)
			s.expect(Element, presence)
			s.leave()
		})
	})
}

func TestABrokenConnectionIsNoHurdle(t *testing.T) {
	t.Run("for the request behind it", func(t *testing.T) {
		inBubble(t, Config{}, func(t *testing.T, h *house) {
			s := h.begin()
			a, b := s.send("", ping), s.send("", "")
			a.hangUp()
			s.write(pong)
			require.Equal(t, s.with(pong), b.answer())
			require.Equal(t, s.with(""), s.sendAs(s.rid-1, "", ping).answer())
			s.leave()
		})
	})
	t.Run("for a session that may have but one", func(t *testing.T) {
		inBubble(t, Config{}, func(t *testing.T, h *house) {
			s := h.begin("wait='60'", "wait='0'")
			s.send("", ping).hangUp()
			s.write(pong)
			require.Equal(t, s.with(pong), s.send("", presence).answer())
			s.leave()
		})
	})
	t.Run("when it breaks as its request comes again", func(t *testing.T) {
		inBubble(t, Config{}, func(t *testing.T, h *house) {
			s := h.begin()
			first := s.conn.receive(&request{sid: s.sid, rid: 101})
			again := s.send("", "")
			s.conn.left(101, first)
			s.write(pong)
			require.Equal(t, s.with(pong), again.answer())
			s.leave()
		})
	})
}

func TestPollsInARowAreOneSignOfLife(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, h *house) {
		s := h.begin("wait='60'", "wait='1'")
		for range 5 {
			s.send("", "").answer()
		}
		s.send("", ping).answer()
		s.expect(Poll, "")
		s.expect(Element, ping)
		s.leave()
	})
}
