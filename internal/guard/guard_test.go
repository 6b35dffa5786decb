package guard

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

// client is something that meets a panic.
type client struct{ ended int }

func (c *client) Doing() (string, int) { return "message", 512 }
func (c *client) Panicked()            { c.ended++ }

func (c *client) serve(g *Guard, f func()) {
	defer g.Recover(Session, c)
	f()
}

func newGuard(exit func(int)) (*Guard, *bytes.Buffer) {
	var out bytes.Buffer
	return New(slog.New(slog.NewTextHandler(&out, nil)), prometheus.NewRegistry(), exit), &out
}

// A panic ends what has met it, and is told of with its stack and the stanza in
// hand.
func TestPanicIsKeptIn(t *testing.T) {
	g, out := newGuard(nil)
	var c client
	c.serve(g, func() {})
	require.Zero(t, c.ended)
	require.Empty(t, out.String())
	c.serve(g, func() {
		var nobody []int
		nobody[c.ended]++
	})
	require.Equal(t, 1, c.ended)
	for _, want := range []string{"level=ERROR", "boundary=session", "stanza=message bytes=512", "index out of range", "guard_test.go"} {
		require.Contains(t, out.String(), want)
	}
	require.Equal(t, 1.0, testutil.ToFloat64(g.met[Session]))
}

// The process outlives a few panics in a minute, and no more.
func TestTooManyPanicsEndTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended []int
		g, out := newGuard(func(status int) {
			if ended == nil {
				ended = append(ended, status)
			}
		})
		var c client
		for range 20 { // one every 13 s
			c.serve(g, func() { panic("now and then") })
			time.Sleep(13 * time.Second)
		}
		require.Empty(t, ended)
		for range Most {
			c.serve(g, func() { panic("often") })
		}
		require.Equal(t, []int{status}, ended)
		require.Contains(t, out.String(), "too many panics")
	})
}

// The end is that of a program that failed, and the last line of the log says why.
func TestTheProcessEnds(t *testing.T) {
	const child = "GUARD_TEST_CHILD"
	if os.Getenv(child) != "" {
		g := New(slog.New(slog.NewTextHandler(os.Stderr, nil)), prometheus.NewRegistry(), nil)
		for {
			new(client).serve(g, func() { panic("often") })
		}
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestTheProcessEnds$")
	cmd.Env = append(os.Environ(), child+"=1")
	out, err := cmd.CombinedOutput()
	var ended *exec.ExitError
	require.ErrorAs(t, err, &ended)
	require.Equal(t, 70, ended.ExitCode())
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	require.Len(t, lines, Most+2)
	require.Contains(t, lines[Most+1], "the process ends: too many panics")
}

// owned is a client that is known by its address.
type owned struct {
	client
	whose string
}

func (o *owned) Whose() string { return o.whose }

func (o *owned) serve(g *Guard, f func()) {
	defer g.Recover(Session, o)
	f()
}

// A client that comes again and again with what the program cannot bear counts once,
// and its stack is logged once. Others beside it count, and a flood is too many.
func TestPanicsOfOneOwnerCountOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := 0
		g, out := newGuard(func(int) { ended++ })
		bad := owned{whose: "192.0.2.1"}
		for range 5 * MostInAll { // one in 2 s
			bad.serve(g, func() { panic("poison") })
			time.Sleep(2 * time.Second)
		}
		require.Zero(t, ended)
		require.Equal(t, 5*MostInAll, bad.ended)
		require.Equal(t, 1, strings.Count(out.String(), " stack="))
		require.NotContains(t, out.String(), "192.0.2.1")
		for n := range Most - 1 {
			o := owned{whose: strings.Repeat("x", n+1)}
			o.serve(g, func() { panic("others") })
		}
		require.Zero(t, ended)
		nobody := owned{}
		nobody.serve(g, func() { panic("nobody's") })
		nobody.serve(g, func() { panic("nobody's, each of which counts") })
		require.Equal(t, 1, ended)

		time.Sleep(Within)
		for range MostInAll {
			bad.serve(g, func() { panic("a flood") })
		}
		require.Equal(t, 1, ended)
		bad.serve(g, func() { panic("a flood") })
		require.Equal(t, 2, ended)
	})
}

// What a panic says may hold some of a stanza: only the runtime's is logged.
func TestTextsOfPanicsAreNotLogged(t *testing.T) {
	g, out := newGuard(nil)
	var c client
	c.serve(g, func() { panic(fmt.Errorf("cannot read %q", "<body>nobody's business</body>")) })
	require.NotContains(t, out.String(), "business")
	require.Contains(t, out.String(), "a value of type *errors.errorString")
	c.serve(g, func() { _ = []byte("abc")[len(out.String()):] })
	require.Contains(t, out.String(), "slice bounds out of range")
}

// What the node does by itself begins anew.
func TestTaskBeginsAnew(t *testing.T) {
	g, _ := newGuard(nil)
	runs := 0
	g.Task(func() {
		if runs++; runs < 3 {
			panic("not yet")
		}
	})
	require.Equal(t, 3, runs)
}

// Without a guard a panic ends the process, as ever.
func TestNoGuardKeepsNothingIn(t *testing.T) {
	var c client
	require.PanicsWithValue(t, "x", func() { c.serve(nil, func() { panic("x") }) })
	require.Zero(t, c.ended)
}

// A request that meets a panic has its connection closed. A handler that gives up by
// itself is no panic.
func TestPanicEndsOneRequest(t *testing.T) {
	g, out := newGuard(nil)
	for _, v := range []any{"a fault", http.ErrAbortHandler} {
		h := g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(v) }))
		require.PanicsWithValue(t, http.ErrAbortHandler, func() { h.ServeHTTP(nil, nil) })
	}
	require.Equal(t, 1.0, testutil.ToFloat64(g.met[Request]))
	require.Equal(t, 1, strings.Count(out.String(), "boundary=request"))
}
