package prosody

import (
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"mellium.im/sasl"

	"vnode/internal/xmpptest/needs"
)

var anonymous = sasl.Anonymous

func TestWithoutProsodyTheErrorSaysHowToGetIt(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Find()
	require.ErrorIs(t, err, ErrNotInstalled)
	require.ErrorContains(t, err, "apt-get install prosody")
	_, err = Start(t.Context(), Options{})
	require.ErrorIs(t, err, ErrNotInstalled)
}

func TestOptionsAreChecked(t *testing.T) {
	needs.Programs(t, "prosody")
	v3 := func(addr netip.AddrPort) map[string]netip.AddrPort { return map[string]netip.AddrPort{"v3": addr} }
	for want, opts := range map[string]Options{
		`"a\"b" is not a domain`:      {MainDomain: `a"b`},
		`"a/b" is not a domain`:       {AuthDomain: "a/b"},
		`"v3.x" is not the id`:        {Nodes: map[string]netip.AddrPort{"v3.x": netip.MustParseAddrPort("127.0.0.1:1")}},
		`node v3 has no address`:      {Nodes: v3(netip.AddrPort{})},
		`node v3 has no address at 0`: {Nodes: v3(netip.MustParseAddrPort("127.0.0.1:0"))},
		`unknown Auth(7)`:             {Auth: 7},
		`is not empty`:                {Dir: filepath.Dir(os.Args[0])},
	} {
		t.Run(want, func(t *testing.T) {
			_, err := Start(t.Context(), opts)
			require.ErrorContains(t, err, strings.TrimSuffix(want, " at 0"))
		})
	}
	require.FileExists(t, os.Args[0], "a directory of others is left alone")
}

func TestFailedStartGivesThePortsBack(t *testing.T) {
	needs.Programs(t, "prosody")
	r, err := Reserve()
	require.NoError(t, err)
	_, err = Start(t.Context(), Options{Ports: r, Auth: 7})
	require.Error(t, err)
	l, err := net.Listen("tcp", r.S2S().String())
	require.NoError(t, err)
	require.NoError(t, l.Close())
}

func TestLuaString(t *testing.T) {
	require.Equal(t, `"a\034b\092c\010\195\169\000"`, luaString("a\"b\\c\né\x00"))
}

// A password with every kind of character survives the account file.
func TestFocusPassword(t *testing.T) {
	s := Run(t, Options{MainDomain: "main-1.example", AuthDomain: "auth.meet.jitsi", FocusPassword: `p"a\s'x]]`})
	c := focus(t, s)
	require.Regexp(t, "^focus@auth.meet.jitsi/.", c.jid)
	require.NotContains(t, s.Logs(), s.FocusPassword())
}

func TestBrokenConfigurationLeavesNothing(t *testing.T) {
	needs.Programs(t, "prosody")
	dir := filepath.Join(t.TempDir(), "prosody")
	_, err := Start(t.Context(), Options{Dir: dir, Extra: "this is not Lua"})
	require.ErrorContains(t, err, "problem occurred while reading the config file", "the log explains")
	require.NoDirExists(t, dir)
}

// Half a main side is none: every module has to be where it belongs.
func TestMisplacedModulesAreNoticed(t *testing.T) {
	needs.Programs(t, "prosody")
	_, err := Start(t.Context(), Options{Extra: `vnode_main_domain = "other.example"`})
	require.ErrorContains(t, err, "exited")
	require.ErrorContains(t, err, "not attached to all hosts")
}

func TestStartEndsWithItsContext(t *testing.T) {
	needs.Programs(t, "prosody")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(io.ErrNoProgress)
	dir := filepath.Join(t.TempDir(), "prosody")
	_, err := Start(ctx, Options{Dir: dir})
	require.ErrorIs(t, err, io.ErrNoProgress)
	require.NoDirExists(t, dir)
}

func TestReservedPorts(t *testing.T) {
	r, err := Reserve()
	require.NoError(t, err)
	seen := map[uint16]bool{}
	for _, addr := range []netip.AddrPort{r.S2S(), r.C2S(), r.HTTP()} {
		require.True(t, addr.Addr().IsLoopback())
		require.False(t, seen[addr.Port()])
		seen[addr.Port()] = true
		_, err := net.Dial("tcp", addr.String())
		require.Error(t, err, "nobody listens yet")
	}
	s := Run(t, Options{Ports: r})
	require.Equal(t, r.S2S(), s.S2SAddr())
	require.Equal(t, r.C2S(), s.C2SAddr())
	focus(t, s)
	require.NoError(t, r.Close())
	require.NoError(t, r.Close())
}

func TestKillAndRestart(t *testing.T) {
	s := Run(t, Options{})
	first, exited := s.PID(), s.Exited()
	require.NoError(t, s.Kill())
	<-exited
	_, err := net.Dial("tcp", s.C2SAddr().String())
	require.Error(t, err, "a killed server refuses connections")
	require.NoError(t, s.Kill(), "killing it again is harmless")
	_, err = s.WaitLog(t.Context(), "never logged")
	require.ErrorContains(t, err, "exited")

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	require.NoError(t, s.Restart(ctx))
	require.NotEqual(t, first, s.PID())
	focus(t, s)
	second := s.PID()
	require.NoError(t, s.Restart(ctx))
	require.NotEqual(t, second, s.PID())
	focus(t, s)
}

func TestStopLeavesNothing(t *testing.T) {
	needs.Programs(t, "prosody")
	for _, patient := range []bool{true, false} {
		t.Run(fmt.Sprintf("patient=%v", patient), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "prosody")
			s, err := Start(t.Context(), Options{Dir: dir})
			require.NoError(t, err)
			require.FileExists(t, s.LogPath())
			exited := s.Exited()
			ctx, cancel := context.WithCancel(t.Context())
			if !patient {
				cancel()
			}
			require.NoError(t, s.Stop(ctx))
			cancel()
			<-exited
			require.NoDirExists(t, dir)
			require.Contains(t, s.LogTail(1000), readyLine, "the log can still be read")
			require.NoError(t, s.Stop(t.Context()), "stopping it again is harmless")
			if patient {
				require.Contains(t, s.Logs(), "Shutdown complete")
			}
		})
	}
}

func TestTwoAtATime(t *testing.T) {
	for _, name := range []string{"one", "other"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newConference(t, Options{})
			c.main.send(`<message type='groupchat' to='` + c.room + `'><body>` + name + `</body></message>`)
			c.main.got.take(t, "echo", bodyIs(name))
		})
	}
}

func TestWaitLogEndsWithItsContext(t *testing.T) {
	s := Run(t, Options{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err := s.WaitLog(ctx, "never logged")
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestLogKeepsTheNewestLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	b, err := openLog(path)
	require.NoError(t, err)
	const written = 2*keptLines + 1
	for i := range written {
		_, err := fmt.Fprintf(b, "line %d.\nhalf", i)
		require.NoError(t, err)
	}
	require.Contains(t, b.tail(1), fmt.Sprintf("halfline %d.", written-1))
	require.Equal(t, keptLines, strings.Count(b.tail(math.MaxInt), "line "))
	require.Equal(t, written, b.end())
	done := make(chan struct{})
	close(done)
	_, err = b.wait(t.Context(), 0, "halfline 5.", done)
	require.ErrorContains(t, err, "exited", "too old")
	newest := fmt.Sprintf("halfline %d.", written-1)
	line, err := b.wait(t.Context(), 0, newest, done)
	require.NoError(t, err)
	require.Regexp(t, `^\d\d:\d\d:\d\d\.\d{3} `+newest+`$`, line)
	require.NoError(t, b.close())
	file, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, written, strings.Count(string(file), "\n"), "the file has all")
}

const orphanDir = "VNODE_PROSODY_ORPHAN_DIR"

// runUntilKilled is the child of the next test: it starts a server, tells its
// address and waits to be killed.
func runUntilKilled() int {
	s, err := Start(context.Background(), Options{Dir: os.Getenv(orphanDir)})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(s.C2SAddr())
	<-s.Exited()
	return 0
}

// A test that is killed cannot stop its server; the kernel does.
func TestServerDiesWithItsParent(t *testing.T) {
	needs.Programs(t, "prosody")
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), orphanDir+"="+filepath.Join(t.TempDir(), "prosody"))
	out, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	var addr string
	_, err = fmt.Fscanln(out, &addr)
	require.NoError(t, err)
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()

	require.NoError(t, parent.Process.Kill())
	require.Error(t, parent.Wait())
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
	_, err = io.Copy(io.Discard, conn) // it may say goodbye
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the server still holds the connection")
}
