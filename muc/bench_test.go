package muc

import (
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"vnode/fanout"
	"vnode/internal/wire"
)

// discard counts effects and keeps nothing.
type discard struct{ n, marks int }

func (d *discard) broadcast(*packet)                  { d.n++ }
func (d *discard) deliver(Session, ...*packet)        { d.n++ }
func (d *discard) follow(Session, ...*packet)         { d.n++ }
func (d *discard) unfollow(Session, ...*packet)       { d.n++ }
func (d *discard) send(string, string, []byte)        { d.n++ }
func (d *discard) after(alarm, time.Duration, uint64) {}
func (d *discard) watch(Session)                      { d.marks++ }
func (d *discard) ask(Session)                        { panic("the focus takes all at once") }
func (d *discard) turned(Session, bool)               {}
func (d *discard) waits(int)                          {}
func (d *discard) seats(int)                          {}
func (d *discard) here(VisitorName)                   {}
func (d *discard) left(string)                        {}
func (d *discard) pause(Session, bool)                {}

// taken tells the room that the focus has taken everything.
func (d *discard) taken(r *room) {
	for ; d.marks > 0; d.marks-- {
		r.drained(r.focus.session)
	}
}

// usualPresence is a participant's, as long as in production: about 1 KB.
func usualPresence() []byte {
	return fmt.Appendf(nil, "<presence from='%s' to='%s/bbbbbbb1' xml:lang='en'><stats-id>Harness</stats-id><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='https://jitsi.org/jitsi-meet' ver='JoWq5vPVYxxeIMIWq1Zz0sb1Yvo='/><SourceInfo>%s</SourceInfo><jitsi_participant_codecList>av1,vp9,vp8,h264</jitsi_participant_codecList><nick xmlns='http://jabber.org/protocol/nick'>main1</nick><occupant-id xmlns='urn:xmpp:occupant-id:0' id='of main'/></presence>",
		people("main1"), simRoom, strings.Repeat("{&quot;bbbbbbb1-a0&quot;:{&quot;muted&quot;:true}}", 10))
}

type load struct {
	s          *sim
	vis, focus *simSession
	from       wire.JID
}

func newLoad(t testing.TB) *load {
	s, focus, vis, _ := settled(t)
	l := &load{s: s, vis: vis, focus: focus}
	s.room.out = &discard{}
	var err error
	l.from, err = wire.ParseJID(people("main1"))
	require.NoError(t, err)
	return l
}

func (l *load) presence(p []byte) { l.s.room.fromRemote(l.s.now, l.from, p) }
func (l *load) chat(m []byte)     { l.s.room.fromClient(l.s.now, l.vis, who{}, m) }
func (l *load) iq(q []byte)       { l.s.room.fromClient(l.s.now, l.focus, who{}, q) }

var (
	usualChat   = []byte("<message xmlns='jabber:client' type='groupchat' id='12345678' to='" + simRoom + "'><body>Hello everybody, can you hear me?</body></message>")
	usualJingle = []byte("<iq xmlns='jabber:client' type='set' id='j1' to='" + simRoom + "/aaaaaaa1'><jingle xmlns='urn:xmpp:jingle:1' action='source-add'>" + strings.Repeat("<source xmlns='urn:xmpp:jingle:apps:rtp:ssma:0' ssrc='1234567890' name='bbbbbbb1-v0'/>", 250) + "</jingle></iq>")
)

// BenchmarkMainPresence: a participant's update, from the stanza to the log
// message.
func BenchmarkMainPresence(b *testing.B) {
	l, p := newLoad(b), usualPresence()
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		l.presence(p)
	}
}

// BenchmarkVisitorChat: a visitor's line, to the log, the history and main.
func BenchmarkVisitorChat(b *testing.B) {
	l := newLoad(b)
	b.ReportAllocs()
	for b.Loop() {
		l.chat(usualChat)
	}
}

// BenchmarkJingle: a 20 KB IQ from the focus to one visitor.
func BenchmarkJingle(b *testing.B) {
	l := newLoad(b)
	b.SetBytes(int64(len(usualJingle)))
	b.ReportAllocs()
	for b.Loop() {
		l.iq(usualJingle)
	}
}

// BenchmarkVisitorJoin: a visitor joins a room with 100 participants and
// leaves.
func BenchmarkVisitorJoin(b *testing.B) {
	l := newLoad(b)
	for i := range 100 {
		l.s.remote(fmt.Sprintf("p%d@meet.jitsi/x", i), "<presence from='p%d@meet.jitsi/x' to='%s/p%d'><x xmlns='%s'/></presence>", i, simRoom, i, wire.NSMUC)
	}
	v := l.s.session("vis9")
	join := fmt.Appendf(nil, "<presence to='%s/aaaaaaa9'><x xmlns='%s'/><nick xmlns='%s'>name</nick></presence>", simRoom, wire.NSMUC, wire.NSNick)
	leave := fmt.Appendf(nil, "<presence type='unavailable' to='%s/aaaaaaa9'/>", simRoom)
	b.ReportAllocs()
	for b.Loop() {
		l.s.room.fromClient(l.s.now, v, who{}, join)
		l.s.room.fromClient(l.s.now, v, who{}, leave)
	}
}

// BenchmarkSilentVisitor reports what a room keeps of a visitor that has joined
// and says nothing, its session not included.
func BenchmarkSilentVisitor(b *testing.B) {
	const n = 2000
	caster := fanout.New(fanout.Config{Shards: 1}, prometheus.NewRegistry())
	svc := New(testConfig(), nullRemote{}, caster, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	focus := &nullSession{jid: wire.JID{Local: "focus", Domain: "auth.meet.jitsi", Resource: "focus"}, admin: true}
	svc.FromClient(focus, fmt.Appendf(nil, "<presence to='%s/focus'><x xmlns='%s'/></presence>", simRoom, wire.NSMUC))
	svc.FromRemote(fmt.Appendf(nil, "<iq type='set' id='c' from='meet.jitsi' to='conference.v3.meet.jitsi'><visitors xmlns='%s' room='%s'><connect password=''/></visitors></iq>", wire.NSVisitors, simRoom))
	visitors := make([]nullSession, n)
	for i := range visitors {
		nick := fmt.Sprintf("%08x", i)
		visitors[i].jid = wire.JID{Local: nick + "-90ab-4cde-8fab-1234567890ab", Domain: "v3.meet.jitsi", Resource: "resource"}
	}
	before := liveHeap()
	for i := range visitors {
		nick := visitors[i].jid.Local[:8]
		svc.FromClient(&visitors[i], visitorPresence(nick, "Visitor "+nick, "av1,vp9,vp8,h264"))
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

// The hot paths allocate what the encoded stanza needs and a little, whatever
// the number of children.
func TestAllocations(t *testing.T) {
	l, p := newLoad(t), usualPresence()
	for _, c := range []struct {
		name string
		max  float64
		run  func()
	}{
		{"main presence", 15, func() { l.presence(p) }},
		{"visitor chat", 18, func() { l.chat(usualChat) }},
		{"jingle", 8, func() { l.iq(usualJingle) }},
	} {
		require.LessOrEqual(t, testing.AllocsPerRun(100, c.run), c.max, c.name)
	}
}
