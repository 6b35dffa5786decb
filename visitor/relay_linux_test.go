package visitor

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"vnode/fanout"
	"vnode/internal/wire"
)

// relay passes what the focus sends on to the visitor, as a room does it: new
// addresses, the body as it is.
type relay struct {
	mu sync.Mutex
	to *Session // guarded by mu

	size atomic.Int64 // of the latest IQ, as the visitor gets it
}

func (r *relay) Stanza(s *Session, st *wire.Stanza) {
	if !s.Admin() {
		return
	}
	r.mu.Lock()
	to := r.to
	r.mu.Unlock()
	held := st.Clone() // in the room's mailbox
	dst, body := held.AppendStart(make([]byte, 0, 256), held.Raw, wire.Stamp{
		Space: wire.NSClient, To: to.address.text, From: "room@conference.v3.meet.jitsi/focus", ID: wire.Unescape(held.ID), Type: "set", Lang: "en",
	})
	r.size.Store(int64(len(dst)+len(body)) + 4) // a frame of up to 64 KiB has a header of 4
	to.Deliver(nil, fanout.NewSplit(dst, body))
}

func (r *relay) Opened(*Session) {}
func (r *relay) Closed(*Session) {}

// BenchmarkRelay carries Jingle IQs of 20 KB from the focus' TCP stream to one
// visitor's WebSocket, the kernel's work on both sides included.
func BenchmarkRelay(b *testing.B) {
	h := &relay{}
	fan := fanout.New(fanout.Config{Shards: 1}, prometheus.NewRegistry())
	srv, err := New(testConfig(), fan, h, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	require.NoError(b, err)
	b.Cleanup(func() {
		require.NoError(b, srv.Close(context.Background()))
		require.NoError(b, fan.Close(context.Background()))
	})
	hs := &house{t: b, srv: srv}
	visitor := hs.dialed("tcp", "").visitor()
	h.to = srv.session(mustJID(visitor.jid))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	defer ln.Close()
	far, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(b, err)
	near, err := ln.Accept()
	require.NoError(b, err)
	srv.acceptTCP(near, true)
	focus := (&peer{t: b, conn: far, tcp: wire.NewReader(far, wire.Limits{})}).focus()

	iq := []byte("<iq type='set' id='j1' to='room@conference.v3.meet.jitsi/aaaaaaa1'><jingle xmlns='urn:xmpp:jingle:1' action='source-add'>" +
		strings.Repeat("<source xmlns='urn:xmpp:jingle:apps:rtp:ssma:0' ssrc='1234567890' name='bbbbbbb1-v0'/>", 235) + "</jingle></iq>")
	var arrived atomic.Int64
	read := make(chan struct{}, 1)
	go func() {
		defer close(read)
		buf := make([]byte, 256<<10)
		for {
			n, err := visitor.conn.Read(buf)
			if err != nil {
				return
			}
			arrived.Add(int64(n))
			select {
			case read <- struct{}{}:
			default:
			}
		}
	}()
	await := func(iqs int64) {
		for arrived.Load() < iqs*h.size.Load() || iqs > 0 && h.size.Load() == 0 {
			if _, open := <-read; !open {
				b.Fatal("the visitor's connection has ended")
			}
		}
	}
	b.SetBytes(int64(len(iq)))
	b.ReportAllocs()
	var sent int64
	for b.Loop() {
		await(sent - 12) // what may wait for a visitor is bounded
		_, err := focus.conn.Write(iq)
		require.NoError(b, err)
		sent++
	}
	await(sent)
	b.StopTimer()
	focus.hangUp()
}
