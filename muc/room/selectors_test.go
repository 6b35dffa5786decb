package room

import (
	"encoding/xml"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vnode/internal/wire"
)

// element is one that clients' selectors see: they know local names and xmlns
// attributes.
type element struct {
	name  xml.Name
	attrs []xml.Attr
	in    []element
}

// parsed reads a stanza with another parser than the node's.
func parsed(t *testing.T, stanza string) element {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(stanza))
	var open []element
	open = append(open, element{})
	for {
		token, err := d.Token()
		if err == io.EOF {
			require.Len(t, open, 1, stanza)
			require.Len(t, open[0].in, 1, stanza)
			return open[0].in[0]
		}
		require.NoError(t, err, stanza)
		switch x := token.(type) {
		case xml.StartElement:
			open = append(open, element{name: x.Name, attrs: x.Attr})
		case xml.EndElement:
			last := len(open) - 1
			open[last-1].in = append(open[last-1].in, open[last])
			open = open[:last]
		}
	}
}

// bears reports whether the element matches [*|xmlns="space"].
func (e element) bears(space string) bool {
	for _, a := range e.attrs {
		if a.Name.Local == "xmlns" && a.Value == space {
			return true
		}
	}
	return false
}

func (e element) has(local string) bool {
	for _, c := range e.in {
		if c.name.Local == local || c.has(local) {
			return true
		}
	}
	return false
}

// hostile are children that say what only the room may say, or look so.
var hostile = []string{
	"<q:display-name xmlns:q='urn:x' xmlns='http://jitsi.org/protocol/display-name' source='guest'>Boss</q:display-name>",
	"<display-name xmlns='urn:x' source='guest'>Boss</display-name>",
	"<display-name>Boss</display-name>",
	"<n:nick xmlns:n='http://jabber.org/protocol/nick'>Boss</n:nick>",
	"<nick xmlns='urn:x'>Boss</nick>",
	"<delay xmlns='urn:x' stamp='2001-01-01T00:00:00Z'/>",
	"<delay xmlns='urn:xmpp:delay' stamp='2001-01-01T00:00:00Z'/>",
	"<d:delay xmlns:d='urn:xmpp:delay' stamp='2001-01-01T00:00:00Z'/>",
	"<x xmlns='jabber:x:delay' stamp='20010101T00:00:00'/>",
	"<anything xmlns='jabber:x:delay' stamp='20010101T00:00:00'/>",
	"<anything xmlns='jabber&#58;x:delay' stamp='20010101T00:00:00'/>",
	"<p:y xmlns:p='urn:x' xmlns='jabber:x:delay' stamp='20010101T00:00:00'/>",
	"<addresses xmlns='http://jabber.org/protocol/address'><address type='ofrom' jid='a@b/c'/></addresses>",
	"<addresses xmlns='urn:x'/>",
	"<stanza-id xmlns='urn:xmpp:sid:0' id='1' by='x'/>",
	"<s:stanza-id xmlns:s='urn:xmpp:sid:0' id='1' by='x'/>",
	"<occupant-id xmlns='urn:x' id='1'/>",
	"<x xmlns='http://jabber.org/protocol/muc#user'><status code='104'/></x>",
	"<x xmlns='urn:x'><status code='110'/></x>",
	"<u:x xmlns:u='http://jabber.org/protocol/muc#user'><u:item jid='focus@auth.meet.jitsi/focus'/></u:x>",
	"<query xmlns='http://jabber.org/protocol/disco#info'><identity category='component' type='av_moderation' name='evil.example'/></query>",
	"<services xmlns='urn:xmpp:extdisco:2'/>",
	"<settings-error><text>x</text></settings-error>",
}

// nested hide what only the room may say in another element: clients look for the
// first <x/> of a presence at any depth.
var nested = []string{
	"<a xmlns='urn:x'><x xmlns='http://jabber.org/protocol/muc#user'><item jid='focus@auth.meet.jitsi/focus' role='moderator'/></x></a>",
	"<a xmlns='urn:x'><b><u:x xmlns:u='http://jabber.org/protocol/muc#user'><u:item jid='focus@auth.meet.jitsi/focus'/></u:x></b></a>",
	"<a xmlns='urn:x'><x\n/></a>",
}

// harmless are what people do say.
var harmless = []string{
	"<body>hello</body>", "<reply to='m1'/>", "<store xmlns='urn:xmpp:hints'/>",
	"<reactions id='m1' xmlns='urn:xmpp:reactions:0'><reaction>x</reaction></reactions>",
	"<SourceInfo>{}</SourceInfo>", "<videoType>camera</videoType>", "<identity><user><name>x</name></user></identity>",
}

func keptOf(stanza string, keep func(*wire.Child) bool) string {
	st, err := wire.ParseStanza([]byte(stanza))
	if err != nil {
		panic(err)
	}
	p := readPayload(st, keep)
	return "<m>" + string(p.children) + "</m>"
}

func TestWhatOnlyTheRoomSaysIsLeftOut(t *testing.T) {
	for _, c := range hostile {
		require.Equal(t, "<m></m>", keptOf("<message xmlns='jabber:client'>"+c+"</message>", keepInChat), c)
	}
	for _, c := range append(hostile[14:20:20], nested...) {
		require.Equal(t, "<m></m>", keptOf("<presence xmlns='jabber:client'>"+c+"</presence>", keepInPresence), c)
	}
	for _, c := range harmless {
		require.Equal(t, "<m>"+c+"</m>", keptOf("<message xmlns='jabber:client'>"+c+"</message>", keepInChat))
		require.Equal(t, "<m>"+c+"</m>", keptOf("<presence xmlns='jabber:client'>"+c+"</presence>", keepInPresence))
		require.Equal(t, "<m>"+c+"</m>", keptOf("<message xmlns='jabber:server'>"+c+"</message>", keepFromMain))
	}
	const ofMain = "<nick xmlns='http://jabber.org/protocol/nick'>A</nick><display-name xmlns='http://jitsi.org/protocol/display-name'>A</display-name>"
	require.Equal(t, "<m>"+ofMain+"</m>", keptOf("<message xmlns='jabber:server'>"+ofMain+"</message>", keepFromMain), "the main server's own")
}

// Whatever is mixed, no selector of lib-jitsi-meet matches what is kept.
func TestSelectorsFindNothingButTheRoomsOwn(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	all := append(append(append([]string{}, hostile...), nested...), harmless...)
	for range 2000 {
		var b strings.Builder
		for range 1 + r.IntN(6) {
			b.WriteString(all[r.IntN(len(all))])
		}
		chat := parsed(t, keptOf("<message xmlns='jabber:client'>"+b.String()+"</message>", keepInChat))
		live := parsed(t, keptOf("<message xmlns='jabber:server'>"+b.String()+"</message>", keepFromMain))
		for _, e := range []element{chat, live} {
			for _, c := range e.in {
				require.NotContains(t, []string{"delay", "addresses", "stanza-id", "occupant-id", "x", "query", "services", "settings-error"}, c.name.Local)
				require.False(t, c.bears(nsOldDelay))
			}
		}
		for _, c := range chat.in {
			require.NotContains(t, []string{"nick", "display-name"}, c.name.Local)
		}
		require.False(t, parsed(t, keptOf("<presence xmlns='jabber:client'>"+b.String()+"</presence>", keepInPresence)).has("x"))
	}
}

// What only a transcriber, a service or a moderator may say does not pass from a
// visitor, however it is written.
func TestJSONOfVisitors(t *testing.T) {
	for _, text := range []string{
		`{"jitsi-meet-muc-type":"","name":"endpoint-reaction","reactions":["like"]}`,
		`{"type":"e2e-ping-request","jitsi-meet-muc-type":""}`,
		`{"reply":{"id":"1"}}`,
		`{"TYPE":"transcription-result"}`,
		`{"type":"transcription-result","type":""}`,
	} {
		require.True(t, harmlessJSON(text), text)
	}
	for _, text := range []string{
		`{"jitsi-meet-muc-type":"x","type":"transcription-result","transcript":[{"text":"forged"}]}`,
		`{"type":"translation-result"}`, `{"type":"system_chat_message","message":"x"}`, `{"type":"lobby-notify"}`,
		`{"type":"","type":"transcription-result"}`,
		`{"\u0074ype":"transcription-result"}`,
		`{"type":"transcription\u002dresult"}`,
		`{%22type%22:%22transcription-result%22}`,
		`{"%74ype":"system_chat_message"}`,
		`{"%u0074ype":"system_chat_message"}`,
		`{"type":"","%74ype":"lobby-notify"}`,
		`{"jitsi-meet-muc-type":"av_moderation","enabled":true}`, `{"jitsi-meet-muc-type":"room_metadata"}`,
		`{"jitsi-meet-muc-type":"polls"}`, `{"jitsi-meet-muc-type":7}`, `{"type":["transcription-result"]}`,
		`{"name":"lower-hand"}`, `[{"type":"transcription-result"}]`, `"x"`, `7`, `null`, ``, `{`, `{"type":"transcription-result"} x`,
	} {
		if text == "null" {
			continue // says nothing to anybody
		}
		require.False(t, harmlessJSON(text), text)
	}
}

func TestNamesOfServices(t *testing.T) {
	for _, name := range []string{"focus", "Focus", " transcriber", "TRANSCRIBER", "trans\u200bcriber", "jibri!", "\u202ejigasi", "-recorder-", "J.V.B."} {
		require.True(t, ofService(name), name)
	}
	for _, name := range []string{"", "aaaaaaa1", "Focus Group", "transcriber2", "Ann", "рекордер"} {
		require.False(t, ofService(name), name)
	}
}

func TestAuthorsAreRememberedWithinBounds(t *testing.T) {
	var a authors
	ann, bob := author{"ann", "1"}, author{"bob", "2"}
	a.say("m1", ann)
	require.True(t, a.said("m1", ann))
	require.False(t, a.said("m1", bob))
	require.False(t, a.said("m2", ann))
	require.False(t, a.said("m1", author{"ann", ""}))
	a.say("m1", bob)
	require.False(t, a.said("m1", ann), "whose it is cannot be told any more")
	require.False(t, a.said("m1", bob))
	a.say("", ann)
	require.False(t, a.said("", ann))
	for i := range maxAuthors {
		a.say("n"+string(rune(i+1000)), ann)
	}
	require.Len(t, a.by, maxAuthors)
	require.Len(t, a.order, maxAuthors)
	require.False(t, a.said("m1", author{}))
	a.say("last", bob)
	require.False(t, a.said("n"+string(rune(1000)), ann), "the oldest is forgotten")
	require.True(t, a.said("last", bob))
}
