package stomp

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       Frame
		rest       string
	}{
		{"connect", "CONNECT\naccept-version:1.2,1.1,1.0\nAuthorization:Bearer a:b\\c\n\n\x00",
			Frame{Command: Connect, Headers: []Header{{"accept-version", "1.2,1.1,1.0"}, {"Authorization", `Bearer a:b\c`}}}, ""},
		{"subscribe", "SUBSCRIBE\r\nid:sub-0\r\ndestination:/a\\cb\\\\c\\n\r\n\r\n\x00\n",
			Frame{Command: Subscribe, Headers: []Header{{"id", "sub-0"}, {"destination", "/a:b\\c\n"}}}, "\n"},
		{"after heart-beats", "\n\r\nDISCONNECT\n\n\x00", Frame{Command: Disconnect}, ""},
		{"with a body", "SEND\ncontent-length:3\n\na\x00b\x00X", Frame{Command: "SEND", Headers: []Header{{"content-length", "3"}}, Body: []byte("a\x00b")}, "X"},
		{"with a body up to NUL", "SEND\n\nabc\x00", Frame{Command: "SEND", Body: []byte("abc")}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, rest, ok, err := Parse([]byte(c.text))
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, c.rest, string(rest))
			require.Equal(t, string(c.want.Body), string(f.Body))
			f.Body, c.want.Body = nil, nil
			require.Equal(t, c.want, f)
		})
	}
	_, _, ok, err := Parse([]byte("\n\r\n"))
	require.NoError(t, err)
	require.False(t, ok)
	f := Frame{Headers: []Header{{"a", "1"}, {"a", "2"}}}
	require.Equal(t, "1", f.Get("a"))
	require.Empty(t, f.Get("b"))
}

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"no end of the command": "CONNECT",
		"no end of the headers": "CONNECT\na:b\n",
		"no NUL":                "CONNECT\n\n",
		"no colon":              "CONNECT\nab\n\n\x00",
		"no name":               "CONNECT\n:b\n\n\x00",
		"unknown escape":        "SEND\na:\\t\n\n\x00",
		"half an escape":        "SEND\na:\\\n\n\x00",
		"length beyond":         "SEND\ncontent-length:9\n\nabc\x00",
		"length too small":      "SEND\ncontent-length:1\n\nabc\x00",
		"negative length":       "SEND\ncontent-length:-1\n\nabc\x00",
		"no number":             "SEND\ncontent-length:x\n\nabc\x00",
		"many headers":          "SEND\n" + strings.Repeat("a:b\n", maxHeaders+1) + "\n\x00",
		"a long value":          "SEND\na:" + strings.Repeat("x", maxValue+1) + "\n\n\x00",
		"a long name":           "SEND\n" + strings.Repeat("x", maxName+1) + ":a\n\n\x00",
	} {
		_, _, ok, err := Parse([]byte(text))
		require.ErrorIs(t, err, ErrSyntax, name)
		require.False(t, ok, name)
	}
}

// FuzzParse: what was parsed and written again is parsed to the same.
func FuzzParse(f *testing.F) {
	f.Add("SUBSCRIBE\nid:sub-0\ndestination:/a\\cb\n\n\x00")
	f.Add("\n\nSEND\ncontent-length:3\n\na\x00b\x00")
	f.Fuzz(func(t *testing.T, text string) {
		one, _, ok, err := Parse([]byte(text))
		if err != nil || !ok {
			return
		}
		var headers []Header
		for _, h := range one.Headers {
			if h.Name != "content-length" {
				headers = append(headers, h)
			}
		}
		one.Headers = headers
		two, rest, ok, err := Parse(one.Append(nil))
		if one.Command == "" || strings.ContainsAny(one.Command, "\r") || one.Command == Connect || one.Command == Connected {
			return // a server reads these, and writes none of a client's making
		}
		require.NoError(t, err)
		require.True(t, ok)
		require.Empty(t, rest)
		require.Equal(t, one.Command, two.Command)
		require.Equal(t, string(one.Body), string(two.Body))
		for _, h := range one.Headers {
			require.Equal(t, one.Get(h.Name), two.Get(h.Name))
		}
	})
}
