package setup

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vnode/internal/xmpptest/jitsi"
	"vnode/internal/xmpptest/needs"
)

// hoconRead is what the tool prints of a path of a file, with the environment
// that jicofo has.
func hoconRead(t *testing.T, file, path string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "hocon", "-f", file, "--json", "get", path).CombinedOutput()
	require.NoError(t, err, "%s: %s", path, out)
	return strings.TrimSpace(string(out))
}

// Whatever `hocon set` takes, set-up takes: files that are empty or hold comments
// alone, and substitutions, which stay as they are.
func TestJicofoConfAsHoconSetTakesIt(t *testing.T) {
	needs.Programs(t, "hocon")
	for name, tc := range map[string]struct {
		text  string
		stays []string
	}{
		"empty":               {"", nil},
		"comments only":       {"# of jicofo\n// nothing else\n", []string{"# of jicofo", "// nothing else"}},
		"another object":      {"other { a = ${B} }\n", []string{"other { a = ${B} }"}},
		"a required variable": {"jicofo {\n  xmpp { client { password = ${FOCUS_PASSWORD}\n  port = 5222 } }\n}\n", []string{"password = ${FOCUS_PASSWORD}", "port = 5222"}},
		"an optional variable": {"jicofo {\n  visitors { max-participants = ${?VISITORS_MAX}\n   extra = 1 }\n  xmpp.client.password = ${?PW}\n}\n",
			[]string{"max-participants = ${?VISITORS_MAX}", "extra = 1", "xmpp.client.password = ${?PW}"}},
		"a variable among the bridges": {"jicofo {\n  bridge {\n    brewery-jid = ${BREWERY}\n    average-participant-stress = 0.01\n  }\n}\n",
			[]string{"brewery-jid = ${BREWERY}", "average-participant-stress = 0.01"}},
		"a variable in another node": {"jicofo { xmpp { visitors { v7 { enabled = true\n password = ${V7}\n hostname = \"10.0.0.7\" } } } }\n", []string{"password = ${V7}", `hostname = "10.0.0.7"`}},
		"lists that grow":            {"jicofo {\n  a = \"\"\"x \"y\" {\n}\"\"\"\n  hosts = [ a, \"b\" ]\n  hosts += ${?MORE}\n  hosts += c\n}\n", []string{"hosts = [ a, \"b\" ]", "hosts += ${?MORE}", "hosts += c"}},
		"JSON":                       {"{ \"jicofo\": { \"a\": 1, \"xmpp\": { \"client\": { \"port\": 5222 } } } }\n", []string{"\"a\": 1", "\"port\": 5222"}},
		"values that follow":         {"jicofo { bridge { a = 1 } }\njicofo { bridge { a = ${?BRIDGE} } }\njicofo.visitors.max-participants = 5\n", []string{"a = ${?BRIDGE}", "max-participants = 5"}},
		"a value of the file":        {"jicofo { a = 1\n  b = ${jicofo.a}\n  c = \"x\"${?Y}\n}\n", []string{"b = ${jicofo.a}", `c = "x"${?Y}`}},
	} {
		t.Run(name, func(t *testing.T) {
			root := jitsi.Install(t, jitsi.Options{})
			conf := root.Path("etc/jitsi/jicofo/jicofo.conf")
			require.NoError(t, os.WriteFile(conf, []byte(tc.text), 0o644))
			mustRun(t, root.Dir, "-nodes", "1")
			for _, text := range tc.stays {
				require.Contains(t, read(t, conf), text)
			}
			require.Equal(t, `"v1.meet.jitsi"`, hoconRead(t, conf, "jicofo.xmpp.visitors.v1.xmpp-domain"))
			require.Equal(t, `"VisitorSelectionStrategy"`, hoconRead(t, conf, "jicofo.bridge.selection-strategy"))
			require.Equal(t, "true", hoconRead(t, conf, "jicofo.visitors.enabled"))
			require.Contains(t, mustRun(t, root.Dir, "-nodes", "1"), "Nothing to change")
			mustRun(t, root.Dir, "-remove", "1")
			after := read(t, conf)
			require.NotContains(t, after, "v1.meet.jitsi")
			for _, text := range tc.stays {
				require.Contains(t, after, text)
			}
		})
	}
}

// By an include the file is as it was when the nodes are gone, to the byte, also
// one that is empty or ends in the middle of a line.
func TestIncludeLeavesNoTrace(t *testing.T) {
	withoutHocon(t)
	for _, text := range []string{"", "# only a comment", "jicofo { a = ${B} }", "jicofo { a = 1 }\n"} {
		root := jitsi.Install(t, jitsi.Options{})
		conf := root.Path("etc/jitsi/jicofo/jicofo.conf")
		require.NoError(t, os.WriteFile(conf, []byte(text), 0o644))
		mustRun(t, root.Dir, "-nodes", "1")
		require.Contains(t, read(t, conf), "\ninclude \"vnode.conf\"\n")
		mustRun(t, root.Dir, "-remove", "all")
		require.Equal(t, text, read(t, conf))
	}
}
