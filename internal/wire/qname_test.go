package wire

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestQName(t *testing.T) {
	for elem, want := range map[string][2]string{
		`<auth xmlns='urn:a'/>`:                   {"urn:a", "auth"},
		`<n:auth xmlns:n="urn:a" xmlns='urn:b'/>`: {"urn:a", "auth"},
		`<n:auth xmlns='urn:b'/>`:                 {"", "auth"},
		`<auth/>`:                                 {"", "auth"},
		`<n:r xmlns:n='a&amp;b'/>`:                {"a&b", "r"},
		`<n:r xmlns:nn='urn:c' xmlns:n='urn:d'/>`: {"urn:d", "r"},
	} {
		h, err := ParseHeader([]byte(elem))
		require.NoError(t, err)
		space, local := h.QName()
		require.Equal(t, want, [2]string{space, local}, elem)
	}
}

// What an element takes along when it leaves the one around it.
func TestDeclaredPrefixes(t *testing.T) {
	h, err := ParseHeader([]byte(`<b xmlns='urn:d' xmlns:p='urn:p' xmlns:q="it's" xml:lang='en'>`))
	require.NoError(t, err)
	for elem, want := range map[string]string{
		`<x/>`:                       `<x/>`,
		`<p:x/>`:                     `<p:x xmlns:p='urn:p'/>`,
		`<x><q:y p:z='1'/></x>`:      `<x xmlns:p='urn:p' xmlns:q="it's"><q:y p:z='1'/></x>`,
		`<p:x xmlns:p='urn:other'/>`: `<p:x xmlns:p='urn:other'/>`,
		`<x to='a'>ppp p</x>`:        `<x to='a'>ppp p</x>`,
		`<unknown:x/>`:               `<unknown:x/>`,
	} {
		got := h.Prefixes().Declare([]byte(elem))
		require.Equal(t, want, string(got))
		again, err := ParseHeader(got)
		require.NoError(t, err)
		require.Equal(t, elem[1:2], string(again.Name[:1]))
	}
}

func TestSkipProlog(t *testing.T) {
	for doc, want := range map[string]string{
		"<a/>":                      "<a/>",
		" \r\n<a/>":                 "<a/>",
		"\xEF\xBB\xBF<a/>":          "<a/>",
		"<?xml version='1.0'?><a/>": "<a/>",
		"\xEF\xBB\xBF<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<a/>": "<a/>",
		"<?xml version='1.0' encoding='utf-8' standalone='yes' ?>\t<a/>": "<a/>",
		"<?xml-stylesheet href='x'?><a/>":                                "<?xml-stylesheet href='x'?><a/>",
		"":                                                               "",
	} {
		got, err := SkipProlog([]byte(doc))
		require.NoError(t, err, doc)
		require.Equal(t, want, string(got))
	}
	for doc, want := range map[string]error{
		"<?xml version='1.0' encoding='iso-8859-1'?><a/>": errEncoding,
		"<?xml version='1.0'":                             errNotWellFormed,
		"\xFF\xFE<\x00a\x00":                              errEncoding,
		"\xFE\xFF\x00<\x00a":                              errEncoding,
	} {
		_, err := SkipProlog([]byte(doc))
		require.Equal(t, want, err, doc)
	}
}

// Declaring prefixes neither panics nor changes what is well-formed.
func FuzzDeclare(f *testing.F) {
	f.Add(`<b xmlns:p='urn:p'>`, `<p:x><p:y/></p:x>`)
	f.Add(`<b xmlns:p="a'b">`, `<x p:a=''/>`)
	f.Fuzz(func(t *testing.T, outer, elem string) {
		h, err := ParseHeader([]byte(outer))
		if err != nil || CheckWellFormed([]byte(elem), Limits{}) != nil {
			return
		}
		if CheckWellFormed(append(append([]byte(outer), elem...), "</b>"...), Limits{}) != nil {
			return
		}
		got := h.Prefixes().Declare([]byte(elem))
		if err := CheckWellFormed(got, Limits{}); err != nil {
			t.Fatalf("%q in %q: %q: %v", elem, outer, got, err)
		}
	})
}
