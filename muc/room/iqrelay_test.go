package room

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What jicofo's XMPP library does not know it answers with a copy that is not
// well-formed, and its stream would end.
func TestRequestsThatJicofoKnows(t *testing.T) {
	iq := func(payload string) []byte {
		return []byte("<iq xmlns='jabber:client' type='set' id='q1' to='r@conference.v1.meet.jitsi/focus'>" + payload + "</iq>")
	}
	for _, payload := range []string{
		"<jingle xmlns='urn:xmpp:jingle:1' action='session-accept' sid='1'><content name='audio'/></jingle>",
		"<j:jingle xmlns:j='urn:xmpp:jingle:1' action='session-info' sid='1'/>",
		"<query xmlns='http://jabber.org/protocol/disco#info' node='x#y'/>",
		"<ping xmlns='urn:xmpp:ping'/>",
		"<conference xmlns='http://jitsi.org/protocol/focus' room='r@x'/>",
	} {
		require.True(t, readable(parse(t, iq(payload))), payload)
	}
	for _, payload := range []string{
		"",
		"text",
		"<abc xmlns='urn:x'/>",
		"<jingle xmlns='urn:x'/>",
		"<jingle/>",
		"<abc xmlns='urn:xmpp:jingle:1'/>",
		"<jingle xmlns='urn:xmpp:jingle:1'/><abc xmlns='urn:x'/>",
		"<abc xmlns='urn:x'/><jingle xmlns='urn:xmpp:jingle:1'/>",
		"<jingle xmlns='urn:xmpp:jingle:1'/><jingle xmlns='urn:xmpp:jingle:1'/>",
		"<query xmlns='jabber:iq:roster'/>",
		"<dial xmlns='urn:xmpp:rayo:1'/>",
		"<mute xmlns='http://jitsi.org/jitmeet/audio'>true</mute>",
	} {
		require.False(t, readable(parse(t, iq(payload))), payload)
	}
}
