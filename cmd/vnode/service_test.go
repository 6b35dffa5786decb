package main

import (
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// manager is a service manager, as far as sd_notify(3) goes.
type manager struct {
	t    *testing.T
	conn *net.UnixConn
	path string
}

func newManager(t *testing.T) *manager {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return &manager{t: t, conn: conn, path: path}
}

// hear waits for a message with want in it and returns it.
func (m *manager) hear(want string) string {
	m.t.Helper()
	require.NoError(m.t, m.conn.SetReadDeadline(time.Now().Add(30*time.Second)))
	b := make([]byte, 4096)
	for {
		n, err := m.conn.Read(b)
		require.NoError(m.t, err, "waiting for "+want)
		if s := string(b[:n]); strings.Contains(s, want) {
			return s
		}
	}
}

// service starts the command as systemd starts a unit: with sockets that are
// open already, a place to report to, a watchdog and a state directory.
func (m *manager) service(state string, sockets map[string]net.Listener, args ...string) (cmd *exec.Cmd, stderr io.Reader) {
	m.t.Helper()
	// systemd sets LISTEN_PID between fork and exec.
	cmd = exec.Command("/bin/sh", append([]string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`, os.Args[0]}, args...)...)
	var names []string
	for name, ln := range sockets {
		f, err := ln.(*net.TCPListener).File()
		require.NoError(m.t, err)
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		names = append(names, name)
	}
	cmd.Env = append(os.Environ(), asCommand+"=1", "NOTIFY_SOCKET="+m.path, "WATCHDOG_USEC=300000", "STATE_DIRECTORY="+state, "RUNTIME_DIRECTORY="+state,
		"LISTEN_FDS="+strconv.Itoa(len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	pipe, err := cmd.StderrPipe()
	require.NoError(m.t, err)
	require.NoError(m.t, cmd.Start())
	m.t.Cleanup(func() { _ = cmd.Process.Kill() }) // it has ended, if the test is good
	return cmd, pipe
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	return ln
}

// systemd starts the node on sockets of its own, hears that it is ready, that
// its watchdog is fed, that it reloads and is ready again, and that it stops;
// the state is where systemd has said.
func TestMannersOfAService(t *testing.T) {
	m, state := newManager(t), t.TempDir()
	sockets := map[string]net.Listener{"http": listen(t), "c2s": listen(t), "s2s": listen(t), "admin": listen(t)}
	cmd, stderr := m.service(state, sockets, "-id", "3", "-main-s2s", "127.0.0.1:1")
	require.Contains(t, m.hear("READY=1"), "STATUS=ready: 0 rooms, 0 visitors")
	m.hear("WATCHDOG=1")
	for name, path := range map[string]string{"http": "/xmpp-websocket", "admin": "/healthz"} {
		resp, err := http.Get("http://" + sockets[name].Addr().String() + path)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, 200, resp.StatusCode)
	}
	http.DefaultClient.CloseIdleConnections()
	require.FileExists(t, filepath.Join(state, "v3", "focus-password"))
	pid, err := os.ReadFile(filepath.Join(state, "vnode.pid"))
	require.NoError(t, err)
	require.Equal(t, strconv.Itoa(cmd.Process.Pid)+"\n", string(pid))

	require.NoError(t, cmd.Process.Signal(syscall.SIGHUP))
	reloading := m.hear("RELOADING=1")
	since := regexp.MustCompile(`MONOTONIC_USEC=(\d+)`).FindStringSubmatch(reloading)
	require.NotNil(t, since, reloading)
	require.NotEqual(t, "0", since[1])
	m.hear("READY=1")

	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.Contains(t, m.hear("STOPPING=1"), "EXTEND_TIMEOUT_USEC=45000000", "15 s, twice 5 s, and 20 s")
	_, err = io.Copy(io.Discard, stderr)
	require.NoError(t, err)
	require.NoError(t, cmd.Wait())
	require.NoFileExists(t, filepath.Join(state, "vnode.pid"))
}

func TestSocketsWithUnknownNames(t *testing.T) {
	m := newManager(t)
	cmd, stderr := m.service(t.TempDir(), map[string]net.Listener{"web": listen(t)}, "-id", "3", "-s2s", "127.0.0.1:0", "-c2s", "127.0.0.1:0", "-http", "127.0.0.1:0", "-admin", "off")
	said, err := io.ReadAll(stderr)
	require.NoError(t, err)
	require.Contains(t, string(said), `a socket named "web"; FileDescriptorName= must be s2s, c2s, http, https or admin`)
	require.Error(t, cmd.Wait())
}
