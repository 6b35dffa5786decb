package setup

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"vnode/cmd/internal/config"
	"vnode/internal/xmpptest/jitsi"
	"vnode/internal/xmpptest/needs"
	"vnode/internal/xmpptest/nginx"
)

// run is one `vnode setup` below root, in this process. It returns what it
// wrote.
func run(t *testing.T, root string, args ...string) (string, error) {
	t.Helper()
	return runAsking(t, root, nil, args...)
}

// runAsking is run with somebody who answers questions.
func runAsking(t *testing.T, root string, ask func(string) bool, args ...string) (string, error) {
	t.Helper()
	flags := flag.NewFlagSet("setup", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	o, err := ParseFlags(flags, append([]string{"-prefix", root}, args...))
	if err != nil {
		return "", err
	}
	o.Ask = ask
	var out bytes.Buffer
	err = Run(t.Context(), o, &out)
	return out.String(), err
}

func mustRun(t *testing.T, root string, args ...string) string {
	t.Helper()
	out, err := run(t, root, args...)
	require.NoError(t, err)
	return out
}

// tree is every file below root with its contents and mode. Links are what they
// point to.
func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		if strings.HasPrefix(rel, "run/") { // nginx -t makes a file there
			return nil
		}
		if d.Type() == fs.ModeSymlink {
			all[rel], err = os.Readlink(path)
			return err
		}
		b, err := os.ReadFile(path)
		info, statErr := d.Info()
		if statErr != nil {
			return statErr
		}
		all[rel] = info.Mode().String() + "\n" + string(b)
		return err
	}))
	return all
}

func read(t *testing.T, elem ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(elem...))
	require.NoError(t, err)
	return string(b)
}

// withoutJicofo saves the time that hocon takes.
func withoutJicofo(t *testing.T, root *jitsi.Root) {
	require.NoError(t, os.Remove(root.Path("etc/jitsi/jicofo/jicofo.conf")))
}

// withoutHocon makes PATH lead nowhere.
func withoutHocon(t *testing.T) { t.Setenv("PATH", t.TempDir()) }

// A dry run tells all that a real one does and leaves no trace; a second real
// one does nothing. What all say of the password is nothing.
func TestDryRunRealRunSecondRun(t *testing.T) {
	for _, hocon := range []bool{true, false} {
		t.Run(map[bool]string{true: "hocon", false: "include"}[hocon], func(t *testing.T) {
			root := jitsi.Install(t, jitsi.Options{})
			if !hocon {
				withoutHocon(t)
			}
			before := tree(t, root.Dir)
			dry := mustRun(t, root.Dir, "-nodes", "3", "-dry-run")
			require.Equal(t, before, tree(t, root.Dir))
			require.NotContains(t, dry, root.TURNSecret)
			for _, want := range []string{
				"+++ " + root.Path("etc/vnode/v3.toml"), `+id = "v3"`,
				`+	["conference.v3.meet.jitsi"] = "tcp://127.0.0.1:52693";`,
				`+	["v3.meet.jitsi"] = { "127.0.0.1", 52693 };`, `+	"polls.v3.meet.jitsi";`,
				`+	"certs_s2soutinjection";`, `+	"visitors";`, `+Component "visitors.meet.example.com" "visitors_component"`,
				"+    # >>> vnode setup", "+    v3 v3;", "+    server 127.0.0.1:52803;",
				"VisitorSelectionStrategy", "(a secret, mode 0600, not shown)", "would be written",
			} {
				require.Contains(t, dry, want)
			}

			out := mustRun(t, root.Dir, "-nodes", "3")
			password := strings.TrimSpace(read(t, root.Dir, "etc/vnode/focus-password"))
			require.NotContains(t, out, password)
			require.Contains(t, out, "systemctl enable --now vnode@v1 vnode@v2 vnode@v3")
			require.Contains(t, out, "vnode check -config "+root.Path("etc/vnode/v3.toml"))
			after := tree(t, root.Dir)
			for _, name := range []string{"etc/vnode/focus-password", "etc/vnode/turn-secret"} {
				require.True(t, strings.HasPrefix(after[name], "-rw-------"), name)
			}
			require.Contains(t, mustRun(t, root.Dir, "-nodes", "3"), "Nothing to change")
			require.Equal(t, after, tree(t, root.Dir))

			again := mustRun(t, root.Dir, "-add", "4", "-dry-run")
			require.NotContains(t, again, password, "a diff of jicofo.conf blots it out")
			require.Contains(t, again, "********")
		})
	}
}

// What set-up wrote it takes away again: others' files are as they were, to the
// byte, and so is the directory. By hocon jicofo.conf keeps the bridges'
// strategies; it is in the backup.
func TestRemoveLeavesNoTrace(t *testing.T) {
	root := jitsi.Install(t, jitsi.Options{})
	withoutHocon(t)
	before := tree(t, root.Dir)
	mustRun(t, root.Dir, "-nodes", "3")
	// What systemctl enable would have made.
	enabled := root.Path("etc/systemd/system/multi-user.target.wants/vnode@v3.service")
	require.NoError(t, os.MkdirAll(filepath.Dir(enabled), 0o755))
	require.NoError(t, os.Symlink(root.Path("etc/systemd/system/vnode@.service"), enabled))
	out := mustRun(t, root.Dir, "-remove", "2,3")
	require.Contains(t, out, "systemctl stop vnode@v2 vnode@v3")
	for name, text := range tree(t, root.Dir) {
		if !strings.HasPrefix(name, "etc/vnode/backup/") {
			require.NotContains(t, text, "v3.meet.jitsi", name)
		}
	}
	require.Contains(t, read(t, root.Dir, "etc/prosody/conf.avail/vnode.cfg.lua"), "conference.v1.meet.jitsi")
	password := strings.TrimSpace(read(t, root.Dir, "etc/vnode/focus-password"))
	require.NotContains(t, mustRun(t, root.Dir, "-remove", "all", "-dry-run"), password)
	mustRun(t, root.Dir, "-remove", "all")
	after := tree(t, root.Dir)
	for name := range after {
		if strings.HasPrefix(name, "etc/vnode/backup/") {
			delete(after, name)
		}
	}
	require.Equal(t, before, after)
	require.Contains(t, mustRun(t, root.Dir, "-remove", "all"), "Nothing to change")
}

func TestRemoveByHocon(t *testing.T) {
	root := jitsi.Install(t, jitsi.Options{})
	mustRun(t, root.Dir, "-nodes", "2")
	require.NotNil(t, jicofo(t, root, "xmpp.visitors.v2"))
	mustRun(t, root.Dir, "-remove", "2")
	visitors := jicofo(t, root, "xmpp.visitors").(map[string]any)
	require.Contains(t, visitors, "v1")
	require.NotContains(t, visitors, "v2")
	require.Equal(t, true, jicofo(t, root, "visitors.enabled"))
	require.Contains(t, mustRun(t, root.Dir, "-remove", "all"), "keeps its strategies")
	require.Equal(t, false, jicofo(t, root, "visitors.enabled"))
	require.Equal(t, root.FocusPassword, jicofo(t, root, "xmpp.client.password"), "what others wrote is still there")
}

// jicofo is a value of jicofo.conf as a HOCON parser reads it.
func jicofo(t *testing.T, root *jitsi.Root, path string) any {
	t.Helper()
	return hoconGet(t, root.Path("etc/jitsi/jicofo/jicofo.conf"), path)
}

func hoconGet(t *testing.T, file, path string) any {
	needs.Programs(t, "hocon")
	t.Helper()
	out, err := exec.Command("hocon", "-f", file, "--json", "get", "jicofo").Output()
	require.NoError(t, err)
	var v any
	require.NoError(t, json.Unmarshal(out, &v))
	for key := range strings.SplitSeq(path, ".") {
		v = v.(map[string]any)[key]
	}
	return v
}

// What jicofo reads is the same by either way: set by hocon, or in the file that
// jicofo.conf includes. A password is quoted as HOCON wants it.
func TestJicofoReadsWhatNodesServe(t *testing.T) {
	const password = `pa"ss\wo rd#$`
	secret := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(secret, []byte(password+"\n"), 0o600))
	args := []string{"-nodes", "2", "-focus-password-file", secret, "-max-participants", "30", "-visitors-per-node", "5000"}
	byHocon, byInclude := jitsi.Install(t, jitsi.Options{}), jitsi.Install(t, jitsi.Options{})
	mustRun(t, byHocon.Dir, args...)
	path := os.Getenv("PATH")
	withoutHocon(t)
	mustRun(t, byInclude.Dir, args...)
	t.Setenv("PATH", path)
	include := read(t, byInclude.Dir, "etc/jitsi/jicofo/jicofo.conf")
	require.True(t, strings.HasSuffix(include, "\ninclude \"vnode.conf\"\n// <<< vnode setup: visitors\n"), include)

	own := byInclude.Path("etc/jitsi/jicofo/vnode.conf")
	for _, file := range []string{byHocon.Path("etc/jitsi/jicofo/jicofo.conf"), own, byHocon.Path("etc/vnode/pieces/jicofo.conf")} {
		require.Equal(t, map[string]any{
			"enabled": true, "conference-service": "conference.v2.meet.jitsi", "hostname": "127.0.0.1", "port": 52222.0,
			"domain": "auth.meet.jitsi", "xmpp-domain": "v2.meet.jitsi", "username": "focus", "password": password,
			"disable-certificate-verification": true,
		}, hoconGet(t, file, "xmpp.visitors.v2"), file)
		require.Equal(t, "VisitorSelectionStrategy", hoconGet(t, file, "bridge.selection-strategy"))
		require.Equal(t, "VisitorTopologyStrategy", hoconGet(t, file, "bridge.topology-strategy"))
		require.Equal(t, 30.0, hoconGet(t, file, "visitors.max-participants"))
		require.Equal(t, 5000.0, hoconGet(t, file, "visitors.max-visitors-per-node"))
	}
	info, err := os.Stat(own)
	require.NoError(t, err)
	require.Zero(t, info.Mode().Perm()&0o007, "it holds the password")
}

// An own file that was changed by hand stays as it is and counts: the others are
// told what it says.
func TestWhatWasChangedByHandCounts(t *testing.T) {
	withoutHocon(t)
	root := jitsi.Install(t, jitsi.Options{})
	mustRun(t, root.Dir, "-nodes", "2")
	path := root.Path("etc/vnode/v2.toml")
	mine := strings.Replace(read(t, path), ":52692", ":40000", 1)
	require.NoError(t, os.WriteFile(path, []byte(mine), 0o644))
	out := mustRun(t, root.Dir, "-nodes", "2")
	require.Contains(t, out, path+" is left alone: it was changed by hand")
	require.Equal(t, mine, read(t, path))
	require.Contains(t, read(t, root.Dir, "etc/prosody/conf.avail/vnode.cfg.lua"), `["v2.meet.jitsi"] = "tcp://127.0.0.1:40000";`)
	mustRun(t, root.Dir, "-nodes", "2", "-force")
	require.NotEqual(t, mine, read(t, path))
}

// What the operator already did by hand for visitor prosodies is neither doubled
// nor overwritten: only what is missing is added.
func TestAddsOnlyWhatIsMissing(t *testing.T) {
	needs.Programs(t, "nginx", "lua5.4")
	root := jitsi.Install(t, jitsi.Options{})
	withoutJicofo(t, root)
	edit := func(name, old, new string) {
		text := read(t, root.Dir, name)
		require.Contains(t, text, old)
		require.NoError(t, os.WriteFile(root.Path(name), []byte(strings.Replace(text, old, new, 1)), 0o644))
	}
	const general = "etc/prosody/prosody.cfg.lua"
	edit(general, `"ping";`, `"ping"; "s2s_bidi"; 's2s_whitelist'; -- "s2sout_override";`)
	edit(general, `modules_disabled = {`, `modules_disabled = { "s2s";`)
	edit(general, `Include`, `limits = { s2sin = { rate = "30kb/s"; }; }
s2sout_override = {
	["conference.v1.meet.jitsi"] = "tcp://127.0.0.1:52691"; ["v1.meet.jitsi"] = "tcp://127.0.0.1:9"; -- old
	["polls.v1.meet.jitsi"] = "tcp://127.0.0.1:52691";
}
Include`)
	edit("etc/prosody/conf.avail/meet.example.com.cfg.lua", `Component "polls`, `Component "visitors.meet.example.com" "visitors_component"
Component "polls`)
	edit("etc/nginx/sites-available/meet.example.com.conf", "server {", "upstream v1 { server 127.0.0.1:52801; }\nupstream v2 { server 127.0.0.1:1; }\nserver {")
	out := mustRun(t, root.Dir, "-nodes", "2")

	text := read(t, root.Dir, general)
	require.Equal(t, 1, strings.Count(text, `"s2s_bidi"`))
	require.Equal(t, 1, strings.Count(text, `s2s_whitelist'`))
	require.Equal(t, 2, strings.Count(text, `"s2sout_override"`), "what is commented out does not count")
	require.Equal(t, 2, strings.Count(text, `["v1.meet.jitsi"]`)+strings.Count(text, `["v2.meet.jitsi"]`))
	own := read(t, root.Dir, "etc/prosody/conf.avail/vnode.cfg.lua")
	require.NotContains(t, own, "s2sout_override = {", "an assignment elsewhere would be replaced")
	require.NotContains(t, own, "Component")
	require.Contains(t, own, "s2s_whitelist = {")
	require.NoFileExists(t, root.Path("etc/nginx/conf.d/vnode.conf"), "both upstreams are there")
	for _, want := range []string{
		"has another address for v1.meet.jitsi. Change it to: [\"v1.meet.jitsi\"] = \"tcp://127.0.0.1:52691\";",
		"turns s2s off", "lets servers send 30kb/s only",
		"nginx's upstream v2 is 127.0.0.1:1. Change it to: server 127.0.0.1:52802;",
	} {
		require.Contains(t, out, want)
	}
	require.NoError(t, nginx.Test(t.Context(), root.Dir))
	luac(t, text)
}

// luac lets the compiler of Prosody's own Lua look at a text.
func luac(t *testing.T, text string) {
	needs.Programs(t, "lua5.4")
	t.Helper()
	for _, name := range []string{"lua5.4", "lua", "lua5.3", "lua5.2", "lua5.1", "luajit"} {
		if lua, err := exec.LookPath(name); err == nil {
			cmd := exec.Command(lua, "-e", "assert(loadfile('/dev/stdin'))")
			cmd.Stdin = strings.NewReader(text)
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, string(out))
			return
		}
	}
	require.Fail(t, "Prosody comes with a Lua")
}

// A site from before visitors gets the upstreams and the map, and its operator
// the locations to put in.
func TestSiteWithoutMap(t *testing.T) {
	needs.Programs(t, "nginx")
	withoutHocon(t)
	root := jitsi.Install(t, jitsi.Options{Site: func(s *nginx.Site) { s.NoMap = true }})
	out := mustRun(t, root.Dir, "-nodes", "2")
	require.Contains(t, out, "do not ask $prosody_node: replace them by those in "+root.Path("etc/vnode/pieces/nginx-locations.conf"))
	require.Contains(t, read(t, root.Dir, "etc/nginx/conf.d/vnode.conf"), "map $arg_vnode $prosody_node {")
	require.NoError(t, nginx.Test(t.Context(), root.Dir))
}

func TestUnit(t *testing.T) {
	root := jitsi.Install(t, jitsi.Options{})
	withoutJicofo(t, root)
	mustRun(t, root.Dir, "-nodes", "1", "-binary", program)
	unit := read(t, root.Dir, "etc/systemd/system/vnode@.service")
	for _, want := range []string{
		"Type=notify", "WatchdogSec=30", "DynamicUser=yes", "NoNewPrivileges=yes", "ProtectSystem=strict", "LimitNOFILE=131072",
		"ExecReload=/bin/sh -c 'kill -HUP $MAINPID'",
		"ExecStart=" + program + " -config " + root.Path("etc/vnode") + "/%i.toml $DAEMON_OPTS\n",
	} {
		require.Contains(t, unit, want)
	}
	dropIn := read(t, root.Dir, "etc/systemd/system/vnode@.service.d/setup.conf")
	require.Contains(t, dropIn, "\nLoadCredential=focus-password:"+root.Path("etc/vnode/focus-password")+
		"\nEnvironment=VNODE_FOCUS_PASSWORD_FILE=/run/credentials/%n/focus-password\n")
	require.NotContains(t, dropIn, "ExecStart", "the unit has it already")
	unit += dropIn
	section, keys := "", map[string]string{}
	for line := range strings.Lines(unit) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			section = line
		default:
			key, _, ok := strings.Cut(line, "=")
			require.True(t, ok, line)
			require.Regexp(t, `^[A-Z][A-Za-z0-9]+$`, key)
			keys[key] = section
		}
	}
	require.Equal(t, "[Service]", keys["ExecStart"])
	require.Equal(t, "[Install]", keys["WantedBy"])

	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		return // not every machine has systemd; the structure was looked at
	}
	instance := filepath.Join(t.TempDir(), "vnode@v1.service")
	require.NoError(t, os.WriteFile(instance, []byte(unit), 0o644))
	out, err := exec.Command(analyze, "verify", "--man=no", instance).CombinedOutput()
	require.NoError(t, err, string(out))
	require.Empty(t, string(out))
}

// The unit of a package is used: set-up adds a drop-in, and takes away the unit that
// it wrote before there was a package. One that somebody changed is named.
func TestUnitOfThePackageIsUsed(t *testing.T) {
	root := jitsi.Install(t, jitsi.Options{})
	withoutJicofo(t, root)
	mustRun(t, root.Dir, "-nodes", "1", "-binary", program)
	own := root.Path("etc/systemd/system/vnode@.service")
	require.FileExists(t, own)
	packaged := root.Path("usr/lib/systemd/system/vnode@.service")
	require.NoError(t, os.MkdirAll(filepath.Dir(packaged), 0o755))
	require.NoError(t, os.WriteFile(packaged, []byte("[Service]\n"), 0o644))

	require.NoError(t, os.WriteFile(own, []byte(read(t, root.Dir, "etc/systemd/system/vnode@.service")+"# mine\n"), 0o644))
	out := mustRun(t, root.Dir, "-nodes", "1", "-binary", program)
	require.Contains(t, out, "By hand: "+own+" hides the unit of the package")
	require.FileExists(t, own)

	out = mustRun(t, root.Dir, "-nodes", "1", "-force", "-binary", program)
	require.NoFileExists(t, own)
	require.Contains(t, out, "systemctl daemon-reload")
	require.Contains(t, read(t, root.Dir, "etc/systemd/system/vnode@.service.d/setup.conf"),
		"ExecStart=\nExecStart="+program+" -config "+root.Path("etc/vnode")+"/%i.toml $DAEMON_OPTS\n", "the package has another program")
	require.Contains(t, mustRun(t, root.Dir, "-nodes", "1"), "Nothing to change")

	enabled := root.Path("etc/systemd/system/multi-user.target.wants/vnode@v1.service")
	require.NoError(t, os.MkdirAll(filepath.Dir(enabled), 0o755))
	require.NoError(t, os.Symlink(root.Path("lib/systemd/system/vnode@.service"), enabled), "as systemctl on Debian 12 makes it")
	mustRun(t, root.Dir, "-remove", "all")
	require.NoFileExists(t, enabled)
	require.NoFileExists(t, root.Path("etc/systemd/system/vnode@.service.d/setup.conf"))
	require.FileExists(t, packaged)
}

// The pieces for containers are YAML, and say what the nodes need.
func TestContainerPieces(t *testing.T) {
	withoutHocon(t)
	root := jitsi.Install(t, jitsi.Options{})
	mustRun(t, root.Dir, "-nodes", "3", "-main-s2s", "10.0.0.5:5269", "-node-address", "10.0.0.3", "-max-participants", "40", "-pieces", "docker,kubernetes")
	var compose struct {
		Services map[string]struct {
			Environment     []string
			ReadOnly        bool     `yaml:"read_only"`
			CapDrop         []string `yaml:"cap_drop"`
			User            string
			StopGracePeriod string `yaml:"stop_grace_period"`
			Healthcheck     struct{ Test []string }
			Volumes         []string
			Networks        map[string]any
		}
		Volumes map[string]any
	}
	require.NoError(t, yaml.Unmarshal([]byte(read(t, root.Dir, "etc/vnode/pieces/docker/docker-compose.vnode.yml")), &compose))
	require.Len(t, compose.Services, 3+3)
	require.Contains(t, compose.Services["prosody"].Environment, "VISITORS_XMPP_PORT=52690")
	container := compose.Services["vnode2"]
	require.Contains(t, container.Networks, "meet.jitsi")
	require.True(t, container.ReadOnly)
	require.Equal(t, []string{"ALL"}, container.CapDrop)
	require.Equal(t, "65532:65532", container.User)
	require.Equal(t, []string{"CMD", "/usr/bin/vnode", "health"}, container.Healthcheck.Test)
	require.Equal(t, []string{"vnode2:/var/lib/vnode"}, container.Volumes, "nothing of the host")
	inContainer := composed(t, container.Environment, map[string]string{"JICOFO_AUTH_PASSWORD": "s", "TURN_HOST": "turn.example.com", "TURN_CREDENTIALS": "t"})
	require.Equal(t, []string{":52692"}, inContainer.S2S)
	require.Equal(t, config.ID("v2"), inContainer.ID)
	require.Equal(t, "meet.jitsi", inContainer.MainDomain)
	require.Equal(t, "xmpp.meet.jitsi:5269", inContainer.MainS2S)
	require.Equal(t, ":9280", inContainer.Admin, "for Prometheus")
	require.Equal(t, []string{"vnode0:9280", "vnode1:9280"}, inContainer.OtherNodes)
	require.Equal(t, "s", inContainer.FocusPassword)
	require.Equal(t, "t", inContainer.TURNSecret)
	require.Contains(t, inContainer.TURNServices, "turn:turn.example.com:443?transport=tcp")
	grace, err := time.ParseDuration(container.StopGracePeriod)
	require.NoError(t, err)
	require.GreaterOrEqual(t, grace, time.Duration(inContainer.DrainTimeout+2*inContainer.DrainSpread)+20*time.Second, "visitors are told")
	env := read(t, root.Dir, "etc/vnode/pieces/docker/vnode.env")
	for line := range strings.Lines(env) {
		require.Regexp(t, `^(#.*|[A-Z0-9_]+=.*|)\n$`, line)
	}
	require.Contains(t, env, "\nVISITORS_XMPP_SERVER=vnode0,vnode1,vnode2\n")
	require.Contains(t, env, "\nVISITORS_MAX_PARTICIPANTS=40\n")
	router := read(t, root.Dir, "etc/vnode/pieces/docker/vnode-router.conf")
	require.Contains(t, router, "v2 vnode2:52802;")

	// The chart's test renders the chart with these.
	var values struct {
		Pool map[string]int
		Main struct {
			Domain, S2S  string
			ExtraDomains []string `yaml:"extraDomains"`
		}
		TURN struct{ Services []string }
	}
	require.NoError(t, yaml.Unmarshal([]byte(read(t, root.Dir, "etc/vnode/pieces/kubernetes/values.yaml")), &values))
	require.Equal(t, map[string]int{"first": 1, "size": 3}, values.Pool)
	require.Equal(t, "10.0.0.5:5269", values.Main.S2S)
	require.Equal(t, "meet.example.com", values.Main.Domain)
	require.Contains(t, values.TURN.Services, "turn:meet.example.com:3478?transport=udp")

	node := read(t, root.Dir, "etc/vnode/v3.toml")
	require.Contains(t, node, `other-nodes = ["127.0.0.1:52601", "127.0.0.1:52602"]`, "asked before a drain")
	require.Contains(t, node, `c2s = [":52223"]`, "jicofo is on another machine")
	require.Contains(t, node, `main-s2s = "10.0.0.5:5269"`)
	require.Contains(t, node, "max-connections-per-address = 20000", "nginx is one address")
	require.Contains(t, node, `"turn:meet.example.com:3478?transport=udp"`)
}

// composed is the configuration of a container, whose variables docker compose takes
// from dotenv where they have no value or a default.
func composed(t *testing.T, variables []string, dotenv map[string]string) *config.Config {
	t.Helper()
	substitution := regexp.MustCompile(`\$\{([A-Z_]+):-([^}]*)\}`)
	environ := map[string]string{}
	var names []string
	for _, v := range variables {
		name, value, given := strings.Cut(v, "=")
		if !given {
			if value, given = dotenv[name]; !given {
				continue
			}
		}
		environ[name] = substitution.ReplaceAllString(value, "$2")
		names = append(names, name+"=")
	}
	require.NoError(t, config.CheckNames(names))
	c, err := config.Load(flag.NewFlagSet("vnode", flag.ContinueOnError), nil, func(name string) (string, bool) { v, ok := environ[name]; return v, ok })
	require.NoError(t, err)
	require.Empty(t, c.Warnings)
	return c
}

func TestErrorsNameTheRemedy(t *testing.T) {
	needs.Programs(t, "hocon")
	busy := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(busy, "etc/vnode"), 0o755))
	broken := func(name, text string) string {
		root := t.TempDir()
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		return root
	}
	unended := "-- >>> vnode setup: x\n"
	for name, tc := range map[string]struct {
		root string
		args []string
		want string
	}{
		"nothing":              {args: nil, want: "say how many nodes, such as -nodes 8"},
		"too many":             {args: []string{"-nodes", "81"}, want: "-nodes: 81 is not between 1 and 80"},
		"not a number":         {args: []string{"-add", "x"}, want: `"x" is not the number of a node, 0 to 80, such as 3`},
		"argument":             {args: []string{"8"}, want: `unexpected argument "8"`},
		"both":                 {args: []string{"-nodes", "1", "-remove", "2"}, want: "take nodes away first, then add others"},
		"name for address":     {args: []string{"-nodes", "1", "-node-address", "node.example"}, want: "is not an address such as 10.0.0.3"},
		"no port":              {args: []string{"-nodes", "1", "-main-s2s", "10.0.0.5"}, want: "is not host:port, such as 10.0.0.5:5269"},
		"three ports":          {args: []string{"-nodes", "1", "-first-ports", "1,2,3"}, want: "is not four ports, such as"},
		"high port":            {args: []string{"-nodes", "1", "-first-ports", "1,2,3,65535"}, want: `"65535" is not a port between 1 and 65455`},
		"quote in a domain":    {args: []string{"-nodes", "1", "-main-domain", "x\"; os.exit() --"}, want: "-main-domain: \"x\\\"; os.exit() --\" is not a domain"},
		"line in a domain":     {args: []string{"-nodes", "1", "-extra-domains", "a.example,b\n#"}, want: "-extra-domains: \"b\\n#\" is not a domain"},
		"two labels":           {args: []string{"-nodes", "1", "-room-prefix", "a.b"}, want: "-room-prefix: \"a.b\" is not one label"},
		"quote in main":        {root: broken("etc/prosody/prosody.cfg.lua", `muc_mapper_domain_base = 'a"b'`+"\n"), args: []string{"-nodes", "1"}, want: "is not a domain"},
		"quote in an address":  {args: []string{"-nodes", "1", "-main-s2s", "a\"b:5269"}, want: "is not host:port, such as 10.0.0.5:5269"},
		"port by name":         {args: []string{"-nodes", "1", "-main-s2s", "10.0.0.5:xmpp"}, want: "is not host:port, such as 10.0.0.5:5269"},
		"relative certificate": {args: []string{"-nodes", "1", "-certificate", "x.crt", "-key", "/x.key"}, want: "-certificate: \"x.crt\" is not an absolute path"},
		"space in a program":   {args: []string{"-nodes", "1", "-binary", "/opt/my node/vnode"}, want: "-binary: \"/opt/my node/vnode\" is not an absolute path"},
		"unit's own signs":     {args: []string{"-nodes", "1", "-certificate", "/x.crt", "-key", "/%i.key"}, want: "-key: \"/%i.key\""},
		"certificate alone":    {args: []string{"-nodes", "1", "-certificate", "x"}, want: "set both or neither"},
		"start in a prefix":    {args: []string{"-nodes", "1", "-start"}, want: "leave out -prefix and -dry-run"},
		"no such node":         {args: []string{"-remove", "3"}, want: "there is no node v3"},
		"password file":        {args: []string{"-nodes", "1", "-focus-password-file", "/nonexistent"}, want: "focus password: open /nonexistent"},
		"empty password":       {root: broken("etc/vnode/focus-password", "\n"), args: []string{"-nodes", "1"}, want: "must hold one line with the password; remove it to have one made"},
		"broken configuration": {root: broken("etc/vnode/v1.toml", "main-domian = 'x'\n"), args: []string{"-nodes", "1"}, want: `the nearest is "main-domain"; correct it, or remove the file`},
		"broken answers":       {root: broken("etc/vnode/setup.toml", "main-s2s = 3\n"), args: []string{"-nodes", "1"}, want: "correct "},
		"block without end":    {root: broken("etc/prosody/prosody.cfg.lua", unended), args: []string{"-nodes", "1"}, want: "line 1 begins a block of vnode setup that has no end"},
		"broken jicofo.conf":   {root: broken("etc/jitsi/jicofo/jicofo.conf", "jicofo {{ \n"), args: []string{"-nodes", "1"}, want: "correct the file first"},
		"prefix is a file":     {root: filepath.Join(broken("file", ""), "file"), args: []string{"-nodes", "1"}, want: "not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			root := tc.root
			if root == "" {
				root = t.TempDir()
			}
			_, err := run(t, root, tc.args...)
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestAnswersAreRemembered(t *testing.T) {
	root := t.TempDir()
	mustRun(t, root, "-add", "3", "-main-domain", "meet.example.org", "-main-s2s", "10.0.0.5:5269", "-node-address", "10.0.0.3", "-room-prefix", "muc")
	mustRun(t, root, "-add", "4")
	require.Contains(t, read(t, root, "etc/vnode/v4.toml"), `main-domain = "meet.example.org"`)
	require.Contains(t, read(t, root, "etc/vnode/pieces/prosody.cfg.lua"), `["muc.v4.meet.jitsi"] = "tcp://10.0.0.3:52694";`)
	mustRun(t, root, "-add", "4", "-main-domain", "meet.example.net")
	require.Contains(t, read(t, root, "etc/vnode/v4.toml"), `main-domain = "meet.example.net"`)
	require.Contains(t, read(t, root, "etc/vnode/v3.toml"), `main-domain = "meet.example.org"`, "not asked for")
}

// -start runs the last steps and stops at the one that fails, with the rest to
// go on with.
func TestStart(t *testing.T) {
	p := &Plan{Next: []Step{{Args: []string{"true"}}, {Args: []string{"sh", "-c", "echo no unit; exit 4"}}, {Args: []string{"touch", filepath.Join(t.TempDir(), "x")}}}}
	var out bytes.Buffer
	err := p.start(t.Context(), &out)
	require.ErrorContains(t, err, "no unit")
	require.ErrorContains(t, err, "go on with: sh -c echo no unit; exit 4 && touch")
	p.Next = p.Next[:1]
	require.NoError(t, p.start(t.Context(), &out))
}
