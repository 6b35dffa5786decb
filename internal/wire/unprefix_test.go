package wire

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAcceptWithoutPrefixes(t *testing.T) {
	for elem, want := range map[string]string{
		// The usual ones stay as they are.
		`<message xmlns='jabber:client'><body>a</body></message>`: `<message xmlns='jabber:client'><body>a</body></message>`,
		`<iq  type="get"><a xmlns='urn:a' />c:d</iq>`:             `<iq  type="get"><a xmlns='urn:a' />c:d</iq>`,
		`<presence xmlns:n='urn:n' n:a='1'/>`:                     `<presence xmlns:n='urn:n' n:a='1'/>`,
		// A prefix for the content namespace, here and there.
		`<c:message xmlns:c='jabber:client' to="a@b"><c:body>it's</c:body></c:message>`:         `<message xmlns='jabber:client' xmlns:c='jabber:client' to='a@b'><body>it's</body></message>`,
		`<c:message xmlns:c='jabber:client'><body>a</body></c:message>`:                         `<message xmlns='jabber:client' xmlns:c='jabber:client'><body>a</body></message>`,
		`<s:iq xmlns:s='jabber:server' type='get'><p xmlns='urn:xmpp:ping'/></s:iq>`:            `<iq xmlns='jabber:server' xmlns:s='jabber:server' type='get'><p xmlns='urn:xmpp:ping'/></iq>`,
		`<message><c:body xmlns:c='jabber:client'>a</c:body ></message>`:                        `<message><body xmlns:c='jabber:client'>a</body></message>`,
		`<c:presence xmlns:c='jabber:client' xmlns='urn:a'><x/><y xmlns=''/></c:presence>`:      `<presence xmlns='jabber:client' xmlns:c='jabber:client'><x xmlns='urn:a'/><y xmlns=''/></presence>`,
		`<message xmlns='urn:a'><b:x xmlns:b='urn:b'><y/><b:z/><b:b/></b:x><z/></message>`:      `<message xmlns='urn:a'><x xmlns='urn:b' xmlns:b='urn:b'><y xmlns='urn:a'/><z/><b/></x><z/></message>`,
		`<iq><f:f xmlns:f='urn:f'><message><body/></message></f:f></iq>`:                        `<iq><f xmlns='urn:f' xmlns:f='urn:f'><message xmlns='jabber:client'><body/></message></f></iq>`,
		`<iq xmlns:a='urn:a'><a:x><x xmlns:a='urn:b'><a:y/></x><a:y/></a:x></iq>`:               `<iq xmlns:a='urn:a'><x xmlns='urn:a'><x xmlns='jabber:client' xmlns:a='urn:b'><y xmlns='urn:b'/></x><y/></x></iq>`,
		`<m xmlns:a="it's" ><a:x a:b="c'd"><![CDATA[<a:x>]]></a:x></m>`:                         `<m xmlns:a="it's"><x xmlns="it's" a:b="c'd"><![CDATA[<a:x>]]></x></m>`,
		`<q:r xmlns:q='urn:xmpp:sm:3'/>`:                                                        `<r xmlns='urn:xmpp:sm:3' xmlns:q='urn:xmpp:sm:3'/>`,
		`<message xml:lang='de'><e:x xmlns:e='urn:e' xml:lang='en'>&lt;e:x&gt;</e:x></message>`: `<message xml:lang='de'><x xmlns='urn:e' xmlns:e='urn:e' xml:lang='en'>&lt;e:x&gt;</x></message>`,
	} {
		got, v, err := Accept([]byte(elem), Limits{})
		require.NoError(t, err, elem)
		require.Zero(t, v, elem)
		require.Equal(t, want, string(got))
		require.Equal(t, meaning(t, elem), meaning(t, want))
	}
}

// Errors and violations are those of the element as it came.
func TestAcceptRefuses(t *testing.T) {
	for elem, want := range map[string]error{
		`<c:message/>`: errPrefix,
		`<c:message xmlns:c='jabber:client'></message>`:                                                                   errNotWellFormed,
		`<c:message xmlns:c='jabber:client'><stream:error/></c:message>`:                                                  errPrefix,
		`<s:error xmlns:s='http://etherx.jabber.org/streams'/>`:                                                           StreamsElement,
		`<c:message xmlns:c='jabber:client'><c:parsererror/></c:message>`:                                                 ParserError,
		`<c:message xmlns:c='` + strings.Repeat("a", 600) + `'/>`:                                                         LongNamespace,
		`<c:message xmlns:c='` + strings.Repeat("a", 500) + `'>` + strings.Repeat("<c:b/>", 100) + `</c:message>`:         nil,
		`<c:message xmlns:c='` + strings.Repeat("a", 500) + `'>` + strings.Repeat("<b><c:b/></b>", 1100) + `</c:message>`: TooLargeRewritten,
	} {
		got, v, err := Accept([]byte(elem), Limits{MaxBytes: 100_000})
		if v != 0 {
			err = v
			require.Equal(t, elem, string(got))
		}
		require.Equal(t, want, err, "%.80s", elem)
	}
}

// The Reader does the same, with the prefixes of the stream's header.
func TestReaderWithoutPrefixes(t *testing.T) {
	for header, elems := range map[string][][2]string{
		`<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns:c='jabber:client' xmlns='jabber:client'>`: {
			{`<c:message><c:body>a</c:body></c:message>`, `<message xmlns='jabber:client' xmlns:c='jabber:client'><body>a</body></message>`},
			{`<message><c:body>a</c:body></message>`, `<message xmlns:c='jabber:client'><body>a</body></message>`},
			{`<message>c:body</message>`, `<message>c:body</message>`},
		},
		`<stream xmlns='http://etherx.jabber.org/streams' xmlns:c='jabber:client'>`: {
			{`<c:iq type='result'/>`, `<iq xmlns='jabber:client' xmlns:c='jabber:client' type='result'/>`},
			{`<message xmlns='jabber:client'/>`, `<message xmlns='jabber:client'/>`},
		},
	} {
		for _, pieces := range []int{1, 1000} {
			src := header
			for _, e := range elems {
				src += e[0]
			}
			r := NewReader(&inPieces{src, pieces}, Limits{})
			r.Check(0)
			_, err := r.Next()
			require.NoError(t, err)
			for _, e := range elems {
				tok, err := r.Next()
				require.NoError(t, err)
				require.Zero(t, tok.Outside)
				require.Equal(t, e[1], string(tok.Data))
			}
			_, err = r.Next()
			require.ErrorIs(t, err, io.EOF)
		}
	}
}

// inPieces is read n bytes at a time.
type inPieces struct {
	s string
	n int
}

func (p *inPieces) Read(b []byte) (int, error) {
	if p.s == "" {
		return 0, io.EOF
	}
	n := copy(b, p.s[:min(p.n, len(p.s))])
	p.s = p.s[n:]
	return n, nil
}

func TestUnprefix(t *testing.T) {
	for elem, want := range map[string][2]string{
		`<c:iq xmlns:c='jabber:client'>`:           {"iq", "jabber:client"},
		`<c:iq xmlns='a' xmlns:c='jabber:server'>`: {"iq", "jabber:server"},
		`<iq xmlns='a'>`:                           {"iq", "a"},
		`<c:iq xmlns='a'>`:                         {"c:iq", "a"},
		`<iq>`:                                     {"iq", ""},
	} {
		h, err := ParseHeader([]byte(elem))
		require.NoError(t, err)
		h.Unprefix()
		require.Equal(t, want, [2]string{string(h.Name), string(h.Space)}, elem)
	}
}

// meaning is what encoding/xml reads: names with their namespaces, attributes,
// text. Elements in no namespace at all are in that of the stream.
func meaning(t *testing.T, elem string) string {
	var b strings.Builder
	for d := xml.NewDecoder(strings.NewReader("<s xmlns='jabber:client'>" + elem + "</s>")); ; {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return b.String()
		}
		require.NoError(t, err, elem)
		switch tok := tok.(type) {
		case xml.StartElement:
			var attrs []string
			for _, a := range tok.Attr {
				if a.Name.Space != "xmlns" && a.Name.Local != "xmlns" {
					attrs = append(attrs, fmt.Sprintf("%q", a))
				}
			}
			slices.Sort(attrs)
			if tok.Name.Space == NSServer {
				tok.Name.Space = NSClient
			}
			fmt.Fprintf(&b, "<%q %v>", tok.Name, attrs)
		case xml.EndElement:
			b.WriteString("</>")
		case xml.CharData:
			b.Write(tok)
		}
	}
}

// Without its prefixes an element means what it meant, is in the profile, and is
// not changed again.
func FuzzUnprefixed(f *testing.F) {
	f.Add(`<c:message xmlns:c='jabber:client' to="a@b"><c:body>it's</c:body></c:message>`)
	f.Add(`<a xmlns:b='urn:b'><b:c b:d="'"><e xmlns='' xmlns:b='x'><b:f/><![CDATA[</b:c>]]></e></b:c></a>`)
	f.Add(`<a:a xmlns:a='&amp;&#x27;' xmlns='b'><c/><a:c xmlns='jabber:server'><d/></a:c></a:a>`)
	f.Fuzz(func(t *testing.T, elem string) {
		got, v, err := Accept([]byte(elem), Limits{})
		if before, errBefore := Judge([]byte(elem), Limits{}); err != nil || v != 0 {
			if errBefore == nil && before == 0 {
				t.Fatalf("%q: %q: %v %v", elem, got, v, err)
			}
			return
		}
		h, err := ParseHeader(got)
		require.NoError(t, err)
		require.NotContains(t, string(h.Name), ":")
		for c := range Children(got) {
			require.False(t, c.Prefixed())
		}
		require.Equal(t, strings.TrimRight(meaning(t, elem), " \t\r\n"), meaning(t, string(got)))
		again, _, _ := Accept(got, Limits{})
		require.Equal(t, string(got), string(again))
	})
}
