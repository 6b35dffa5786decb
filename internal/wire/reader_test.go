package wire

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

const header = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='v3.meet.jitsi' version='1.0'>"

// tokens reads src to its end and returns what was framed, one string a token,
// and the error that ended it.
func tokens(src io.Reader, lim Limits) ([]string, error) {
	r := NewReader(src, lim)
	var got []string
	for {
		tok, err := r.Next()
		if err != nil {
			return got, err
		}
		got = append(got, string(tok.Data))
		if tok.Kind == StreamEnd {
			return got, nil
		}
	}
}

func TestReaderFramesAStream(t *testing.T) {
	elems := []string{
		"<presence/>",
		"<message to='a@b/c'><body>x &lt; y</body></message>",
		`<iq id="1"><q xmlns='u' a='>'/></iq>`,
		"<message><body><![CDATA[<not a=tag> ]] ]>]]></body></message>",
		"<a><b><c/></b><b/></a >",
		"<stream:features></stream:features>",
	}
	text := header + "\n " + strings.Join(elems, " \r\n") + "</stream:stream>"
	want := append(append([]string{header[len("<?xml version='1.0'?>"):]}, elems...), "</stream:stream>")
	for name, src := range map[string]io.Reader{
		"in one segment":    strings.NewReader(text),
		"byte by byte":      iotest.OneByteReader(strings.NewReader(text)),
		"in half segments":  iotest.HalfReader(strings.NewReader(text)),
		"with data and EOF": iotest.DataErrReader(strings.NewReader(text)),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := tokens(src, Limits{})
			require.NoError(t, err)
			require.Equal(t, want, got)
		})
	}
}

func TestReaderRefuses(t *testing.T) {
	lim := Limits{MaxBytes: 200, MaxDepth: 4, MaxAttrs: 3}
	for name, tc := range map[string]struct {
		in   string
		want error
	}{
		"garbage for a header":        {"GET / HTTP/1.1\r\n\r\n", errNotWellFormed},
		"a TLS hello for a header":    {"\x16\x03\x01\x02\x00", errNotWellFormed},
		"an endless header":           {"<stream:stream " + strings.Repeat("a='b' ", 1000), errTooLarge},
		"another encoding":            {"<?xml version='1.0' encoding='UTF-16'?>" + header, errEncoding},
		"a document type first":       {"<!DOCTYPE a>" + header, errRestricted},
		"a processing instruction":    {header + "<?php x?>", errRestricted},
		"an instruction inside":       {header + "<a><?php x?></a>", errRestricted},
		"a comment":                   {header + "<!-- x -->", errRestricted},
		"a comment inside":            {header + "<a><!-- x --></a>", errRestricted},
		"a document type":             {header + "<!DOCTYPE a [<!ENTITY b 'c'>]>", errRestricted},
		"text between stanzas":        {header + "<a/>x", errNotWellFormed},
		"a tag in a tag":              {header + "<a <b/>", errNotWellFormed},
		"less-than in a value":        {header + "<a b='<'/>", errNotWellFormed},
		"no name":                     {header + "< a/>", errNotWellFormed},
		"a foreign end tag":           {header + "</message>", errNotWellFormed},
		"a second header":             {header + header[len("<?xml version='1.0'?>"):], errSecondHeader},
		"a large stanza":              {header + "<a>" + strings.Repeat("x", 300) + "</a>", errTooLarge},
		"a large unfinished stanza":   {header + "<a>" + strings.Repeat("x", 300), errTooLarge},
		"a large unfinished tag":      {header + "<a b='" + strings.Repeat("x", 300), errTooLarge},
		"nesting":                     {header + "<a><a><a><a><a>", errTooDeep},
		"many attributes":             {header + "<a a='' b='' c='' d=''/>", errTooManyAttrs},
		"the end in a stanza":         {header + "<a><b>", io.ErrUnexpectedEOF},
		"the end between stanzas":     {header + "<a/> ", io.EOF},
		"the end in the header":       {header[:50], io.ErrUnexpectedEOF},
		"an end tag that has content": {header + "</stream:stream x>", errNotWellFormed},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tokens(strings.NewReader(tc.in), lim)
			require.Equal(t, tc.want, err)
			_, err = tokens(iotest.OneByteReader(strings.NewReader(tc.in)), lim)
			require.Equal(t, tc.want, err, "byte by byte")
		})
	}
}

// After SASL success the client's new header, and what it sent behind it, is
// in the same segment as the last element of the old stream (XEP-0198's
// pipelining).
func TestRestartKeepsWhatWasPipelined(t *testing.T) {
	r := NewReader(strings.NewReader(header+"<auth/>"+header+"<iq/>"), Limits{})
	for _, want := range []Kind{StreamStart, Element} {
		tok, err := r.Next()
		require.NoError(t, err)
		require.Equal(t, want, tok.Kind)
	}
	r.Restart()
	for _, want := range []Kind{StreamStart, Element} {
		tok, err := r.Next()
		require.NoError(t, err)
		require.Equal(t, want, tok.Kind)
	}
}

// Bytes sent in clear behind <starttls/> must not be taken for the first ones
// of the encrypted stream.
func TestResetReportsBytesSentInClear(t *testing.T) {
	r := NewReader(strings.NewReader(header+"<starttls/><iq/>"), Limits{})
	for range 2 {
		_, err := r.Next()
		require.NoError(t, err)
	}
	require.Equal(t, 5, r.Reset(strings.NewReader(header+"<a/>")))
	tok, err := r.Next()
	require.NoError(t, err)
	require.Equal(t, StreamStart, tok.Kind)
}

func TestIdleReaderKeepsNoLargeBuffer(t *testing.T) {
	big := "<a>" + strings.Repeat("x", 200<<10) + "</a>"
	r := NewReader(io.MultiReader(strings.NewReader(header), strings.NewReader(big), strings.NewReader("<b/>")), Limits{})
	for range 3 {
		_, err := r.Next()
		require.NoError(t, err)
	}
	require.LessOrEqual(t, len(r.buf), keepBuffer)
}

// presence is one of a main participant, as the wire shows it.
const presence = `<presence to='roomccd62571@conference.v1.meet.jitsi/2e3069b5' from='2e3069b5-3443-4400-a283-866692656447@jitmeet.example.com/-WSa-uqjCifV' xml:lang='en'><stats-id>Harness-2e3069b5</stats-id><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' ver='JoWq5vPVYxxeIMIWq1Zz0sb1Yvo=' node='https://jitsi.org/jitsi-meet'/><SourceInfo>{&quot;2e3069b5-v0&quot;:{&quot;muted&quot;:true},&quot;2e3069b5-a0&quot;:{&quot;muted&quot;:false}}</SourceInfo><jitsi_participant_codecList>av1,vp9,vp8,h264</jitsi_participant_codecList><nick xmlns='http://jabber.org/protocol/nick'>main1</nick><audiomuted>false</audiomuted><videomuted>true</videomuted><occupant-id id='xbbunmUJ6781z13N9y6NHWUoNx23gdxkL18nbYsQyUk=' xmlns='urn:xmpp:occupant-id:0'/><x xmlns='http://jabber.org/protocol/muc'/></presence>`

func TestReaderDoesNotAllocatePerStanza(t *testing.T) {
	r := NewReader(&repeat{text: []byte(header), next: []byte(presence)}, Limits{})
	next := func() {
		_, err := r.Next()
		require.NoError(t, err)
	}
	next()
	next()
	require.Zero(t, testing.AllocsPerRun(1000, next))
}

// repeat yields text once, then next for ever.
type repeat struct{ text, next []byte }

func (r *repeat) Read(p []byte) (int, error) {
	if len(r.text) == 0 {
		r.text = r.next
	}
	n := copy(p, r.text)
	r.text = r.text[n:]
	return n, nil
}

func BenchmarkReader(b *testing.B) {
	r := NewReader(&repeat{text: []byte(header), next: []byte(presence)}, Limits{})
	b.SetBytes(int64(len(presence)))
	b.ReportAllocs()
	for b.Loop() {
		tok, err := r.Next()
		if err != nil {
			b.Fatal(err)
		}
		if tok.Kind == Element {
			if _, err := ParseHeader(tok.Data); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// FuzzReader holds three things against any input: how it is cut into segments
// does not matter; nothing is invented (tokens are parts of the input, in
// order); and where encoding/xml finds complete, unrestricted elements inside
// a stream, so does the Reader.
func FuzzReader(f *testing.F) {
	for _, s := range []string{
		"<a/>", "<a><b x='1'/>text</a><c/>", "<a>", "<a b=\"'>\"/></stream:stream>", "<!-- -->", "<a><![CDATA[x]]></a>",
		"<a><![CDATA[", "</x>", "<a></b>", "<a/ >", "<a x='/'>y</a>", "< a/>", "<a\n/>", presence, " \n ", "<é/>",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		all := append([]byte(header), body...)
		lim := Limits{MaxBytes: 2048, MaxDepth: 16, MaxAttrs: 16}
		whole, err1 := tokens(bytes.NewReader(all), lim)
		bitwise, err2 := tokens(iotest.OneByteReader(bytes.NewReader(all)), lim)
		require.Equal(t, whole, bitwise)
		require.Equal(t, err1, err2)
		rest := string(all)
		for _, tok := range whole {
			i := strings.Index(rest, tok)
			require.GreaterOrEqual(t, i, 0)
			rest = rest[i+len(tok):]
		}
		if len(body) < 2000 {
			compareWithEncodingXML(t, all, whole, err1)
		}
	})
}

// compareWithEncodingXML walks the same bytes with the standard library.
func compareWithEncodingXML(t *testing.T, all []byte, got []string, end error) {
	d := xml.NewDecoder(bytes.NewReader(all))
	depth, start := 0, int64(0)
	var want []string
	for {
		before := d.InputOffset()
		tok, err := d.RawToken()
		if err != nil {
			break
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			depth++
			if len(tok.Attr) > 16 || depth > 17 {
				return // beyond our limits
			}
			if depth == 2 {
				start = before
			}
		case xml.EndElement:
			depth--
			if depth == 1 {
				want = append(want, string(all[start:d.InputOffset()]))
			}
		case xml.Comment, xml.Directive:
			return
		case xml.ProcInst:
			if tok.Target != "xml" || depth > 0 {
				return
			}
		case xml.CharData:
			if depth == 1 && len(bytes.TrimSpace(tok)) > 0 {
				return
			}
		}
		if depth <= 0 && len(want) > 0 || d.InputOffset() > 1 && depth == 0 && before > 30 {
			return
		}
	}
	if IsStreamError(end) && !errors.Is(end, errNotWellFormed) {
		return
	}
	var elements []string
	for _, g := range got[min(1, len(got)):] {
		if g != "</stream:stream>" {
			elements = append(elements, g)
		}
	}
	// encoding/xml reads one rune beyond some errors; compare what both saw.
	n := min(len(want), len(elements))
	for i := range n {
		require.Equal(t, want[i], elements[i])
	}
}
