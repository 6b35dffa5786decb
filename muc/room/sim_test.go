package room

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"vnode/internal/address"
	"vnode/internal/wire"
	"vnode/internal/xmpptest/cast"
)

// sim is one room without goroutines: its effects are carried out on the spot,
// on sessions that are records of what they got.
type sim struct {
	t         testing.TB
	room      *conference
	now       time.Time
	followers []*simSession
	sent      [][]byte // to main
	timers    [Alarms]simTimer
	effects   int
	stalled   bool // the focus reads nothing: no drained, no turns
	marks     int  // watched
	asked     bool
	short     bool // the turn that it asked for
	turns     int  // under way
	node      *Node
	waiting   int // bytes of requests
	paused    map[Session]bool
}

// simTimer is a timer of the room; turn is 0 when none is under way.
type simTimer struct {
	turn uint64
	due  time.Time
}

// simSession is a client; got is in the order of arrival.
type simSession struct {
	jid      wire.JID
	admin    bool
	got      [][]byte
	received int
	identity *Identity
	region   string
}

func (s *simSession) JID() wire.JID { return s.jid }
func (s *simSession) Admin() bool   { return s.admin }

func (s *simSession) who() Who { return Who{Identity: s.identity, Region: s.region} }

func newSim(t testing.TB, cfg Config) *sim {
	cfg = cfg.WithDefaults()
	s := &sim{t: t, now: time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)}
	s.room = s.hall(&cfg, s).newConference("meeting")
	return s
}

// hall returns the room in which the sim's conference lives.
func (s *sim) hall(cfg *Config, out Effects) *Room {
	limits := Limits{}.WithDefaults()
	r := New(Params{
		Config: cfg, Domains: testDomains(), Local: "room", Metrics: NewMetrics(prometheus.NewRegistry()),
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}, out)
	r.now, r.node.Limits = s.now, &limits
	s.node = &r.node
	return r
}

func testConfig() Config { return Config{} }

func testDomains() *address.Domains {
	return address.NewDomains("conference.v3.meet.jitsi", "conference", "meet.jitsi", nil)
}

func (s *sim) session(name string) *simSession {
	j, err := wire.ParseJID(cast.Address(name))
	require.NoError(s.t, err)
	return &simSession{jid: j, admin: j.Domain == "auth.meet.jitsi"}
}

func (s *sim) give(to Session, p *Packet) {
	s.effects++
	c := to.(*simSession)
	c.received++
	b := slices.Clone(p.head)
	if p.tail != nil && !p.whole {
		b = append(b, escaped(c.jid.String())...)
	}
	c.got = append(c.got, append(b, p.tail...))
}

func (s *sim) Broadcast(p *Packet) {
	s.effects++
	for _, f := range s.followers {
		s.give(f, p)
	}
}

func (s *sim) Deliver(to Session, ps ...*Packet) {
	for _, p := range ps {
		s.give(to, p)
	}
}

func (s *sim) Follow(to Session, ps ...*Packet) {
	s.Deliver(to, ps...)
	require.NotContains(s.t, s.followers, to, "follows twice")
	s.followers = append(s.followers, to.(*simSession))
}

func (s *sim) Unfollow(to Session, ps ...*Packet) {
	i := slices.Index(s.followers, to.(*simSession))
	require.GreaterOrEqual(s.t, i, 0, "unfollows what it does not follow")
	s.followers = slices.Delete(s.followers, i, i+1)
	s.Deliver(to, ps...)
}

func (s *sim) Tell(from, to string, stanza []byte) { s.Send(from, to, stanza) }

func (s *sim) Send(_, _ string, stanza []byte) {
	s.effects++
	s.sent = append(s.sent, stanza)
}

func (s *sim) After(a Alarm, d time.Duration, turn uint64) {
	s.effects++
	s.timers[a] = simTimer{turn, s.now.Add(d)}
}

func (s *sim) AwaitDrained(Session) { s.effects++; s.marks++ }
func (s *sim) Ahead(Session, int)   {}

func (s *sim) AskTurn(_ Session, again bool) {
	s.effects++
	require.False(s.t, s.asked, "asks for a second turn")
	s.asked, s.short = true, !again
}
func (s *sim) EndTurn(Session, bool) { s.effects++; s.turns-- }
func (s *sim) Waits(n int)           { s.waiting += n }
func (s *sim) Began(string)          { s.effects++ }
func (s *sim) Meets(string)          { s.effects++ }
func (s *sim) Ended(End)             { s.effects++ }
func (s *sim) Holds(int, string)     { s.effects++ }
func (s *sim) AskJicofo(string)      { s.effects++ }

func (s *sim) CountParticipants(string) { s.effects++ }
func (s *sim) HangUp(Session)           { s.effects++ }
func (s *sim) Seats(int)                { s.effects++ }
func (s *sim) Here(VisitorName)         { s.effects++ }
func (s *sim) Left(string)              { s.effects++ }
func (s *sim) Pause(c Session, on bool) {
	if s.paused == nil {
		s.paused = make(map[Session]bool)
	}
	require.NotEqual(s.t, s.paused[c], on)
	s.paused[c] = on
}

// focusReads has the focus take all it is given, and the room say what it holds.
func (s *sim) focusReads() {
	for !s.stalled && (s.marks > 0 || s.asked) {
		if s.marks > 0 {
			s.marks--
			s.room.drained(s.room.focus.session)
			continue
		}
		s.turnComes()
	}
}

// turnComes gives the room a turn.
func (s *sim) turnComes() {
	require.True(s.t, s.asked)
	s.asked = false
	s.turns++
	s.room.turn(s.now, s.room.focus.session, s.short)
	require.True(s.t, s.turns == 0 || s.room.ended != "", "a turn has no end")
	s.turns = 0
}

// pass lets time pass, and timers fire in it.
func (s *sim) pass(d time.Duration) {
	s.now = s.now.Add(d)
	for a := range s.timers {
		if t := s.timers[a]; t.turn != 0 && !s.now.Before(t.due) {
			s.timers[a] = simTimer{}
			s.room.timeout(s.now, Alarm(a), t.turn)
			s.focusReads()
		}
	}
}

func (s *sim) client(from *simSession, format string, args ...any) {
	s.room.fromClient(s.now, from, from.who(), parse(s.t, fmt.Appendf(nil, format, args...)))
	s.focusReads()
}

func (s *sim) remote(from, format string, args ...any) {
	j, err := wire.ParseJID(from)
	require.NoError(s.t, err)
	st := parse(s.t, fmt.Appendf(nil, format, args...))
	st.From = j
	s.room.fromRemote(s.now, st)
	s.focusReads()
}

const (
	simRoom = "room@conference.v3.meet.jitsi"
	simMain = "room@conference.meet.jitsi"
)

func (s *sim) join(c *simSession, nick string) {
	s.client(c, "<presence to='%s/%s'><x xmlns='%s'/></presence>", simRoom, nick, wire.NSMUC)
}

func (s *sim) control(what, attrs string) {
	s.remote("meet.jitsi", "<iq type='set' id='c' from='meet.jitsi' to='conference.v3.meet.jitsi'><visitors xmlns='%s' room='%s'><%s %s</%s></visitors></iq>",
		wire.NSVisitors, simRoom, what, attrs, what)
}

func (s *sim) mainJoin(name, content string) {
	s.remote(cast.Address(name), "<presence from='%s' to='%s/%s'><x xmlns='%s'/>%s</presence>", cast.Address(name), simRoom, cast.Address(name)[:8], wire.NSMUC, content)
}

// parse reads a stanza as the streams do. It is the room's from then on.
func parse(t testing.TB, stanza []byte) *wire.Stanza {
	t.Helper()
	st, err := wire.ParseStanza(stanza)
	require.NoError(t, err, string(stanza))
	return st
}
