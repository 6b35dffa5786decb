package muc

import (
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"vnode/internal/wire"
)

// hallSim is a hall without goroutines, and a model of its visitors.
type hallSim struct {
	*sim
	hall    *hall
	trace   []string // all that happened and all effects, in order
	asked   int
	asks    []string // main's questions not answered yet
	links   uint64
	focuses uint64
	hung    map[*simSession]bool
	held    int
	people  []*simVisitor
	exists  bool
	focus   *simSession // that joined last; nil for none
	rnd     *rand.Rand
}

func newHallSim(t *testing.T, seed uint64) *hallSim {
	cfg := testConfig().withDefaults()
	cfg.Comeback.Mode = []ComebackMode{ComebackReload, ComebackSilent}[seed%2]
	cfg.Comeback.Rate = 1
	cfg.Comeback.AskJicofo = nil
	s := &hallSim{sim: &sim{t: t, now: time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)}, hung: make(map[*simSession]bool), rnd: rand.New(rand.NewPCG(seed, 12))}
	limits := &cfg.Limits
	ids := 0
	s.hall = newHall(roomParams{
		cfg: &cfg, domains: cfg.domains(), metrics: newMetrics(prometheus.NewRegistry()),
		log: slog.New(slog.NewTextHandler(io.Discard, nil)), local: "room", salt: make([]byte, 32),
		newID: func() string { ids++; return fmt.Sprint("id", ids) },
	}, s, func() string { ids++; return fmt.Sprint("meeting", ids) }, focusLink{})
	s.hall.node.limits = limits
	for i := range 6 {
		name := fmt.Sprint("vis", i)
		s.people = append(s.people, &simVisitor{simSession: s.session(name), nick: people(name)[:8], state: "out"})
	}
	return s
}

func (s *hallSim) did(format string, args ...any) {
	s.trace = append(s.trace, fmt.Sprintf(format, args...))
}

// The effects: those of the sim are noted as well.

func (s *hallSim) deliver(to Session, ps ...*packet) {
	for _, p := range ps {
		s.did("to %s: %s%s", to.JID(), p.head, p.tail)
	}
	s.sim.deliver(to, ps...)
}

func (s *hallSim) follow(to Session, ps ...*packet) {
	s.did("follow %s", to.JID())
	s.sim.follow(to, ps...)
}

func (s *hallSim) unfollow(to Session, ps ...*packet) {
	s.did("unfollow %s", to.JID())
	s.sim.unfollow(to, ps...)
}

func (s *hallSim) send(from, to string, stanza []byte) {
	s.did("to main: %s", stanza)
	if h, err := wire.ParseHeader(stanza); err == nil && string(h.Type) == "get" {
		s.asks = append(s.asks, string(h.ID))
	}
	s.sim.send(from, to, stanza)
}

func (s *hallSim) after(a alarm, d time.Duration, turn uint64) {
	s.did("after %s: %d, %d", d, a, turn)
	s.sim.after(a, d, turn)
}

func (s *hallSim) began(*room) { s.did("began") }
func (s *hallSim) ended(*room) { s.did("ended") }

func (s *hallSim) holds(n int, why string) {
	s.held = n
	s.did("holds %d: %s", n, why)
}

func (s *hallSim) askJicofo(room string) {
	s.asked++
	s.did("ask %s", room)
}

func (s *hallSim) hangUp(to Session) {
	s.hung[to.(*simSession)] = true
	s.did("hang up %s", to.JID())
}

// pass lets time pass, and timers fire in it.
func (s *hallSim) passTime(d time.Duration) {
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
		s.hall.node.held = s.held
		s.hall.timeout(s.now, alarm(next), turn)
	}
}

// step lets something happen.
func (s *hallSim) step() {
	v := s.people[s.rnd.IntN(len(s.people))]
	focus := s.session("focus")
	switch s.rnd.IntN(16) {
	case 0, 1, 2:
		if s.hung[v.simSession] {
			break
		}
		s.did("%s joins", v.nick)
		s.hall.fromClient(s.now, v.simSession, who{}, fmt.Appendf(nil, "<presence to='%s/%s'><x xmlns='%s'/></presence>", simRoom, v.nick, wire.NSMUC))
		v.state = "in"
	case 3:
		s.did("%s goes", v.nick)
		s.hall.sessionClosed(s.now, v.simSession)
		*v = simVisitor{simSession: s.session(fmt.Sprint("vis", slices.Index(s.people, v))), nick: v.nick, state: "out"}
	case 4, 5, 6:
		s.did("focus joins")
		s.hall.fromClient(s.now, s.focusSession(focus), who{}, fmt.Appendf(nil, "<presence to='%s/focus'><x xmlns='%s'/></presence>", simRoom, wire.NSMUC))
	case 7:
		s.did("focus goes")
		s.focuses++
		s.hall.sessionClosed(s.now, s.focusSession(focus))
		s.focus = nil
		s.hall.focusLink(s.now, focusLink{false, s.focuses})
	case 8, 9:
		s.focuses++
		s.did("focus logs in")
		s.hall.focusLink(s.now, focusLink{true, s.focuses})
	case 10:
		s.did("connect")
		for _, stanza := range []string{
			"<presence from='" + people("main1") + "' to='" + simRoom + "/" + people("main1")[:8] + "'><x xmlns='" + wire.NSMUC + "'/></presence>",
			"<iq type='set' id='c' from='meet.jitsi' to='conference.v3.meet.jitsi'><visitors xmlns='" + wire.NSVisitors + "' room='" + simRoom + "'><connect password=''/></visitors></iq>",
		} {
			h, _ := wire.ParseHeader([]byte(stanza))
			from, _ := wire.ParseAddress(h.From)
			s.hall.fromRemote(s.now, from, []byte(stanza))
		}
	case 11:
		s.links++
		s.did("main %d", s.links)
		s.hall.mainLink(s.now, s.links)
	case 12:
		s.exists = !s.exists
	case 13:
		s.did("jicofo says")
		s.hall.jicofoSaid(s.now, "v3", "")
	case 14:
		if s.rnd.IntN(4) == 0 {
			s.did("shutdown")
			s.hall.shutdown(s.now, false)
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
func (s *hallSim) focusSession(made *simSession) *simSession {
	if s.focus == nil {
		s.focus = made
	}
	return s.focus
}

// answer lets main answer what it was asked.
func (s *hallSim) answer() {
	asks := s.asks
	s.asks = nil
	for _, id := range asks {
		condition := "item-not-found"
		if s.exists {
			condition = "forbidden"
		}
		s.hall.fromRemote(s.now, wire.JID{Local: "room", Domain: "conference.meet.jitsi"},
			fmt.Appendf(nil, "<iq type='error' id='%s' from='%s' to='%s'><error type='auth'><%s xmlns='%s'/></error></iq>", id, simMain, simRoom, condition, wire.NSStanzas))
	}
}

// check verifies what holds at any time.
func (s *hallSim) check() {
	last := strings.Join(s.trace[max(0, len(s.trace)-40):], "\n")
	h := s.hall
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
	if !h.over() && (h.held != nil || h.waiting.len() > 0) {
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
	require.Equal(s.t, s.hall.life != nil, strings.Count(strings.Join(s.trace, "\n"), "\nbegan") > strings.Count(strings.Join(s.trace, "\n"), "\nended"), last)
}

// TestHallInvariants lets jicofo, main and visitors come and go at random. Nobody
// is in two of the room, the audience and the waiting list; nobody who is held hears
// of the next room; as long as somebody waits there is an alarm; and in the end,
// when nothing more happens, nobody is left waiting.
func TestHallInvariants(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			s := newHallSim(t, seed)
			s.did("start")
			for range 150 {
				s.step()
				s.check()
			}
			s.hall.sessionClosed(s.now, s.focusSession(s.session("focus")))
			s.passTime(10 * time.Minute)
			s.check()
			require.True(t, s.hall.over(), strings.Join(s.trace[max(0, len(s.trace)-40):], "\n"))
			require.Zero(t, s.held)
			require.Empty(t, s.followers)
			require.Zero(t, s.hall.node.visitors)
		})
	}
}

// A hall is a machine: the same events have the same effects in the same order.
func TestHallIsDeterministic(t *testing.T) {
	run := func(seed uint64) []string {
		s := newHallSim(t, seed)
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

// A join waits for its room in bounded memory: who exceeds that is let reload at
// once.
func TestWaitingJoinsAreBounded(t *testing.T) {
	cfg := testConfig()
	cfg.MaxQueued = 2
	inBubble(t, cfg, func(t *testing.T, p *player) {
		for _, name := range []string{"vis1", "vis2", "vis3"} {
			p.joinAs(name, name)
		}
		p.joinAs("vis2", "again")
		require.True(t, p.client("vis3").hungUp.Load())
		require.False(t, p.client("vis2").hungUp.Load())
		p.joinAs("focus", "focus")
		p.got("focus")
		require.Equal(t, 1.0, gauge(t, p.reg, "vnode_muc_rooms", ""))
		require.Equal(t, 2.0, gauge(t, p.reg, "vnode_muc_queued_visitors", ""))
	})
	inBubble(t, testConfig(), func(t *testing.T, p *player) {
		for i := range maxUnmade {
			p.room = fmt.Sprint("room", i)
			p.joinAs("vis1", "one")
		}
		require.False(t, p.client("vis2").hungUp.Load())
		p.room = "another"
		p.joinAs("vis2", "two")
		require.True(t, p.client("vis2").hungUp.Load())
		time.Sleep(time.Minute)
		p.settle()
		p.svc.mu.RLock()
		defer p.svc.mu.RUnlock()
		require.Empty(t, p.svc.rooms, "nothing is left of those that waited in vain")
	})
}

var _ hallEffects = (*hallSim)(nil)
