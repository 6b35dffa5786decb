package room

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vnode/internal/wire"
	"vnode/internal/xmpptest/cast"
)

// TestTheFocusHearsAllHoweverSlowly has visitors come, go, change and ask while the
// focus reads now and then, in turns short and long, or nothing for long. In the end
// the focus knows how everybody is. It has heard of each visitor in order, of a
// presence never an older one, and of requests each once and in order, while their
// sender was in the room, or the sender was refused. What waits meanwhile is bounded,
// and so is what the focus was given that it had not taken.
func TestTheFocusHearsAllHoweverSlowly(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			e := newEar(t, rand.New(rand.NewPCG(seed, 11)))
			for range 400 {
				full, before := e.node.FocusFull, len(e.focus.got)
				if !e.step() && full {
					require.Equal(t, before, len(e.focus.got), "told out of turn")
				}
				e.check()
			}
			e.hearRest()
		})
	}
}

// ear is a sim whose focus reads slowly, and what the focus has heard.
type ear struct {
	*sim
	t        *testing.T
	rnd      *rand.Rand
	focus    *simSession
	visitors []*asker
	mark     int

	heard int // packets to the focus that were looked at
	ahead int // bytes the focus was given since it took all
	here  map[string]int
	asked map[string][]string // ids of requests the focus got, by nick
}

// asker is a visitor that asks the focus.
type asker struct {
	*simSession
	nick    string
	in      bool
	mark    int
	sent    []string // ids of requests of this stay
	refused map[string]bool
}

func newEar(t *testing.T, rnd *rand.Rand) *ear {
	e := &ear{sim: newSim(t, testConfig()), t: t, rnd: rnd, here: make(map[string]int), asked: make(map[string][]string)}
	e.focus = e.session("focus")
	e.join(e.focus, "focus")
	e.mainJoin("main1", "")
	e.control("connect", "password='' lobby='false'>")
	e.heard = len(e.focus.got)
	e.stalled = true
	for i := range 9 {
		name := fmt.Sprint("vis", i)
		e.visitors = append(e.visitors, &asker{simSession: e.session(name), nick: cast.Address(name)[:8], refused: make(map[string]bool)})
	}
	return e
}

// step does something, and reports whether the focus read.
func (e *ear) step() (read bool) {
	v := e.visitors[e.rnd.IntN(len(e.visitors))]
	e.mark++
	switch n := e.rnd.IntN(20); {
	case n < 3 && !v.in:
		v.in, v.mark, v.sent = true, e.mark, nil
		e.client(v.simSession, "<presence to='%s/%s'><mark>%d</mark><x xmlns='%s'/></presence>", simRoom, v.nick, e.mark, wire.NSMUC)
	case n < 4 && v.in:
		v.in = false
		e.client(v.simSession, "<presence type='unavailable' to='%s/%s'/>", simRoom, v.nick)
	case n < 5 && v.in:
		v.in = false
		e.room.sessionClosed(e.now, v.simSession)
	case n < 11 && v.in:
		v.mark = e.mark
		e.client(v.simSession, "<presence to='%s/%s'><mark>%d</mark><pad>%s</pad></presence>", simRoom, v.nick, e.mark, e.padding(100, 9_000, 31_000))
	case n < 15 && v.in:
		id := fmt.Sprint("q", e.mark)
		v.sent = append(v.sent, id)
		e.client(v.simSession, "<iq type='set' id='%s' to='%s/focus'><jingle xmlns='%s'>%s</jingle></iq>", id, simRoom, nsJingle, e.padding(100, 20_000, 70_000, 240_000))
	case n < 16:
		e.node.FocusFull = e.rnd.IntN(2) == 0
	case n < 17:
		e.node.RequestsFull = e.rnd.IntN(3) == 0
	case n < 18:
		for range e.rnd.IntN(20) {
			e.reads()
		}
		return true
	}
	return false
}

func (e *ear) padding(sizes ...int) string { return strings.Repeat("x", sizes[e.rnd.IntN(len(sizes))]) }

// reads has the focus take what it was given, or gives the room its turn.
func (e *ear) reads() {
	switch {
	case e.marks > 0:
		e.marks--
		e.ahead = 0
		e.sim.room.drained(e.focus)
	case e.sim.asked:
		before := e.given()
		short := e.short
		e.turnComes()
		said := e.given() - before
		if short {
			require.LessOrEqual(e.t, said, shortTurnBytes+1000)
		}
		require.LessOrEqual(e.t, said, turnBytes+250_000)
		e.look()
		e.ahead = 0
	}
}

func (e *ear) given() (n int) {
	for _, p := range e.focus.got[e.heard:] {
		n += len(p)
	}
	return n
}

// check holds what waits against its bounds.
func (e *ear) check() {
	e.ahead += e.given()
	require.LessOrEqual(e.t, e.ahead, focusWindow+250_000, "a window, and a stanza")
	e.look()
	waiting := 0
	for _, v := range e.visitors {
		e.returned(v)
		o := e.room.occupantOf(v.simSession)
		require.Equal(e.t, v.in, o != nil)
		if o == nil || o.flow == nil {
			require.False(e.t, e.paused[v.simSession], v.nick)
			continue
		}
		own := 0
		for _, p := range o.flow.requests {
			own += p.size()
		}
		waiting += own
		require.Equal(e.t, own, o.flow.requestBytes)
		require.LessOrEqual(e.t, own, maxVisitorRequestBytes)
		require.LessOrEqual(e.t, len(o.flow.requests), maxVisitorRequests)
		if own == 0 {
			require.False(e.t, e.paused[v.simSession], "nothing of %s waits", v.nick)
		} else if own >= pauseBytes {
			require.True(e.t, e.paused[v.simSession], "much of %s waits", v.nick)
		}
	}
	require.Equal(e.t, waiting, e.sim.waiting)
	require.Equal(e.t, waiting, e.room.outlet.waiting)
}

// returned notes which requests a visitor got back.
func (e *ear) returned(v *asker) {
	for _, b := range v.got {
		if h, err := wire.ParseHeader(b); err == nil && string(h.Name) == "iq" && string(h.Type) == "error" {
			v.refused[string(h.ID)] = true
		}
	}
	v.got = nil
}

// look takes in what the focus was given.
func (e *ear) look() {
	for _, b := range e.focus.got[e.heard:] {
		h, err := wire.ParseHeader(b)
		require.NoError(e.t, err)
		_, nick, _ := strings.Cut(wire.Unescape(h.From), "/")
		last, here := e.here[nick]
		switch {
		case string(h.Name) == "iq":
			require.True(e.t, here, "%s asks, and is not there", nick)
			e.asked[nick] = append(e.asked[nick], string(h.ID))
		case string(h.Name) != "presence" || strings.HasPrefix(nick, "bbbbbbb"):
		case string(h.Type) == "unavailable":
			require.True(e.t, here, "%s leaves, and has not come", nick)
			delete(e.here, nick)
		default:
			_, after, said := strings.Cut(string(b), "<mark>")
			text, _, _ := strings.Cut(after, "<")
			mark, _ := strconv.Atoi(text)
			require.True(e.t, said || !here, "%s says nothing, which one does that has left by now", nick)
			require.GreaterOrEqual(e.t, mark, last, "an older presence of %s", nick)
			e.here[nick] = mark
		}
	}
	e.heard = len(e.focus.got)
}

// hearRest has the focus take all there is.
func (e *ear) hearRest() {
	e.node.FocusFull, e.node.RequestsFull = false, false
	for e.marks > 0 || e.sim.asked {
		e.reads()
	}
	e.ahead = 0
	e.check()
	require.False(e.t, e.room.outlet.holds())
	require.Zero(e.t, e.sim.waiting)
	want := make(map[string]int)
	for _, v := range e.visitors {
		heard := make(map[string]bool)
		for i, id := range e.asked[v.nick] {
			require.False(e.t, heard[id], "%s of %s came twice", id, v.nick)
			require.False(e.t, v.refused[id], "%s of %s was refused", id, v.nick)
			heard[id] = true
			if i > 0 {
				require.Less(e.t, number(e.asked[v.nick][i-1]), number(id), "in order")
			}
		}
		if !v.in {
			continue
		}
		want[v.nick] = v.mark
		for _, id := range v.sent {
			require.True(e.t, heard[id] || v.refused[id], "nobody knows what became of %s of %s", id, v.nick)
		}
	}
	require.Equal(e.t, want, e.here)
}

func number(id string) int {
	n, _ := strconv.Atoi(id[1:])
	return n
}
