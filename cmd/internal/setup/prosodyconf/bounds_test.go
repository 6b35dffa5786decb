package prosodyconf

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Whatever a configuration does to take time or memory without end, it is read as
// text then, and the reason is told.
func TestConfigurationsWithoutBounds(t *testing.T) {
	for name, tc := range map[string]struct{ text, because string }{
		"a loop":                      {"while true do end", "steps"},
		"a loop that catches":         {"while true do pcall(function() while true do end end) end", "steps"},
		"recursion":                   {"local function f(n) return 1 + f(n + 1) end f(1)", "stack overflow"},
		"recursion by metatables":     {"local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k .. 'x'] end local x = t.a", ""},
		"an appended string":          {"local s = 'x' while true do s = s .. s end", "bytes"},
		"many strings in one":         {"local s = ('x'):rep(100000) local t = s..s..s..s..s..s..s..s..s..s..s..s", "bytes"},
		"a string in a table":         {"local t = { s = 'x' } while true do t.s = t.s .. t.s end", "bytes"},
		"an option that grows":        {"x = 'x' while true do x = x .. x end", "bytes"},
		"appended by a hidden name":   {"local s = 'x' while true do s = _G['..'](s, s) end", "bytes"},
		"rep":                         {"local s = ('x'):rep(1e10)", "rep"},
		"rep of separators":           {"local s = (''):rep(1e9, 'x')", "rep"},
		"rep of rep":                  {"local s = string.rep(string.rep('x', 1e5), 1e5)", "rep"},
		"a width":                     {"local s = ('%99999999d'):format(1)", "format"},
		"a precision":                 {"local s = string.format('%.999999f', 1)", "format"},
		"one argument many times":     {"local s = (('%[1]s'):rep(1000)):format(('x'):rep(1000000))", "format"},
		"concat":                      {"local t, s = {}, ('x'):rep(100000) for i = 1, 1000 do t[i] = s end local x = table.concat(t)", "concat"},
		"concat's separator":          {"local t, s = {}, ('x'):rep(100000) for i = 1, 1000 do t[i] = '' end local x = table.concat(t, s)", "concat"},
		"concat's end":                {"local x = table.concat({}, ',', 1, 1e9)", "concat"},
		"a replacement":               {"local x = ('x'):rep(60000):gsub('x', ('y'):rep(60000))", "gsub"},
		"a replacement of the whole":  {"local x = ('x'):rep(60000):gsub('.*', ('%0'):rep(10000))", "gsub"},
		"a replacement by a function": {"local y = ('y'):rep(10000) local x = ('x'):rep(60000):gsub('x', function() return y end)", "gsub"},
		"a replacement by a table":    {"local x = ('x'):rep(60000):gsub('x', { x = ('y'):rep(10000) })", "gsub"},
		"a long subject":              {"local x = ('x'):rep(100000):find('.-y')", "find"},
		"a table without end":         {"local t = {} while true do t[#t + 1] = {} end", "steps"},
		"tables of arguments":         {"local function f(...) return {...} end local t = {} for i = 1, 1e9 do t[i] = f(unpack({}, 1, 200)) end", ""},
		"a table in itself":           {"local t = {} for i = 1, 100 do t[i] = t end x = t", "entries"},
		"tables in themselves":        {"local a, b = {}, {} for i = 1, 50 do a[i], a['k' .. i], b[i] = b, b, a end x = { a, b, y = { a } }", "entries"},
		"one table in many options":   {"local t = {} for i = 1, 20000 do t[i] = 'x' .. i end for i = 1, 20000 do _G['x' .. i] = t end", "entries"},
		"nested tables":               {"x = " + strings.Repeat("{", 5_000) + strings.Repeat("}", 5_000), "nested"},
		"nested functions":            {strings.Repeat("local function f() ", 2_000) + strings.Repeat(" end ", 2_000), "nested"},
		"many operators":              {"x = " + strings.Repeat("not ", 5_000) + "true", "nested"},
		"many appended":               {"x = 'a'" + strings.Repeat(" .. 'a'", 5_000), "nested"},
		"a file of two megabytes":     {strings.Repeat("-", 2<<20), "bytes"},
		"Includes of Includes":        {"Include '/etc/prosody/extra.lua'", ""},
		"sorting by nonsense":         {"local t = {} for i = 1, 1000 do t[i] = i end while true do table.sort(t, function(a, b) return true end) end", ""},
	} {
		t.Run(name, func(t *testing.T) {
			all, err := loadWithin(time.Minute, "/etc/prosody/prosody.cfg.lua", tree{ // not what is bounded here
				"/etc/prosody/prosody.cfg.lua": tc.text + "\nVirtualHost(\"one\")\nmodules_enabled = { \"a\" }\n",
				"/etc/prosody/extra.lua":       "Include '/etc/prosody/extra.lua'",
			}.source())
			if err != nil {
				require.ErrorContains(t, err, "more than 200 files")
				return
			}
			f := all[0]
			require.ErrorContains(t, f.Err, tc.because)
			require.Less(t, len(f.Err.Error()), 300)
			modules, ok := f.Option("one", "modules_enabled")
			require.True(t, ok)
			require.Equal(t, map[string]bool{"a": true}, f.Strings(modules))
		})
	}
}

// A function of Lua that does not come back is left alone, and all is read as text.
func TestAFunctionThatDoesNotComeBack(t *testing.T) {
	files := tree{
		"/etc/prosody/prosody.cfg.lua":  "local s = ('a'):rep(25) local x = s:find(('a?'):rep(25) .. s .. 'b')\nVirtualHost 'one'\n",
		"/etc/prosody/conf.d/a.cfg.lua": "VirtualHost 'two'\n",
	}
	from := files.source()
	from.Otherwise = "/etc/prosody/conf.d/*.cfg.lua"
	all, err := loadWithin(50*time.Millisecond, "/etc/prosody/prosody.cfg.lua", from)
	require.NoError(t, err)
	require.Len(t, all, 2)
	for i, host := range []string{"one", "two"} {
		require.ErrorContains(t, all[i].Err, "it takes more than")
		_, ok := all[i].Host(host)
		require.True(t, ok)
	}
}

// What configurations do with strings they may do.
func TestWithinBounds(t *testing.T) {
	f := Parse("p", `
local domain = "meet.example"
a = "x" .. 1 .. "." .. 2 .. domain
b = ("%s-%03d-%q"):format(domain, 7, "q") .. table.concat({ "a", "b" }, ",")
c = domain:gsub("(%w+)%.(%w+)", "%2.%1")
d = domain:gsub("%w+", { meet = "meeting" })
e = domain:gsub("(%w+)", function(w) return w:upper() end)
f = domain:gsub("e", function() end)
g = setmetatable({}, { __concat = function(a, b) return "own" end }) .. "x"
h = ("=" ):rep(3) .. tostring(domain:find("%.")) .. domain:match("^(.-)%.")
local parts = {}
for w in domain:gmatch("%w+") do parts[#parts + 1] = w end
i = parts[2] .. #parts
j = ("a"):rep(0) .. ("b"):rep(-1)
local ok, err = pcall(function() return "x" .. {} end)
k = err
l = (("x"):rep(100000)):sub(1, 3)
m = ("ab"):rep(3, "-") .. ("c"):rep(1, "-")
n = os.time() > 0 and os.date("%Y") > "2000" and prosody.version ~= nil and "now"
`)
	require.NoError(t, f.Err)
	for name, want := range map[string]string{
		"a": "x1.2meet.example", "b": `meet.example-007-"q"a,b`, "c": "example.meet", "d": "meeting.example", "e": "MEET.EXAMPLE", "f": "meet.example",
		"g": "own", "h": "===5meet", "i": "example2", "j": "", "l": "xxx", "m": "ab-ab-abc", "n": "now",
	} {
		o, ok := f.Option("", name)
		require.True(t, ok, name)
		require.Equal(t, want, o.Value, name)
	}
	k, _ := f.Option("", "k")
	require.Contains(t, k.Value, "attempt to concatenate a string value with a table value")
}

// Prosody's configuration may ask the environment; what is in files stays unknown.
func TestEnvironmentOfAConfiguration(t *testing.T) {
	from := tree{"/etc/prosody/prosody.cfg.lua": `
VirtualHost(os.getenv("DOMAIN") or "meet.example")
admins = { ENV_ADMIN, Lua.os.getenv("ADMIN2") or "nobody" }
secret = "x" .. FileLine("/etc/secret")
password = Credential("db"):gsub("x", "y")
if ENV_UNSET then error "set" end
`}.source()
	from.Getenv = func(name string) string {
		return map[string]string{"DOMAIN": "big.example", "ADMIN": "focus@auth.big.example"}[name]
	}
	all, err := Load("/etc/prosody/prosody.cfg.lua", from)
	require.NoError(t, err)
	require.NoError(t, all[0].Err)
	admins, ok := all[0].Option("big.example", "admins")
	require.True(t, ok)
	require.Equal(t, map[string]bool{"focus@auth.big.example": true, "nobody": true}, all[0].Strings(admins))
	secret, ok := all[0].Option("big.example", "secret")
	require.True(t, ok)
	require.Empty(t, secret.Value)
}

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	require.NoError(t, os.WriteFile(path, []byte("x = 1"), 0o600))
	text, err := ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "x = 1", text)
	require.NoError(t, os.Truncate(path, maxText+1))
	_, err = ReadFile(path)
	require.ErrorContains(t, err, "a configuration has 1048576 at most")
	_, err = ReadFile(dir)
	require.ErrorContains(t, err, "is not a file")
	if runtime.GOOS == "linux" {
		_, err = ReadFile("/dev/zero")
		require.ErrorContains(t, err, "is not a file")
	}
}
