package wire

import (
	"bytes"
	"encoding/xml"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCheckAccepts(t *testing.T) {
	for _, s := range []string{
		"<a/>", "<a />", "<a></a>", "<a></a >", "<a/>\n ", "<a b='1' c=\"2\"/>", "<a b = '1'/>",
		"<a>&lt;&gt;&amp;&apos;&quot;&#65;&#x41;&#x10FFFF;</a>",
		"<a b='&#10;'/>", "<a><![CDATA[<&>]]></a>", "<a>\t\r\n</a>", "<a>héllo 👋</a>", "<été/>",
		"<x:a xmlns:x='u'><x:b x:c='1' c='1'/></x:a>", "<a xml:lang='en'/>", "<a xmlns=''/>",
		"<a xmlns:x='u'><b xmlns:x='v'><x:c/></b><x:d/></a>", "<a-b.c_1/>",
		presence,
	} {
		require.NoError(t, Check([]byte(s), Limits{}), s)
	}
}

// Eight bytes at a time or one: what stands beside what must not hide it.
func TestPlainStopsAtEveryOtherByte(t *testing.T) {
	for at := range 24 {
		for c := range 256 {
			for _, around := range []byte{' ', '%', '\'', '~', 0x7F} {
				data := bytes.Repeat([]byte{around}, 24)
				data[at] = byte(c)
				want := 24
				if c < 0x20 || c == '&' || c >= 0x80 {
					want = at
				}
				require.Equal(t, want, plain(data), "%q", data)
			}
		}
	}
}

func TestCheckRefuses(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want error
	}{
		{"", errNotWellFormed}, {" <a/>", errNotWellFormed}, {"x", errNotWellFormed}, {"<", errNotWellFormed},
		{"<a", errNotWellFormed}, {"<a>", errNotWellFormed}, {"<a/", errNotWellFormed}, {"<a/ >", errNotWellFormed},
		{"</a>", errNotWellFormed}, {"<a></b>", errNotWellFormed}, {"<a/><b/>", errNotWellFormed}, {"<a/>x", errNotWellFormed},
		{"<a b/>", errNotWellFormed}, {"<a b=1/>", errNotWellFormed}, {"<a b='1'c='2'/>", errNotWellFormed},
		{"<a b='1' b='2'/>", errNotWellFormed}, {"<a b='<'/>", errNotWellFormed}, {"<a b='1/>", errNotWellFormed},
		{"<a>&nope;</a>", errNotWellFormed}, {"<a>&</a>", errNotWellFormed}, {"<a>&#0;</a>", errNotWellFormed},
		{"<a>&#xD800;</a>", errNotWellFormed}, {"<a>&#X41;</a>", errNotWellFormed}, {"<a>&#+65;</a>", errNotWellFormed},
		{"<a>]]></a>", errNotWellFormed}, {"<a>\x01</a>", errNotWellFormed}, {"<a>\xff</a>", errNotWellFormed},
		{"<a>\uFFFE</a>", errNotWellFormed}, {"<a b='\x00'/>", errNotWellFormed}, {"<a><![CDATA[\x01]]></a>", errNotWellFormed},
		{"<a><![CDATA[", errNotWellFormed}, {"<1a/>", errNotWellFormed}, {"<-a/>", errNotWellFormed},
		{"<:a/>", errNotWellFormed}, {"<a:/>", errNotWellFormed}, {"<a:b:c xmlns:a='u'/>", errNotWellFormed}, {"<a\u2014/>", errNotWellFormed},
		{"<a><!-- x --></a>", errRestricted}, {"<a><?x y?></a>", errRestricted}, {"<!DOCTYPE a><a/>", errRestricted},
		{"<?xml version='1.0'?><a/>", errRestricted}, {"<![CDATA[x]]>", errRestricted},
		{"<x:a/>", errPrefix}, {"<a x:b='1'/>", errPrefix}, {"<stream:error/>", errPrefix},
		{"<a><b xmlns:x='u'/><x:c/></a>", errPrefix},
		// Each of these a browser refuses, with the whole document around it.
		{"<a xmlns:x='u' xmlns:y='u' x:b='1' y:b='2'/>", errNotWellFormed},
		{"<a xmlns:x='u' xmlns:y='&#117;' x:b='1' y:b='2'/>", errNotWellFormed},
		// A violation of the profile does not hide that the rest is ill-formed.
		{"<a xmlns='xml'><b></a>", errNotWellFormed}, {strings.Repeat("<a>", 65) + strings.Repeat("</a>", 64) + "</b>", errNotWellFormed},
		{"<\u2070></\u2071>", errNotWellFormed}, {"<xml:a>&nope;</xml:a>", errNotWellFormed}, {"<xml:a><!-- --></xml:a>", errRestricted},
		{"<a>" + strings.Repeat("x", DefaultMaxBytes) + "</a>", errTooLarge},
	} {
		require.Equal(t, tc.want, Check([]byte(tc.in), Limits{}), "%.80q", tc.in)
	}
}

func BenchmarkCheck(b *testing.B) {
	p := []byte(presence)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		if err := Check(p, Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCheckByEncodingXML(b *testing.B) {
	p := []byte(presence)
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		if err := wellFormed(p); err != nil {
			b.Fatal(err)
		}
	}
}

func wellFormed(p []byte) error {
	d := xml.NewDecoder(bytes.NewReader(p))
	for {
		if _, err := d.Token(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// FuzzCheck: what Check accepts encoding/xml accepts, the Reader frames as one
// element, ParseHeader and Children read, and a stamped copy passes again.
func FuzzCheck(f *testing.F) {
	for _, s := range []string{
		"<a/>", "<a b='1' xml:lang='de'>x<b xmlns='u'/><![CDATA[y]]></a>", "<x:a xmlns:x='u' x:b='&amp;'/>",
		"<a to='x' from=\"y'z\" id='1' k=\"it's\"/>", presence, "<a>]]&gt;</a>", "<é é='1'/>",
		"<a xmlns:p='xml' p:b='1'/>", "<p:a xmlns:p='http://etherx.jabber.org/stream&#115;'/>", "<\u2070/>", "<a xml:foo='1'/>",
		"<a xmlns:p='u' xmlns:q='v' p:x='1' q:x='2'/>", "<a><parsererror/></a>", "<xml:a/>", "<a xmlns:p='u' p:xmlns='v'/>",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if Check(b, Limits{MaxBytes: 4096}) != nil {
			return
		}
		require.NoError(t, wellFormed(b), "%q", b)
		requireProfile(t, b)
		r := NewReader(io.MultiReader(strings.NewReader(header), bytes.NewReader(b)), Limits{})
		_, err := r.Next()
		require.NoError(t, err)
		tok, err := r.Next()
		require.NoError(t, err)
		require.Equal(t, string(bytes.TrimRight(b, " \t\r\n")), string(tok.Data))
		h, err := ParseHeader(tok.Data)
		require.NoError(t, err)
		for c := range Children(tok.Data) {
			require.NotEmpty(t, c.Local)
			require.NotEqual(t, UnknownSpace, c.Space)
			_ = c.Text()
		}
		if bytes.IndexByte(h.Name, ':') >= 0 || h.Space != nil {
			return // the stamp below would change its namespace
		}
		out := h.AppendStamped(nil, tok.Data, Stamp{Space: NSClient, To: "a&b", From: "'", ID: "\"", Type: "<", Lang: "de"})
		require.NoError(t, Check(out, Limits{MaxBytes: 1 << 16}), "%q", out)
	})
}
