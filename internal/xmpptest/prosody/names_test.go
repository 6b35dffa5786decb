package prosody

import (
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vnode/internal/wire"
	"vnode/internal/xmpptest/needs"
)

// prosodysNames asks Prosody's own library, in Lua, for what it makes of each
// name; "" where it refuses one.
func prosodysNames(t *testing.T, profile string, names []string) []string {
	needs.Programs(t, "prosody")
	t.Helper()
	const script = `
package.cpath = "/usr/lib/prosody/?.so;/usr/local/lib/prosody/?.so;" .. package.cpath;
local prep = require "util.encodings".stringprep[arg[1]];
for name in io.lines() do print(prep(name) or ""); end`
	cmd := exec.CommandContext(t.Context(), "lua5.4", "-e", "arg = { '"+profile+"' }"+script)
	cmd.Stdin = strings.NewReader(strings.Join(names, "\n") + "\n")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	all := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	require.Len(t, all, len(names))
	return all
}

// someNames are names of all scripts, among them ones that nobody would give.
func someNames(n int) (all []string) {
	r := rand.New(rand.NewPCG(7, 11)) // the same each time
	ranges := [][2]rune{{0x21, 0x7e}, {0xa1, 0x24f}, {0x300, 0x36f}, {0x370, 0x52f}, {0x5d0, 0x5ea}, {0x621, 0x669}, {0x900, 0x97f}, {0xe01, 0xe5b},
		{0x10a0, 0x10ff}, {0x1e00, 0x1fff}, {0x2000, 0x20ff}, {0x2100, 0x21ff}, {0x2460, 0x24ff}, {0x2600, 0x27bf}, {0x3001, 0x30ff}, {0x4e00, 0x9fa5},
		{0xac00, 0xd7a3}, {0xf900, 0xfaff}, {0xfb00, 0xfdfb}, {0xfe00, 0xfe0f}, {0xff01, 0xffee}, {0x1d400, 0x1d7ff}, {0x1f300, 0x1f6ff}, {0x1f900, 0x1f9ff}}
	for range n {
		var name strings.Builder
		one := ranges[r.IntN(len(ranges))]
		for range 1 + r.IntN(5) {
			in := one
			if r.IntN(4) == 0 {
				in = ranges[r.IntN(len(ranges))]
			}
			name.WriteRune(in[0] + r.Int32N(in[1]-in[0]+1))
		}
		all = append(all, name.String())
	}
	return all
}

// The node calls a room and a tenant by the name that Prosody has made of it, and
// takes what Prosody takes.
func TestNamesAreProsodysNames(t *testing.T) {
	names := append(someNames(4000), "1täst", "2024-größe", "[täst]room", "GRÖSSE", "İstanbul", "ΣΊΣΥΦΟΣ", "غرفة", "חדר-ישיבות", "חדר2", "ห้องประชุม",
		"会議室", "ｶﾀｶﾅ", "🎉party", "👩‍💻", "❤️", "👨\u200d👩\u200d👧", "🏳\ufe0f\u200d🌈", "🫩", "می\u200cخواهم", "e\u0301", "1t%c3%a4st", "a@b", "a b", "＠")
	for i, want := range prosodysNames(t, "nodeprep", names) {
		j, err := wire.ParseJID(names[i] + "@conference.example")
		if strings.ContainsAny(names[i], "@/") {
			continue // another address
		}
		require.Equal(t, want == "", err != nil, "%q: Prosody says %q, the node %v", names[i], want, err)
		if err == nil {
			require.Equal(t, want, j.Local, "%q", names[i])
		}
	}
	for i, want := range prosodysNames(t, "nameprep", names) {
		j, err := wire.ParseJID("conference." + names[i] + ".example")
		if want == "" || strings.ContainsAny(want+names[i], `"&'/<>@. `) {
			continue // what is no label, the node refuses
		}
		require.NoError(t, err, "%q: Prosody says %q", names[i], want)
		require.Equal(t, "conference."+want+".example", j.Domain, "%q", names[i])
	}
	for i, want := range prosodysNames(t, "resourceprep", names) {
		j, err := wire.ParseJID("room@conference.example/" + names[i])
		require.Equal(t, want == "", err != nil, "%q: Prosody says %q, the node %v", names[i], want, err)
		if err == nil {
			require.Equal(t, want, j.Resource, "%q", names[i])
		}
	}
}
