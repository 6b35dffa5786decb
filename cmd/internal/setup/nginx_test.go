package setup

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vnode/internal/xmpptest/jitsi"
	"vnode/internal/xmpptest/needs"
	"vnode/internal/xmpptest/nginx"
)

const siteFile = "etc/nginx/sites-available/meet.example.com.conf"

// officialMap is the map of the site as it is installed.
const officialMap = `map $arg_vnode $prosody_node {
    default prosody;
    v1 v1;
    v2 v2;
}`

func rewrite(t *testing.T, root *jitsi.Root, name, old, new string) {
	t.Helper()
	text := read(t, root.Dir, name)
	require.Contains(t, text, old)
	require.NoError(t, os.WriteFile(root.Path(name), []byte(strings.Replace(text, old, new, 1)), 0o644))
}

func put(t *testing.T, root *jitsi.Root, name, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(root.Path(name)), 0o755))
	require.NoError(t, os.WriteFile(root.Path(name), []byte(text), 0o644))
}

// However the map is written, the nodes that it lacks are put into it and no
// others, nginx takes the result, a second run changes nothing, and without nodes
// the file is as it was, to the byte.
func TestMapsOfNginx(t *testing.T) {
	needs.Programs(t, "nginx")
	withoutHocon(t)
	for name, tc := range map[string]struct{ text, file string }{
		"several entries on a line": {"map $arg_vnode $prosody_node {\n  default prosody; v1 v1;\n  v2 v2; }", siteFile},
		"all on one line":           {"map $arg_vnode $prosody_node { default prosody; v1 v1; v2 v2; }", siteFile},
		"two maps on one line":      {"map $http_x $y { v3 v3; } map $arg_vnode $prosody_node { default prosody; v1 v1; v2 v2; } # v4 v4;", siteFile},
		"quoted braces":             {"map $http_x $y { '}' '{'; \"map $arg_vnode $no {\" x; }\nmap $arg_vnode $prosody_node { '}' '{'; default 'prosody'; 'v1' \"v1\"; v2 v2; }", siteFile},
		"an included file of nodes": {"map $arg_vnode $prosody_node { default prosody; include nodes.map; }", siteFile},
		"a map in another file":     {"include snippets/map.conf;", "etc/nginx/snippets/map.conf"},
		"a variable in braces":      {"map ${arg_vnode} $prosody_node { default prosody; v1 v1; v2 v2; }", siteFile},
		"quoted words":              {"map \"$arg_vnode\" '$prosody_node' {\n\"default\" prosody;\n\t\"v1\" 'v1'; v\\2 v2;v2 v2;}", siteFile},
		"comments everywhere":       {"map # of { nodes\n  $arg_vnode # v3 v3;\n  $prosody_node # }\n{ # {\n  default prosody; # v4 v4;\n  v1 v1; v2 v2;\n}", siteFile},
		"lines of Windows":          {strings.ReplaceAll(officialMap, "\n", "\r\n"), siteFile},
		"a regular expression":      {"map $arg_vnode $prosody_node { default prosody; ~^v(?<n>[12])$ v$n; v1 v1; v2 v2; volatile; }", siteFile},
		"no default, hostnames":     {"map $arg_vnode $prosody_node {hostnames;'' prosody;v1 v1;v2 v2;}", siteFile},
		"escapes":                   {"map $http_x $y { \"a\\\"}\" '\\'{'; }\nmap $arg_vnode $prosody_node{default prosody;v1 v1;v2 v2;}", siteFile},
		"files of nodes by pattern": {"map $arg_vnode $prosody_node { default prosody; include maps/*.map; }", siteFile},
		"a map in a file of a file": {"include snippets/o*r.conf;", "etc/nginx/snippets/inner.conf"},
		"the brace on its own line": {"map $arg_vnode $prosody_node\n{\n  default prosody; v1 v1; v2 v2;\n}", siteFile},
	} {
		t.Run(name, func(t *testing.T) {
			root := jitsi.Install(t, jitsi.Options{})
			withoutJicofo(t, root)
			put(t, root, "etc/nginx/nodes.map", "v1 v1; v2 v2;\n")
			put(t, root, "etc/nginx/snippets/map.conf", officialMap+"\n")
			put(t, root, "etc/nginx/maps/a.map", "v1 v1;")
			put(t, root, "etc/nginx/maps/b.map", "# v3 v3;\nv2 v2;")
			put(t, root, "etc/nginx/snippets/outer.conf", "include "+root.Path("etc/nginx/snippets/inner.conf")+";")
			put(t, root, "etc/nginx/snippets/inner.conf", officialMap+"\n")
			rewrite(t, root, siteFile, officialMap, tc.text)
			before := tree(t, root.Dir)
			out := mustRun(t, root.Dir, "-nodes", "4")
			require.NoError(t, nginx.Test(t.Context(), root.Dir))
			text := read(t, root.Dir, tc.file)
			require.Contains(t, text, "v3 v3;\n    v4 v4;\n")
			require.Equal(t, 1, strings.Count(text, ">>> vnode setup"))
			require.NotContains(t, text, "    v1 v1;\n    v2 v2;\n    v3", "they are there")
			require.NotContains(t, out, "By hand: nginx")
			require.Contains(t, mustRun(t, root.Dir, "-nodes", "4"), "Nothing to change")
			mustRun(t, root.Dir, "-remove", "all")
			after := tree(t, root.Dir)
			for _, name := range []string{siteFile, "etc/nginx/nodes.map", "etc/nginx/snippets/map.conf"} {
				require.Equal(t, before[name], after[name], name)
			}
		})
	}
}

// A node whose upstream is in a file that only an include knows is not given
// another one.
func TestUpstreamsInIncludedFiles(t *testing.T) {
	needs.Programs(t, "nginx")
	withoutHocon(t)
	root := jitsi.Install(t, jitsi.Options{})
	withoutJicofo(t, root)
	put(t, root, "etc/nginx/snippets/nodes.conf", "upstream v1 { server 127.0.0.1:52801; } upstream v2 {\n  zone u 64K; server 127.0.0.1:1; }\n")
	rewrite(t, root, siteFile, officialMap, officialMap+"\ninclude snippets/*.conf;")
	out := mustRun(t, root.Dir, "-nodes", "3")
	require.NoError(t, nginx.Test(t.Context(), root.Dir))
	own := read(t, root.Dir, "etc/nginx/conf.d/vnode.conf")
	require.NotContains(t, own, "upstream v1")
	require.NotContains(t, own, "upstream v2")
	require.Contains(t, own, "upstream v3")
	require.Contains(t, out, "nginx's upstream v2 is 127.0.0.1:1. Change it to: server 127.0.0.1:52802;")
}

// What nginx refuses does not stay: the old files come back, and set-up says so. The
// other programs are set up all the same.
func TestWhatNginxRefusesIsTakenBack(t *testing.T) {
	needs.Programs(t, "nginx")
	withoutHocon(t)
	for name, tc := range map[string]struct {
		spoil func(t *testing.T, root *jitsi.Root)
		says  string
	}{
		"an upstream that an unread file defines": {func(t *testing.T, root *jitsi.Root) {
			// nginx reads it as a part of the main context; it is no file of http's.
			rewrite(t, root, siteFile, officialMap, officialMap+"\nlimit_req_zone $binary_remote_addr zone=upstreams:64k rate=1r/s;")
		}, "so its files are as they were before"},
		"a configuration that was broken before": {func(t *testing.T, root *jitsi.Root) {
			rewrite(t, root, siteFile, "server_name", "no_such_directive x;\n    server_name")
		}, "It refused the old configuration too"},
	} {
		t.Run(name, func(t *testing.T) {
			root := jitsi.Install(t, jitsi.Options{})
			withoutJicofo(t, root)
			tc.spoil(t, root)
			before := tree(t, root.Dir)
			out, err := run(t, root.Dir, "-nodes", "3")
			require.ErrorContains(t, err, tc.says)
			require.ErrorContains(t, err, "nginx refuses what was written")
			after := tree(t, root.Dir)
			require.Equal(t, before[siteFile], after[siteFile])
			require.NotContains(t, after, "etc/nginx/conf.d/vnode.conf")
			require.NotContains(t, out, "systemctl reload nginx")
			require.Contains(t, out, "systemctl restart prosody", "the rest is in place")
			require.Contains(t, after, "etc/vnode/v3.toml")
		})
	}
}

// A run tells only what it made necessary: conferences of programs that it did not
// touch go on.
func TestNextStepsAreThoseOfTheChanges(t *testing.T) {
	root := jitsi.Install(t, jitsi.Options{})
	const prosody, jicofo, reload, check = "systemctl restart prosody", "systemctl restart jicofo", "systemctl reload nginx", "check -config"
	first := mustRun(t, root.Dir, "-nodes", "2", "-max-participants", "30")
	for _, step := range []string{"systemctl daemon-reload", "systemctl enable --now vnode@v1 vnode@v2", prosody, jicofo, reload, check} {
		require.Contains(t, first, step)
	}
	only := mustRun(t, root.Dir, "-nodes", "2", "-max-participants", "40")
	require.Contains(t, only, jicofo)
	require.Contains(t, only, check)
	for _, step := range []string{prosody, reload, "nginx -t", "daemon-reload", "enable --now", "try-restart"} {
		require.NotContains(t, only, step, "jicofo.conf alone has changed")
	}
	nothing := mustRun(t, root.Dir, "-nodes", "2")
	require.NotContains(t, nothing, "Next, as root")

	unit := mustRun(t, root.Dir, "-nodes", "2", "-binary", "/opt/vnode")
	require.Contains(t, unit, "systemctl daemon-reload")
	require.Contains(t, unit, "systemctl try-restart vnode@v1 vnode@v2")
	require.NotContains(t, unit, prosody)
	require.NotContains(t, unit, jicofo)

	third := mustRun(t, root.Dir, "-add", "3")
	require.Contains(t, third, "systemctl enable --now vnode@v3 ", "the others run already")
	require.NotContains(t, third, "daemon-reload")
	require.Contains(t, third, prosody)

	gone := mustRun(t, root.Dir, "-remove", "3")
	require.Contains(t, gone, "systemctl stop vnode@v3")
	require.NotContains(t, gone, "enable --now")
}

// A dry run shows the pieces of this kind of machine; those of containers on
// request, which is remembered.
func TestPiecesOfContainersAreAskedFor(t *testing.T) {
	withoutHocon(t)
	root := jitsi.Install(t, jitsi.Options{})
	dry := mustRun(t, root.Dir, "-nodes", "2", "-dry-run")
	require.Contains(t, dry, "pieces/nginx-locations.conf")
	for _, foreign := range []string{"pieces/docker", "pieces/kubernetes", "Helm chart for nodes v1 to v2", "docker compose"} {
		require.NotContains(t, dry, foreign)
	}
	require.Contains(t, mustRun(t, root.Dir, "-nodes", "2", "-dry-run", "-pieces", "kubernetes"), "Helm chart for nodes v1 to v2")
	mustRun(t, root.Dir, "-nodes", "2", "-pieces", "docker")
	require.FileExists(t, root.Path("etc/vnode/pieces/docker/docker-compose.vnode.yml"))
	require.NoFileExists(t, root.Path("etc/vnode/pieces/kubernetes/values.yaml"))
	mustRun(t, root.Dir, "-add", "3")
	require.Contains(t, read(t, root.Dir, "etc/vnode/pieces/docker/vnode.env"), "vnode0,vnode1,vnode2")
	_, err := run(t, root.Dir, "-nodes", "2", "-pieces", "docker,podman")
	require.ErrorContains(t, err, `-pieces: "podman" is none of docker, kubernetes`)
}

// Whether visitors may speak without a moderator's consent is asked, and no is the
// answer of whoever is not there. It is asked once.
func TestPromotionIsAQuestion(t *testing.T) {
	withoutHocon(t)
	const option = "auto_allow_visitor_promotion = "
	own := func(root *jitsi.Root) string { return read(t, root.Dir, "etc/prosody/conf.avail/vnode.cfg.lua") }
	for name, tc := range map[string]struct {
		args  []string
		ask   func(string) bool
		want  string
		asked int
	}{
		"nobody is there":   {nil, nil, "false", 0},
		"yes":               {nil, func(string) bool { return true }, "true", 1},
		"no":                {nil, func(string) bool { return false }, "false", 1},
		"told by a flag":    {[]string{"-promote-without-consent"}, func(string) bool { return false }, "true", 0},
		"told no by a flag": {[]string{"-promote-without-consent=false"}, func(string) bool { return true }, "false", 0},
	} {
		t.Run(name, func(t *testing.T) {
			root := jitsi.Install(t, jitsi.Options{})
			withoutJicofo(t, root)
			asked := 0
			if tc.ask != nil {
				ask := tc.ask
				tc.ask = func(q string) bool { asked++; require.Contains(t, q, "without a moderator's consent?"); return ask(q) }
			}
			out, err := runAsking(t, root.Dir, tc.ask, append([]string{"-nodes", "1"}, tc.args...)...)
			require.NoError(t, err)
			require.Contains(t, own(root), option+tc.want)
			require.Equal(t, tc.asked, asked)
			require.Equal(t, tc.ask == nil, strings.Contains(out, "run setup again with -promote-without-consent to let everybody speak"))
			_, err = runAsking(t, root.Dir, tc.ask, "-add", "2")
			require.NoError(t, err)
			require.Contains(t, own(root), option+tc.want, "it is remembered")
			require.Equal(t, tc.asked, asked)
		})
	}
}

// What set-up names is there: it does not send anybody to a file that it has just
// removed.
func TestRemoveNamesNoFileThatIsGone(t *testing.T) {
	withoutHocon(t)
	for name, change := range map[string]func(root *jitsi.Root){
		"all programs are here": func(*jitsi.Root) {},
		"no main": func(root *jitsi.Root) {
			rewrite(t, root, "etc/prosody/conf.avail/meet.example.com.cfg.lua", `VirtualHost "meet.example.com"`, `VirtualHost "other.example"`)
		},
		"no site": func(root *jitsi.Root) {
			require.NoError(t, os.Remove(root.Path("etc/nginx/sites-enabled/meet.example.com.conf")))
			require.NoError(t, os.Remove(root.Path(siteFile)))
		},
		"no jicofo": func(root *jitsi.Root) { withoutJicofo(t, root) },
		"a site without a map": func(root *jitsi.Root) {
			rewrite(t, root, siteFile, officialMap, "")
			rewrite(t, root, siteFile, "http://$prosody_node/http-bind", "http://prosody/http-bind")
			rewrite(t, root, siteFile, "http://$prosody_node/xmpp", "http://prosody/xmpp")
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := jitsi.Install(t, jitsi.Options{})
			change(root)
			mustRun(t, root.Dir, "-nodes", "2", "-pieces", "docker,kubernetes")
			require.NoError(t, os.MkdirAll(root.Path("var/lib/vnode/v1"), 0o755))
			out := mustRun(t, root.Dir, "-remove", "all")
			for line := range strings.Lines(out) {
				if strings.Contains(line, " was removed") {
					line = line[strings.Index(line, " was removed"):]
				}
				for _, path := range regexp.MustCompile(regexp.QuoteMeta(root.Dir)+`[^\s,:;]*`).FindAllString(line, -1) {
					require.FileExists(t, there(path), line)
				}
			}
			require.NoDirExists(t, root.Path("etc/vnode/pieces"))
		})
	}
}

// there is the path, or for a directory that is there a file that is.
func there(path string) string {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return os.Args[0]
	}
	return path
}
