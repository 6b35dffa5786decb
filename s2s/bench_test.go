package s2s

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"vnode/internal/wire"
)

func newDialledNowhere(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("connection refused")
}

// presenceKB are about 1 KB presences of 100 participants of one room.
func presenceKB() (all []byte, n int) {
	n = 100
	for i := range n {
		p := fmt.Sprintf("<presence from='%08x-1111-2222-3333-444444444444@main.example/res%d' to='room@conference.v3.meet.example/%08x'>"+
			"<stats-id>Name-%d</stats-id><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='https://jitsi.org/jitsi-meet' ver='x'/>", i, i, i, i)
		p += "<SourceInfo>" + strings.Repeat("{&quot;muted&quot;:true}", (1000-len(p)-30)/24) + "</SourceInfo></presence>"
		all = append(all, p...)
	}
	return all, n
}

// counter is a Handler that waits for a number of stanzas.
type counter struct {
	left atomic.Int64
	done chan struct{}
}

func (c *counter) Stanza(*wire.Stanza) {
	if c.left.Add(-1) == 0 {
		close(c.done)
	}
}

func (c *counter) Link(string, uint64) {}

func benchServer(b testing.TB, h Handler) *Server {
	s, err := New(testConfig(), h, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	require.NoError(b, err)
	s.dial = newDialledNowhere
	b.Cleanup(func() { require.NoError(b, s.Close(context.Background())) })
	return s
}

// loopback returns the ends of a TCP connection.
func loopback(b testing.TB) (client, server net.Conn) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	defer ln.Close()
	client, err = net.Dial("tcp", ln.Addr().String())
	require.NoError(b, err)
	server, err = ln.Accept()
	require.NoError(b, err)
	return client, server
}

// readyStream is an incoming stream of main that has negotiated, on conn.
func readyStream(s *Server, raw, conn net.Conn) *stream {
	st := newStream(s, raw, inbound)
	st.conn, st.secure, st.opened, st.method = conn, true, true, "test"
	st.setDomains(domainPair{local: rooms, remote: mainHost})
	st.r = wire.NewReader(io.MultiReader(strings.NewReader(header(mainHost, rooms)), conn), wire.Limits{})
	_, _ = st.readHeader()
	st.becomeReady()
	return st
}

// pump writes the presences until n stanzas went out.
func pump(c net.Conn, n int) {
	all, per := presenceKB()
	for ; n >= per; n -= per {
		if _, err := c.Write(all); err != nil {
			return
		}
	}
	_, _ = c.Write(all[:len(all)/per*n])
}

// BenchmarkReceive measures what one authenticated stream takes in, from the
// socket to the handler, in MB/s and stanzas/s: plain, and over TLS, there
// beside raw TLS, which is the same bytes read from such a connection without
// looking at them. With -cpu 1 the sender shares the core.
func BenchmarkReceive(b *testing.B) {
	all, per := presenceKB()
	receive := func(b *testing.B, client, raw, conn net.Conn) time.Duration {
		n := (b.N + per - 1) / per * per
		h := &counter{done: make(chan struct{})}
		h.left.Store(int64(n))
		st := readyStream(benchServer(b, h), raw, conn)
		b.SetBytes(int64(len(all) / per))
		b.ReportAllocs()
		b.ResetTimer()
		began := time.Now()
		go pump(client, n)
		go st.serve()
		<-h.done
		took := time.Since(began)
		b.StopTimer()
		b.ReportMetric(float64(n)/took.Seconds(), "stanzas/s")
		client.Close()
		return took
	}
	b.Run("plain", func(b *testing.B) {
		client, server := loopback(b)
		receive(b, client, server, server)
	})
	b.Run("tls", func(b *testing.B) {
		client, server := loopback(b)
		c, s := shakeHands(b, client, server)
		took := receive(b, c, server, s)

		client, server = loopback(b)
		c, s = shakeHands(b, client, server)
		n := (b.N + per - 1) / per * per
		began := time.Now()
		go pump(c, n)
		_, err := io.CopyN(io.Discard, s, int64(n/per*len(all)))
		require.NoError(b, err)
		raw := time.Since(began)
		b.ReportMetric(float64(n/per*len(all))/raw.Seconds()/1e6, "raw-TLS-MB/s")
		b.ReportMetric(100*raw.Seconds()/took.Seconds(), "%-of-raw-TLS")
		client.Close()
		server.Close()
	})
}

func shakeHands(b *testing.B, client, server net.Conn) (c, s *tls.Conn) {
	s = tls.Server(server, &tls.Config{Certificates: []tls.Certificate{nodeCert}})
	c = tls.Client(client, &tls.Config{InsecureSkipVerify: true})
	done := make(chan error, 1)
	go func() { done <- s.Handshake() }()
	require.NoError(b, c.Handshake())
	require.NoError(b, <-done)
	return c, s
}

// BenchmarkSend measures queueing and coalesced writing of one pair, to a peer
// that takes all without a word and to one that acknowledges by stream
// management.
func BenchmarkSend(b *testing.B) {
	one := []byte("<message type='groupchat' from='r@" + rooms + "/a' to='r@" + mainRooms + "'><body>" + strings.Repeat("x", 900) + "</body></message>")
	send := func(b *testing.B, acknowledged bool) {
		s := benchServer(b, &counter{done: make(chan struct{})})
		client, server := loopback(b)
		st := readyStream(s, server, server)
		st.bidi = true
		st.prove(domainPair{local: rooms, remote: mainRooms}, nil)
		if acknowledged {
			require.NoError(b, st.enable())
		}
		go st.serve()
		b.SetBytes(int64(len(one)))
		b.ReportAllocs()
		b.ResetTimer()
		began := time.Now()
		read := make(chan struct{})
		go func() {
			defer close(read)
			swallow(client, b.N)
		}()
		p := s.pair(domainPair{local: rooms, remote: mainRooms})
		for i := range b.N {
			for i%1000 == 0 {
				if n, _, _ := p.waiting(); n < 4000 {
					break
				}
				time.Sleep(100 * time.Microsecond)
			}
			s.Send(rooms, mainRooms, one)
		}
		<-read
		b.StopTimer()
		b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "stanzas/s")
		client.Close()
	}
	b.Run("unacknowledged", func(b *testing.B) { send(b, false) })
	b.Run("acknowledged", func(b *testing.B) { send(b, true) })
}

// swallow reads messages until n have come and acknowledges what it is asked.
func swallow(c net.Conn, n int) {
	const overlap = len(smRequest) - 1
	buf := make([]byte, overlap+128<<10)
	for got, kept := 0, 0; got < n; {
		k, err := c.Read(buf[kept:])
		if err != nil {
			return
		}
		b := buf[:kept+k]
		// What is cut at the end is looked at again with the next read.
		got += bytes.Count(b, []byte("</message>")) - bytes.Count(b[:kept], []byte("</message>"))
		if bytes.Contains(b, []byte(smRequest)) {
			_, _ = c.Write(smAck(nil, uint32(got)))
		}
		kept = copy(buf, b[max(0, len(b)-overlap):])
	}
}

// Taking a stanza in costs no allocation once the addresses were seen.
func TestReceivingDoesNotAllocate(t *testing.T) {
	all, per := presenceKB()
	const rounds = 100
	h := &counter{done: make(chan struct{})}
	s := benchServer(t, h)
	_, raw := memPipe(fromMain, nodeAddr)
	st := newStream(s, raw, inbound)
	st.setDomains(domainPair{local: rooms, remote: mainHost})
	proved := []domainPair{st.domainPair}
	st.proved.Store(&proved)
	allocs := testing.AllocsPerRun(5, func() {
		st.r = wire.NewReader(io.MultiReader(strings.NewReader(header(mainHost, rooms)), bytes.NewReader(bytes.Repeat(all, rounds))), wire.Limits{})
		_, err := st.readHeader()
		require.NoError(t, err)
		h.left.Store(1 << 40)
		require.ErrorIs(t, st.readLoop(), io.EOF)
		require.EqualValues(t, 1<<40-rounds*per, h.left.Load())
	})
	require.Less(t, allocs/(rounds*float64(per)), 0.02, "allocations per stanza")
	st.end(because(Closed, nil))
	st.finish()
}
