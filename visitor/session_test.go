package visitor

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"vnode/fanout"
	"vnode/internal/wire"
)

// exchangeOf is a request and its answer; {me} is the client's full JID, {bare}
// its bare one.
type exchangeOf struct{ name, send, want string }

const unavailableError = `<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>`
const badRequest = `<error type='modify'><bad-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>`

var serviceTable = []exchangeOf{
	{"ping of the domain",
		`<iq xmlns='jabber:client' type='get' id='1' to='v3.meet.jitsi'><ping xmlns='urn:xmpp:ping'/></iq>`,
		`<iq xmlns='jabber:client' to='{me}' from='v3.meet.jitsi' id='1' type='result'/>`},
	{"ping under a forged name",
		`<iq xmlns='jabber:client' type='get' id='1' from='focus@auth.meet.jitsi/x' to='v3.meet.jitsi'><ping xmlns='urn:xmpp:ping'/></iq>`,
		`<iq xmlns='jabber:client' to='{me}' from='v3.meet.jitsi' id='1' type='result'/>`},
	{"ping of the own account",
		`<iq xmlns='jabber:client' type='get' id='1' to='{bare}'><ping xmlns='urn:xmpp:ping'/></iq>`,
		`<iq xmlns='jabber:client' to='{me}' from='{bare}' id='1' type='result'/>`},
	{"disco#info of the domain",
		`<iq xmlns='jabber:client' type='get' id='1' to='v3.meet.jitsi'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>`,
		`<iq xmlns='jabber:client' to='{me}' from='v3.meet.jitsi' id='1' type='result'><query xmlns='http://jabber.org/protocol/disco#info'>` +
			`<identity category='component' type='polls' name='polls.v3.meet.jitsi'/><identity category='server' type='im' name='vnode'/>` +
			`<feature var='http://jabber.org/protocol/disco#info'/><feature var='http://jabber.org/protocol/disco#items'/><feature var='urn:xmpp:ping'/>` +
			`<feature var='urn:xmpp:extdisco:1'/><feature var='urn:xmpp:extdisco:2'/><feature var='jabber:iq:version'/></query></iq>`},
	{"disco#items of the domain",
		`<iq xmlns='jabber:client' type='get' id='1' to='v3.meet.jitsi'><query xmlns='http://jabber.org/protocol/disco#items'/></iq>`,
		`<iq xmlns='jabber:client' to='{me}' from='v3.meet.jitsi' id='1' type='result'><query xmlns='http://jabber.org/protocol/disco#items'><item jid='conference.v3.meet.jitsi'/></query></iq>`},
	{"disco#info of the account",
		`<iq xmlns='jabber:client' type='get' id='1'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>`,
		`<iq xmlns='jabber:client' to='{me}' id='1' type='result'><query xmlns='http://jabber.org/protocol/disco#info'><identity category='account' type='registered'/>` +
			`<feature var='http://jabber.org/protocol/disco#info'/><feature var='http://jabber.org/protocol/disco#items'/></query></iq>`},
	{"disco#items of the account",
		`<iq xmlns='jabber:client' type='get' id='1'><query xmlns='http://jabber.org/protocol/disco#items'/></iq>`,
		`<iq xmlns='jabber:client' to='{me}' id='1' type='result'><query xmlns='http://jabber.org/protocol/disco#items'/></iq>`},
	{"external services, version 2",
		`<iq xmlns='jabber:client' type='get' id='1' to='v3.meet.jitsi'><services xmlns='urn:xmpp:extdisco:2'/></iq>`,
		`<iq xmlns='jabber:client' to='{me}' from='v3.meet.jitsi' id='1' type='result'><services xmlns='urn:xmpp:extdisco:2'/></iq>`},
	{"external services, version 1",
		`<iq xmlns='jabber:client' type='get' id='1' to='v3.meet.jitsi'><services xmlns='urn:xmpp:extdisco:1'/></iq>`,
		`<iq xmlns='jabber:client' to='{me}' from='v3.meet.jitsi' id='1' type='result'><services xmlns='urn:xmpp:extdisco:1'/></iq>`},
	{"software version",
		`<iq xmlns='jabber:client' type='get' id='1' to='v3.meet.jitsi'><query xmlns='jabber:iq:version'/></iq>`,
		`<iq xmlns='jabber:client' to='{me}' from='v3.meet.jitsi' id='1' type='result'><query xmlns='jabber:iq:version'><name>vnode</name><version>1</version></query></iq>`},
	{"legacy session",
		`<iq xmlns='jabber:client' type='set' id='_session_auth_2'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>`,
		`<iq xmlns='jabber:client' to='{me}' id='_session_auth_2' type='result'/>`},
	{"legacy session, addressed",
		`<iq xmlns='jabber:client' type='set' id='1' to='v3.meet.jitsi'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>`,
		`<iq xmlns='jabber:client' to='{me}' from='v3.meet.jitsi' id='1' type='result'/>`},
	{"roster",
		`<iq xmlns='jabber:client' type='get' id='1'><query xmlns='jabber:iq:roster'/></iq>`,
		`<iq xmlns='jabber:client' to='{me}' id='1' type='result'><query xmlns='jabber:iq:roster'/></iq>`},
	{"roster change",
		`<iq xmlns='jabber:client' type='set' id='1'><query xmlns='jabber:iq:roster'><item jid='a@b'/></query></iq>`,
		`<iq xmlns='jabber:client' to='{me}' id='1' type='error'>` + unavailableError + `</iq>`},
	{"something unknown",
		`<iq xmlns='jabber:client' type='get' id='1' to='v3.meet.jitsi'><query xmlns='urn:no:such'/></iq>`,
		`<iq xmlns='jabber:client' to='{me}' from='v3.meet.jitsi' id='1' type='error'>` + unavailableError + `</iq>`},
	{"message to the domain",
		`<message xmlns='jabber:client' to='v3.meet.jitsi' id='1'><body>x</body></message>`,
		`<message xmlns='jabber:client' to='{me}' from='v3.meet.jitsi' id='1' type='error'>` + unavailableError + `</message>`},
	{"message to nobody",
		`<message xmlns='jabber:client' id='1'><body>x</body></message>`,
		`<message xmlns='jabber:client' to='{me}' id='1' type='error'>` + unavailableError + `</message>`},
	{"message to another client",
		`<message xmlns='jabber:client' to='focus@auth.meet.jitsi/focus' id='1'><body>x</body></message>`,
		`<message xmlns='jabber:client' to='{me}' from='focus@auth.meet.jitsi/focus' id='1' type='error'>` + unavailableError + `</message>`},
	{"message to a malformed address",
		`<message xmlns='jabber:client' to='@' id='1'><body>x</body></message>`,
		`<message xmlns='jabber:client' to='{me}' from='@' id='1' type='error'><error type='modify'><jid-malformed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`},
	{"IQ without id",
		`<iq xmlns='jabber:client' type='get' to='v3.meet.jitsi'><ping xmlns='urn:xmpp:ping'/></iq>`,
		`<iq xmlns='jabber:client' to='{me}' from='v3.meet.jitsi' type='error'>` + badRequest + `</iq>`},
	{"IQ without type",
		`<iq xmlns='jabber:client' id='1' to='room@conference.v3.meet.jitsi'><ping xmlns='urn:xmpp:ping'/></iq>`,
		`<iq xmlns='jabber:client' to='{me}' from='room@conference.v3.meet.jitsi' id='1' type='error'>` + badRequest + `</iq>`},
	{"IQ of an unknown type",
		`<iq xmlns='jabber:client' type='x' id='1'><ping xmlns='urn:xmpp:ping'/></iq>`,
		`<iq xmlns='jabber:client' to='{me}' id='1' type='error'>` + badRequest + `</iq>`},
	{"IQ without payload",
		`<iq xmlns='jabber:client' type='get' id='1' to='v3.meet.jitsi'/>`,
		`<iq xmlns='jabber:client' to='{me}' from='v3.meet.jitsi' id='1' type='error'>` + badRequest + `</iq>`},
	{"IQ with two payloads",
		`<iq xmlns='jabber:client' type='get' id='1' to='v3.meet.jitsi'><ping xmlns='urn:xmpp:ping'/><ping xmlns='urn:xmpp:ping'/></iq>`,
		`<iq xmlns='jabber:client' to='{me}' from='v3.meet.jitsi' id='1' type='error'>` + badRequest + `</iq>`},
	{"presence of an unknown type",
		`<presence xmlns='jabber:client' type='x' id='1' to='room@conference.v3.meet.jitsi/n'/>`,
		`<presence xmlns='jabber:client' to='{me}' from='room@conference.v3.meet.jitsi/n' id='1' type='error'>` + badRequest + `</presence>`},
	{"stanza without a namespace",
		`<iq type='get' id='1' to='V3.Meet.Jitsi'><ping xmlns='urn:xmpp:ping'/></iq>`,
		`<iq xmlns='jabber:client' to='{me}' from='V3.Meet.Jitsi' id='1' type='result'/>`},
	{"id and address that need escaping",
		`<iq xmlns='jabber:client' type='get' id="a'&lt;&amp;" to='v3.meet.jitsi'><ping xmlns='urn:xmpp:ping'/></iq>`,
		`<iq xmlns='jabber:client' to='{me}' from='v3.meet.jitsi' id='a&apos;&lt;&amp;' type='result'/>`},
	{"resume after bind",
		`<resume xmlns='urn:xmpp:sm:3' previd='x' h='0'/>`,
		`<failed xmlns='urn:xmpp:sm:3'><unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>`},
	{"ack request before enable",
		`<r xmlns='urn:xmpp:sm:3'/>`,
		`<failed xmlns='urn:xmpp:sm:3'><unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>`},
}

func TestServices(t *testing.T) {
	for _, transport := range []string{transportTCP, transportWebSocket} {
		inBubble(t, nil, func(t *testing.T, h *house) {
			p := h.on(transport).visitor()
			bare, _, _ := strings.Cut(p.jid, "/")
			fill := strings.NewReplacer("{me}", p.jid, "{bare}", bare)
			for _, c := range serviceTable {
				p.send(fill.Replace(c.send))
				require.Equal(t, fill.Replace(c.want), p.next(), "%s: %s", transport, c.name)
			}
			require.Empty(t, h.handled())
			p.leave()
		})
	}
}

// What needs no answer gets none: the ping behind it is answered first.
func TestSilentlyTaken(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		p := h.websocket().visitor()
		for _, elem := range []string{
			`<presence xmlns='jabber:client'/>`,
			`<presence xmlns='jabber:client'><c xmlns='http://jabber.org/protocol/caps'/></presence>`,
			`<presence xmlns='jabber:client' to='v3.meet.jitsi'/>`,
			`<presence xmlns='jabber:client' type='unavailable'/>`,
			`<iq xmlns='jabber:client' type='result' id='x'/>`,
			`<iq xmlns='jabber:client' type='error' id='x' to='v3.meet.jitsi'/>`,
			`<message xmlns='jabber:client' type='error' to='v3.meet.jitsi'/>`,
			`<iq xmlns='jabber:client' type='result' to='v3.meet.jitsi'/>`,
			`<presence xmlns='jabber:client' type='error' to='@'/>`,
		} {
			p.play("C: "+elem,
				`C: <iq xmlns='jabber:client' type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>`,
				`S: <iq xmlns='jabber:client' to='{jid}' id='p' type='result'/>`)
		}
		require.Empty(t, h.handled())
		p.leave()
	})
}

func TestStanzasForOthersGoToTheHandler(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		p := h.websocket().visitor()
		sent := []string{
			`<presence xmlns='jabber:client' to='room@conference.v3.meet.jitsi/nick'><x xmlns='http://jabber.org/protocol/muc'/></presence>`,
			`<message xmlns='jabber:client' to='room@conference.v3.meet.jitsi' type='groupchat'><body>hi</body></message>`,
			`<iq xmlns='jabber:client' to='conference.v3.meet.jitsi' type='get' id='1'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>`,
			`<message xmlns='jabber:client' to='elsewhere.example'/>`,
			`<iq xmlns='jabber:client' to='room@conference.v3.meet.jitsi/focus' type='result' id='1'/>`,
		}
		for _, s := range sent {
			p.send(s)
		}
		synctest.Wait()
		got := h.handled()
		require.Len(t, got, len(sent))
		for i, s := range sent {
			hd, err := wire.ParseHeader([]byte(s))
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintf("%s -> %s: %s", p.jid, hd.To, s), got[i])
		}
		p.leave()
		synctest.Wait()
		require.Equal(t, []string{p.jid}, h.ended())
	})
}

// A room that is full of work makes its own client wait, nobody else.
func TestBlockedHandlerHoldsUpOneClient(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		busy, other := h.websocket().visitor(), h.websocket().visitor()
		h.block = make(chan struct{})
		busy.send(`<message xmlns='jabber:client' to='room@conference.v3.meet.jitsi'/>`)
		synctest.Wait()
		other.play(`C: <iq xmlns='jabber:client' type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>`,
			`S: <iq xmlns='jabber:client' to='`+other.jid+`' id='p' type='result'/>`)
		require.Empty(t, h.ended())
		close(h.block)
		busy.leave()
		other.leave()
	})
}

func TestStreamManagement(t *testing.T) {
	const ping = `<iq xmlns='jabber:client' type='get' id='p' to='v3.meet.jitsi'><ping xmlns='urn:xmpp:ping'/></iq>`
	for _, transport := range []string{transportTCP, transportWebSocket} {
		inBubble(t, nil, func(t *testing.T, h *house) {
			p := h.on(transport).visitor()
			pong := `<iq xmlns='jabber:client' to='` + p.jid + `' from='v3.meet.jitsi' id='p' type='result'/>`
			p.play(
				"C: "+ping, "S: "+pong, // before enable: not counted
				"C: <enable xmlns='urn:xmpp:sm:3' resume='true'/>",
				"S: <enabled xmlns='urn:xmpp:sm:3' id='{id}' resume='true' max='60'/>",
				"C: <r xmlns='urn:xmpp:sm:3'/>",
				"S: <a xmlns='urn:xmpp:sm:3' h='0'/>",
				"C: "+ping, "S: "+pong,
				"C: <presence xmlns='jabber:client'/>", // ignored, yet handled
				"C: <message xmlns='jabber:client' to='room@conference.v3.meet.jitsi'/>",
				"C: <iq xmlns='jabber:client' type='bad'/>",
				"S: <iq xmlns='jabber:client' to='{jid}' type='error'>"+badRequest+"</iq>",
				"C: <r xmlns='urn:xmpp:sm:3'/>",
				"S: <a xmlns='urn:xmpp:sm:3' h='4'/>",
				"C: <a xmlns='urn:xmpp:sm:3' h='2'/>",
				"C: <a xmlns='urn:xmpp:sm:3' h='2'/>",
				"C: <enable xmlns='urn:xmpp:sm:3'/>",
				"S: <failed xmlns='urn:xmpp:sm:3'><unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>",
				"C: "+p.endTag(),
				"S: <a xmlns='urn:xmpp:sm:3' h='4'/>",
			)
			p.expectEnd()
		})
	}
}

func TestServerAsksForAcks(t *testing.T) {
	inBubble(t, func(c *Config) { c.Limits.AckEvery = 3 }, func(t *testing.T, h *house) {
		p := h.websocket().visitor()
		p.play("C: <enable xmlns='urn:xmpp:sm:3'/>", "S: <enabled xmlns='urn:xmpp:sm:3'/>")
		to, err := wire.ParseJID(p.jid)
		require.NoError(t, err)
		for i := range 3 {
			require.True(t, h.srv.Deliver(to, fanout.NewPrivate([]byte(fmt.Sprintf("<message xmlns='jabber:client' id='%d'/>", i)))))
			p.expect(fmt.Sprintf("<message xmlns='jabber:client' id='%d'/>", i))
		}
		p.play("S: <r xmlns='urn:xmpp:sm:3'/>", "C: <a xmlns='urn:xmpp:sm:3' h='3'/>", "C: <r xmlns='urn:xmpp:sm:3'/>", "S: <a xmlns='urn:xmpp:sm:3' h='0'/>")
		p.send(wsClose)
		p.expect("<a xmlns='urn:xmpp:sm:3' h='0'/>")
		p.expectEnd()
		synctest.Wait()
		require.False(t, h.srv.Deliver(to, fanout.NewPrivate([]byte("<message/>"))), "the session is gone")
	})
}

func TestBadAcks(t *testing.T) {
	for ack, text := range map[string]string{
		"h='1000'":       "Client acknowledged more stanzas than sent by server",
		"h='4294967295'": "Client acknowledged more stanzas than sent by server",
		"h='x'":          "Client sent an unreadable acknowledgement",
		"h='-1'":         "Client sent an unreadable acknowledgement",
		"h='4294967296'": "Client sent an unreadable acknowledgement",
		"":               "Client sent an unreadable acknowledgement",
	} {
		inBubble(t, nil, func(t *testing.T, h *house) {
			p := h.websocket().visitor()
			p.play(
				"C: <enable xmlns='urn:xmpp:sm:3' resume='true'/>",
				"S: <enabled xmlns='urn:xmpp:sm:3' id='{id}' resume='true' max='60'/>",
				"C: <a xmlns='urn:xmpp:sm:3' "+ack+"/>",
				"S: <a xmlns='urn:xmpp:sm:3' h='0'/>",
				"S: <stream:error xmlns:stream='http://etherx.jabber.org/streams'><undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"+
					"<text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>"+text+"</text></stream:error>",
			)
			p.expectEnd()
		})
	}
}

// Resuming finds nothing, and the client binds instead on the same stream.
func TestResumeFails(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		p := h.websocket()
		p.open(testDomain)
		p.play(
			"C: <enable xmlns='urn:xmpp:sm:3'/>",
			"S: <failed xmlns='urn:xmpp:sm:3'><unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>",
			"C: "+anonymousAuth, "S: "+saslSuccess,
		)
		p.open(testDomain)
		p.play(
			"C: <enable xmlns='urn:xmpp:sm:3'/>",
			"S: <failed xmlns='urn:xmpp:sm:3'><unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>",
			"C: <resume xmlns='urn:xmpp:sm:3' previd='nosuchtoken123' h='0'/>",
			"S: <failed xmlns='urn:xmpp:sm:3'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>",
			"C: "+bindIQ,
			"S: "+pushed,
			"S: <iq xmlns='jabber:client' type='result' id='_bind_auth_2'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>{jid}</jid></bind></iq>",
		)
		p.leave()
	})
}

func TestRoomsReachSessions(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		p := h.websocket().visitor()
		to, err := wire.ParseJID(p.jid)
		require.NoError(t, err)
		s := h.srv.session(to)
		require.Equal(t, to, s.JID())
		require.False(t, s.Admin())
		room, other := h.fan.NewLog(), h.fan.NewLog()
		m := func(id string) *fanout.Message {
			return fanout.NewMessage(fanout.Plain, "", []byte("<message xmlns='jabber:client' to='"), []byte("' id='"+id+"'/>"))
		}
		require.True(t, s.Follow(room, m("snapshot")))
		require.False(t, s.Follow(other), "one room at a time")
		room.Append(m("1"))
		s.Deliver(room, m("private"))
		s.Unfollow(room, m("left"))
		room.Append(m("2"))
		for _, id := range []string{"snapshot", "1", "private", "left"} {
			p.expect("<message xmlns='jabber:client' to='" + p.jid + "' id='" + id + "'/>")
		}
		p.leave()
	})
}

func TestShutdownTellsEverybody(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		visitor, focus, silent := h.websocket().visitor(), h.tcp(true).focus(), h.tcp(true)
		silent.open(testDomain)
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			h.shut()
		}()
		const shutdown = `><system-shutdown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>`
		visitor.expect(`<stream:error xmlns:stream='http://etherx.jabber.org/streams'` + shutdown)
		visitor.expectEnd()
		for _, p := range []*peer{focus, silent} {
			p.expect(`<stream:error` + shutdown)
			p.expectEnd()
		}
		<-closed
		require.ElementsMatch(t, []string{visitor.jid, focus.jid}, h.ended())
		require.EqualValues(t, 3, testutil.ToFloat64(h.srv.metrics.closed["system_shutdown"]))
		late, far := h.lateTCP()
		require.False(t, late, "nobody gets in any more")
		far.Close()
	})
}

// A client that broke off without a word is closed, once.
func TestConnectionBreaksOff(t *testing.T) {
	for _, transport := range []string{transportTCP, transportWebSocket} {
		inBubble(t, nil, func(t *testing.T, h *house) {
			p := h.on(transport).visitor()
			p.hangUp()
			synctest.Wait()
			require.Equal(t, []string{p.jid}, h.ended())
			require.EqualValues(t, 1, testutil.ToFloat64(h.srv.metrics.closed[reasonDisconnected]))
		})
	}
}
