package wire

import (
	"encoding/xml"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHeader(t *testing.T) {
	h, err := ParseHeader([]byte(`<iq xmlns="jabber:client" to='a@b/c&apos;d' id = "1" type='get' xml:lang='de' x='y'>text</iq>`))
	require.NoError(t, err)
	require.Equal(t, "iq", string(h.Name))
	require.Equal(t, NSClient, string(h.Space))
	require.Equal(t, "a@b/c'd", Unescape(h.To))
	require.Equal(t, "1", string(h.ID))
	require.Equal(t, "get", string(h.Type))
	require.Equal(t, "de", string(h.Lang))
	require.Nil(t, h.From)
	require.Equal(t, "y", h.Attr("x"))
	require.Empty(t, h.Attr("absent"))
}

func TestHeaderRefuses(t *testing.T) {
	for _, s := range []string{"", "x", "<>", "<a", "<a b>", "<a b=c/>", "<a b='c/>", "< a/>", "<a ='b'/>"} {
		_, err := ParseHeader([]byte(s))
		require.Equal(t, errNotWellFormed, err, s)
	}
}

func TestStampReplacesAddressingAndKeepsTheRest(t *testing.T) {
	elem := []byte(`<iq xmlns='jabber:client' from='forged' to='old' id='1' type='set' xml:lang='en' xmlns:q="it's" k='v'><jingle xmlns='urn:xmpp:jingle:1'>&amp;</jingle></iq>`)
	h, err := ParseHeader(elem)
	require.NoError(t, err)
	got := h.AppendStamped(nil, elem, Stamp{Space: NSClient, To: "a@b/<c>", From: "room@d/e", ID: "x1", Type: "set"})
	require.Equal(t, `<iq xmlns='jabber:client' to='a@b/&lt;c&gt;' from='room@d/e' id='x1' type='set' xmlns:q="it's" k='v'><jingle xmlns='urn:xmpp:jingle:1'>&amp;</jingle></iq>`, string(got))

	elem = []byte("<presence to='x'/>")
	h, err = ParseHeader(elem)
	require.NoError(t, err)
	require.Equal(t, "<presence from='y'/>", string(h.AppendStamped(nil, elem, Stamp{From: "y"})))
}

// A visitor could hide a forged display name behind a prefix; what counts is
// the namespace.
func TestChildrenResolvePrefixes(t *testing.T) {
	elem := `<message xmlns='jabber:client' xmlns:d='http://jitsi.org/protocol/display-name'>text<body>hi</body><d:display-name>x</d:display-name>` +
		`<![CDATA[<not-a-child/>]]><n:nick xmlns:n='http://jabber.org/protocol/nick'/><reply to='1' xmlns=''/><u:x/></message>`
	var got []string
	for c := range Children([]byte(elem)) {
		got = append(got, "{"+c.Space+"}"+c.Local)
	}
	require.Equal(t, []string{
		"{}body", "{http://jitsi.org/protocol/display-name}display-name", "{http://jabber.org/protocol/nick}nick",
		"{}reply", "{" + UnknownSpace + "}x",
	}, got)
	c, ok := FindChild([]byte(elem), "", "body")
	require.True(t, ok)
	require.Equal(t, "hi", c.Text())
	_, ok = FindChild([]byte(elem), "http://jabber.org/protocol/nick", "body")
	require.False(t, ok)
}

func TestText(t *testing.T) {
	c, ok := FirstChild([]byte("<m><b>a&amp;<i>skipped<j/></i>b<![CDATA[<&amp;>]]>c<k/></b></m>"))
	require.True(t, ok)
	require.Equal(t, "a&b<&amp;>c", c.Text())
	_, ok = FirstChild([]byte("<m>only text</m>"))
	require.False(t, ok)
}

func TestEscapeRoundTrip(t *testing.T) {
	for _, s := range []string{"", "plain", "<>&'\"", "a\tb\nc\rd", "héllo 👋", "&amp;", "]]>"} {
		doc := "<a b='" + string(AppendText(nil, s)) + "'>" + string(AppendText(nil, s)) + "</a>"
		require.NoError(t, Check([]byte(doc), Limits{}), doc)
		var v struct {
			B    string `xml:"b,attr"`
			Text string `xml:",chardata"`
		}
		require.NoError(t, xml.Unmarshal([]byte(doc), &v))
		require.Equal(t, s, v.B)
		require.Equal(t, s, v.Text)
		require.Equal(t, s, Unescape(AppendText(nil, s)))
	}
	require.Equal(t, "a\uFFFDb\uFFFDc\uFFFD", string(AppendText(nil, "a\x00b\xffc\uFFFE")))
	require.Equal(t, "&nope; & &#0; A", Unescape([]byte("&nope; & &#0; &#x41;")))
}

func FuzzEscape(f *testing.F) {
	f.Add("<>&'\"\x00\xff")
	f.Fuzz(func(t *testing.T, s string) {
		doc := "<a b='" + string(AppendText(nil, s)) + "'>" + string(AppendText(nil, s)) + "</a>"
		require.NoError(t, Check([]byte(doc), Limits{MaxBytes: 1 << 24}), "%q", s)
	})
}

func TestBuilder(t *testing.T) {
	b := NewBuilder(nil).Start("iq", "id", "1").Attr("to", "a'b").Attr("from", "")
	b.Start("q").Attr("xmlns", "u").Elem("e", "").Elem("f", "<", "k", "v").End()
	b.Text("t").Raw([]byte("<raw/>"))
	require.Equal(t, "<iq id='1' to='a&apos;b'><q xmlns='u'><e/><f k='v'>&lt;</f></q>t<raw/></iq>", string(b.Bytes()))
}

func TestErrorReply(t *testing.T) {
	h, err := ParseHeader([]byte("<presence to='room@conference.v3.meet.jitsi/n' from='forged' id='7'><x/></presence>"))
	require.NoError(t, err)
	e := ErrNotAllowed
	e.By, e.Text, e.Extra = "conference.v3.meet.jitsi", "Room creation is restricted", "<no-visitors-lobby xmlns='jitsi:visitors'/>"
	require.Equal(t, "<presence xmlns='jabber:client' to='me@v3/r' from='room@conference.v3.meet.jitsi/n' id='7' type='error'>"+
		"<error type='cancel' by='conference.v3.meet.jitsi'><not-allowed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"+
		"<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>Room creation is restricted</text><no-visitors-lobby xmlns='jitsi:visitors'/></error></presence>",
		string(AppendErrorReply(nil, &h, NSClient, "me@v3/r", e)))
	require.True(t, Answerable(&h))
	for _, s := range []string{"<iq type='result'/>", "<iq type='error'/>", "<message type='error'/>"} {
		h, err := ParseHeader([]byte(s))
		require.NoError(t, err)
		require.False(t, Answerable(&h), s)
	}
}

func TestStreamErrorRoundTrip(t *testing.T) {
	e := StreamError{Condition: PolicyViolation, Text: "stanza <too> large"}
	elem := e.Append(nil, true)
	require.NoError(t, CheckWellFormed(elem, Limits{}))
	parsed := ParseStreamError(elem)
	require.Equal(t, e, parsed)
	clear(elem) // a reader's buffer, which the next element takes
	require.Equal(t, e, parsed)
	require.Equal(t, StreamError{Condition: UndefinedCondition}, ParseStreamError([]byte("<stream:error/>")))
	require.Equal(t, e, ParseStreamError(e.Append(nil, false)))
}

func TestStreamHeaders(t *testing.T) {
	tag := func(s string) []byte { return []byte(s) }
	h, err := ParseStreamHeader(tag("<s:stream xmlns='jabber:server' xmlns:s='http://etherx.jabber.org/streams' from='a' to='b' id='' version='1.0' xml:lang='en'>"), NSServer)
	require.NoError(t, err)
	require.Equal(t, StreamHeader{From: "a", To: "b", Version: "1.0", Lang: "en", Content: NSServer}, h)
	for in, want := range map[string]StreamCondition{
		"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>": InvalidNamespace,
		"<stream:stream xmlns='jabber:server' xmlns:stream='u' version='1.0'>":                                InvalidNamespace,
		"<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams'>":               UnsupportedVersion,
		"<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' version='2.0'>": UnsupportedVersion,
		"<foo xmlns='jabber:server'>": BadFormat,
	} {
		_, err := ParseStreamHeader(tag(in), NSServer)
		require.Equal(t, want, AsStreamError(err).Condition, in)
	}
	out := StreamHeader{From: "a", To: "b", ID: "i", Version: "1.0", Content: NSServer}.Append(nil, " xmlns:db='jabber:server:dialback'")
	back, err := ParseStreamHeader(out[len("<?xml version='1.0'?>"):], NSServer)
	require.NoError(t, err)
	require.Equal(t, "i", back.ID)
	open, err := ParseOpen(StreamHeader{To: "v3.meet.jitsi", Version: "1.0"}.AppendOpen(nil))
	require.NoError(t, err)
	require.Equal(t, "v3.meet.jitsi", open.To)
	_, err = ParseOpen([]byte("<open xmlns='jabber:client' version='1.0'/>"))
	require.Equal(t, InvalidNamespace, AsStreamError(err).Condition)
}

func TestJID(t *testing.T) {
	for in, want := range map[string]JID{
		"meet.jitsi":                           {"", "meet.jitsi", ""},
		"Focus@Auth.Meet.Jitsi/Focus":          {"focus", "auth.meet.jitsi", "Focus"},
		"[tenant]room@conference.v3.x":         {"[tenant]room", "conference.v3.x", ""},
		"r%C3%A9@conference.my_tenant.v1.x./é": {"r%c3%a9", "conference.my_tenant.v1.x", "é"},
		"a@b/c@d/e":                            {"a", "b", "c@d/e"},
	} {
		got, err := ParseJID(in)
		require.NoError(t, err, in)
		require.Equal(t, want, got)
		again, err := ParseJID(got.String())
		require.NoError(t, err)
		require.Equal(t, got, again)
	}
	for _, in := range []string{"", "@b", "a@", "a@b/", "/x", "a b@c", "a@b c", "a<@b", "a@b@c", strings.Repeat("a", 1024) + "@b", "a@" + strings.Repeat("b", 1024), "a@b/" + strings.Repeat("c", 1024), "\x01@b", "a@b/\x01"} {
		_, err := ParseJID(in)
		require.ErrorIs(t, err, ErrJID, "%q", in)
	}
	j, err := ParseAddress(nil)
	require.NoError(t, err)
	require.True(t, j.IsZero())
}

func FuzzJID(f *testing.F) {
	for _, s := range []string{"a@b/c", "é@ü/ö", "A@B", "/", "@"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		j, err := ParseJID(s)
		if err != nil {
			return
		}
		again, err := ParseJID(j.String())
		require.NoError(t, err, "%q", s)
		require.Equal(t, j, again, "normalising twice changes nothing")
	})
}
