package node

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/internal/xmpptest/conference"
)

// BenchmarkJoin lets visitors join a room with 30 main participants, over
// loopback WebSockets, each from the handshake until its room is complete: the
// participants' presences, its own, the history and the subject. It reports joins
// a second, what a join costs in bytes and in CPU time of the process, of which
// the clients' is part, and what an idle visitor costs in Go memory, the client's
// end of it included: about 5 KB.
func BenchmarkJoin(b *testing.B) {
	for _, at := range []int{1, 32} {
		b.Run(fmt.Sprintf("%d at a time", at), func(b *testing.B) { benchmarkJoins(b, at) })
	}
}

const participants = 30

func benchmarkJoins(b *testing.B, at int) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	cfg := testConfig(b, ln.Addr().String())
	cfg.MaxConnections, cfg.MaxVisitors, cfg.MaxVisitorsPerRoom, cfg.MaxJoinsPerSecond = 1<<20, 1<<20, 1<<20, 1<<20
	cfg.LogLevel = "error"
	node := start(b, cfg)
	ledger := conference.NewLedger()
	meeting := node.simulatedMain(ln).Room("demo", ledger)
	for range participants {
		_, err := meeting.Join(b.Context())
		require.NoError(b, err)
	}
	_, err = node.focus().CreateRoom(b.Context(), demoRoom, ledger)
	require.NoError(b, err)
	require.NoError(b, meeting.ConnectVNode(b.Context()))

	before := memoryInUse()
	var received atomic.Int64
	conns := make(chan net.Conn, b.N+at)
	cpu := cpuTime()
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	var next atomic.Int64
	for range at {
		wg.Go(func() {
			for next.Add(1) <= int64(b.N) {
				c, n := joinRaw(b, node.Addresses().HTTP[0])
				received.Add(n)
				conns <- c
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	cpu = cpuTime() - cpu
	seconds, n := b.Elapsed().Seconds(), float64(b.N)
	b.ReportMetric(n/seconds, "joins/s")
	b.ReportMetric(float64(received.Load())/n, "wire-B/join")
	b.ReportMetric(float64(cpu.Microseconds())/n, "cpu-µs/join")
	if b.N >= 100 {
		b.ReportMetric((memoryInUse()-before)/n, "B/visitor")
	}
	close(conns)
	for c := range conns {
		c.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	require.NoError(b, meeting.Close(ctx))
	node.stop()
}

// joinRaw is a client that says all it has to say at once, and looks only for
// the end of what it gets. It returns the connection and the bytes received.
func joinRaw(b *testing.B, addr string) (net.Conn, int64) {
	c, err := net.Dial("tcp", addr)
	require.NoError(b, err)
	_, err = io.WriteString(c, "GET /xmpp-websocket?room=demo&vnode=v3 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: xmpp\r\n\r\n")
	require.NoError(b, err)
	r := bufio.NewReaderSize(c, 4096)
	for line := ""; line != "\r\n"; {
		line, err = r.ReadString('\n')
		require.NoError(b, err)
	}
	const open = `<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='v3.meet.jitsi' version='1.0'/>`
	nick := fmt.Sprintf("%08x", nicks.Add(1))
	var out []byte
	for _, s := range []string{
		open, `<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'/>`, open,
		`<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>`,
		`<enable xmlns='urn:xmpp:sm:3' resume='true'/>`,
		`<iq xmlns='jabber:client' type='get' id='e' to='v3.meet.jitsi'><services xmlns='urn:xmpp:extdisco:2'/></iq>`,
		`<iq xmlns='jabber:client' type='get' id='d' to='v3.meet.jitsi'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>`,
		`<presence xmlns='jabber:client' to='` + demoRoom + `/` + nick + `'><x xmlns='http://jabber.org/protocol/muc'/>` +
			`<stats-id>Ann-x2y</stats-id><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='https://jitsi.org/jitsi-meet' ver='cvjWXufsg4xT62Ec2mlATkFZ9lk='/>` +
			`<SourceInfo>{}</SourceInfo><nick xmlns='http://jabber.org/protocol/nick'>Ann</nick></presence>`,
	} {
		if len(s) <= 125 {
			out = append(out, 0x81, 0x80|byte(len(s)))
		} else {
			out = binary.BigEndian.AppendUint16(append(out, 0x81, 0x80|126), uint16(len(s)))
		}
		out = append(append(out, 0, 0, 0, 0), s...)
	}
	_, err = c.Write(out)
	require.NoError(b, err)
	require.NoError(b, c.SetReadDeadline(time.Now().Add(time.Minute)))
	return c, untilSubject(b, r)
}

var nicks atomic.Uint32

// untilSubject reads up to the subject, the last of what a join is answered
// with.
func untilSubject(b *testing.B, r *bufio.Reader) (received int64) {
	var last []byte
	for {
		_, err := r.Peek(1)
		require.NoError(b, err)
		chunk, _ := r.Peek(r.Buffered())
		received += int64(len(chunk))
		last = append(last, chunk...)
		_, _ = r.Discard(len(chunk))
		if bytes.Contains(last, []byte("<subject")) {
			return received
		}
		last = append(last[:0], last[max(0, len(last)-16):]...)
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// memoryInUse is the heap and the stacks, after the garbage.
func memoryInUse() float64 {
	var m runtime.MemStats
	for range 4 { // stacks shrink by half at a time
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc + m.StackInuse)
}
