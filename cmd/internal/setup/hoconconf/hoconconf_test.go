package hoconconf

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// However it is written, the host is the same.
func TestRead(t *testing.T) {
	for name, text := range map[string]string{
		"objects":             "jicofo {\n  rest {\n    host = \"10.0.0.5\"\n    port = 9999\n  }\n}\n",
		"a path":              `jicofo.rest.host = "10.0.0.5", jicofo.rest.port = 9999`,
		"a path of an object": "jicofo { rest.host : 10.0.0.5\n rest.port:9999 }",
		"JSON":                `{"jicofo": {"a": ["x", {"host": "no"}, ""], "rest": {"host": "10.0.0.5", "port": 9999}}}`,
		"comments":            "# jicofo.rest.host = no\njicofo { // {\n rest { host = 10.0.0.5 # the address\n  port = 9999 // of it\n}}",
		"the last counts":     "jicofo.rest { host = a, port = 1 }\njicofo.rest.host = b\njicofo { rest { host = 10.0.0.5 } }\njicofo.rest.port = 9999",
		"triple quotes":       "jicofo.rest.host = \"\"\"10.0.0.5\"\"\"\njicofo.rest.port = 9999",
		"a value of two":      "jicofo.rest.host = 10.\"0\".0.5\njicofo.rest.port = 99\"99\"",
		"on the next line":    "jicofo {\n  rest =\n  {\n host =\n\n \"10.0.0.5\"\n port = 9999 } }",
		"no last brace":       "jicofo { rest { host = 10.0.0.5\n port = 9999",
		"carriage returns":    "jicofo {\r\n  rest {\r\n    host = 10.0.0.5\r\n    port = 9999\r\n  }\r\n}\r\n",
		"a list that grows":   "jicofo { hosts += host\n list = [ a, b\n c ], rest { codecs += \"x\"\n host = 10.0.0.5\n port = 9999 } }",
		"an include":          "include \"rest.conf\"\n",
		"a required include":  "jicofo { include required(file(\"/etc/jitsi/rest-inner.conf\")) }\njicofo.rest.port = 9999",
		"includes of itself":  "include \"self.conf\"\njicofo.rest { host = 10.0.0.5\nport = 9999 }",
		"escapes":             `jicofo.rest { "host" = "10\.0.0.5", "port" = "9999" }`,
		"other substitutions": "jicofo { xmpp.password = ${PW}\n x = ${?A}\"b\"\n rest { host = 10.0.0.5, port = 9999 } }\n${b} = 1\n",
		"what is no HOCON":    "]]] = : { }\n= 1\n}\n: x\njicofo.rest { host = 10.0.0.5\nport = 9999 }",
	} {
		t.Run(name, func(t *testing.T) {
			r := Read(text, func(name string) string {
				return map[string]string{
					"rest.conf": "jicofo.rest { host = 10.0.0.5, port = 9999 }", "self.conf": `include "self.conf"`,
					"/etc/jitsi/rest-inner.conf": "rest.host = 10.0.0.5",
				}[name]
			})
			host, sure := r.Value("jicofo.rest.host")
			require.Equal(t, "10.0.0.5", host)
			require.True(t, sure)
			port, sure := r.Value("jicofo.rest.port")
			require.Equal(t, "9999", port)
			require.True(t, sure)
		})
	}
}

// What the environment of jicofo decides nobody else knows.
func TestReadWithSubstitutions(t *testing.T) {
	r := Read("jicofo.rest { host = 10.0.0.5\n host = ${?JICOFO_HOST}\n port = ${PORT}\n tls = a\n tls = ${x}\n tls = b }", nil)
	for path, want := range map[string]struct {
		text string
		sure bool
	}{"jicofo.rest.host": {"10.0.0.5", false}, "jicofo.rest.port": {"", false}, "jicofo.rest.tls": {"b", true}, "jicofo.rest.other": {"", true}} {
		text, sure := r.Value(path)
		require.Equal(t, want.text, text, path)
		require.Equal(t, want.sure, sure, path)
	}
}

func FuzzRead(f *testing.F) {
	f.Add("jicofo { rest { host = \"\"\"x\"\"\"\n a += [ {b=c} ] } }")
	f.Add("include \"a\"\n{ \"x\\\"\" : ${?y} // z\n}")
	f.Add(`a = "\\`)
	f.Add("a+[#0")
	f.Fuzz(func(t *testing.T, text string) {
		Read(text, func(string) string { return text })
	})
}
