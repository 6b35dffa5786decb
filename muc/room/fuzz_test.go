package room

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"vnode/internal/wire"
	"vnode/internal/xmpptest/cast"
)

// settled returns a connected room with a focus, a participant and two
// visitors.
func settled(t testing.TB) (s *sim, focus, vis1, vis2 *simSession) {
	s = newSim(t, testConfig())
	focus, vis1, vis2 = s.session("focus"), s.session("vis1"), s.session("vis2")
	s.join(focus, "focus")
	s.mainJoin("main1", "")
	s.control("connect", "password=''>")
	s.join(vis1, "aaaaaaa1")
	s.join(vis2, "aaaaaaa2")
	return s, focus, vis1, vis2
}

// line lets a visitor say something with that id.
func (s *sim) line(id string, from *simSession) {
	s.client(from, "<message type='groupchat' id='%s' to='%s'><body>x</body></message>", id, simRoom)
}

// FuzzClient: whatever a client sends that passes the check of untrusted
// stanzas, what comes out passes it too, and fits a stream of its own.
func FuzzClient(f *testing.F) {
	for _, seed := range []string{
		"<presence to='%s/aaaaaaa1'><x xmlns='http://jabber.org/protocol/muc'><history since='2020-01-01T00:00:00Z'/></x><nick xmlns='http://jabber.org/protocol/nick'>a&amp;b</nick></presence>",
		"<presence to='%s/aaaaaaa3' xmlns:q='urn:q' q:a='\"'><q:b/><x xmlns='http://jabber.org/protocol/muc'><password>x</password></x></presence>",
		"<presence type='unavailable' to='%s/aaaaaaa1'><status>x</status></presence>",
		"<presence to='%s/aaaaaaa1'><jitsi_participant_raisedHand>1</jitsi_participant_raisedHand><jitsi_participant_requestingTranscription>true</jitsi_participant_requestingTranscription><jitsi_participant_translation_language>fr</jitsi_participant_translation_language></presence>",
		"<message type='groupchat' to='%s' id='&lt;'><body>x</body><n:nick xmlns:n='http://jabber.org/protocol/nick'>f</n:nick></message>",
		"<message type='chat' to='%s/bbbbbbb1'><body><![CDATA[<x>]]></body></message>",
		"<message type='groupchat' to='%s' id='2' xmlns:q='urn:q'><body>x</body><q:b/><replace xmlns='urn:xmpp:message-correct:0' id='1'/></message>",
		"<message type='groupchat' to='%s' id='2'><retract xmlns='urn:xmpp:message-retract:1' id='1'><moderated xmlns='urn:xmpp:message-moderate:1'/></retract></message>",
		"<message type='groupchat' to='%s' id='2'><reactions xmlns='urn:xmpp:reactions:0' id='1'><reaction>&lt;</reaction></reactions></message>",
		"<iq type='set' id='1' to='%s/focus'><r:dial xmlns:r='urn:xmpp:rayo:1'><r:header name='JvbRoomName' value='room@conference.v3.meet.jitsi'/><y/></r:dial></iq>",
		"<iq type='set' id='1' to='%s/focus'><jingle xmlns='urn:xmpp:jingle:1'/></iq>",
		"<iq type='get' id='1' to='%s'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>",
		"<iq type='set' id='1' to='%s'><query xmlns='http://jabber.org/protocol/muc#owner'><destroy><reason>x</reason></destroy></query></iq>",
		"<iq type='set' id='1' to='%s'><query xmlns='http://jabber.org/protocol/muc#admin'><item nick='aaaaaaa2' role='none'><reason>&#9;</reason></item></query></iq>",
		"<message to='polls.v3.meet.jitsi' id='%s'><json-message xmlns='http://jitsi.org/jitmeet'>{\"type\":\"polls\",\"command\":\"answer-poll\",\"pollId\":\"p\",\"answers\":[true]}</json-message></message>",
		"<message to='filesharing.v3.meet.jitsi'><file-sharing xmlns='http://jitsi.org/jitmeet'>%s</file-sharing></message>",
	} {
		for who := range 3 {
			f.Add(fmt.Appendf(nil, seed, simRoom), who)
		}
	}
	f.Fuzz(func(t *testing.T, stanza []byte, who int) {
		if wire.Check(stanza, wire.Limits{}) != nil {
			return
		}
		h, err := wire.ParseHeader(stanza)
		if err != nil || len(h.Space) > 0 && string(h.Space) != wire.NSClient {
			return
		}
		s, focus, vis1, vis2 := settled(t)
		outsider := s.session("vis3")
		from := []*simSession{focus, vis1, outsider}[uint(who)%3]
		from.identity = &Identity{UserID: "<&'", Features: map[string]bool{featureCall: true}}
		from.region = "<&'"
		s.line("1", vis1)
		s.room.fromClient(s.now, from, from.who(), parse(t, bytes.Clone(stanza)))
		s.join(s.session("vis4"), "aaaaaaa4")
		for _, c := range []*simSession{focus, vis1, vis2, outsider} {
			for _, b := range c.got {
				require.NoError(t, wire.Check(b, wire.Limits{}), "%s", b)
			}
		}
		for _, b := range s.sent {
			require.NoError(t, wire.Check(b, wire.Limits{}), "%s", b)
		}
	})
}

// FuzzRemote: whatever the main server sends, the room survives.
func FuzzRemote(f *testing.F) {
	for _, seed := range []string{
		"<presence from='bbbbbbb2-2222-4222-8222-222222222222@meet.jitsi/m2' to='%s/bbbbbbb2'><x xmlns='http://jabber.org/protocol/muc'/></presence>",
		"<presence type='unavailable' from='bbbbbbb1-2222-4222-8222-222222222222@meet.jitsi/m1' to='%s/bbbbbbb1'/>",
		"<message type='groupchat' from='bbbbbbb1-2222-4222-8222-222222222222@meet.jitsi/m1' to='%s'><subject/></message>",
		"<message type='groupchat' from='room@conference.meet.jitsi' to='%s'><apply-to xmlns='urn:xmpp:fasten:0' id='1'><moderated xmlns='urn:xmpp:message-moderate:1' by='room@conference.meet.jitsi/&lt;'><retract xmlns='urn:xmpp:message-retract:1'/><reason>&lt;</reason></moderated></apply-to></message>",
		"<message xmlns:q='urn:q' type='groupchat' id='3' from='bbbbbbb1-2222-4222-8222-222222222222@meet.jitsi/m1' to='%s'><body>x</body><q:b/><replace xmlns='urn:xmpp:message-correct:0' id='1'/></message>",
		"<message type='groupchat' from='room@conference.meet.jitsi/x' to='conference.v3.meet.jitsi'><body>%s</body><delay xmlns='urn:xmpp:delay' stamp='2020-01-01T00:00:00Z'/></message>",
		"<iq type='set' id='1' from='meet.jitsi' to='conference.v3.meet.jitsi'><visitors xmlns='jitsi:visitors' room='%s'><update password='x' lobby='true' createdTimestamp='12x'><moderators><item epId='bbbbbbb1'/></moderators></update></visitors></iq>",
		"<iq type='set' id='1' from='visitors.meet.jitsi' to='v3.meet.jitsi'><visitors xmlns='jitsi:visitors' room='%s'><promotion-response jid='a@@' allow='true'/></visitors></iq>",
		"<message type='error' from='room@conference.meet.jitsi' to='%s/aaaaaaa1'/>",
		"<message type='error' from='polls.meet.jitsi' to='conference.v3.meet.jitsi' id='1@%s'/>",
		"<iq type='set' id='1' from='meet.jitsi' to='conference.v3.meet.jitsi'><visitors xmlns='jitsi:visitors' room='%s'><update><polls>{\"command\":\"old-polls\",\"polls\":[{\"pollId\":\"\\uffff\",\"question\":\"&lt;\",\"answers\":[{\"name\":\"]]&gt;\",\"voters\":[{\"id\":\"a\"}]}]}]}</polls><files><file id='a'>{\"fileId\":\"a\",\"x\":\"\\u0000\"}</file></files></update></visitors></iq>",
		"<message type='error' from='room@conference.meet.jitsi' to='%s/aaaaaaa1'><error><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>x</gone></error></message>",
	} {
		f.Add(fmt.Appendf(nil, seed, simRoom))
	}
	f.Fuzz(func(t *testing.T, stanza []byte) {
		if wire.Check(stanza, wire.Limits{}) != nil {
			return
		}
		h, err := wire.ParseHeader(stanza)
		if err != nil {
			return
		}
		from, err := wire.ParseAddress(h.From)
		if err != nil || from.IsZero() {
			return
		}
		s, focus, vis1, vis2 := settled(t)
		s.line("1", vis1)
		s.remote(cast.Address("main1"), "<message type='groupchat' id='1' from='%s' to='%s'><body>x</body></message>", cast.Address("main1"), simRoom)
		st, err := wire.ParseStanza(bytes.Clone(stanza))
		if err != nil {
			return
		}
		s.room.fromRemote(s.now, st)
		s.join(s.session("vis4"), "aaaaaaa4")
		if len(h.Space) > 0 && string(h.Space) != wire.NSServer && string(h.Space) != wire.NSClient {
			return
		}
		for _, c := range []*simSession{focus, vis1, vis2} {
			for _, b := range c.got {
				require.NoError(t, wire.Check(b, wire.Limits{}), "%s", b)
			}
		}
	})
}
