// Package imports holds no code: its test keeps the import graph of the module
// what docs/ARCHITECTURE.md says it is.
package imports

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// rule says which packages of this module some packages may import. The first
// rule whose path matches a package counts.
type rule struct {
	path    string   // a package, or with /... it and those below it
	may     []string // likewise
	because string
}

var rules = []rule{
	{"vnode/internal/wire", nil,
		"floor 1: bytes of XML, without sockets, goroutines or rules"},
	{"vnode/internal/socket", nil,
		"floor 0: sockets, and nothing of what they carry"},
	{"vnode/internal/table", nil,
		"floor 0: values by their keys, whatever they are"},
	{"vnode/internal/guard", nil,
		"floor 0: what meets a panic, whatever it is"},
	{"vnode/internal/fifo", nil,
		"floor 0: a queue, whatever waits in it"},
	{"vnode/fanout", []string{"vnode/internal/socket", "vnode/internal/guard"},
		"floor 1: it knows bytes and sessions, not XMPP"},
	{"vnode/s2s/trust", nil,
		"who is believed is decided without a connection"},
	{"vnode/s2s/acks", nil,
		"a pure state machine: it counts stanzas and does not read them"},
	{"vnode/s2s", []string{"vnode/internal/wire", "vnode/internal/guard", "vnode/s2s/trust", "vnode/s2s/acks"},
		"floor 2: streams to servers know neither rooms nor clients; node ties them"},
	{"vnode/internal/address", []string{"vnode/internal/wire"},
		"names of rooms and domains, whatever goes on there"},
	{"vnode/muc/history", nil,
		"what was said is kept as it was encoded; how, is the rooms' business"},
	{"vnode/muc/rate", nil,
		"token buckets know nothing of what they bound"},
	{"vnode/muc/polls", nil,
		"a pure state machine: what JSON says of polls, without XML, people's addresses or time"},
	{"vnode/muc/files", nil,
		"a pure state machine: what JSON says of files, without XML or time"},
	{"vnode/muc/room", []string{"vnode/internal/wire", "vnode/fanout", "vnode/internal/address", "vnode/muc/history", "vnode/muc/rate",
		"vnode/muc/polls", "vnode/muc/files", "vnode/internal/table", "vnode/internal/fifo"},
		"floor 2: one room, a pure state machine; it encodes messages and knows nobody who carries them"},
	{"vnode/muc", []string{"vnode/internal/wire", "vnode/fanout", "vnode/internal/address", "vnode/muc/rate", "vnode/muc/files", "vnode/muc/room",
		"vnode/internal/table", "vnode/internal/fifo", "vnode/internal/guard"},
		"floor 2: rooms know neither sockets nor streams; they declare the Session and Remote they need"},
	{"vnode/internal/visitorlist/stomp", nil,
		"frames are frames, whatever they carry"},
	{"vnode/internal/visitorlist", []string{"vnode/internal/visitorlist/stomp", "vnode/internal/guard"},
		"floor 2: the list knows neither rooms nor tokens; it declares the Rooms and the Gate it needs"},
	{"vnode/visitor/websocket", nil,
		"a transport's framing stands alone"},
	{"vnode/visitor/bosh", []string{"vnode/internal/wire", "vnode/internal/guard"},
		"a transport's framing stands alone; bodies are checked as stanzas are"},
	{"vnode/visitor/token", []string{"vnode/internal/guard"},
		"what a token proves is known without streams"},
	{"vnode/visitor/sasl", []string{"vnode/internal/wire"},
		"passwords are checked without streams"},
	{"vnode/visitor/admission", nil,
		"who may come in is known without streams"},
	{"vnode/visitor/request", nil,
		"what a request says is read before there is a stream"},
	{"vnode/visitor/sibling", []string{"vnode/internal/wire", "vnode/internal/guard"},
		"requests are passed on before anybody looks further into them than whom they are for"},
	{"vnode/visitor", []string{"vnode/internal/wire", "vnode/internal/address", "vnode/fanout", "vnode/visitor/websocket", "vnode/visitor/bosh",
		"vnode/visitor/token", "vnode/visitor/sasl", "vnode/visitor/admission", "vnode/visitor/request", "vnode/internal/socket", "vnode/internal/table", "vnode/internal/guard"},
		"floor 2: clients know neither rooms nor servers; they declare the Handler they need"},
	{"vnode/internal/child", nil,
		"it only runs programs"},
	{"vnode/internal/port", nil,
		"it only holds ports"},
	{"vnode/bench/crowd", []string{"vnode/internal/wire", "vnode/internal/xmpptest/conference", "vnode/bench/report"},
		"an independent peer, as the conference is"},
	{"vnode/bench/lab", []string{"vnode/internal/wire", "vnode/internal/child", "vnode/internal/port", "vnode/internal/xmpptest/conference", "vnode/bench/crowd", "vnode/bench/report"},
		"it drives a node from outside, and knows it by its program and its ports"},
	{"vnode/bench/report", nil,
		"figures are figures, whoever took them"},
	{"vnode/bench/compare", []string{"vnode/internal/xmpptest/conference", "vnode/bench/crowd", "vnode/bench/peers", "vnode/bench/peers/floor", "vnode/bench/report"},
		"it measures servers from outside"},
	{"vnode/bench/peers/floor", []string{"vnode/internal/wire"},
		"the floor must not lean on what is measured against it"},
	{"vnode/bench/peers", []string{"vnode/internal/xmpptest/conference", "vnode/bench/peers/floor", "vnode/internal/child", "vnode/internal/port"},
		"other servers, and ours, run as programs"},
	{"vnode/internal/xmpptest/...", []string{"vnode/internal/wire", "vnode/internal/port", "vnode/internal/xmpptest/..."},
		"test peers must not lean on what they test"},
	{"vnode/internal/conformance", nil,
		"it only looks at the tests"},
	{"vnode/internal/imports", nil,
		"it only looks at the others"},
	{"vnode/cmd/internal/config", []string{"vnode/internal/wire"},
		"settings are read before any part exists"},
	{"vnode/cmd/internal/state", nil,
		"what a node keeps is found without knowing what it is for"},
	{"vnode/cmd/internal/memory", nil,
		"the runtime's memory, whatever fills it"},
	{"vnode/cmd/internal/admin/access", nil,
		"who asks is known by the request and the token alone"},
	{"vnode/cmd/internal/admin/api", []string{"vnode/cmd/internal/admin/access"},
		"what operators ask for over HTTP; node says how it is done"},
	{"vnode/cmd/internal/admin", []string{"vnode/cmd/internal/admin/access", "vnode/internal/guard"},
		"the operator's listener is told what to show"},
	{"vnode/cmd/internal/logging", nil,
		"it knows records, not what they are about"},
	{"vnode/cmd/internal/build", nil,
		"it knows only what the toolchain stamped"},
	{"vnode/cmd/internal/systemd", nil,
		"manners towards the service manager, whatever the service is"},
	{"vnode/cmd/internal/node", []string{"vnode/cmd/internal/config", "vnode/cmd/internal/admin", "vnode/cmd/internal/admin/api", "vnode/cmd/internal/logging",
		"vnode/cmd/internal/systemd", "vnode/cmd/internal/state", "vnode/cmd/internal/memory", "vnode/internal/wire", "vnode/internal/guard",
		"vnode/fanout", "vnode/s2s", "vnode/muc", "vnode/muc/rate", "vnode/muc/room", "vnode/visitor", "vnode/visitor/...", "vnode/internal/visitorlist"},
		"composition: it makes every part, and knows no protocol"},
	{"vnode/cmd/internal/setup/...", []string{"vnode/cmd/internal/config", "vnode/cmd/internal/setup/..."},
		"it writes what a node reads, and runs none"},
	{"vnode/cmd/internal/check/probe", nil,
		"it asks from outside, and shares nothing with what it asks"},
	{"vnode/cmd/internal/check", []string{"vnode/cmd/internal/config", "vnode/cmd/internal/state", "vnode/cmd/internal/check/probe", "vnode/cmd/internal/setup/prosodyconf", "vnode/cmd/internal/setup/nginxconf",
		"vnode/s2s", "vnode/internal/wire"},
		"it looks at a node from outside; in the place of one that does not run it listens for main"},
	{"vnode/cmd/vnode", []string{"vnode/cmd/internal/build", "vnode/cmd/internal/config", "vnode/cmd/internal/node", "vnode/cmd/internal/systemd", "vnode/cmd/internal/setup", "vnode/cmd/internal/check", "vnode/visitor/sasl"},
		"a command is thin: logic lives where it can be tested"},
	{"vnode/cmd/bench", []string{"vnode/bench/...", "vnode/internal/xmpptest/conference", "vnode/cmd/internal/build"},
		"a load test sees a server from outside, as its users do"},
	{"vnode/cmd/demo", []string{"vnode/internal/xmpptest/conference", "vnode/internal/child", "vnode/internal/xmpptest/prosody"},
		"the demonstration drives the built command from outside, as an operator would"},
}

// bans are modules from outside that some packages must not use.
var bans = []struct{ path, module, because string }{
	{"vnode/internal/wire", "net", "wire has no sockets"},
	{"vnode/muc", "net", "rooms have no sockets"},
	{"vnode/muc", "os", "rooms have no files"},
	{"vnode/muc/room", "net", "a room has no sockets"},
	{"vnode/muc/room", "os", "a room has no files"},
	{"vnode/muc/room", "sync", "one goroutine owns a room"},
	{"vnode/muc/room", "sync/atomic", "a room reads nothing that others change"},
	{"vnode/muc/room", "crypto/rand", "what a room makes up follows from its seed"},
	{"vnode/s2s", "mellium.im/xmpp", "its session cannot be the receiving side of a server stream"},
	{"vnode/visitor", "github.com/coder/websocket", "it cannot coalesce frames; it is our independent peer in tests"},
	{"vnode/fanout", "mellium.im/xmpp", "fanout knows bytes, not XMPP"},
}

// pkg is what go list tells of a package.
type pkg struct {
	ImportPath string
	Imports    []string
}

func TestImportsPointDown(t *testing.T) {
	for _, p := range list(t) {
		r, ok := ruleFor(p.ImportPath)
		require.Truef(t, ok, "%s has no rule: add one here and to docs/ARCHITECTURE.md", p.ImportPath)
		for _, i := range p.Imports {
			if strings.HasPrefix(i, "vnode/") && !allowed(r, i) {
				t.Errorf("%s imports %s. It must not: %s", p.ImportPath, i, r.because)
			}
			for _, b := range bans {
				if b.path == p.ImportPath && b.module == i {
					t.Errorf("%s imports %s. It must not: %s", p.ImportPath, i, b.because)
				}
			}
		}
	}
}

// The table of packages in the architecture leaves none out, and names none that
// is not there.
func TestArchitectureNamesEveryPackage(t *testing.T) {
	page, err := os.ReadFile("../../docs/ARCHITECTURE.md")
	require.NoError(t, err)
	var named, there []string
	for row := range strings.Lines(string(page)) {
		if cells := strings.Split(row, "|"); len(cells) == 6 && strings.Contains(cells[2], "`") {
			for i, name := range strings.Split(cells[2], "`") {
				if i%2 == 1 {
					named = append(named, "vnode/"+name)
				}
			}
		}
	}
	for _, p := range list(t) {
		there = append(there, p.ImportPath)
	}
	require.ElementsMatch(t, there, named)
}

// Every rule is about something: a rule that outlived its package would hide
// that the house has changed.
func TestEveryRuleIsNeeded(t *testing.T) {
	packages := list(t)
	for _, r := range rules {
		used := false
		for _, p := range packages {
			used = used || matches(r.path, p.ImportPath)
		}
		require.Truef(t, used, "no package matches the rule for %s", r.path)
	}
}

func list(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "vnode/...").Output()
	require.NoError(t, err)
	var all []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		all = append(all, p)
	}
	require.Greater(t, len(all), 8, "go list saw the module")
	return all
}

func ruleFor(path string) (rule, bool) {
	for _, r := range rules {
		if matches(r.path, path) {
			return r, true
		}
	}
	return rule{}, false
}

func allowed(r rule, path string) bool {
	for _, m := range r.may {
		if matches(m, path) {
			return true
		}
	}
	return false
}

func matches(pattern, path string) bool {
	if base, ok := strings.CutSuffix(pattern, "/..."); ok {
		return path == base || strings.HasPrefix(path, base+"/")
	}
	return path == pattern
}

// The server carries neither its load test nor what only tests use. Of mellium it has
// the vocabulary, not the client.
func TestTheProductCarriesNoLoadTest(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "vnode/cmd/vnode").Output()
	require.NoError(t, err)
	for p := range strings.Lines(string(out)) {
		p = strings.TrimSpace(p)
		for _, not := range []string{"vnode/bench/...", "vnode/internal/xmpptest/...", "vnode/internal/child", "testing", "github.com/stretchr/testify/..."} {
			require.Falsef(t, matches(not, p), "vnode links %s", p)
		}
		require.NotContains(t, []string{"mellium.im/xmpp", "mellium.im/sasl", "mellium.im/xmpp/dial"}, p)
	}
}
