package visitor

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"vnode/fanout"
)

const (
	smEnable     = `<enable xmlns='urn:xmpp:sm:3' resume='true'/>`
	itemNotFound = `<failed xmlns='urn:xmpp:sm:3'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>`
	unexpected   = `<failed xmlns='urn:xmpp:sm:3'><unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>`
	failedWith   = `<failed xmlns='urn:xmpp:sm:3' h='%d'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>`
	bindResult   = `<iq xmlns='jabber:client' type='result' id='_bind_auth_2'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>{jid}</jid></bind></iq>`
	toRoom       = `<message xmlns='jabber:client' type='groupchat' id='%d' to='room@conference.v3.meet.jitsi'/>`
)

// resumable enables stream management and returns the session's id.
func (p *peer) resumable() (id string) {
	p.t.Helper()
	p.send(smEnable)
	max := "60"
	if strings.HasPrefix(p.jid, "focus@") {
		max = "15"
	}
	id = p.expect(`<enabled xmlns='urn:xmpp:sm:3' id='{id}' resume='true' max='` + max + `'/>`)
	require.Regexp(p.t, regexp.MustCompile(`^[\w-]+$`), id)
	require.GreaterOrEqual(p.t, len(id), 22, "128 bits of it")
	return id
}

// anonymous logs in as a visitor, without binding.
func (p *peer) anonymous() *peer {
	p.t.Helper()
	p.open(testDomain)
	p.play("C: "+anonymousAuth, "S: "+saslSuccess)
	p.restart(testDomain)
	return p
}

func (p *peer) resume(id string, h int) {
	p.t.Helper()
	p.send(fmt.Sprintf("<resume xmlns='urn:xmpp:sm:3' previd='%s' h='%d'/>", id, h))
}

func resumedWith(id string, h int) string {
	return fmt.Sprintf("<resumed xmlns='urn:xmpp:sm:3' h='%d' previd='%s'/>", h, id)
}

// tell sends a numbered stanza to a client, as a room does.
func (h *house) tell(jid string, n int) {
	require.True(h.t, h.srv.Deliver(mustJID(jid), fanout.NewPrivate([]byte(told(n)))))
}

func told(n int) string { return fmt.Sprintf("<message xmlns='jabber:client' id='%d'/>", n) }

func (h *house) inState(transport, state string) int {
	return int(testutil.ToFloat64(h.srv.metrics.sessions.WithLabelValues(transport, state)))
}

func (h *house) resumptions(result string) int {
	return int(testutil.ToFloat64(h.srv.metrics.resumptions[result]))
}

// sm-resume: a lost connection, a new one, the same session.
func TestSMResume(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		p := h.websocket().visitor()
		id := p.resumable()
		before := h.srv.session(mustJID(p.jid))
		p.send(fmt.Sprintf(toRoom, 1))
		for i := range 4 {
			h.tell(p.jid, i)
			p.expect(told(i))
		}
		p.hangUp()
		synctest.Wait()
		require.Empty(t, h.ended(), "the rooms are not told")
		require.Equal(t, 1, h.inState(transportWebSocket, stateHibernating))
		require.Zero(t, h.inState(transportWebSocket, stateBound))
		h.tell(p.jid, 4) // missed
		time.Sleep(59 * time.Second)

		q := h.returning(id).anonymous()
		q.resume(id, 4)
		q.play("S: "+resumedWith(id, 1), "S: "+told(4))
		require.Same(t, before, h.srv.session(mustJID(p.jid)))
		synctest.Wait()
		require.Zero(t, h.inState(transportWebSocket, stateHibernating))
		require.Equal(t, 1, h.inState(transportWebSocket, stateBound))
		time.Sleep(30 * time.Second) // it hibernates no more
		q.play(
			"C: <a xmlns='urn:xmpp:sm:3' h='5'/>",
			"C: "+fmt.Sprintf(toRoom, 2),
			"C: <r xmlns='urn:xmpp:sm:3'/>", "S: <a xmlns='urn:xmpp:sm:3' h='2'/>",
			"C: <resume xmlns='urn:xmpp:sm:3' previd='"+id+"' h='5'/>", "S: "+unexpected,
			"C: "+smEnable, "S: "+unexpected,
			`C: <iq xmlns='jabber:client' type='get' id='p' to='v3.meet.jitsi'><ping xmlns='urn:xmpp:ping'/></iq>`,
			`S: <iq xmlns='jabber:client' to='`+p.jid+`' from='v3.meet.jitsi' id='p' type='result'/>`,
			"C: "+wsClose, "S: <a xmlns='urn:xmpp:sm:3' h='3'/>",
		)
		q.expectEnd()
		synctest.Wait()
		require.Equal(t, []string{p.jid}, h.ended(), "once")
		require.Len(t, h.handled(), 2)
		require.Equal(t, 1, h.resumptions(resumeOK))
		require.NotContains(t, h.log.String(), id)
	})
}

// The h counters go on after a resumption, and on after the next.
func TestSMResumeAgainAndAgain(t *testing.T) {
	inBubble(t, func(c *Config) { c.Limits.AckEvery = 1000 }, func(t *testing.T, h *house) {
		p := h.websocket().visitor()
		id, jid := p.resumable(), p.jid
		for i := range 20 {
			p.send(fmt.Sprintf(toRoom, i))
			h.tell(jid, i)
			p.expect(told(i))
			p.hangUp()
			synctest.Wait()
			p = h.returning(id).anonymous()
			p.resume(id, i) // the last one got lost, it says
			p.play("S: "+resumedWith(id, i+1), "S: "+told(i))
			p.send(fmt.Sprintf("<a xmlns='urn:xmpp:sm:3' h='%d'/>", i+1))
		}
		p.send(wsClose)
		p.expect("<a xmlns='urn:xmpp:sm:3' h='20'/>")
		p.expectEnd()
		require.Len(t, h.handled(), 20)
	})
}

// sm-resume-unknown: failed, and the client binds on the same stream.
func TestSMResumeUnknown(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		p := h.returning("nosuchtoken123").anonymous()
		p.resume("nosuchtoken123", 0)
		p.play("S: "+itemNotFound, "C: <resume xmlns='urn:xmpp:sm:3'/>", "S: "+itemNotFound,
			"C: "+bindIQ, "S: "+pushed, "S: "+bindResult)
		p.leave()
		require.Equal(t, 2, h.resumptions(resumeNotFound))
	})
}

// The id is the secret by which an anonymous visitor is known again: in
// <resume/> alone, over whatever transport, whatever else its URL says. The name
// of the login before is free again at once.
func TestSMResumeByTheElementAlone(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		p, other := h.websocket().visitor(), h.websocket().visitor()
		id, otherID := p.resumable(), other.resumable()
		before := h.srv.session(mustJID(p.jid))
		for i, again := range []*peer{
			h.websocket().anonymous(), h.returning("x" + id).anonymous(), h.returning(otherID).anonymous(), h.tcp(true).anonymous(),
		} {
			h.tell(p.jid, i)
			again.resume(id, i)
			again.play("S: "+resumedWith(id, 0), "S: "+told(i))
			require.Same(t, before, h.srv.session(mustJID(p.jid)))
		}
		synctest.Wait()
		require.Len(t, h.srv.users.taken, 2)
		other.play("C: <r xmlns='urn:xmpp:sm:3'/>", "S: <a xmlns='urn:xmpp:sm:3' h='0'/>")
		require.Equal(t, 4, h.resumptions(resumeOK))
		require.Empty(t, h.ended())
	})
}

// An account's session is the account's, and no account gets a visitor's.
func TestSMResumeForeign(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		visitor, focus := h.websocket().visitor(), h.tcp(true).focus()
		id, focusID := visitor.resumable(), focus.resumable()
		for thief, wants := range map[*peer]string{
			h.tcp(true).focusLogin(): id, h.websocket().anonymous(): focusID, h.returning(focusID).anonymous(): focusID,
		} {
			thief.resume(wants, 0)
			thief.expect(itemNotFound)
			thief.leave()
		}
		for _, p := range []*peer{visitor, focus} {
			p.play("C: <r xmlns='urn:xmpp:sm:3'/>", "S: <a xmlns='urn:xmpp:sm:3' h='0'/>")
		}
		require.Equal(t, 3, h.resumptions(resumeNotFound))
	})
}

// sm-resume-taken-over: the old connection still lives, as far as anybody knows.
func TestSMResumeTakenOver(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		old := h.websocket().visitor()
		id := old.resumable()
		h.tell(old.jid, 0)
		old.expect(told(0))
		start := time.Now()
		p := h.returning(id).anonymous()
		p.resume(id, 0)
		p.play("S: "+resumedWith(id, 0), "S: "+told(0))
		require.Zero(t, time.Since(start), "at once")
		require.Contains(t, old.next(), "<conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>resumed on a new connection</text>")
		old.expectEnd()
		synctest.Wait()
		require.Empty(t, h.ended())
		require.Equal(t, 1, h.open())
		p.send(fmt.Sprintf(toRoom, 1))
		p.play("C: <r xmlns='urn:xmpp:sm:3'/>", "S: <a xmlns='urn:xmpp:sm:3' h='1'/>")
	})
}

// The same while the old connection takes no bytes.
func TestSMResumeTakesThePlaceOfAStuckConnection(t *testing.T) {
	for _, c := range []struct {
		first func(h *house) *peer
		again func(h *house, id string) *peer
	}{
		{func(h *house) *peer { return h.websocket().visitor() }, func(h *house, id string) *peer { return h.returning(id).anonymous() }},
		{func(h *house) *peer { return h.tcp(true).focus() }, func(h *house, _ string) *peer { return h.tcp(true).focusLogin() }},
	} {
		inBubble(t, nil, func(t *testing.T, h *house) {
			old := c.first(h)
			id := old.resumable()
			for i := range 3 {
				h.tell(old.jid, i) // never read
			}
			synctest.Wait()
			start := time.Now()
			p := c.again(h, id)
			p.resume(id, 0)
			p.play("S: "+resumedWith(id, 0), "S: "+told(0), "S: "+told(1), "S: "+told(2))
			require.Zero(t, time.Since(start), "at once")
			time.Sleep(5 * time.Second)
			require.Equal(t, 1, h.open(), "the old one is closed, read or not")
			require.Empty(t, h.ended())
		})
	}
}

// What came over the old connection while the new one was already there is
// handled before the counts are told.
func TestSMResumeWaitsForTheStanzaBeingHandled(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		old := h.websocket().visitor()
		id := old.resumable()
		h.block = make(chan struct{})
		old.send(fmt.Sprintf(toRoom, 1))
		synctest.Wait()
		p := h.returning(id).anonymous()
		p.resume(id, 0)
		time.Sleep(10 * time.Second)
		require.Zero(t, h.resumptions(resumeOK))
		close(h.block)
		p.expect(resumedWith(id, 1))
		old.hangUp()
	})
}

// A session that is busy for too long is not resumed, and goes on.
func TestSMResumeOfABusySession(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		old := h.websocket().visitor()
		id := old.resumable()
		block := make(chan struct{})
		h.block = block
		old.send(fmt.Sprintf(toRoom, 1))
		synctest.Wait()
		first, second := h.returning(id).anonymous(), h.returning(id).anonymous()
		first.resume(id, 0)
		second.resume(id, 0)
		for _, p := range []*peer{first, second} {
			require.Contains(t, p.next(), "<connection-timeout ")
			p.expectEnd()
		}
		synctest.Wait()
		require.Equal(t, 2, h.resumptions(resumeTimeout))
		h.mu.Lock()
		h.block = nil
		h.mu.Unlock()
		close(block)
		old.play("C: <r xmlns='urn:xmpp:sm:3'/>", "S: <a xmlns='urn:xmpp:sm:3' h='1'/>")
		require.Empty(t, h.ended())
	})
}

// sm-close-is-final: <close/> ends the session, and its id is forgotten.
func TestSMCloseIsFinal(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		p := h.websocket().visitor()
		id := p.resumable()
		p.play("C: "+fmt.Sprintf(toRoom, 1), "C: "+wsClose, "S: <a xmlns='urn:xmpp:sm:3' h='1'/>")
		p.expectEnd()
		synctest.Wait()
		require.Equal(t, []string{p.jid}, h.ended())
		q := h.returning(id).anonymous()
		q.resume(id, 0)
		q.play("S: "+itemNotFound, "C: "+bindIQ, "S: "+pushed)
		require.NotEqual(t, p.jid, q.expect(bindResult))
	})
}

// slow-sm-expire: nobody comes back, and after 60 s the rooms are told. The
// focus, whose rooms wait for it, has 15 s; both may ask for less.
func TestSMExpires(t *testing.T) {
	for _, c := range []struct {
		who    func(h *house) *peer
		enable string
		lives  time.Duration
	}{
		{func(h *house) *peer { return h.websocket().visitor() }, smEnable, time.Minute},
		{func(h *house) *peer { return h.tcp(true).visitor() }, `<enable xmlns='urn:xmpp:sm:3' resume='1' max='3600'/>`, time.Minute},
		{func(h *house) *peer { return h.tcp(true).focus() }, smEnable, 15 * time.Second},
		{func(h *house) *peer { return h.tcp(true).focus() }, `<enable xmlns='urn:xmpp:sm:3' resume='true' max='5'/>`, 5 * time.Second},
	} {
		inBubble(t, nil, func(t *testing.T, h *house) {
			p := c.who(h)
			p.send(c.enable)
			id := p.expect(fmt.Sprintf(`<enabled xmlns='urn:xmpp:sm:3' id='{id}' resume='true' max='%d'/>`, int(c.lives.Seconds())))
			p.send(fmt.Sprintf(toRoom, 1))
			synctest.Wait()
			p.hangUp()
			time.Sleep(c.lives - time.Nanosecond)
			require.Empty(t, h.ended())
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			require.Equal(t, []string{p.jid}, h.ended())
			require.Nil(t, h.srv.resumable(id))
			require.EqualValues(t, 1, testutil.ToFloat64(h.srv.metrics.closed[reasonExpired]))
			require.EqualValues(t, 1, testutil.ToFloat64(h.srv.metrics.closed[reasonDisconnected]))
			late := h.returning(id).anonymous()
			late.resume(id, 0)
			late.play("S: "+fmt.Sprintf(failedWith, 1), "C: "+bindIQ, "S: "+pushed, "S: "+bindResult)
			late.leave()
		})
	}
}

// Without resume='true' the session ends with its connection.
func TestSMWithoutResumption(t *testing.T) {
	for _, enable := range []string{`<enable xmlns='urn:xmpp:sm:3'/>`, `<enable xmlns='urn:xmpp:sm:3' resume='false'/>`} {
		inBubble(t, nil, func(t *testing.T, h *house) {
			p := h.websocket().visitor()
			p.play("C: "+enable, "S: <enabled xmlns='urn:xmpp:sm:3'/>")
			p.hangUp()
			synctest.Wait()
			require.Equal(t, []string{p.jid}, h.ended())
		})
	}
}

// The focus resumes over TCP as itself.
func TestFocusResumes(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		p := h.tcp(true).focus()
		id := p.resumable()
		p.hangUp()
		synctest.Wait()
		h.tell(p.jid, 0)
		q := h.tcp(true).focusLogin()
		q.resume(id, 0)
		q.play("S: "+resumedWith(id, 0), "S: "+told(0))
		require.True(t, h.srv.session(mustJID(p.jid)).Admin())
		q.send("</stream:stream>")
		q.expect("<a xmlns='urn:xmpp:sm:3' h='0'/>")
		q.expectEnd()
		synctest.Wait()
		require.Equal(t, []string{p.jid}, h.ended())
	})
}

// A focus that binds anew does not wait for its predecessor to expire.
func TestBindReplacesAHibernatingSession(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		p := h.tcp(true).focus()
		id := p.resumable()
		p.hangUp()
		synctest.Wait()
		start := time.Now()
		q := h.tcp(true).focus()
		require.Zero(t, time.Since(start))
		require.Equal(t, []string{p.jid}, h.ended())
		synctest.Wait()
		require.EqualValues(t, 1, testutil.ToFloat64(h.srv.metrics.closed["conflict"]))
		require.Nil(t, h.srv.resumable(id))
		q.leave()
	})
}

// A visitor that could resume and binds instead starts anew, under a new name.
func TestBindInsteadOfResume(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		p := h.websocket().visitor()
		id := p.resumable()
		p.hangUp()
		synctest.Wait()
		q := h.returning(id).visitor()
		require.NotEqual(t, p.jid[:8], q.jid[:8])
		require.Equal(t, []string{p.jid}, h.ended())
		q.leave()
	})
}
