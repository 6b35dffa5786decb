package node

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/internal/port"
	"vnode/internal/xmpptest/conference"
	"vnode/internal/xmpptest/jitsi"
)

// BenchmarkFloods has 500 visitors say at once what they can, while jicofo reads
// 8 MB/s, or reads nothing for a while, and a few people talk in another room. The
// node is a process of its own; its peers are all in this one. It reports, in
// milliseconds, how long it took until those people heard each other's lines
// (chat-p99), and until jicofo knew of a presence of theirs (focus-p99); in seconds,
// until jicofo knew how each of the 500 is, and the node's CPU time; and the node's
// largest memory. Run each once:
//
//	go test ./cmd/internal/node -run xxx -bench Floods -benchtime 1x
func BenchmarkFloods(b *testing.B) {
	program, err := jitsi.Build(b.Context(), b.TempDir())
	require.NoError(b, err)
	for _, what := range floods {
		for _, c := range []struct {
			name      string
			rooms     int
			transport string
			away      time.Duration
		}{
			{"1 room", 1, "websocket", 0}, {"50 rooms", 50, "websocket", 0}, {"500 rooms", 500, "websocket", 0},
			{"client TCP", 1, "tcp", 0}, {"BOSH", 1, "bosh", 0}, {"jicofo away 20 s", 5, "websocket", 20 * time.Second},
		} {
			b.Run(what.name+"/"+c.name, func(b *testing.B) {
				for range b.N {
					s := newSea(b, reachedOutside(program), c.rooms, slowFocus)
					s.fill(500, c.transport)
					s.measure(b, what, c.away)
					s.close()
				}
			})
		}
	}
}

// reachedOutside returns nodes that are processes of their own.
func reachedOutside(program string) func(testing.TB, string) *reached {
	return func(t testing.TB, main string) *reached {
		t.Helper()
		held, err := port.HoldAll(4)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, held.Close()) })
		dir := t.TempDir()
		password := filepath.Join(dir, "password")
		require.NoError(t, os.WriteFile(password, []byte(focusPassword), 0o600))
		admin := "http://" + held[3].String()
		log, err := os.Create(filepath.Join(dir, "log"))
		require.NoError(t, err)
		defer log.Close()
		node := exec.Command(program, "-id", "v3", "-s2s", held[0].String(), "-c2s", held[1].String(), "-http", held[2].String(), "-admin", held[3].String(),
			"-main-domain", "meet.jitsi", "-main-s2s", main, "-state-dir", dir, "-focus-password-file", password,
			"-max-connections-per-address", "5000", "-drain-timeout", "0s", "-drain-spread", "0s")
		node.Stderr = log
		require.NoError(t, node.Start())
		stop := sync.OnceFunc(func() {
			_ = node.Process.Signal(os.Interrupt)
			_ = node.Wait()
			http.DefaultClient.CloseIdleConnections()
		})
		t.Cleanup(func() {
			stop()
			if said, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
				t.Logf("%s", said[max(0, len(said)-10_000):])
			}
		})
		r := &reached{
			s2s: held[0].String(), c2s: held[1].String(), http: held[2].String(), password: focusPassword, stop: stop,
			metric: func(name string) float64 { return scraped(t, admin+"/metrics", name) },
			memory: func() float64 { return largestMemory(node.Process.Pid) },
		}
		require.Eventually(t, func() bool {
			resp, err := http.Get(admin + "/healthz")
			if err != nil {
				return false
			}
			defer resp.Body.Close()
			return resp.StatusCode == http.StatusOK
		}, 20*time.Second, 10*time.Millisecond)
		return r
	}
}

// scraped is the sum of a metric over its labels.
func scraped(t testing.TB, url, name string) (sum float64) {
	resp, err := http.Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), name)
		if !ok || rest == "" || rest[0] != '{' && rest[0] != ' ' {
			continue
		}
		v, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		require.NoError(t, err)
		sum += v
	}
	return sum
}

// largestMemory is the most memory that a process has used, in MB; 0 when the system
// does not tell.
func largestMemory(pid int) float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	kb, _, _ := strings.Cut(strings.TrimSpace(after), " ")
	n, _ := strconv.ParseFloat(kb, 64)
	return n / 1024
}

// measure lets a flood come while the quiet room talks. The focus reads nothing for
// as long as it is away.
func (s *sea) measure(b *testing.B, what flood, away time.Duration) {
	probe := newFlooder(b, s.node, "websocket", quietRoom)
	probe.awaitInside(b)
	talking, stop := context.WithCancel(b.Context())
	defer stop()
	talked := s.talk(talking, 20*time.Millisecond)
	probed := s.probe(talking, probe)
	busy := s.node.metric("process_cpu_seconds_total")
	began := time.Now()
	said := s.begin(what)
	if away > 0 {
		s.focus.held.Store(true)
		require.NoError(b, conference.Sleep(b.Context(), away))
		s.focus.held.Store(false)
	}
	said()
	s.survived(what)
	known := time.Since(began)
	busy = s.node.metric("process_cpu_seconds_total") - busy
	_ = conference.Sleep(b.Context(), 2*time.Second-known) // else too few lines
	stop()
	talked()
	lags := probed()
	chat := s.swarm.Progress().Latency
	require.NoError(b, probe.leave())
	s.calm()
	b.ReportMetric(float64(chat.P99.Microseconds())/1000, "chat-p99-ms")
	b.ReportMetric(float64(chat.Max.Microseconds())/1000, "chat-max-ms")
	b.ReportMetric(float64(lags[len(lags)*99/100].Microseconds())/1000, "focus-p99-ms")
	b.ReportMetric(known.Seconds(), "known-s")
	b.ReportMetric(busy, "cpu-s")
	b.ReportMetric(s.node.memory(), "MB")
	b.ReportMetric(s.node.metric("vnode_muc_focus_requests_refused_total"), "refused")
	b.ReportMetric(0, "ns/op") // which says nothing
}

// probe has a visitor of the quiet room send presences, and returns how long it took
// until the focus knew of each, in order of length.
func (s *sea) probe(ctx context.Context, v *flooder) (ended func() []time.Duration) {
	var mu sync.Mutex
	var lags []time.Duration
	sent := make(map[int]time.Time)
	s.focus.mu.Lock()
	s.focus.seenAt = func(room, nick string, number int) {
		mu.Lock()
		defer mu.Unlock()
		if at, ok := sent[number]; ok && room == v.room && nick == v.nick {
			lags = append(lags, time.Since(at))
			delete(sent, number)
		}
	}
	s.focus.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			mu.Lock()
			sent[i] = time.Now()
			mu.Unlock()
			if v.presence(i, "") != nil || conference.Sleep(ctx, time.Second/2) != nil {
				return
			}
		}
	}()
	return func() []time.Duration {
		<-done
		mu.Lock()
		defer mu.Unlock()
		for _, at := range sent { // replaced by a newer one, or still under way
			lags = append(lags, time.Since(at))
		}
		slices.Sort(lags)
		return lags
	}
}

// close ends everything.
func (s *sea) close() {
	for _, f := range s.flooders {
		f.out.close()
	}
	s.swarm.Close()
	s.node.stop()
}
