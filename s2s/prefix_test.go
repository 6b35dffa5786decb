package s2s

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// otherHeader is a stream header of a server that writes other prefixes than
// Prosody does, for all namespaces that servers use.
func otherHeader(from, to string) string {
	return "<?xml version='1.0'?><s:stream xmlns='jabber:server' xmlns:s='http://etherx.jabber.org/streams' xmlns:d='jabber:server:dialback'" +
		" xmlns:t='urn:ietf:params:xml:ns:xmpp-tls' xmlns:a='urn:ietf:params:xml:ns:xmpp-sasl' xmlns:b='urn:xmpp:bidi' xmlns:fb='urn:xmpp:features:bidi'" +
		" xmlns:fd='urn:xmpp:features:dialback' xmlns:m='urn:xmpp:sm:3' from='" + from + "' to='" + to + "' id='" + mainID + "' version='1.0' xml:lang='en'>"
}

// A server that uses its header's prefixes is understood at every step: STARTTLS,
// SASL, bidi, dialback, stream management, and in stanzas.
func TestPrefixesOfAnIncomingStream(t *testing.T) {
	within(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		p := w.connect(fromMain, mainCert)
		p.write(otherHeader(mainHost, rooms))
		p.expect(answerHeader(rooms, mainHost), tlsFeatures)
		p.write("<t:starttls/>")
		p.expect(proceed)
		p.tlsClient()
		p.write(otherHeader(mainHost, rooms))
		p.expect(answerHeader(rooms, mainHost), authFeatures)
		p.write("<b:bidi/><a:auth mechanism='EXTERNAL'>" + b64(mainHost) + "</a:auth>")
		p.expect(success)
		p.write(otherHeader(mainHost, rooms))
		p.expect(answerHeader(rooms, mainHost), lastFeatures)
		p.write("<m:enable/>")
		p.expect(enabled)
		p.write("<presence from='a@main.example/x' to='r@conference.v3.meet.example/a'><m:x/></presence><m:r/>")
		p.expect(ack(1))
		p.write("<j:message xmlns:j='jabber:server' from='a@main.example/x' to='r@conference.v3.meet.example/a'><j:body>a</j:body></j:message><m:r/>")
		p.expect(ack(2))
		p.write("<j:message xmlns:j='jabber:server' from='a@main.example/x' to='r@conference.v3.meet.example/a'><j:parsererror/></j:message>")
		p.expect("<message to='a@main.example/x' from='r@conference.v3.meet.example/a' type='error'>"+
			"<error type='modify'><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>element parsererror</text></error></message>", "<r xmlns='urn:xmpp:sm:3'/>")
		p.write("<m:r/>")
		p.expect(ack(3))
		synctest.Wait()
		require.Equal(t, []string{
			"<presence xmlns:m='urn:xmpp:sm:3' from='a@main.example/x' to='r@conference.v3.meet.example/a'><x xmlns='urn:xmpp:sm:3'/></presence>",
			"<message xmlns='jabber:server' xmlns:j='jabber:server' from='a@main.example/x' to='r@conference.v3.meet.example/a'><body>a</body></message>",
		}, w.in.stanzas())
		p.write("<j:message xmlns:j='jabber:client' from='a@main.example/x' to='r@conference.v3.meet.example/a'/>")
		p.expect(ack(3), "<stream:error><unsupported-stanza-type xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>", end, closed)
	})
}

// So is one whose default namespace is that of streams: its stanzas say theirs.
func TestIncomingStreamWithStreamsAsItsDefault(t *testing.T) {
	within(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		p := w.connect(fromMain, mainCert)
		h := strings.NewReplacer("stream:stream", "stream", "xmlns='jabber:server' xmlns:stream=", "xmlns=").Replace(header(mainHost, rooms))
		p.write(h)
		p.expect(answerHeader(rooms, mainHost), tlsFeatures)
		p.write(startTLS)
		p.expect(proceed)
		p.tlsClient()
		p.write(h)
		p.expect(answerHeader(rooms, mainHost), authFeatures)
		p.write(auth(b64(mainHost)))
		p.expect(success)
		p.write(h)
		p.expect(answerHeader(rooms, mainHost), lastFeatures)
		presence := "<presence xmlns='jabber:server' from='a@main.example/x' to='r@conference.v3.meet.example/a'/>"
		p.write(presence)
		p.write("<error><system-shutdown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></error></stream>")
		p.expect(end, closed)
		require.Equal(t, []string{presence}, w.in.stanzas())
		require.EqualValues(t, 1, w.metric("vnode_s2s_closed_total", "in", string(PeerError)), w.log)
	})
}

// And a server that the node dials, by SASL or dialback.
func TestPrefixesOfAnOutgoingStream(t *testing.T) {
	for method, tc := range map[string]struct {
		features, want string
		proof          func(p *peer)
	}{
		"EXTERNAL": {"<a:mechanisms><a:mechanism>EXTERNAL</a:mechanism></a:mechanisms><fb:bidi/>", auth(b64(rooms)), func(p *peer) {
			p.write("<a:success/>")
			p.r.Restart()
			p.expect(answerHeader(rooms, mainRooms))
			p.write(otherHeader(mainRooms, rooms) + "<s:features/>")
		}},
		"dialback": {"<fd:dialback/><fb:bidi/>", "<db:result from='conference.v3.meet.example' to='conference.main.example'>KEY</db:result>", func(p *peer) {
			p.write("<d:result from='conference.main.example' to='conference.v3.meet.example' type='valid'/>")
		}},
	} {
		t.Run(method, func(t *testing.T) {
			within(t, func(t *testing.T) {
				d := newDialled(t)
				w := newWorld(t, nil, d.dial)
				w.Keep(rooms, mainRooms)
				p := d.next()
				p.expect(answerHeader(rooms, mainRooms))
				p.write(otherHeader(mainRooms, rooms) + "<s:features><t:starttls><t:required/></t:starttls></s:features>")
				p.expect(startTLS)
				p.write("<t:proceed/>")
				p.tlsServer()
				p.expect(answerHeader(rooms, mainRooms))
				p.write(otherHeader(mainRooms, rooms) + "<s:features>" + tc.features + "</s:features>")
				p.expect("<bidi xmlns='urn:xmpp:bidi'>"+limitsElem+"</bidi>", tc.want)
				tc.proof(p)
				synctest.Wait()
				require.True(t, w.Up(rooms, mainRooms), w.log)
				require.Contains(t, w.log.String(), "method="+method)
				require.Contains(t, w.log.String(), "bidi=true")
			})
		})
	}
}
