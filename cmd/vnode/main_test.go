package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// asCommand makes the test binary be vnode itself.
const asCommand = "TEST_AS_VNODE_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	os.Exit(m.Run())
}

func TestExitCodesAndWhatIsSaid(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	state := t.TempDir()
	for name, tc := range map[string]struct {
		args   []string
		code   int
		stdout string
		stderr string
	}{
		"help":            {args: []string{"-help"}, stdout: "vnode -id 3 -port 52693"},
		"help h":          {args: []string{"-h"}, stdout: "-main-s2s"},
		"version":         {args: []string{"version"}, stdout: "vnode "},
		"config help":     {args: []string{"config", "-help"}, stdout: "vnode config -check"},
		"config print":    {args: []string{"config", "-print"}, stdout: "main-domain = "},
		"config nothing":  {args: []string{"config"}, code: 2, stderr: "say -print, -check FILE or -effective"},
		"config both":     {args: []string{"config", "-print", "-check", "x"}, code: 2, stderr: "say -print"},
		"config argument": {args: []string{"config", "-print", "x"}, code: 2, stderr: `-print: "x" is neither true nor false`},
		"config flag":     {args: []string{"config", "-chekc", "x"}, code: 2, stderr: "unknown flag -chekc; the nearest is -check"},
		"of the image":    {args: []string{"config", "-check", "../../docs/packaging/container/vnode.toml"}, stdout: "nothing is wrong"},
		"config in force": {args: []string{"config", "-effective", "-config", "../internal/config/default.toml"}, stdout: "main-domain = 'meet.jitsi'  # ../internal/config/default.toml\n"},
		"config alone":    {args: []string{"config", "-effective"}, stdout: "main-domain = 'meet.jitsi'  # default\n"},
		"config of what":  {args: []string{"config", "-print", "-config", "x"}, code: 2, stderr: "-config goes with -effective"},
		"config no file":  {args: []string{"config", "-check", "/nonexistent"}, code: 2, stderr: "no such file"},
		"config good":     {args: []string{"config", "-check", "../internal/config/default.toml"}, stdout: "nothing is wrong"},
		"unknown flag":    {args: []string{"-prot", "1"}, code: 2, stderr: "-help lists the flags"},
		"bad value":       {args: []string{"-id", "a.b"}, code: 2, stderr: "id:"},
		"bad port":        {args: []string{"-port", "99999"}, code: 2, stderr: "port: 99999 is not a port\n"},
		"no file":         {args: []string{"-config", "/nonexistent"}, code: 2, stderr: "no such file"},
		"setup help":      {args: []string{"setup", "-help"}, stdout: "vnode setup -nodes 8"},
		"account help":    {args: []string{"account", "-help"}, stdout: "vnode account jigasi@"},
		"account nobody":  {args: []string{"account"}, code: 2, stderr: "vnode account -help tells more"},
		"all commands":    {args: []string{"-help"}, stdout: "  account    make a line"},
		"check help":      {args: []string{"check", "-help"}, stdout: "vnode check -config /etc/vnode/v3.toml"},
		"setup flag":      {args: []string{"setup", "-node", "3"}, code: 2, stderr: "unknown flag -node; the nearest is -nodes"},
		"setup run dry":   {args: []string{"setup", "-dryrun"}, code: 2, stderr: "the nearest is -dry-run"},
		"setup yes":       {args: []string{"setup", "-dry-run", "8"}, code: 2, stderr: `-dry-run: "8" is neither true nor false`},
		"setup truth":     {args: []string{"setup", "-dry-run", "no", "-force=off", "-nodes", "x"}, code: 2, stderr: `invalid value "x" for flag -nodes`},
		"check flag":      {args: []string{"check", "-cnfig", "x"}, code: 2, stderr: "the nearest is -config"},
		"health flag":     {args: []string{"health", "--redy"}, code: 2, stderr: "the nearest is -ready"},
		"account flag":    {args: []string{"account", "-name"}, code: 2, stderr: "it has no flags"},
		"command":         {args: []string{"chek"}, code: 2, stderr: `unknown command "chek"; the nearest is "check"`},
		"command, any":    {args: []string{"start", "-id", "3"}, code: 2, stderr: "Flags begin with a dash"},
		"version flag":    {args: []string{"--version"}, stdout: "vnode "},
		"setup, what":     {args: []string{"setup"}, code: 2, stderr: "say how many nodes, such as -nodes 8"},
		"setup, where":    {args: []string{"setup", "-nodes", "1", "-prefix", "/dev/null"}, code: 1, stderr: "vnode setup: "},
		"check, what":     {args: []string{"check", "v3"}, code: 2, stderr: "name the configuration with -config"},
		"health help":     {args: []string{"health", "-help"}, stdout: "vnode health -ready"},
		"health, what":    {args: []string{"health", "v3"}, code: 2, stderr: "name the configuration with -config"},
		"completion":      {args: []string{"completion"}, code: 2, stderr: "name the shell"},
		"check, none":     {args: []string{"check", "-config", "/nonexistent"}, code: 2, stderr: "no such file"},
		"taken port": {args: []string{"-id", "3", "-state-dir", state, "-s2s", taken.Addr().String()}, code: 1,
			stderr: "the port is taken"},
		"no password": {args: []string{"-id", "3", "-state-dir", state, "-focus-password-file", "/nonexistent"}, code: 1,
			stderr: "focus password"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			require.Equal(t, tc.code, run(tc.args, &stdout, &stderr))
			require.Contains(t, stdout.String(), tc.stdout)
			require.Contains(t, stderr.String(), tc.stderr)
			if tc.code == 0 {
				require.Empty(t, stderr.String())
			} else {
				require.LessOrEqual(t, strings.Count(stderr.String(), "\n"), 2, "one clear line, and where to read on")
			}
		})
	}
}

// A node as systemd runs it: it says where it listens, takes a new
// configuration on SIGHUP, goes on with the old one when that is wrong, and
// ends with 0 on SIGTERM.
func TestSignals(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "vnode.toml")
	write := func(extra string) {
		text := fmt.Sprintf("id = 3\nstate-dir = %q\ns2s = ['127.0.0.1:0']\nc2s = ['127.0.0.1:0']\nhttp = ['127.0.0.1:0']\nadmin = 'off'\nmain-s2s = '127.0.0.1:1'\n%s\n", dir, extra)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	write("")
	cmd := exec.Command(os.Args[0], "-config", path)
	cmd.Env = append(os.Environ(), asCommand+"=1")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer cmd.Process.Kill()

	waitFor(t, stdout, "s2s_whitelist")
	log := bufio.NewReader(stderr)
	write("log-level = 'debug'\nmax-connections = 10")
	require.NoError(t, cmd.Process.Signal(syscall.SIGHUP))
	waitFor(t, log, `msg="configuration reloaded" changed=[log-level]`)
	waitFor(t, log, "keys=[max-connections]")
	write("log-level = 'loud'")
	require.NoError(t, cmd.Process.Signal(syscall.SIGHUP))
	waitFor(t, log, "goes on with the old one")
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	_, err = io.Copy(io.Discard, log)
	require.NoError(t, err)
	require.NoError(t, cmd.Wait())
}

// waitFor reads lines until one contains want.
func waitFor(t *testing.T, r io.Reader, want string) {
	t.Helper()
	lines, ok := r.(*bufio.Reader)
	if !ok {
		lines = bufio.NewReader(r)
	}
	var seen strings.Builder
	for {
		line, err := lines.ReadString('\n')
		require.NoErrorf(t, err, "waiting for %q after:\n%s", want, &seen)
		if strings.Contains(line, want) {
			return
		}
		seen.WriteString(line)
	}
}
