package wire

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

const streamsByReference = "http://etherx.jabber.org/stream&#x73;"

// outside is what is well-formed and must not be shown to anybody.
var outside = []struct {
	elem string
	want Violation
}{
	{nested(65), TooDeep},
	{"<a" + attrs(65, "a%d") + "/>", TooManyAttributes},
	{"<a" + attrs(70000, "a%d") + "/>", TooManyAttributes},
	{"<a xmlns:p='u'" + attrs(32, "p:a%d") + "/>", TooManyAttributes}, // 65 once Prosody has declared each
	{"<m>" + chain(33, " xmlns:p%[1]d='u' xmlns:q%[1]d='v'") + "</m>", TooManyPrefixes},
	{"<\u2070/>", NewName}, {"<a><b\u0220/></a>", NewName}, {"<a \u2C00='1'/>", NewName}, {"<a \U00010000='1'/>", NewName},
	{"<p\u2070:a xmlns:p\u2070='u'/>", NewName}, {"<a xmlns:\u2070='u'/>", NewName},
	{"<" + long(257) + "/>", LongName}, {"<a " + long(257) + "='1'/>", LongName}, {"<" + long(65536) + "/>", LongName},
	{"<p:" + long(255) + " xmlns:p='u'/>", LongName}, {"<a xmlns:p='u' p:" + long(252) + "='1'/>", LongName},
	{"<a xmlns:" + long(251) + "='u'/>", LongName},
	{"<a xmlns='" + long(513) + "'/>", LongNamespace}, {"<a xmlns:p='" + long(513) + "'/>", LongNamespace},
	{"<a><b xmlns='http://www.w3.org/XML/1998/namespace'/></a>", ReservedNamespace},
	{"<a xmlns:ns1='http://www.w3.org/XML/1998/namespace' ns1:foo='1'/>", ReservedNamespace},
	{"<a xmlns:ns1='http://www.w3.org/XML/1998/namespace' ns1:lang='de'/>", ReservedNamespace},
	{"<a xmlns:xml='http://www.w3.org/XML/1998/namespace'/>", ReservedNamespace}, {"<a xmlns:xml='u'/>", ReservedNamespace},
	{"<p:a xmlns:p='http://www.w3.org/XML/1998/&#110;amespace'/>", ReservedNamespace},
	{"<a xmlns='http://www.w3.org/2000/xmlns/'/>", ReservedNamespace}, {"<a xmlns:p='http://www.w3.org/2000/xmlns/'/>", ReservedNamespace},
	{"<a xmlns:xmlns='u'/>", ReservedNamespace}, {"<xmlns:a/>", ReservedNamespace}, {"<a xmlns:p=''/>", ReservedNamespace},
	{"<a xmlns='xml'/>", ReservedNamespace}, {"<p:a xmlns:p='xmlns'/>", ReservedNamespace}, // Chromium takes them for the prefixes
	{"<a xmlns='u&#10;v'/>", ReservedNamespace}, {"<a xmlns:p='u\tv'/>", ReservedNamespace}, // the next parser reads a blank
	{"<a><stream:error xmlns:stream='http://etherx.jabber.org/streams'/></a>", StreamsElement},
	{"<a xmlns:x='http://etherx.jabber.org/streams'><b><x:c/></b></a>", StreamsElement},
	{"<a><error xmlns='http://etherx.jabber.org/streams'/></a>", StreamsElement},
	{"<a><error xmlns='" + streamsByReference + "'/></a>", StreamsElement},
	{"<a xmlns:x='" + streamsByReference + "'><x:b/></a>", StreamsElement},
	{"<a><stream:error xmlns:stream='urn:x'/></a>", StreamsElement},
	{"<xml:a/>", XMLElement}, {"<a><xml:lang/></a>", XMLElement},
	{"<a xml:foo='1'/>", XMLAttribute}, {"<a><b xml:base='u'/></a>", XMLAttribute}, {"<a xml:id='i'/>", XMLAttribute}, {"<a xml:space='preserve'/>", XMLAttribute},
	{"<a xmlns:p='u' p:xmlns='v'/>", XMLNSAttribute}, {"<a xml:xmlns='v'/>", XMLAttribute},
	{"<a><parsererror/></a>", ParserError}, {"<p:parsererror xmlns:p='u'/>", ParserError},
	{"<a>" + strings.Repeat("'", 100<<10) + "</a>", TooLargeRewritten},
	{"<a><![CDATA[" + strings.Repeat("&", 150<<10) + "]]></a>", TooLargeRewritten},
	{"<a b=\"" + strings.Repeat("'", 100<<10) + "\"/>", TooLargeRewritten},
	{"<a xmlns:p='" + long(512) + "'>" + strings.Repeat("<p:b/>", 1000) + "</a>", TooLargeRewritten},
	{"<a xmlns:p='" + long(512) + "'>" + strings.Repeat("<b p:c=''/>", 1000) + "</a>", TooLargeRewritten},
	{"<p:a xmlns:p='u' xmlns='" + long(512) + "'>" + strings.Repeat("<b/>", 1000) + "</p:a>", TooLargeRewritten},
}

func long(n int) string { return strings.Repeat("n", n) }

func nested(n int) string { return strings.Repeat("<a>", n) + strings.Repeat("</a>", n) }

// attrs returns n attributes named by a format.
func attrs(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, " "+format+"=''", i)
	}
	return b.String()
}

// chain nests n elements with attributes of a format.
func chain(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "<a"+format+">", i)
	}
	return b.String() + strings.Repeat("</a>", n)
}

func TestCheckTellsWhatIsOutsideTheProfile(t *testing.T) {
	seen := map[Violation]bool{TooLarge: true, UndeclaredPrefix: true, SameAttribute: true}
	for _, tc := range outside {
		require.Equal(t, tc.want, Check([]byte(tc.elem), Limits{MaxBytes: 1 << 20, MaxRewritten: 500 << 10}), "%.100q", tc.elem)
		require.NoError(t, CheckWellFormed([]byte(tc.elem), Limits{MaxBytes: 1 << 20}), "%.100q", tc.elem)
		seen[tc.want] = true
	}
	for _, v := range Violations() {
		require.True(t, seen[v], v.String())
		require.NotEmpty(t, v.StanzaError().Text)
	}
}

// The borders of the profile, seen from inside.
func TestCheckAcceptsTheBorderOfTheProfile(t *testing.T) {
	for _, elem := range []string{
		nested(64), "<a" + attrs(58, "a%d") + "/>", "<m><a" + attrs(63, "a%d") + "/></m>",
		"<m><a xmlns:p='u'" + attrs(31, "p:a%d") + "/></m>", "<m>" + chain(32, " xmlns:p%[1]d='u' xmlns:q%[1]d='v'") + "</m>",
		"<" + long(256) + "/>", "<a " + long(256) + "=''/>", "<p:" + long(254) + " xmlns:p='u'/>", "<a xmlns:p='u' p:" + long(251) + "=''/>",
		"<a xmlns='" + long(512) + "'/>", "<a xmlns:p='" + strings.Repeat("&#110;", 512) + "'/>",
		"<a xml:lang='x y'/>", "<a><b xml:lang=''/></a>", "<a xmlns:stream='http://etherx.jabber.org/streams'/>",
		"<a xmlns='http://etherx.jabber.org/stream'/>", "<xmlns/>", "<xml/>", "<stream/>", "<a xmlns='XML'/>",
		"<ParserError/>", "<a parsererror=''/>", "<\u4E00\u0300\u0660/>", "<a \uAC00=''/>", "<\u0E01\u0E31/>",
		"<a>" + strings.Repeat("'", 80<<10) + "</a>", "<a>" + strings.Repeat("<b c='d'/>", 20000) + "</a>",
		"<m>" + strings.Repeat("<a xmlns:ns1='"+long(512)+"' ns1:b=''/>", 400) + "</m>", // as Prosody writes it
	} {
		require.NoError(t, Check([]byte(elem), Limits{}), "%.100q", elem)
	}
}

// encoding/xml reads the names of the fourth edition too: from a table that was
// not made with ours.
func TestNamesAreThoseOfTheFourthEdition(t *testing.T) {
	accepted := 0
	for r := rune(0x80); r <= 0x1_0FFF; r++ {
		if r >= 0xD800 && r < 0xE000 {
			continue
		}
		for _, elem := range []string{"<" + string(r) + "/>", "<a" + string(r) + "/>", "<a " + string(r) + "=''/>"} {
			ok := Check([]byte(elem), Limits{}) == nil
			require.Equal(t, wellFormed([]byte(elem)) == nil, ok, "%q", elem)
			if ok {
				accepted++
			}
		}
	}
	require.Greater(t, accepted, 90_000)
}

// requireProfile looks for what the profile forbids in an element that was
// accepted, as encoding/xml reads it.
func requireProfile(t *testing.T, b []byte) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(b))
	for depth := 0; ; {
		tok, err := d.Token()
		if err == io.EOF {
			return
		}
		require.NoError(t, err)
		switch tok := tok.(type) {
		case xml.EndElement:
			depth--
		case xml.StartElement:
			depth++
			require.LessOrEqual(t, depth, DefaultMaxDepth)
			require.LessOrEqual(t, len(tok.Attr), DefaultMaxAttrs)
			require.LessOrEqual(t, len(tok.Name.Local), maxName)
			require.LessOrEqual(t, len(tok.Name.Space), maxNamespace)
			require.NotContains(t, []string{NSStream, nsXML, nsXMLNS, "xml", "xmlns"}, tok.Name.Space, "%q", b)
			require.NotEqual(t, "parsererror", tok.Name.Local)
			requireAttrs(t, tok.Attr)
		}
	}
}

func requireAttrs(t *testing.T, attrs []xml.Attr) {
	t.Helper()
	seen := map[xml.Name]bool{}
	for _, a := range attrs {
		require.False(t, seen[a.Name], a.Name)
		seen[a.Name] = true
		require.LessOrEqual(t, len(a.Name.Local), maxName)
		switch {
		case a.Name.Space == "xmlns" || a.Name == xml.Name{Local: "xmlns"}:
			require.LessOrEqual(t, len(a.Value), maxNamespace)
			require.NotContains(t, []string{nsXML, nsXMLNS, "xml", "xmlns"}, a.Value)
		case a.Name.Space == nsXML:
			require.Equal(t, "lang", a.Name.Local)
		default:
			require.NotContains(t, []string{"xml", "xmlns", nsXMLNS}, a.Name.Space)
			require.NotEqual(t, "xmlns", a.Name.Local)
		}
	}
}

// On a stream that many share, a stanza outside the profile is a token like any
// other, however the bytes come, and what follows it is read.
func TestACheckingReaderGoesOnBehindWhatIsOutside(t *testing.T) {
	text, want := header, []string{}
	for _, tc := range outside {
		text += tc.elem + "<good/>"
		want = append(want, tc.want.String()+" "+tc.elem, " <good/>")
	}
	for _, tc := range []struct {
		elem string
		want Violation
	}{
		{"<a><q:b/></a>", UndeclaredPrefix}, {"<a xmlns:p='u' xmlns:q='u' p:x='' q:x=''/>", SameAttribute},
	} {
		text += tc.elem
		want = append(want, tc.want.String()+" "+tc.elem)
	}
	for name, src := range map[string]io.Reader{
		"in one segment": strings.NewReader(text), "in half segments": iotest.HalfReader(strings.NewReader(text)),
		"byte by byte": iotest.OneByteReader(strings.NewReader(text)),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := judgements(src, Limits{MaxBytes: 1 << 20, MaxRewritten: 500 << 10}, 0)
			require.Equal(t, io.EOF, err)
			require.Equal(t, len(want), len(got))
			for i := range want {
				require.Equal(t, want[i], got[i], "%.100q", want[i])
			}
		})
	}
}

// judgements reads a stream behind its header.
func judgements(src io.Reader, lim Limits, skip int) ([]string, error) {
	r := NewReader(src, lim)
	if _, err := r.Next(); err != nil {
		return nil, err
	}
	r.Check(skip)
	var got []string
	for {
		tok, err := r.Next()
		if err != nil {
			return got, err
		}
		v := ""
		if tok.Outside != 0 {
			v = tok.Outside.String()
		}
		got = append(got, v+" "+string(tok.Data))
	}
}

// A participant's apostrophes are six bytes each when the main server has
// written them again. Such a stanza is skipped, and costs no memory.
func TestACheckingReaderSkipsWhatIsTooLarge(t *testing.T) {
	big := "<message to='a' x='>'><body>" + strings.Repeat("&apos;", 1000) + "<b/><![CDATA[" + strings.Repeat("]]&", 1000) + "]]></body></message>"
	wide := "<message y='" + strings.Repeat("y", maxHead) + "'/>"
	text := header + "<a/>" + big + "<b/>" + wide + "<c/>"
	lim := Limits{MaxBytes: 4 << 10}
	for name, src := range map[string]io.Reader{
		"in one segment": strings.NewReader(text), "in half segments": iotest.HalfReader(strings.NewReader(text)),
		"byte by byte": iotest.OneByteReader(strings.NewReader(text)),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := judgements(src, lim, 64<<10)
			require.Equal(t, io.EOF, err)
			require.Equal(t, []string{" <a/>", "size <message to='a' x='>'>", " <b/>", "size ", " <c/>"}, got)
		})
	}
	_, err := judgements(strings.NewReader(text), lim, 0)
	require.Equal(t, errTooLarge, err)
	endless := io.MultiReader(strings.NewReader(header+"<a>"), &repeat{next: []byte("xxxxxxxx")})
	r := NewReader(endless, lim)
	_, err = r.Next()
	require.NoError(t, err)
	r.Check(64 << 10)
	_, err = r.Next()
	require.Equal(t, errTooLarge, err)
	require.LessOrEqual(t, len(r.buf), minShared)
}

func TestACheckingReaderEndsWithWhatIsIllFormed(t *testing.T) {
	for _, elem := range []string{"<a></b>", "<a b='&nope;'/>", "<a>\x01</a>", "<a b='1' b='2'/>", "<a><1/></a>", "<xml:a></xml:b>", "<a>\xff</a>"} {
		for _, src := range []io.Reader{strings.NewReader(header + elem), iotest.OneByteReader(strings.NewReader(header + elem))} {
			got, err := judgements(src, Limits{}, 1<<20)
			require.Empty(t, got)
			require.Equal(t, errNotWellFormed, err, elem)
		}
	}
	_, err := judgements(strings.NewReader(header+"<a><!-- --></a>"), Limits{}, 0)
	require.Equal(t, errRestricted, err)
}

func TestAnswerableViolation(t *testing.T) {
	for s, want := range map[string]bool{
		"<iq type='get'/>": true, "<iq type='set'/>": true, "<iq type='result'/>": false, "<iq type='error'/>": false, "<iq/>": false,
		"<message/>": true, "<message type='groupchat'/>": true, "<message type='error'/>": false,
		"<presence to='a'/>": true, "<presence/>": false, "<presence to='a' type='error'/>": false,
	} {
		h, err := ParseHeader([]byte(s))
		require.NoError(t, err)
		require.Equal(t, want, AnswerableViolation(&h), s)
	}
}

// A check costs no more than its bytes, whatever is in them.
func BenchmarkCheckHostile(b *testing.B) {
	prefixes := ""
	for i := range 60 {
		prefixes += fmt.Sprintf(" xmlns:p%02d='u'", i)
	}
	for name, elem := range map[string]string{
		"deep":         nested(30000),
		"attributes":   "<a" + attrs(15000, "a%d") + "/>",
		"prefixes":     "<a" + prefixes + ">" + strings.Repeat("<p00:b/>", 20000) + "</a>",
		"same letters": "<m>" + strings.Repeat("<a"+attrs(60, "a%02da")+"/>", 300) + "</m>",
		"new names":    "<m>" + strings.Repeat("<\u4E00\uAC00\u4E01/>", 10000) + "</m>",
	} {
		b.Run(name, func(b *testing.B) {
			p := []byte(elem)
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				_ = Check(p, Limits{MaxBytes: 1 << 20})
			}
		})
	}
}

// BenchmarkReaderChecks is BenchmarkReader with the check: how a stream of the
// main server is read.
func BenchmarkReaderChecks(b *testing.B) {
	r := NewReader(&repeat{text: []byte(header), next: []byte(presence)}, Limits{})
	r.Check(1 << 20)
	b.SetBytes(int64(len(presence)))
	b.ReportAllocs()
	for b.Loop() {
		if tok, err := r.Next(); err != nil || tok.Outside != 0 {
			b.Fatal(tok.Outside, err)
		}
	}
}
