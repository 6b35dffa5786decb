package visitor

import (
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"vnode/fanout"
)

// What makes a session hibernate, and what ends it for good.

// Acknowledging what was never sent, or less than before, ends the session
// (sm-bad-ack), over the old connection too.
func TestSMResumeWithBadCount(t *testing.T) {
	for _, count := range []string{"0", "4", "4294967295", "x", ""} {
		for _, connected := range []bool{false, true} {
			inBubble(t, nil, func(t *testing.T, h *house) {
				p := h.websocket().visitor()
				id := p.resumable()
				for i := range 3 {
					h.tell(p.jid, i)
					p.expect(told(i))
				}
				p.send("<a xmlns='urn:xmpp:sm:3' h='2'/>")
				if !connected {
					p.hangUp()
				}
				synctest.Wait()
				q := h.returning(id).anonymous()
				q.send("<resume xmlns='urn:xmpp:sm:3' previd='" + id + "' h='" + count + "'/>")
				q.expect("<failed xmlns='urn:xmpp:sm:3' h='0'><undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>")
				if connected {
					p.expect("<a xmlns='urn:xmpp:sm:3' h='0'/>")
					require.Contains(t, p.next(), "<undefined-condition ")
					p.expectEnd()
				}
				synctest.Wait()
				require.Equal(t, []string{p.jid}, h.ended())
				q.play("C: "+bindIQ, "S: "+pushed, "S: "+bindResult) // it begins anew
				q.leave()
				require.Equal(t, 1, h.resumptions(resumeBadAck))
				require.Nil(t, h.srv.resumable(id))
			})
		}
	}
}

// A phone that lost its network says nothing any more. Found out by <r/>, its
// session hibernates; the connection is closed without an end of the stream.
func TestSilentClientHibernates(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		p := h.websocket().visitor()
		id := p.resumable()
		p.expect("<r xmlns='urn:xmpp:sm:3'/>")
		require.Equal(t, "EOF", p.next())
		synctest.Wait()
		require.Equal(t, 1, h.inState(transportWebSocket, stateHibernating))
		require.EqualValues(t, 1, testutil.ToFloat64(h.srv.metrics.closed["connection_timeout"]))
		require.Empty(t, h.ended())
		q := h.returning(id).anonymous()
		q.resume(id, 0)
		q.expect(resumedWith(id, 0))
	})
}

// A close frame without <close/> leaves the session alive (RFC 7395 §3.6).
func TestCloseFrameHibernates(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		p := h.websocket().visitor()
		id := p.resumable()
		p.write(clientFrame(0x88, "\x03\xe9"))
		p.expect("CLOSE 1001 Goodbye")
		p.hangUp()
		synctest.Wait()
		require.Empty(t, h.ended())
		q := h.returning(id).anonymous()
		q.resume(id, 0)
		q.expect(resumedWith(id, 0))
	})
}

// A client that breaks the rules loses its session with its stream.
func TestStreamErrorIsFinal(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		p := h.websocket().visitor()
		id := p.resumable()
		p.send("<message xmlns='jabber:client'><broken></message>")
		p.expect("<a xmlns='urn:xmpp:sm:3' h='0'/>")
		require.Contains(t, p.next(), "<not-well-formed ")
		p.expectEnd()
		synctest.Wait()
		require.Equal(t, []string{p.jid}, h.ended())
		require.Nil(t, h.srv.resumable(id))
	})
}

func TestOldestHibernatingSessionIsGivenUp(t *testing.T) {
	inBubble(t, func(c *Config) { c.Limits.Hibernating = 2 }, func(t *testing.T, h *house) {
		var ids, jids []string
		for range 4 {
			p := h.websocket().visitor()
			ids, jids = append(ids, p.resumable()), append(jids, p.jid)
			p.hangUp()
			time.Sleep(time.Second)
		}
		require.Equal(t, jids[:2], h.ended())
		for _, id := range ids[:2] {
			p := h.returning(id).anonymous()
			p.resume(id, 0)
			p.expect(fmt.Sprintf(failedWith, 0))
		}
		require.EqualValues(t, 2, testutil.ToFloat64(h.srv.metrics.closed[reasonEvicted]))
		require.Equal(t, 2, h.inState(transportWebSocket, stateHibernating))
		for _, id := range ids[2:] {
			p := h.returning(id).anonymous()
			p.resume(id, 0)
			p.expect(resumedWith(id, 0))
		}
		synctest.Wait()
		require.Zero(t, h.inState(transportWebSocket, stateHibernating))
	})
}

// More waits for a hibernating client than it may: it is given up early, and
// told its count when it comes back.
func TestHibernatingClientMissesTooMuch(t *testing.T) {
	inBubble(t, func(c *Config) { c.Limits.PrivateBytes = 1000 }, func(t *testing.T, h *house) {
		p := h.websocket().visitor()
		id := p.resumable()
		p.hangUp()
		synctest.Wait()
		for i := range 30 {
			h.srv.Deliver(mustJID(p.jid), fanout.NewPrivate([]byte(told(i)))) // the last ones find nobody
		}
		synctest.Wait()
		require.Equal(t, []string{p.jid}, h.ended())
		require.EqualValues(t, 1, testutil.ToFloat64(h.srv.metrics.closed[fanout.SlowConsumer]))
		q := h.returning(id).anonymous()
		q.resume(id, 0)
		q.expect(fmt.Sprintf(failedWith, 0))
	})
}

// The room's log has gone on too far for what the client missed.
func TestRoomHasGoneOnTooFar(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		p := h.websocket().visitor()
		id := p.resumable()
		room := h.fan.NewLog()
		require.True(t, h.srv.session(mustJID(p.jid)).Follow(room))
		p.send(fmt.Sprintf(toRoom, 1))
		synctest.Wait()
		p.hangUp()
		synctest.Wait()
		for range 5000 {
			room.Append(fanout.NewMessage(fanout.Plain, "", []byte("<message to='"), []byte("'/>")))
		}
		q := h.returning(id).anonymous()
		q.resume(id, 0)
		q.expect(fmt.Sprintf(failedWith, 1))
		synctest.Wait()
		require.Equal(t, []string{p.jid}, h.ended())
		require.Equal(t, 1, h.resumptions(resumeOverrun))
		q.play("C: "+bindIQ, "S: "+pushed, "S: "+bindResult)
	})
}

// Close ends those without a connection too, and does not wait for their time.
func TestShutdownEndsHibernatingSessions(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		p := h.websocket().visitor()
		p.resumable()
		p.hangUp()
		synctest.Wait()
		start := time.Now()
		h.shut()
		require.Zero(t, time.Since(start))
		require.Equal(t, []string{p.jid}, h.ended())
		require.EqualValues(t, 1, testutil.ToFloat64(h.srv.metrics.closed["system_shutdown"]))
	})
}

// Counts of sessions given up are remembered within a bound, the newest ones.
func TestLateCountsAreBounded(t *testing.T) {
	var l lateCounts
	for i := range 10 {
		l.add(hashID(fmt.Sprint(i)), fmt.Sprint(i), 3)
	}
	require.Len(t, l.handled, 3)
	require.Len(t, l.order, 3)
	for i := range 10 {
		want := ""
		if i >= 7 {
			want = fmt.Sprint(i)
		}
		require.Equal(t, want, l.handled[hashID(fmt.Sprint(i))])
	}
}

// An address that may have so many connections may not have more sessions
// without one, of which all of the node have a few.
func TestSleepersOfOneAddressAreCounted(t *testing.T) {
	inBubble(t, func(c *Config) { c.Limits.PerAddress = 2 }, func(t *testing.T, h *house) {
		vanish := func(from string) (id string) {
			near, far := net.Pipe()
			p := h.returningOn(addressed{near, from}, far, "").visitor()
			id = p.resumable()
			p.hangUp()
			synctest.Wait()
			return id
		}
		first := vanish("192.0.2.1:1")
		vanish("192.0.2.1:2")
		require.Empty(t, h.ended())
		vanish("192.0.2.1:3")
		require.Len(t, h.ended(), 1, "one too many")
		require.EqualValues(t, 1, testutil.ToFloat64(h.srv.metrics.closed[reasonEvicted]))
		vanish("192.0.2.2:1")
		for range 3 {
			vanish("127.0.0.1:1") // not counted
		}
		require.Len(t, h.ended(), 1)

		near, far := net.Pipe()
		p := h.returningOn(addressed{near, "192.0.2.1:4"}, far, first).anonymous()
		p.resume(first, 0)
		p.expect(resumedWith(first, 0))
		vanish("192.0.2.1:5")
		require.Len(t, h.ended(), 1, "the first has made room")
		p.hangUp()
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Empty(t, h.srv.sleepers)
	})
}
