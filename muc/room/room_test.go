package room

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/internal/wire"
	"vnode/internal/xmpptest/cast"
)

// roomSim is a room without goroutines, and a model of its visitors.
type roomSim struct {
	*sim
	machine  *Room
	trace    []string // all that happened and all effects, in order
	asked    int
	asks     []string // main's questions not answered yet
	links    uint64
	focuses  uint64
	hung     map[*simSession]bool
	held     int
	visitors int
	limits   *Limits
	people   []*simVisitor
	exists   bool
	focus    *simSession // that joined last; nil for none
	rnd      *rand.Rand
}

func newRoomSim(t *testing.T, seed uint64) *roomSim {
	cfg := testConfig().WithDefaults()
	cfg.Comeback.Mode = []ComebackMode{ComebackReload, ComebackSilent}[seed%2]
	cfg.Comeback.Rate = 1
	s := &roomSim{sim: &sim{t: t, now: time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)}, hung: make(map[*simSession]bool), rnd: rand.New(rand.NewPCG(seed, 12))}
	s.machine = s.sim.hall(&cfg, s)
	s.limits = s.node.Limits
	for i := range 6 {
		name := fmt.Sprint("vis", i)
		s.people = append(s.people, &simVisitor{simSession: s.session(name), nick: cast.Address(name)[:8], state: "out"})
	}
	return s
}

func (s *roomSim) did(format string, args ...any) {
	s.trace = append(s.trace, fmt.Sprintf(format, args...))
}

// The effects: those of the sim are noted as well.

func (s *roomSim) Deliver(to Session, ps ...*Packet) {
	for _, p := range ps {
		s.did("to %s: %s%s", to.JID(), p.head, p.tail)
	}
	s.sim.Deliver(to, ps...)
}

func (s *roomSim) Follow(to Session, ps ...*Packet) {
	s.did("follow %s", to.JID())
	s.sim.Follow(to, ps...)
}

func (s *roomSim) Unfollow(to Session, ps ...*Packet) {
	s.did("unfollow %s", to.JID())
	s.sim.Unfollow(to, ps...)
}

func (s *roomSim) Tell(from, to string, stanza []byte) { s.Send(from, to, stanza) }

func (s *roomSim) Send(from, to string, stanza []byte) {
	s.did("to main: %s", stanza)
	if h, err := wire.ParseHeader(stanza); err == nil && string(h.Type) == "get" {
		s.asks = append(s.asks, string(h.ID))
	}
	s.sim.Send(from, to, stanza)
}

func (s *roomSim) After(a Alarm, d time.Duration, turn uint64) {
	s.did("after %s: %d, %d", d, a, turn)
	s.sim.After(a, d, turn)
}

func (s *roomSim) Began(string) { s.did("began") }
func (s *roomSim) Meets(string) { s.did("meets") }
func (s *roomSim) Ended(e End)  { s.did("ended %+v", e) }

func (s *roomSim) Seats(n int) {
	s.visitors += n
	s.did("seats %d", n)
}

func (s *roomSim) Broadcast(p *Packet) {
	s.did("to all: %s%s", p.head, p.tail)
	s.sim.Broadcast(p)
}

// at is what the room is told of the node.
func (s *roomSim) at() Node {
	return Node{Now: s.now, Limits: s.limits, Visitors: s.visitors, Held: s.held}
}

func (s *roomSim) Holds(n int, why string) {
	s.held = n
	s.did("holds %d: %s", n, why)
}

func (s *roomSim) AskJicofo(room string) {
	s.asked++
	s.did("ask %s", room)
}

func (s *roomSim) CountParticipants(room string) { s.did("count %s", room) }

func (s *roomSim) HangUp(to Session) {
	s.hung[to.(*simSession)] = true
	s.did("hang up %s", to.JID())
}

// pass lets time pass, and timers fire in it.
func (s *roomSim) passTime(d time.Duration) {
	for end := s.now.Add(d); ; {
		next, due := -1, end
		for a := range s.timers {
			if t := s.timers[a]; t.turn != 0 && !t.due.After(due) {
				next, due = a, t.due
			}
		}
		s.now = due
		if next < 0 {
			return
		}
		turn := s.timers[next].turn
		s.timers[next] = simTimer{}
		s.machine.Handle(s.at(), Timeout{Alarm(next), turn})
	}
}

// step lets something happen.
func (s *roomSim) step() {
	v := s.people[s.rnd.IntN(len(s.people))]
	focus := s.session("focus")
	switch s.rnd.IntN(16) {
	case 0, 1, 2:
		if s.hung[v.simSession] {
			break
		}
		s.did("%s joins", v.nick)
		s.machine.Handle(s.at(), FromClient{v.simSession, Who{}, parse(s.t, fmt.Appendf(nil, "<presence to='%s/%s'><x xmlns='%s'/></presence>", simRoom, v.nick, wire.NSMUC))})
		v.state = "in"
	case 3:
		s.did("%s goes", v.nick)
		s.machine.Handle(s.at(), Closed{v.simSession})
		*v = simVisitor{simSession: s.session(fmt.Sprint("vis", slices.Index(s.people, v))), nick: v.nick, state: "out"}
	case 4, 5, 6:
		s.did("focus joins")
		s.machine.Handle(s.at(), FromClient{s.focusSession(focus), Who{}, parse(s.t, fmt.Appendf(nil, "<presence to='%s/focus'><x xmlns='%s'/></presence>", simRoom, wire.NSMUC))})
	case 7:
		s.did("focus goes")
		s.focuses++
		s.machine.Handle(s.at(), Closed{s.focusSession(focus)})
		s.focus = nil
		s.machine.Handle(s.at(), FocusLink{false, s.focuses})
	case 8, 9:
		s.focuses++
		s.did("focus logs in")
		s.machine.Handle(s.at(), FocusLink{true, s.focuses})
	case 10:
		s.did("connect")
		for _, stanza := range []string{
			"<presence from='" + cast.Address("main1") + "' to='" + simRoom + "/" + cast.Address("main1")[:8] + "'><x xmlns='" + wire.NSMUC + "'/></presence>",
			"<iq type='set' id='c' from='meet.jitsi' to='conference.v3.meet.jitsi'><visitors xmlns='" + wire.NSVisitors + "' room='" + simRoom + "'><connect password=''/></visitors></iq>",
		} {
			s.machine.Handle(s.at(), FromMain{parse(s.t, []byte(stanza))})
		}
	case 11:
		s.links++
		s.did("main %d", s.links)
		s.machine.Handle(s.at(), MainLink{s.links})
	case 12:
		s.exists = !s.exists
	case 13:
		s.did("jicofo says")
		s.machine.Handle(s.at(), JicofoChose{Node: "v3"})
		s.machine.Handle(s.at(), Participants{N: s.rnd.IntN(3), Known: s.rnd.IntN(4) > 0})
	case 14:
		if s.rnd.IntN(4) == 0 {
			s.did("shutdown")
			s.machine.Handle(s.at(), Shutdown{})
		}
	case 15:
		d := time.Duration(s.rnd.IntN(20)) * time.Second
		s.did("%s pass", d)
		for range int(d / time.Second) {
			s.passTime(time.Second)
			s.answer()
		}
	}
}

// focusSession is the focus's, until it goes.
func (s *roomSim) focusSession(made *simSession) *simSession {
	if s.focus == nil {
		s.focus = made
	}
	return s.focus
}

// answer lets main answer what it was asked.
func (s *roomSim) answer() {
	asks := s.asks
	s.asks = nil
	for _, id := range asks {
		condition := "item-not-found"
		if s.exists {
			condition = "forbidden"
		}
		s.machine.Handle(s.at(), FromMain{parse(s.t,
			fmt.Appendf(nil, "<iq type='error' id='%s' from='%s' to='%s'><error type='auth'><%s xmlns='%s'/></error></iq>", id, simMain, simRoom, condition, wire.NSStanzas))})
	}
}

// check verifies what holds at any time.
func (s *roomSim) check() {
	last := strings.Join(s.trace[max(0, len(s.trace)-40):], "\n")
	h := s.machine
	untold := 0
	if h.held != nil {
		for _, v := range h.held.visitors {
			if v.told.IsZero() {
				untold++
			}
		}
		require.Equal(s.t, h.held.untold, untold, last)
	}
	require.Equal(s.t, untold, s.held, "the node is told how many are held\n%s", last)
	if !h.Over() && (h.held != nil || h.waiting.len() > 0) {
		require.True(s.t, h.ticking, "nothing will come of what waits\n%s", last)
	}
	for _, v := range s.people {
		places := 0
		if h.held != nil && h.held.has(v.simSession) {
			places++
			require.NotContains(s.t, s.followers, v.simSession, "one that is held hears of the next room\n%s", last)
		}
		if h.waiting.index[v.simSession] != nil {
			places++
		}
		if h.life != nil && (h.life.occupantOf(v.simSession) != nil || h.life.queue.index[v.simSession] != nil) {
			places++
		}
		require.LessOrEqual(s.t, places, 1, "%s is in two places\n%s", v.nick, last)
	}
	require.Equal(s.t, s.machine.life != nil, strings.Count(strings.Join(s.trace, "\n"), "\nbegan") > strings.Count(strings.Join(s.trace, "\n"), "\nended"), last)
}

// TestRoomInvariants lets jicofo, main and visitors come and go at random. Nobody
// is in two of the room, the audience and the waiting list; nobody who is held hears
// of the next room; as long as somebody waits there is an alarm; and in the end,
// when nothing more happens, nobody is left waiting.
func TestRoomInvariants(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			s := newRoomSim(t, seed)
			s.did("start")
			for range 150 {
				s.step()
				s.check()
			}
			s.machine.Handle(s.at(), Closed{s.focusSession(s.session("focus"))})
			s.passTime(10 * time.Minute)
			s.check()
			require.True(t, s.machine.Over(), strings.Join(s.trace[max(0, len(s.trace)-40):], "\n"))
			require.Zero(t, s.held)
			require.Empty(t, s.followers)
			require.Zero(t, s.visitors)
		})
	}
}

// A room is a machine: the same events have the same effects in the same order.
func TestRoomIsDeterministic(t *testing.T) {
	run := func(seed uint64) []string {
		s := newRoomSim(t, seed)
		for range 150 {
			s.step()
		}
		return s.trace
	}
	for seed := range uint64(20) {
		one, two := run(seed), run(seed)
		for i := range one {
			require.Equal(t, one[i], two[i], "seed %d, effect %d", seed, i)
		}
		require.Len(t, two, len(one))
	}
}

// Ten thousand visitors of one node are told over the time that the rate allows,
// less what their pages spread by themselves.
func TestSpreadOfTheComeback(t *testing.T) {
	c := Comeback{}.withDefaults()
	require.Zero(t, c.spreadOver(1900, false))
	require.InDelta(t, 81, c.spreadOver(10_000, false).Seconds(), 0.1)
	require.InDelta(t, 99, c.spreadOver(10_000, true).Seconds(), 0.1)
	c.Rate = -1
	require.Zero(t, c.spreadOver(10_000, false))
}

var _ Effects = (*roomSim)(nil)
