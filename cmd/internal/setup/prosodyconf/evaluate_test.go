package prosodyconf

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// tree is a configuration of several files.
type tree map[string]string

func (t tree) source() Source {
	return Source{
		Read: func(path string) (string, string, bool, error) {
			text, ok := t[path]
			if !ok {
				return "", "", false, errors.New(path + " is not there")
			}
			return text, path, false, nil
		},
		Glob: func(pattern string) (all []string) {
			before, after, star := strings.Cut(pattern, "*")
			for _, name := range []string{"/etc/prosody/conf.d/a.cfg.lua", "/etc/prosody/conf.d/b.cfg.lua", "/etc/prosody/extra.lua"} {
				if _, ok := t[name]; ok && (name == pattern || star && strings.HasPrefix(name, before) && strings.HasSuffix(name, after)) {
					all = append(all, name)
				}
			}
			return all
		},
	}
}

func (t tree) load(tt *testing.T) []*File {
	tt.Helper()
	all, err := Load("/etc/prosody/prosody.cfg.lua", t.source())
	require.NoError(tt, err)
	return all
}

// Whatever way of writing Lua takes, the hosts and options are those that Prosody
// sees.
func TestWaysOfWritingHosts(t *testing.T) {
	for name, text := range map[string]string{
		"as in the documentation": "VirtualHost \"meet.example\"\n\tmodules_enabled = { \"a\"; \"visitors\" }\nComponent \"conference.meet.example\" \"muc\"\n\tadmins = { \"x\" }\n",
		"single quotes":           "VirtualHost 'meet.example'\nmodules_enabled = { 'a', 'visitors' }\nComponent 'conference.meet.example' 'muc'\nadmins = { 'x' }\n",
		"parentheses":             "VirtualHost(\"meet.example\")\n\tmodules_enabled = { \"a\"; \"visitors\" }\nComponent(\"conference.meet.example\")(\"muc\")\n\tadmins = { \"x\" }\n",
		"parentheses and spaces":  "VirtualHost ( 'meet.example' ) modules_enabled = { [[a]], [==[visitors]==] } Component ( \"conference.meet.example\" ) \"muc\" admins = { 'x' };\n",
		"a variable":              "local domain = \"meet.example\"\nVirtualHost(domain)\nmodules_enabled = { \"a\"; \"visitors\" }\nComponent(\"conference.\" .. domain) \"muc\"\nadmins = { \"x\" }\n",
		"comments everywhere":     "VirtualHost --[[ the \"main\" one ]] \"meet.example\" -- VirtualHost \"other\"\n--[==[\nVirtualHost \"no\" ]==]\nmodules_enabled = { -- \"c\"\n \"a\"; --[[ \"d\" ]] \"visitors\" }\nComponent \"conference.meet.example\" --\n \"muc\"\nadmins = { \"x\" }\n",
		"capitals and a dot":      "VirtualHost \"Meet.Example.\"\nmodules_enabled = { \"a\"; \"visitors\" }\nComponent \"CONFERENCE.meet.example\" \"muc\"\nadmins = { \"x\" }\n",
		"settings in braces":      "VirtualHost \"meet.example\" { modules_enabled = { \"a\"; \"visitors\" } }\nComponent \"conference.meet.example\" \"muc\" { admins = { \"x\" } }\n",
		"a loop and a condition":  "for _, d in ipairs { \"meet.example\" } do VirtualHost(d) modules_enabled = { \"a\" } end\nif true then modules_enabled = { \"a\"; \"visitors\" } else modules_enabled = {} end\nComponent \"conference.meet.example\" \"muc\"\nadmins = { \"x\" }\n",
		"escapes":                 "VirtualHost \"meet\\46example\"\nmodules_enabled = { \"a\"; \"\\118isitors\" }\nComponent \"conference.meet.example\" \"muc\"\nadmins = { \"x\" }\n",
	} {
		t.Run(name, func(t *testing.T) {
			f := tree{"/etc/prosody/prosody.cfg.lua": text}.load(t)[0]
			require.NoError(t, f.Err)
			host, ok := f.Host("meet.example")
			require.True(t, ok)
			require.False(t, host.Component)
			modules, ok := f.Option("meet.example", "modules_enabled")
			require.True(t, ok)
			require.Equal(t, map[string]bool{"a": true, "visitors": true}, f.Strings(modules))
			if modules.Open > 0 {
				require.Equal(t, byte('{'), text[modules.Open-1])
				require.Equal(t, byte('}'), text[modules.End])
			}
			rooms, ok := f.Host("conference.meet.example")
			require.True(t, ok)
			require.True(t, rooms.Component)
			require.Equal(t, "muc", rooms.Module)
			_, ok = f.Option("conference.meet.example", "admins")
			require.True(t, ok)
			_, ok = f.Host("no")
			require.False(t, ok)
		})
	}
}

// Prosody looks at no second argument of Component.
func TestSecondArgumentOfComponent(t *testing.T) {
	f := Parse("p", "Component(\"rooms.example\", \"muc\")\n\tadmins = { \"x\" }\n")
	require.NoError(t, f.Err)
	host, ok := f.Host("rooms.example")
	require.True(t, ok)
	require.Empty(t, host.Module)
	admins, ok := f.Option("rooms.example", "admins")
	require.True(t, ok)
	require.Equal(t, 2, admins.Line)
	require.Positive(t, admins.Open)
}

// The last assignment counts, in whatever file it is, and each file begins in the
// global section.
func TestSeveralFiles(t *testing.T) {
	all := tree{
		"/etc/prosody/prosody.cfg.lua":  "x = 'first'\nVirtualHost 'one'\nInclude 'conf.d/*.cfg.lua'\ny = 'of one'\nInclude(\"/etc/prosody/extra.lua\")\n",
		"/etc/prosody/conf.d/a.cfg.lua": "x = 'a'\nVirtualHost 'a.example'\nz = 'a'\n",
		"/etc/prosody/conf.d/b.cfg.lua": "x = 'b'\n",
		"/etc/prosody/extra.lua":        "VirtualHost 'a.example' z = 'extra'\n",
	}.load(t)
	require.Len(t, all, 4)
	for _, tc := range []struct{ host, name, value, path string }{
		{"", "x", "b", "/etc/prosody/conf.d/b.cfg.lua"},
		{"one", "y", "of one", "/etc/prosody/prosody.cfg.lua"},
		{"a.example", "z", "extra", "/etc/prosody/extra.lua"},
	} {
		f, o, ok := Last(all, tc.host, tc.name)
		require.True(t, ok, tc.name)
		require.Equal(t, tc.value, o.Value)
		require.Equal(t, tc.path, f.Path)
	}
	_, _, ok := Last(all, "one", "x")
	require.False(t, ok)
	_, _, ok = Last(all, "a.example", "y")
	require.False(t, ok)
}

// Values that a program computes are known, their places are not.
func TestComputedValues(t *testing.T) {
	f := Parse("p", `
local common = { "a", "b" }
modules_enabled = common
VirtualHost "one"
modules_enabled = { "c"; }
modules_enabled:append { "d" }
local name = ("x"):rep(3)
text = name .. os.getenv("HOME") and "y" or "z"
s2sout_override = { ["v1.meet.jitsi"] = "tcp://127.0.0.1:1"; ["a"] = { "10.0.0.1", 5269 } }
secret = FileLine("/etc/passwd")
external_services = { { type = "turn", host = name, port = 3478 } }
`)
	f2 := Parse("p", strings.Replace(f.Text, `text = name .. os.getenv("HOME") and "y" or "z"`, `text = name`, 1))
	require.Error(t, f.Err, "Lua does not append nothing")
	require.NoError(t, f2.Err)
	global, ok := f2.Option("", "modules_enabled")
	require.True(t, ok)
	require.Equal(t, map[string]bool{"a": true, "b": true}, f2.Strings(global))
	require.Zero(t, global.Open)
	require.True(t, global.IsTable())
	one, _ := f2.Option("one", "modules_enabled")
	require.Equal(t, map[string]bool{"c": true, "d": true}, f2.Strings(one))
	require.Positive(t, one.Open)
	text, _ := f2.Option("one", "text")
	require.Equal(t, "xxx", text.Value)
	override, _ := f2.Option("one", "s2sout_override")
	require.Equal(t, "tcp://127.0.0.1:1", override.Entry("v1.meet.jitsi"))
	require.Equal(t, "10.0.0.1 5269", override.Entry("a"))
	secret, ok := f2.Option("one", "secret")
	require.True(t, ok)
	require.Empty(t, secret.Value, "no file is read")
	services, _ := f2.Option("one", "external_services")
	require.Equal(t, []map[string]string{{"type": "turn", "host": "xxx", "port": "3478"}}, f2.Records(services))
}

// What cannot be run, since it is wrong, newer or endless, is read as text, and
// the reason is told.
func TestWhatCannotBeRunIsRead(t *testing.T) {
	for name, before := range map[string]string{
		"a newer Lua":      "local x <const> = 7 // 2\n",
		"an error":         "error 'no'\n",
		"a missing module": "local m = os.execute 'x'\n",
		"without end":      "while true do end\n",
	} {
		f := Parse("p.lua", before+"VirtualHost(\"one\")\nmodules_enabled = { \"a\" }\n")
		require.ErrorContains(t, f.Err, "p.lua", name)
		modules, ok := f.Option("one", "modules_enabled")
		require.True(t, ok, name)
		require.Equal(t, map[string]bool{"a": true}, f.Strings(modules))
	}
}

// What the text of such a file includes is read all the same, once.
func TestIncludesOfWhatCannotBeRun(t *testing.T) {
	for name, text := range map[string]string{
		"not parsed":      "local x = 7 // 2\nVirtualHost 'One.'\nInclude 'conf.d/*.cfg.lua'\nInclude(\"extra.lua\")\n",
		"not run":         "error 'no'\nVirtualHost('ONE')\nInclude \"conf.d/*.cfg.lua\" include [[/etc/prosody/extra.lua]]\n",
		"run to a part":   "VirtualHost 'one' Include 'conf.d/*.cfg.lua' error 'no' Include 'extra.lua'\n",
		"commented":       "error 'no' -- Include 'none.lua'\nVirtualHost 'one' Include 'conf.d/*.cfg.lua' Include 'extra.lua' Include 'extra.lua'\n",
		"in another file": "VirtualHost 'one' Include 'conf.d/*.cfg.lua'\n",
	} {
		all := tree{
			"/etc/prosody/prosody.cfg.lua":  text,
			"/etc/prosody/conf.d/a.cfg.lua": "VirtualHost 'two'" + map[bool]string{true: " error 'no' Include '../extra.lua'"}[name == "in another file"],
			"/etc/prosody/extra.lua":        "VirtualHost 'three'",
		}.load(t)
		require.Len(t, all, 3, name)
		for i, host := range []string{"one", "two", "three"} {
			_, ok := all[i].Host(host)
			require.True(t, ok, "%s: %s", name, host)
		}
	}
}

// A configuration that setup looks at does nothing to the machine.
func TestNothingIsRun(t *testing.T) {
	for _, call := range []string{"io.open('/etc/passwd')", "os.execute('true')", "os.remove('x')", "dofile('x')", "loadstring('x = 1')()", "load('x = 1')", "package.loadlib('x')", "debug.getinfo(1)"} {
		f := Parse("p", "a = 'b'\n"+call+"\nc = 'd'\n")
		require.Error(t, f.Err, call)
	}
	self := tree{"/etc/prosody/prosody.cfg.lua": "Include '/etc/prosody/extra.lua'", "/etc/prosody/extra.lua": "Include '/etc/prosody/extra.lua'"}
	_, err := loadWithin(time.Minute, "/etc/prosody/prosody.cfg.lua", self.source())
	require.ErrorContains(t, err, "more than 200 files")
}
