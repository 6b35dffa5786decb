package room

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/internal/wire"
	"vnode/internal/xmpptest/canonical"
	"vnode/internal/xmpptest/cast"
	"vnode/muc/rate"
)

// TestInvariants plays random interleavings of main, the focus and visitors
// and checks after every step that
//
//   - what each visitor has been told adds up to the room: the focus and the
//     participants with their latest presence, and nobody else;
//   - the focus has been told of all of them and of all visitors;
//   - each join of a visitor got exactly one presence of its own;
//   - every line said reached each visitor once and in order, and main once;
//   - who joins is told of the last wording of what was said, and not of what
//     was retracted or moderated;
//   - the focus hears of comings and goings in order, however slowly, and is
//     behind by no more than what waits;
//   - the latest presence of a visitor is shown, if not at once;
//   - no room and no node holds more visitors than its limits, which change;
//   - all of this also while main is away and after it has come back, with some
//     of its participants or others;
//   - nothing leaves a room that has ended.
func TestInvariants(t *testing.T) {
	for seed := range uint64(100) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t, rand.New(rand.NewPCG(seed, 20)))
			for range 200 {
				w.step()
				w.check()
			}
		})
	}
}

// world is a sim with a model of what everybody should know.
type world struct {
	*sim
	t     *testing.T
	rnd   *rand.Rand
	focus *simVisitor // its view is of everybody
	trace []string
	mark  int

	connected bool
	links     uint64            // changes of the streams to main
	mains     map[string]string // nick → mark of the latest presence
	visitors  []*simVisitor
	lines     int // said by visitors
	ended     bool
	atEnd     int // effects when the room ended
	said      []*simLine
	early     []simLine // of participants whose join had yet to come
	refused   int
	in        int // visitors at the last check
}

// simLine is a line of the model's history; "" as text of one that is gone.
type simLine struct {
	id, speaker, text string
}

type simVisitor struct {
	*simSession
	nick     string
	state    string // out, waiting, in, gone
	seen     int    // packets looked at
	view     map[string]string
	selves   int      // own presences with status 100 since it asked to join
	expected []string // lines said while it was in
	heard    []string
	mark     string   // of the latest presence it sent
	history  []string // lines it got with a delay since it joined
	told     []string // what it ought to have got so
	ended    bool
}

func newWorld(t *testing.T, rnd *rand.Rand) *world {
	cfg := testConfig()
	cfg.Comeback.Mode = ComebackOff // whom a fault leaves behind is TestRoomInvariants' matter
	cfg.HistoryMessages = 1000      // what is dropped for want of room is the history's own test
	w := &world{sim: newSim(t, cfg), t: t, rnd: rnd, mains: make(map[string]string)}
	w.focus = &simVisitor{simSession: w.session("focus"), nick: "focus", view: make(map[string]string)}
	w.join(w.focus.simSession, "focus")
	for i := range 6 {
		name := fmt.Sprint("vis", i)
		v := &simVisitor{simSession: w.session(name), nick: cast.Address(name)[:8], state: "out", view: make(map[string]string)}
		w.visitors = append(w.visitors, v)
	}
	return w
}

func (w *world) note(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf(format, args...))
}

func (w *world) step() {
	v := w.visitors[w.rnd.IntN(len(w.visitors))]
	main := fmt.Sprint("main", w.rnd.IntN(4))
	w.mark++
	switch w.rnd.IntN(30) {
	case 0, 1, 2, 3:
		w.visitorJoins(v)
	case 4, 5:
		w.visitorLeaves(v)
	case 6, 7, 8:
		w.mainPresence(main)
	case 9:
		w.mainLeaves(main)
	case 10, 11, 12:
		w.visitorSpeaks(v)
	case 13, 14:
		w.mainSpeaks(main)
	case 15:
		w.focusUpdates()
	case 16:
		w.grants(main)
	case 17, 18:
		w.connects()
	case 19:
		w.note("time")
		w.pass(time.Duration(w.rnd.IntN(9)) * time.Second)
	case 20:
		w.visitorUpdates(v)
	case 21:
		w.rare(v)
	case 22, 23:
		w.mainGoes()
	case 24, 25:
		w.edits(v, main)
	case 26:
		w.moderates()
	case 27, 28:
		w.limitsChange()
	case 29:
		w.note("a second")
		w.pass(time.Second)
	}
}

func (w *world) visitorJoins(v *simVisitor) {
	w.note("%s joins (%s)", v.nick, v.state)
	v.look(w.t)
	again := v.state == "in"
	if v.state == "out" {
		v.state = "waiting"
	}
	w.join(v.simSession, v.nick)
	if again && !strings.Contains(string(v.got[len(v.got)-1]), "type='error'") { // it asks too often
		v.view, v.selves = make(map[string]string), 0 // it is told again
		v.history, v.told, v.mark = nil, w.history(), ""
	}
	w.lets()
}

// lets takes notice of those that the room has let in, or refused.
func (w *world) lets() {
	for _, v := range w.visitors {
		if v.state != "waiting" || w.room.ended != "" || w.room.queue.index[v.simSession] != nil {
			continue
		}
		if w.room.occupantOf(v.simSession) == nil {
			v.state = "out" // refused, see checkLimits
			w.refused++
			continue
		}
		v.state, v.selves, v.view, v.mark = "in", 0, make(map[string]string), ""
		v.heard, v.expected = nil, nil
		v.history, v.told = nil, w.history()
	}
}

// pass lets time pass, and those in whose turn it is.
func (w *world) pass(d time.Duration) {
	w.sim.pass(d)
	w.lets()
}

// limitsChange: an operator turns the knobs.
func (w *world) limitsChange() {
	rates := []rate.Limit{{}, {PerSecond: 1}, {PerSecond: 2, Burst: 2}}
	l := Limits{
		MaxVisitors: 1 + w.rnd.IntN(8), MaxVisitorsOnNode: 1 + w.rnd.IntN(8),
		Joins: rates[w.rnd.IntN(3)], Leaves: rates[w.rnd.IntN(3)], Presences: rates[w.rnd.IntN(3)],
	}.WithDefaults()
	w.note("limits %+v", l)
	w.node.Limits = &l
}

func (w *world) visitorLeaves(v *simVisitor) {
	w.note("%s leaves", v.nick)
	if w.rnd.IntN(2) == 0 {
		w.client(v.simSession, "<presence type='unavailable' to='%s/%s'/>", simRoom, v.nick)
	} else {
		w.room.sessionClosed(w.now, v.simSession)
	}
	v.state = "out"
	w.lets()
}

func (w *world) visitorUpdates(v *simVisitor) {
	w.note("%s updates", v.nick)
	if v.state == "in" && w.room.ended == "" {
		v.mark = fmt.Sprint(w.mark)
	}
	w.client(v.simSession, "<presence to='%s/%s'><mark>%d</mark></presence>", simRoom, v.nick, w.mark)
}

func (w *world) mainPresence(name string) {
	nick := cast.Address(name)[:8]
	w.note("%s presence", name)
	w.mainJoin(name, fmt.Sprintf("<mark>%d</mark>", w.mark))
	if w.room.ended == "" {
		w.mains[nick] = fmt.Sprint(w.mark)
	}
}

func (w *world) mainLeaves(name string) {
	if _, here := w.mains[cast.Address(name)[:8]]; !here && !w.connected {
		return // main says so only of one whose join it has sent, and that may come yet
	}
	w.note("%s leaves", name)
	w.remote(cast.Address(name), "<presence type='unavailable' from='%s' to='%s/%s'/>", cast.Address(name), simRoom, cast.Address(name)[:8])
	delete(w.mains, cast.Address(name)[:8])
}

func (w *world) visitorSpeaks(v *simVisitor) {
	line := fmt.Sprintf("v%d", w.mark)
	w.note("%s says %s", v.nick, line)
	if v.state == "in" && w.room.ended == "" {
		w.expect(line)
		w.lines++
		w.says(line, v.jid.String())
	}
	w.client(v.simSession, "<message type='groupchat' id='%s' to='%s'><body>%s</body></message>", line, simRoom, line)
}

func (w *world) mainSpeaks(name string) {
	line := fmt.Sprintf("m%d", w.mark)
	w.note("%s says %s", name, line)
	if _, here := w.mains[cast.Address(name)[:8]]; here && w.room.ended == "" {
		w.expect(line)
		w.says(line, cast.Address(name))
	} else if !w.connected {
		w.early = append(w.early, simLine{line, cast.Address(name), line})
	}
	w.remote(cast.Address(name), "<message type='groupchat' id='%s' from='%s' to='%s'><body>%s</body></message>", line, cast.Address(name), simRoom, line)
}

func (w *world) expect(line string) {
	for _, v := range w.visitors {
		if v.state == "in" {
			v.expected = append(v.expected, line)
		}
	}
}

func (w *world) focusUpdates() {
	w.note("focus updates")
	w.client(w.focus.simSession, "<presence to='%s/focus'><mark>%d</mark></presence>", simRoom, w.mark)
}

func (w *world) grants(name string) {
	w.note("grants %s", name)
	w.control("update", fmt.Sprintf("password=''><moderators><item epId='%s'/></moderators>", cast.Address(name)[:8]))
}

// connects sends what main does on connect-vnode: update, all participants,
// connect.
func (w *world) connects() {
	w.note("connect")
	w.control("update", "password='' lobby='false'><moderators/>")
	for i := range 4 {
		name := fmt.Sprint("main", i)
		if _, here := w.mains[cast.Address(name)[:8]]; here {
			w.mark++
			w.mainPresence(name)
		}
	}
	w.control("connect", "password='' lobby='false'>")
	if w.room.ended != "" {
		return
	}
	for _, l := range w.early { // held until connect, if their speakers had come by then
		if _, here := w.mains[l.speaker[:8]]; here && !w.connected {
			w.said = append(w.said, &l)
		}
	}
	w.connected, w.early = true, nil
	w.lets()
}

// mainGoes loses the streams to main, or lets them be replaced unnoticed. While
// main is away visitors go on; then it is back as it was, or restarted, with or
// without the room, or it stays away.
func (w *world) mainGoes() {
	loseAll := w.links > 0 && w.rnd.IntN(4) > 0
	w.note("main goes (streams lost: %v)", loseAll)
	if loseAll {
		w.links++
		w.room.mainLink(w.now, w.links)
	}
	for range w.rnd.IntN(4) {
		v := w.visitors[w.rnd.IntN(len(w.visitors))]
		w.mark++
		[]func(*simVisitor){w.visitorJoins, w.visitorLeaves, w.visitorSpeaks, w.visitorUpdates}[w.rnd.IntN(4)](v)
	}
	w.pass(time.Duration(w.rnd.IntN(20)) * time.Second)
	if loseAll || w.links == 0 {
		w.links++
		if loseAll && w.rnd.IntN(3) == 0 {
			w.links += 2 // lost and back again before the room heard of it
		}
		w.room.mainLink(w.now, w.links)
		w.room.mainLink(w.now, w.links-1) // overtaken
	}
	if w.room.ended != "" || !w.connected {
		return
	}
	switch w.rnd.IntN(4) {
	case 0:
		w.note("main is as it was")
	case 1:
		w.note("main has lost the room, and may make it again")
		w.remote(simMain, "<iq type='error' id='%s' from='%s' to='%s'><error type='cancel'><item-not-found xmlns='%s'/></error></iq>",
			w.room.link.probe, simMain, simRoom, wire.NSStanzas)
		w.pass(50 * time.Second)
		fallthrough
	default:
		w.pass(overtaking + time.Second)
		w.mains = make(map[string]string) // those that are back are sent by connects
		for i := range 4 {
			if w.rnd.IntN(2) == 0 {
				w.mains[cast.Address(fmt.Sprint("main", i))[:8]] = ""
			}
		}
		w.connects()
	}
}

// rare steps end the room, once in a while.
func (w *world) rare(v *simVisitor) {
	switch w.rnd.IntN(12) {
	case 0:
		w.note("disconnect")
		w.control("disconnect", ">")
	case 1:
		w.note("focus lost")
		w.room.sessionClosed(w.now, w.focus.simSession)
	case 2:
		w.note("kick %s", v.nick)
		w.client(w.focus.simSession, "<iq type='set' id='k' to='%s'><query xmlns='%s'><item nick='%s' role='none'/></query></iq>", simRoom, wire.NSMUCAdmin, v.nick)
		if v.state == "in" {
			v.state = "out"
		}
		w.lets()
	default:
		w.note("forged")
		w.remote("polls.meet.jitsi", "<iq type='set' id='c' from='polls.meet.jitsi' to='conference.v3.meet.jitsi'><visitors xmlns='%s' room='%s'><disconnect/></visitors></iq>", wire.NSVisitors, simRoom)
	}
}

func (w *world) check() {
	last := w.trace[max(0, len(w.trace)-12):]
	if w.room.ended != "" {
		w.checkEnd(last)
		return
	}
	everybody := maps.Clone(w.mains)
	everybody["focus"] = w.markOf(w.room.focus)
	for _, v := range w.visitors {
		v.look(w.t)
		if v.state != "in" {
			continue
		}
		everybody[v.nick] = w.markOf(w.room.nicks.Get(v.nick))
		if len(w.room.held) == 0 {
			require.Equal(w.t, v.mark, everybody[v.nick], "latest presence of %s\n%s", v.nick, strings.Join(last, "\n"))
		}
		want := maps.Clone(w.mains)
		want["focus"] = w.markOf(w.room.focus)
		want[v.nick] = everybody[v.nick]
		require.Equal(w.t, want, v.view, "view of %s\n%s", v.nick, strings.Join(last, "\n"))
		require.Equal(w.t, 1, v.selves, "own presences of %s\n%s", v.nick, strings.Join(last, "\n"))
		require.Equal(w.t, v.expected, v.heard, "%s\n%s", v.nick, strings.Join(last, "\n"))
		require.Equal(w.t, v.told, v.history, "history of %s\n%s", v.nick, strings.Join(last, "\n"))
	}
	w.focus.look(w.t)
	for _, waiting := range w.room.queue.order {
		if waiting.notice != nil { // the focus has yet to hear that this one left
			require.Contains(w.t, w.focus.view, waiting.nick, strings.Join(last, "\n"))
			require.NotContains(w.t, everybody, waiting.nick, strings.Join(last, "\n"))
			everybody[waiting.nick] = w.focus.view[waiting.nick]
		}
	}
	require.Equal(w.t, everybody, w.focus.view, "view of the focus\n%s", strings.Join(last, "\n"))
	w.checkLimits(last)
	up := 0
	for _, b := range w.sent {
		if strings.HasPrefix(string(b), "<message") && !strings.Contains(string(b), "type='error'") {
			up++
		}
	}
	require.Equal(w.t, w.lines, up, "lines sent to main")
}

// checkLimits verifies the counts. That limits hold is seen where somebody came
// in: those within stay when a limit falls.
func (w *world) checkLimits(last []string) {
	in := 0
	for _, v := range w.visitors {
		if v.state == "in" {
			in++
		}
	}
	require.Equal(w.t, in, w.room.visitors, strings.Join(last, "\n"))
	require.Equal(w.t, in, w.node.Visitors, strings.Join(last, "\n"))
	l := w.node.Limits
	if in > w.in {
		require.LessOrEqual(w.t, in, min(l.MaxVisitors, l.MaxVisitorsOnNode), strings.Join(last, "\n"))
	}
	if w.refused > 0 {
		require.GreaterOrEqual(w.t, max(in, w.in), min(l.MaxVisitors, l.MaxVisitorsOnNode), "refused for nothing\n%s", strings.Join(last, "\n"))
	}
	w.in, w.refused = in, 0
	if l.Joins == (rate.Limit{}) && l.Leaves == (rate.Limit{}) && w.room.connected && !w.room.armed[alarmQueue] {
		require.Empty(w.t, w.room.queue.order, strings.Join(last, "\n"))
	}
}

func (w *world) markOf(o *occupant) string {
	require.NotNil(w.t, o, strings.Join(w.trace, "\n"))
	last := o.said.payload
	if o.seen != nil {
		last = func() payload { return o.seen.last }
	}
	_, after, _ := strings.Cut(string(last().children), "<mark>")
	mark, _, _ := strings.Cut(after, "<")
	return mark
}

// checkEnd verifies that everybody who was in was told, and nothing came after.
func (w *world) checkEnd(last []string) {
	if !w.ended {
		w.ended, w.atEnd = true, w.effects
		for _, v := range w.visitors {
			v.look(w.t)
			if v.state == "in" || v.state == "waiting" {
				require.True(w.t, v.ended, "%s was not told\n%s", v.nick, strings.Join(last, "\n"))
			}
		}
		require.Empty(w.t, w.followers)
		require.Zero(w.t, w.node.Visitors)
	}
	require.Equal(w.t, w.atEnd, w.effects, "effects after the end\n%s", strings.Join(last, "\n"))
}

// look reads what the visitor got since the last look.
func (v *simVisitor) look(t *testing.T) {
	for _, b := range v.got[v.seen:] {
		n, err := canonical.Parse(b)
		require.NoError(t, err)
		require.False(t, v.ended, "%s got %s after the room's end", v.nick, b)
		from := strings.TrimPrefix(n.Attr("from"), simRoom+"/")
		switch {
		case n.Attr("type") == "error":
		case n.Name == "presence":
			v.presence(n, from)
		case n.Name == "message" && n.Find("body") != nil && n.Find("delay") == nil:
			v.heard = append(v.heard, n.Find("body").Text)
		case n.Name == "message" && n.Find("body") != nil:
			v.history = append(v.history, n.Find("body").Text)
		}
	}
	v.seen = len(v.got)
}

func (v *simVisitor) presence(n *canonical.Element, from string) {
	if n.Attr("type") == "unavailable" {
		delete(v.view, from)
		v.ended = n.Find("destroy") != nil
		return
	}
	mark := ""
	if m := n.Find("mark"); m != nil {
		mark = m.Text
	}
	v.view[from] = mark
	if from == v.nick && slices.ContainsFunc(n.Kids[len(n.Kids)-1].Kids, func(k *canonical.Element) bool { return k.Attr("code") == "100" }) {
		v.selves++
	}
}
