package room

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/internal/wire"
	"vnode/internal/xmpptest/cast"
)

// discard counts effects and keeps nothing.
type discard struct {
	Effects  // nil: nothing else is done
	n, marks int
}

func (d *discard) Broadcast(*Packet)                  { d.n++ }
func (d *discard) Deliver(Session, ...*Packet)        { d.n++ }
func (d *discard) Follow(Session, ...*Packet)         { d.n++ }
func (d *discard) Unfollow(Session, ...*Packet)       { d.n++ }
func (d *discard) Send(string, string, []byte)        { d.n++ }
func (d *discard) Tell(string, string, []byte)        { d.n++ }
func (d *discard) After(Alarm, time.Duration, uint64) {}
func (d *discard) AwaitDrained(Session)               { d.marks++ }
func (d *discard) Ahead(Session, int)                 {}
func (d *discard) AskTurn(Session, bool)              { panic("the focus takes all at once") }
func (d *discard) EndTurn(Session, bool)              {}
func (d *discard) Waits(int)                          {}
func (d *discard) Meets(string)                       {}
func (d *discard) Seats(int)                          {}
func (d *discard) Here(VisitorName)                   {}
func (d *discard) Left(string)                        {}
func (d *discard) Pause(Session, bool)                {}

// taken tells the room that the focus has taken everything.
func (d *discard) taken(r *conference) {
	for ; d.marks > 0; d.marks-- {
		r.drained(r.focus.session)
	}
}

// usualPresence is a participant's, as long as in production: about 1 KB.
func usualPresence() []byte {
	return fmt.Appendf(nil, "<presence from='%s' to='%s/bbbbbbb1' xml:lang='en'><stats-id>Harness</stats-id><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='https://jitsi.org/jitsi-meet' ver='JoWq5vPVYxxeIMIWq1Zz0sb1Yvo='/><SourceInfo>%s</SourceInfo><jitsi_participant_codecList>av1,vp9,vp8,h264</jitsi_participant_codecList><nick xmlns='http://jabber.org/protocol/nick'>main1</nick><occupant-id xmlns='urn:xmpp:occupant-id:0' id='of main'/></presence>",
		cast.Address("main1"), simRoom, strings.Repeat("{&quot;bbbbbbb1-a0&quot;:{&quot;muted&quot;:true}}", 10))
}

type load struct {
	s          *sim
	vis, focus *simSession
}

func newLoad(t testing.TB) *load {
	s, focus, vis, _ := settled(t)
	l := &load{s: s, vis: vis, focus: focus}
	s.room.out = &discard{}
	return l
}

func (l *load) presence(p *wire.Stanza) { l.s.room.fromRemote(l.s.now, p) }
func (l *load) chat(m *wire.Stanza)     { l.s.room.fromClient(l.s.now, l.vis, Who{}, m) }
func (l *load) iq(q *wire.Stanza)       { l.s.room.fromClient(l.s.now, l.focus, Who{}, q) }

var (
	usualChat   = []byte("<message xmlns='jabber:client' type='groupchat' id='12345678' to='" + simRoom + "'><body>Hello everybody, can you hear me?</body></message>")
	usualJingle = []byte("<iq xmlns='jabber:client' type='set' id='j1' to='" + simRoom + "/aaaaaaa1'><jingle xmlns='urn:xmpp:jingle:1' action='source-add'>" + strings.Repeat("<source xmlns='urn:xmpp:jingle:apps:rtp:ssma:0' ssrc='1234567890' name='bbbbbbb1-v0'/>", 250) + "</jingle></iq>")
)

// BenchmarkMainPresence: a participant's update, from the stanza to the log
// message.
func BenchmarkMainPresence(b *testing.B) {
	l, p := newLoad(b), parse(b, usualPresence())
	b.SetBytes(int64(len(p.Raw)))
	b.ReportAllocs()
	for b.Loop() {
		l.presence(p)
	}
}

// BenchmarkVisitorChat: a visitor's line, to the log, the history and main.
func BenchmarkVisitorChat(b *testing.B) {
	l, m := newLoad(b), parse(b, usualChat)
	b.ReportAllocs()
	for b.Loop() {
		l.chat(m)
	}
}

// BenchmarkJingle: a 20 KB IQ from the focus to one visitor.
func BenchmarkJingle(b *testing.B) {
	l, q := newLoad(b), parse(b, usualJingle)
	b.SetBytes(int64(len(usualJingle)))
	b.ReportAllocs()
	for b.Loop() {
		l.iq(q)
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
	join := parse(b, fmt.Appendf(nil, "<presence to='%s/aaaaaaa9'><x xmlns='%s'/><nick xmlns='%s'>name</nick></presence>", simRoom, wire.NSMUC, wire.NSNick))
	leave := parse(b, fmt.Appendf(nil, "<presence type='unavailable' to='%s/aaaaaaa9'/>", simRoom))
	b.ReportAllocs()
	for b.Loop() {
		l.s.room.fromClient(l.s.now, v, Who{}, join)
		l.s.room.fromClient(l.s.now, v, Who{}, leave)
		l.s.room.out.(*discard).taken(l.s.room)
	}
}

// The hot paths allocate what the encoded stanza needs and a little, whatever
// the number of children.
func TestAllocations(t *testing.T) {
	l, p := newLoad(t), parse(t, usualPresence())
	chat, jingle := parse(t, usualChat), parse(t, usualJingle)
	for _, c := range []struct {
		name string
		max  float64
		run  func()
	}{
		{"main presence", 12, func() { l.presence(p) }},
		{"visitor chat", 17, func() { l.chat(chat) }},
		{"jingle", 7, func() { l.iq(jingle) }},
	} {
		require.LessOrEqual(t, testing.AllocsPerRun(100, c.run), c.max, c.name)
	}
}
