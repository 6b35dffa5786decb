package setup

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vnode/internal/xmpptest/jitsi"
)

// All nodes have one address for the others. When it changes, they all listen where
// they are looked for, also those that the run does not name; nothing else of them
// changes.
func TestAnotherNodeAddressMovesAllListeners(t *testing.T) {
	withoutHocon(t)
	root := jitsi.Install(t, jitsi.Options{})
	node := func(name string) string { return read(t, root.Path("etc/vnode/"+name+".toml")) }
	mustRun(t, root.Dir, "-nodes", "2", "-first-ports", "42690,42220,42800,42600", "-main-s2s", "127.0.0.1:40000")
	local := node("v1")
	require.Contains(t, local, `c2s = ["127.0.0.1:42221"]`)
	require.Contains(t, local, `http = ["127.0.0.1:42801"]`)

	out := mustRun(t, root.Dir, "-add", "3", "-node-address", "10.0.0.3", "-main-s2s", "10.0.0.5:5269")
	for i, name := range []string{"v1", "v2", "v3"} {
		port := string(rune('1' + i))
		require.Contains(t, node(name), `c2s = [":4222`+port+`"]`, name)
		require.Contains(t, node(name), `http = [":4280`+port+`"]`)
		require.Contains(t, node(name), "max-connections-per-address = 20000", "nginx is one address")
		require.Contains(t, read(t, root.Path("etc/vnode/pieces/nginx-http.conf")), "server 10.0.0.3:4280"+port)
		require.Contains(t, read(t, root.Path("etc/jitsi/jicofo/vnode.conf")), `hostname = "10.0.0.3"`)
	}
	require.Contains(t, node("v1"), `main-s2s = "127.0.0.1:40000"`, "not asked for")
	require.Contains(t, node("v3"), `main-s2s = "10.0.0.5:5269"`)
	require.Contains(t, out, "systemctl try-restart vnode@v1 vnode@v2")
	require.Contains(t, out, "systemctl enable --now vnode@v3")
	require.Contains(t, mustRun(t, root.Dir, "-add", "3"), "Nothing to change")

	require.NotContains(t, mustRun(t, root.Dir, "-remove", "3"), "try-restart")
	mustRun(t, root.Dir, "-add", "2", "-node-address", "127.0.0.1")
	require.Equal(t, local, node("v1"), "and back")
}

// A node that was changed by hand stays so; what must change is told.
func TestListenersThatWereChangedByHand(t *testing.T) {
	withoutHocon(t)
	root := jitsi.Install(t, jitsi.Options{})
	mustRun(t, root.Dir, "-nodes", "3")
	path := root.Path("etc/vnode/v1.toml")
	mine := read(t, path) + "# mine\n"
	require.NoError(t, os.WriteFile(path, []byte(mine), 0o644))
	socket := strings.Replace(read(t, root.Path("etc/vnode/v2.toml")), `http = ["127.0.0.1:52802"]`, `http = ["unix:/run/vnode/v2.sock"]`, 1)
	require.NoError(t, os.WriteFile(root.Path("etc/vnode/v2.toml"), []byte(socket), 0o644))
	out := mustRun(t, root.Dir, "-add", "3", "-node-address", "10.0.0.3")
	require.Equal(t, mine, read(t, path))
	require.Contains(t, out, "By hand: "+path+`: c2s is 127.0.0.1:52221, where the others, who are told 10.0.0.3, cannot reach it. Change it to ":52221".`)
	require.Contains(t, out, path+`: http is 127.0.0.1:52801, where`)
	require.NotContains(t, out, "v2.toml: http")
	require.Contains(t, read(t, root.Path("etc/vnode/v3.toml")), `c2s = [":52223"]`)
}

// The nodes are told where jicofo's REST interface is, as jicofo.conf has it.
func TestJicofosInterface(t *testing.T) {
	for name, tc := range map[string]struct {
		conf string
		url  string // in the configuration, "-" for none
		note string
	}{
		"as it comes":          {"jicofo { xmpp { } }\n", "-", ""},
		"empty":                {"", "-", ""},
		"docker's":             {"jicofo {\n  rest {\n    host = \"0.0.0.0\"\n  }\n}\n", "-", ""},
		"all of IPv6":          {"jicofo.rest.host = \"::\"\n", "-", ""},
		"an address":           {"jicofo { rest { host = 10.0.0.5, port = 9999 } }\n", "http://10.0.0.5:9999", ""},
		"a name":               {"jicofo.rest.host = \"jicofo.internal\"\n", "http://jicofo.internal:8888", ""},
		"IPv6":                 {"jicofo.rest { host = \"fd00::5\" // here\n port = 80 }\n", "http://[fd00::5]:80", ""},
		"TLS of earlier years": {"jicofo.rest { port = -1, tls-port = 8843 }\n", "https://127.0.0.1:8843", ""},
		"turned off":           {"jicofo.rest.enabled = false\n", "", "jicofo's REST interface, or its conference requests, are turned off"},
		"no port":              {"jicofo.rest.port = -1\n", "", "are turned off"},
		"no requests":          {"jicofo { rest { conference-request { enabled = false } } }\n", "", "are turned off"},
		"a variable":           {"jicofo.rest { host = 10.0.0.5\n host = ${?JICOFO_HOST} }\n", "http://10.0.0.5:8888", "jicofo.rest.host in "},
		"another file":         {"include \"rest.conf\"\n", "http://10.0.0.6:8888", ""},
		"no address":           {"jicofo.rest { host = \"a b\" }\n", "-", "jicofo.rest in "},
	} {
		t.Run(name, func(t *testing.T) {
			withoutHocon(t)
			root := jitsi.Install(t, jitsi.Options{})
			require.NoError(t, os.WriteFile(root.Path("etc/jitsi/jicofo/jicofo.conf"), []byte(tc.conf), 0o644))
			require.NoError(t, os.WriteFile(root.Path("etc/jitsi/jicofo/rest.conf"), []byte("jicofo.rest.host = 10.0.0.6\n"), 0o644))
			out := mustRun(t, root.Dir, "-nodes", "1")
			if tc.note == "" {
				require.NotContains(t, out, "REST interface")
			} else {
				require.Contains(t, out, tc.note)
			}
			cfg, err := parseConfig([]byte(read(t, root.Path("etc/vnode/v1.toml"))))
			require.NoError(t, err)
			if tc.url == "-" {
				require.NotContains(t, read(t, root.Path("etc/vnode/v1.toml")), "jicofo-url")
				tc.url = defaultJicofoURL
			}
			require.Equal(t, tc.url, cfg.JicofoURL)

			mustRun(t, root.Dir, "-nodes", "1", "-jicofo-url", "http://10.0.0.9:1")
			require.Contains(t, read(t, root.Path("etc/vnode/v1.toml")), `jicofo-url = "http://10.0.0.9:1"`)
			require.NotContains(t, mustRun(t, root.Dir, "-nodes", "1"), "REST interface", "and remembered")
		})
	}
}

// Where jicofo is on another machine nobody but the operator knows its address.
func TestJicofoOnAnotherMachine(t *testing.T) {
	root := t.TempDir()
	out := mustRun(t, root, "-nodes", "1", "-main-s2s", "10.0.0.5:5269", "-node-address", "10.0.0.3")
	require.Contains(t, out, "run setup again with -jicofo-url http://ADDRESS-OF-JICOFO:8888")
	out = mustRun(t, root, "-nodes", "1", "-jicofo-url", "http://10.0.0.5:8888")
	require.NotContains(t, out, "ADDRESS-OF-JICOFO")
	for _, bad := range []string{"10.0.0.5:8888", "ftp://x", "http://", "http://x\"y"} {
		_, err := run(t, root, "-nodes", "1", "-jicofo-url", bad)
		require.ErrorContains(t, err, "-jicofo-url", bad)
	}
}

// Nodes know the others that are made and taken away later, without a restart, which
// would end their conferences.
func TestNodesKnowOneAnother(t *testing.T) {
	withoutHocon(t)
	root := jitsi.Install(t, jitsi.Options{})
	others := func(name string) []string {
		cfg, err := parseConfig([]byte(read(t, root.Path("etc/vnode/"+name+".toml"))))
		require.NoError(t, err)
		return cfg.OtherNodes
	}
	mustRun(t, root.Dir, "-nodes", "2")
	out := mustRun(t, root.Dir, "-add", "3")
	require.Equal(t, []string{"127.0.0.1:52602", "127.0.0.1:52603"}, others("v1"))
	require.Equal(t, []string{"127.0.0.1:52601", "127.0.0.1:52602"}, others("v3"))
	require.Contains(t, out, "systemctl try-reload-or-restart vnode@v1 vnode@v2")
	require.NotContains(t, out, "try-restart")

	out = mustRun(t, root.Dir, "-remove", "2")
	require.Equal(t, []string{"127.0.0.1:52603"}, others("v1"))
	require.Contains(t, out, "try-reload-or-restart vnode@v1 vnode@v3")
	require.NotContains(t, out, "try-restart")

	out = mustRun(t, root.Dir, "-nodes", "3")
	require.Equal(t, []string{"127.0.0.1:52601", "127.0.0.1:52602"}, others("v3"))
	require.Contains(t, out, "systemctl enable --now vnode@v2")
	require.Contains(t, out, "try-reload-or-restart vnode@v1 vnode@v3")
	require.NotContains(t, out, "try-restart")
	require.Contains(t, mustRun(t, root.Dir, "-nodes", "3"), "Nothing to change")

	mine := read(t, root.Path("etc/vnode/v1.toml")) + "# mine\n"
	require.NoError(t, os.WriteFile(root.Path("etc/vnode/v1.toml"), []byte(mine), 0o644))
	require.NotContains(t, mustRun(t, root.Dir, "-add", "4"), "v1.toml is left alone", "nobody asked for it")
	require.Equal(t, mine, read(t, root.Path("etc/vnode/v1.toml")))
}
