package node

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/internal/port"
	"vnode/internal/xmpptest/prosody"
)

const focusPassword = "the focus password"

// world is a real main Prosody, nodes as processes of their own, a scripted jicofo
// and pages, with all the times of a fault scaled down.
type world struct {
	t          *testing.T
	ctx        context.Context
	program    string
	scale      float64 // of times
	spreadOver int     // nodes that jicofo uses for one conference
	main       *prosody.Server
	nodes      map[string]*process
	jicofo     *scriptedJicofo
	down       atomic.Bool // main is
	running    sync.WaitGroup
	speakers   []*page
	visitors   []*page
	faultAt    time.Time
}

// process is a node that can be killed.
type process struct {
	id, s2s, c2s, admin string
	dir                 string
	args                []string
	cmd                 *exec.Cmd
}

// newWorld makes a world with nodes of these ids; their processes get the flags.
func newWorld(t *testing.T, program string, scale float64, flags []string, ids ...string) *world {
	ctx, cancel := context.WithCancel(context.Background())
	w := &world{t: t, ctx: ctx, program: program, scale: scale, spreadOver: len(ids), nodes: make(map[string]*process)}
	ports, err := prosody.Reserve()
	require.NoError(t, err)
	options := prosody.Options{Auth: prosody.AuthSelfSigned, Bidi: true, Ports: ports, Nodes: map[string]netip.AddrPort{}}
	w.jicofo = newScriptedJicofo(t, w)
	for _, id := range ids {
		held, err := port.HoldAll(4)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, held.Close()) })
		p := &process{id: id, s2s: held[0].String(), c2s: held[1].String(), admin: held[3].String(), dir: t.TempDir()}
		password := filepath.Join(p.dir, "password")
		require.NoError(t, os.WriteFile(password, []byte(focusPassword), 0o600))
		d := func(of time.Duration) string { return w.scaled(of).String() }
		p.args = []string{
			"-id", id, "-s2s", p.s2s, "-c2s", p.c2s, "-http", held[2].String(), "-admin", p.admin, "-main-domain", "meet.jitsi",
			"-main-s2s", ports.S2S().String(), "-state-dir", p.dir, "-focus-password-file", password, "-jicofo-url", w.jicofo.rest.URL,
			"-comeback-word", d(3 * time.Second), "-comeback-settle", d(23 * time.Second), // what takes a page a second is not scaled down here
			"-comeback-ask", d(32 * time.Second),
			"-comeback-give-up", d(2 * time.Minute), "-join-wait", d(8 * time.Second), "-drain-timeout", d(15 * time.Second),
			"-drain-spread", d(5 * time.Second), "-comeback-rate", fmt.Sprint(100 / scale), "-max-connections-per-address", "20000",
		}
		p.args = append(p.args, flags...)
		w.nodes[id] = p
		options.Nodes[id] = netip.MustParseAddrPort(p.s2s)
	}
	for _, p := range w.nodes {
		var others []string
		for _, o := range w.nodes {
			if o != p {
				others = append(others, o.admin)
			}
		}
		p.args = append(p.args, "-other-nodes", strings.Join(others, ","))
	}
	w.main = prosody.Run(t, options)
	t.Cleanup(func() {
		cancel()
		w.running.Wait()
		for _, p := range w.nodes {
			w.end(p, syscall.SIGKILL)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	for _, p := range w.nodes {
		w.start(p)
	}
	return w
}

func (w *world) scaled(d time.Duration) time.Duration { return time.Duration(float64(d) * w.scale) }

func (w *world) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-w.ctx.Done():
	}
}

// closes closes a connection when the world ends.
func (w *world) closes(c net.Conn) (stop func() bool) {
	return context.AfterFunc(w.ctx, func() { _ = c.Close() })
}

func (w *world) mainIsDown() bool { return w.down.Load() }

// addresses are where clients reach the nodes.
func (w *world) addresses() map[string]string {
	all := make(map[string]string)
	for id, p := range w.nodes {
		all[id] = p.c2s
	}
	return all
}

// start starts a node's process and waits until its streams to main are up.
func (w *world) start(p *process) {
	log, err := os.OpenFile(filepath.Join(p.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(w.t, err)
	defer log.Close()
	p.cmd = exec.Command(w.program, p.args...)
	p.cmd.Stderr = log
	require.NoError(w.t, p.cmd.Start())
	require.Eventually(w.t, func() bool {
		_, body := w.ask(p, "GET", "/readyz", "")
		return strings.Contains(body, `"ready":true`) && !strings.Contains(body, "no stream")
	}, 30*time.Second, 10*time.Millisecond, "node %s", p.id)
}

// end ends a node's process and waits for that.
func (w *world) end(p *process, how syscall.Signal) {
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(how)
		_ = p.cmd.Wait()
		p.cmd = nil
	}
}

// ask asks a node's admin listener.
func (w *world) ask(p *process, method, path, body string) (int, string) {
	req, err := http.NewRequest(method, "http://"+p.admin+path, strings.NewReader(body))
	require.NoError(w.t, err)
	if token, err := os.ReadFile(filepath.Join(p.dir, "admin-token")); err == nil {
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

// open starts a page.
func (w *world) open(p *page) *page {
	p.w = w
	w.running.Go(p.run)
	return p
}

// begin lets jicofo log in, two speakers talk and n visitors watch, every other of
// whom prefers to be a visitor. The others became visitors because they came late.
func (w *world) begin(n int) {
	w.jicofo.start()
	for id := range w.nodes {
		w.eventually("jicofo logs in at "+id, func() bool { return w.jicofo.loggedIn(id) })
	}
	w.speakers = []*page{w.open(&page{room: "demo", speaks: true}), w.open(&page{room: "demo", speaks: true})}
	w.eventually("the speakers are in", func() bool { return all(w.speakers, (*page).watches) })
	w.visitors = append(w.visitors, w.open(&page{room: "demo", prefer: true}))
	w.eventually("a visitor watches", w.visitors[0].watches)
	for i := range n - 1 {
		w.visitors = append(w.visitors, w.open(&page{room: "demo", prefer: i%2 == 0}))
	}
	w.eventually("all watch", func() bool { return all(w.visitors, (*page).watches) })
}

func all(pages []*page, is func(*page) bool) bool {
	for _, p := range pages {
		if !is(p) {
			return false
		}
	}
	return true
}

// patience is how long the world waits for what is to happen: far longer than it
// takes.
func (w *world) patience() time.Duration { return 30*time.Second + w.scaled(3*time.Minute) }

func (w *world) eventually(what string, is func() bool) {
	w.t.Helper()
	if !waitUntil(w.patience(), is) {
		w.tell()
		require.Fail(w.t, "it did not come to this: "+what)
	}
}

func waitUntil(patience time.Duration, is func() bool) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if is() {
			return true
		}
	}
	return false
}

// tell logs how everybody is, and what the nodes say.
func (w *world) tell() {
	for _, p := range append(append([]*page(nil), w.speakers...), w.visitors[:min(len(w.visitors), 20)]...) {
		s, _, reloads, roles, node := p.is()
		w.t.Logf("page of %s (speaks %t, prefers %t): %s at %q, %d reloads, %v %s", p.room, p.speaks, p.prefer, s, node, reloads, roles, p.text)
	}
	for id, p := range w.nodes {
		b, _ := os.ReadFile(filepath.Join(p.dir, "log"))
		if len(b) > 12_000 {
			b = b[len(b)-12_000:]
		}
		w.t.Logf("%s: %s", id, b)
	}
}

// back waits until all who watched or spoke do so again, as what they were, and
// tells how long that took at full scale.
func (w *world) back(limit time.Duration) {
	w.t.Helper()
	again := func(p *page) bool {
		s, since, _, _, _ := p.is()
		return s == pageIn && since.After(w.faultAt)
	}
	w.eventually("all are back", func() bool { return all(w.visitors, again) })
	w.eventually("the speakers are back", func() bool { return all(w.speakers, again) })
	if w.changedRoles() {
		w.tell()
	}
	w.sameRoles()
	var last time.Duration
	first := time.Hour
	for _, p := range w.visitors {
		_, since, _, _, _ := p.is()
		took := time.Duration(float64(since.Sub(w.faultAt)) / w.scale)
		last, first = max(last, took), min(first, took)
	}
	w.t.Logf("%d visitors watched again %.0f to %.0f s after the fault (at full scale); the limit is %s", len(w.visitors), first.Seconds(), last.Seconds(), limit)
	// What the machine itself takes is not scaled down.
	require.Less(w.t, last.Seconds()*w.scale, limit.Seconds()*w.scale+10, "far too late")
}

func (w *world) changedRoles() bool {
	for _, p := range append(append([]*page(nil), w.speakers...), w.visitors...) {
		_, _, _, roles, _ := p.is()
		for _, r := range roles {
			if (r == "speaker") != p.speaks {
				return true
			}
		}
	}
	return false
}

func (w *world) sameRoles() {
	w.t.Helper()
	for _, p := range w.speakers {
		_, _, _, roles, _ := p.is()
		require.NotContains(w.t, roles, "visitor", "a speaker came back as a visitor")
	}
	for i, p := range w.visitors {
		_, _, _, roles, _ := p.is()
		require.NotContains(w.t, roles, "speaker", "visitor %d, who prefers that: %t, came back as a participant", i, p.prefer)
	}
}

// fault notes that the fault begins now.
func (w *world) fault() { w.faultAt = time.Now() }
