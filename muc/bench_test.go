package muc

import (
	"fmt"
	"log/slog"
	"runtime"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"vnode/fanout"
	"vnode/internal/wire"
)

// BenchmarkSilentVisitor reports what a room keeps of a visitor that has joined
// and says nothing, its session not included.
func BenchmarkSilentVisitor(b *testing.B) {
	const n = 2000
	caster := fanout.New(fanout.Config{Shards: 1}, prometheus.NewRegistry())
	svc := New(testConfig(), nullRemote{}, caster, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	focus := &nullSession{jid: wire.JID{Local: "focus", Domain: "auth.meet.jitsi", Resource: "focus"}, admin: true}
	svc.FromClient(focus, parsed(b, "<presence to='%s/focus'><x xmlns='%s'/></presence>", simRoom, wire.NSMUC))
	svc.FromRemote(parsed(b, "<iq type='set' id='c' from='meet.jitsi' to='conference.v3.meet.jitsi'><visitors xmlns='%s' room='%s'><connect password=''/></visitors></iq>", wire.NSVisitors, simRoom))
	visitors := make([]nullSession, n)
	for i := range visitors {
		nick := fmt.Sprintf("%08x", i)
		visitors[i].jid = wire.JID{Local: nick + "-90ab-4cde-8fab-1234567890ab", Domain: "v3.meet.jitsi", Resource: "resource"}
	}
	before := liveHeap()
	for i := range visitors {
		nick := visitors[i].jid.Local[:8]
		svc.FromClient(&visitors[i], parsed(b, usualJoin, nick))
	}
	rooms, err := svc.Rooms(b.Context()) // behind the last join
	require.NoError(b, err)
	require.Equal(b, n, rooms[0].Visitors)
	after := liveHeap()
	for b.Loop() { // nothing is timed, and reporting comes after the loop
	}
	b.ReportMetric((after-before)/n, "heap-B/visitor")
	b.ReportMetric(0, "ns/op")
	require.NoError(b, svc.Close(b.Context()))
	require.NoError(b, caster.Close(b.Context()))
}

func liveHeap() float64 {
	var m runtime.MemStats
	runtime.GC() // twice: pools are emptied by the second
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// usualJoin is what a visitor's browser joins with.
const usualJoin = "<presence xmlns='jabber:client' to='" + simRoom + "/%[1]s'><x xmlns='http://jabber.org/protocol/muc'/><stats-id>Harness-%[1]s</stats-id>" +
	"<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='https://jitsi.org/jitsi-meet' ver='JoWq5vPVYxxeIMIWq1Zz0sb1Yvo='/>" +
	"<SourceInfo>{}</SourceInfo><jitsi_participant_codecList>av1,vp9,vp8,h264</jitsi_participant_codecList><nick xmlns='http://jabber.org/protocol/nick'>Visitor %[1]s</nick></presence>"

const simRoom = "room@conference.v3.meet.jitsi"
