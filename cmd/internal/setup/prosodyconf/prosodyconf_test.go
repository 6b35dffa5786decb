package prosodyconf

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

const sample = `
-- modules_enabled = { "commented" }
modules_enabled = { "a"; 'b'; -- "c"
	--[[ "d"; ]] [["e"]]; "f\"g";
}
text = "one" ; number = 3
--[==[ VirtualHost "nowhere"
]==]
VirtualHost "one.example"
	modules_enabled = { "x" }
	ssl = { key = "k"; nested = { a = "}" } }
	flag = true
Component "two.example" "muc"
	admins = { "focus@auth.example" }
text = "two"
Component "three.example"
external_services = {
	{ type = "stun", host = "h", port = 3478 },
	{ type = "turn", host = 't', transport = "udp", secret = true };
}
`

func TestParse(t *testing.T) {
	f := Parse("p", sample)
	modules, ok := f.Option("", "modules_enabled")
	require.True(t, ok)
	require.Equal(t, 3, modules.Line)
	require.Equal(t, map[string]bool{"a": true, "b": true, `"e"`: true, `f"g`: true}, f.Strings(modules))
	require.Equal(t, byte('{'), sample[modules.Open-1])
	require.Equal(t, byte('}'), sample[modules.End])
	text, _ := f.Option("", "text")
	require.Equal(t, "one", text.Value)
	text, _ = f.Option("two.example", "text")
	require.Equal(t, "two", text.Value)
	one, ok := f.Host("one.example")
	require.True(t, ok)
	require.False(t, one.Component)
	two, _ := f.Host("two.example")
	require.Equal(t, Host{Name: "two.example", Module: "muc", Component: true, Line: 13}, two)
	_, ok = f.Host("nowhere")
	require.False(t, ok)
	_, ok = f.Option("one.example", "nested")
	require.False(t, ok, "not at the top level")
	services, _ := f.Option("three.example", "external_services")
	require.Equal(t, []map[string]string{
		{"type": "stun", "host": "h", "port": "3478"},
		{"type": "turn", "host": "t", "transport": "udp", "secret": "true"},
	}, f.Records(services))
}

func FuzzParse(f *testing.F) {
	f.Add(sample)
	f.Add(`a = { "`)
	f.Add(`--[==[`)
	f.Add("x = [[")
	f.Fuzz(func(t *testing.T, text string) {
		file := Parse("", text)
		for _, o := range file.Options {
			if o.Open > 0 {
				file.Strings(o)
				file.Records(o)
			}
		}
	})
}

// Debian's own configuration is understood.
func TestDebiansConfiguration(t *testing.T) {
	text, err := os.ReadFile("/etc/prosody/prosody.cfg.lua")
	if err != nil {
		return // prosody is installed, its configuration was removed
	}
	f := Parse("prosody.cfg.lua", string(text))
	modules, ok := f.Option("", "modules_enabled")
	require.True(t, ok)
	require.True(t, f.Strings(modules)["tls"])
}
