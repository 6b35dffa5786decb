package visitor

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"vnode/fanout"
	"vnode/internal/wire"
	"vnode/visitor/admission"
	"vnode/visitor/request"
)

// quietHandler takes everything.
type quietHandler struct{}

func (quietHandler) Stanza(*Session, *wire.Stanza) {}
func (quietHandler) Opened(*Session)               {}
func (quietHandler) Closed(*Session)               {}

func benchServer(b testing.TB) *Server {
	fan := fanout.New(fanout.Config{Shards: 1}, prometheus.NewRegistry())
	cfg := testConfig()
	cfg.Limits.Connections = 100_000
	srv, err := New(cfg, fan, quietHandler{}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	require.NoError(b, err)
	b.Cleanup(func() {
		require.NoError(b, srv.Close(context.Background()))
		require.NoError(b, fan.Close(context.Background()))
	})
	return srv
}

// rawClient is a client's end of a connection, without anything of Go's runtime
// behind it: what is measured is the server's.
type rawClient int

func connect(b testing.TB, srv *Server) rawClient { return reconnect(b, srv, "") }

func reconnect(b testing.TB, srv *Server, previd string) rawClient {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(b, err)
	f := os.NewFile(uintptr(fds[0]), "server")
	conn, err := net.FileConn(f)
	require.NoError(b, err)
	require.NoError(b, f.Close())
	st := srv.newWebSocket(conn, nil, false)
	st.request = &request.Info{PrevID: previd}
	require.Nil(b, srv.admit(srv.lifetime, st.peer, admission.Exempt, 0))
	require.True(b, srv.start(st))
	return rawClient(fds[1])
}

var openDomain = fmt.Sprintf(openTo, testDomain)

// login sends a whole login at once and reads until the bind result.
func (s rawClient) login(b testing.TB) (jid string) {
	return s.ask(b, "<jid>", "</jid>", openDomain, anonymousAuth, openDomain, bindIQ)
}

// enable makes the session resumable, as each web client does.
func (s rawClient) enable(b testing.TB) (id string) { return s.ask(b, "id='", "'", smEnable) }

// ask sends elements at once and returns what comes between two texts.
func (s rawClient) ask(b testing.TB, before, after string, elems ...string) string {
	var out []byte
	for _, elem := range elems {
		out = append(out, clientFrame(0x81, elem)...)
	}
	_, err := syscall.Write(int(s), out)
	require.NoError(b, err)
	var in []byte
	for {
		var chunk [4096]byte
		n, err := syscall.Read(int(s), chunk[:])
		require.NoError(b, err)
		require.Positive(b, n)
		in = append(in, chunk[:n]...)
		if _, rest, ok := strings.Cut(string(in), before); ok {
			if found, _, ok := strings.Cut(rest, after); ok {
				return found
			}
		}
	}
}

func memory() (heap, stack float64) {
	var m runtime.MemStats
	for range 4 { // stacks shrink by half at a time
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc), float64(m.StackInuse)
}

// BenchmarkIdleSession reports what one bound, silent visitor costs in Go
// memory: heap and stack, without the kernel's socket.
func BenchmarkIdleSession(b *testing.B) {
	const n = 2000
	srv := benchServer(b)
	heap, stack := memory()
	sockets := make([]rawClient, 0, n)
	for range n {
		s := connect(b, srv)
		s.login(b)
		s.enable(b)
		sockets = append(sockets, s)
	}
	heapThen, stackThen := memory()
	for _, s := range sockets {
		syscall.Close(int(s))
	}
	for b.Loop() { // nothing is timed, and reporting comes after the loop
	}
	b.ReportMetric((heapThen-heap)/n, "heap-B/session")
	b.ReportMetric((stackThen-stack)/n, "stack-B/session")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkLogin is a visitor's way from connect to bind.
func BenchmarkLogin(b *testing.B) {
	srv := benchServer(b)
	b.ReportAllocs()
	for b.Loop() {
		s := connect(b, srv)
		s.login(b)
		syscall.Close(int(s))
	}
}

// BenchmarkResume is a visitor's way from connect to <resumed/>, and what it
// costs to lose the connection before.
func BenchmarkResume(b *testing.B) {
	srv := benchServer(b)
	s := connect(b, srv)
	s.login(b)
	id := s.enable(b)
	b.ReportAllocs()
	for b.Loop() {
		syscall.Close(int(s))
		s = reconnect(b, srv, id)
		s.ask(b, "<resumed ", "/>", openDomain, anonymousAuth, openDomain, "<resume xmlns='urn:xmpp:sm:3' previd='"+id+"' h='0'/>")
	}
	syscall.Close(int(s))
}

var benchPresence = []byte(`<presence xmlns='jabber:client' to='room@conference.v3.meet.jitsi/8b49e736'><x xmlns='http://jabber.org/protocol/muc'/>` +
	`<stats-id>Somebody-8b49e736</stats-id><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='https://jitsi.org/jitsi-meet' ver='JoWq5vPVYxxeIMIWq1Zz0sb1Yvo='/>` +
	`<SourceInfo>{}</SourceInfo><jitsi_participant_codecList>vp9,vp8,h264,av1</jitsi_participant_codecList><nick xmlns='http://jabber.org/protocol/nick'>Somebody</nick></presence>`)

// boundSession is a session whose stanzas a benchmark plays itself.
func boundSession(b testing.TB) (*Session, *wsTransport) {
	srv := benchServer(b)
	s := connect(b, srv)
	jid, err := wire.ParseJID(s.login(b))
	require.NoError(b, err)
	b.Cleanup(func() { syscall.Close(int(s)) })
	t := newWSTransport(nil, nil, wire.DefaultMaxBytes)
	return srv.session(jid), &t
}

func BenchmarkStanza(b *testing.B) {
	s, t := boundSession(b)
	b.SetBytes(int64(len(benchPresence)))
	b.ReportAllocs()
	for b.Loop() {
		ev, err := t.text(benchPresence)
		if err != nil {
			b.Fatal(err)
		}
		if err := s.element(ev); err != nil {
			b.Fatal(err)
		}
	}
}

// One allocation is the address handed to the Handler, one the header's.
func TestStanzaPathAllocatesLittle(t *testing.T) {
	s, tr := boundSession(t)
	n := testing.AllocsPerRun(2000, func() { // many, for others may allocate meanwhile
		ev, err := tr.text(benchPresence)
		if err == nil {
			err = s.element(ev)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	require.LessOrEqual(t, n, 3.0)
}
