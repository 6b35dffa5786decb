package node

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"vnode/cmd/internal/config"
	"vnode/internal/wire"
	"vnode/internal/xmpptest/conference"
)

// flood is what all visitors of a room do at once.
type flood struct {
	name  string
	times int // each visitor
	// say is what a visitor says, the i-th time.
	say func(f *flooder, i int) error
	// latest: of what each says jicofo hears the last.
	latest bool
}

func (f *flooder) presence(i int, content string) error {
	return f.say("<presence xmlns='jabber:client' to='%s/%s'><stats-id>%d</stats-id>%s</presence>", f.room, f.nick, i, content)
}

func (f *flooder) request(i, size int) error {
	return f.say("<iq xmlns='jabber:client' type='set' id='r%d' to='%s/focus'><jingle xmlns='urn:xmpp:jingle:1' action='session-info' sid='x'><p>%s</p></jingle></iq>",
		i, f.room, strings.Repeat("x", size))
}

var languages = []string{"de", "fr", "es", "pt", "it", "nl", "pl", "cs", "sv", "fi"}

// floods are the kinds of floods, each with as much as a visitor can say in a moment.
var floods = []flood{
	{"presences of 31 KB", 20, func(f *flooder, i int) error {
		return f.presence(i, "<pad>"+strings.Repeat("x", 31<<10)+"</pad>")
	}, true},
	{"requests of 240 KB", 2, func(f *flooder, i int) error { return f.request(i, 240<<10) }, false},
	{"small requests", 20, func(f *flooder, i int) error { return f.request(i, 10) }, false},
	{"raised hands", 20, func(f *flooder, i int) error {
		raised := ""
		if i%2 == 0 {
			raised = strconv.Itoa(i + 1)
		}
		return f.presence(i, "<jitsi_participant_raisedHand>"+raised+"</jitsi_participant_raisedHand>")
	}, true},
	{"languages", 20, func(f *flooder, i int) error {
		return f.presence(i, "<jitsi_participant_requestingTranscription>true</jitsi_participant_requestingTranscription>"+
			"<jitsi_participant_translation_language>"+languages[(i+len(f.nick))%len(languages)]+"</jitsi_participant_translation_language>")
	}, true},
	{"chat", 20, func(f *flooder, i int) error {
		return f.say("<message xmlns='jabber:client' type='groupchat' id='c%d' to='%s'><body>%s</body></message>", i, f.room, strings.Repeat("x", 200))
	}, false},
	{"long lines", 4, func(f *flooder, i int) error {
		return f.say("<message xmlns='jabber:client' type='groupchat' id='c%d' to='%s'><body>%s</body></message>", i, f.room, strings.Repeat("x", 15<<10))
	}, false},
	{"private messages to a moderator", 20, func(f *flooder, i int) error {
		return f.say("<message xmlns='jabber:client' type='chat' id='p%d' to='%s/%s'><body>%s</body></message>", i, f.room, f.moderator, strings.Repeat("x", 200))
	}, false},
	{"joins and leaves", 20, func(f *flooder, i int) error {
		if i%2 == 0 {
			return f.leave()
		}
		return f.join()
	}, false},
	{"questions to the room and the server", 20, func(f *flooder, i int) error {
		to := []string{f.room, "v3.meet.jitsi", "conference.v3.meet.jitsi"}[i%3]
		return f.say("<iq xmlns='jabber:client' type='get' id='q%d' to='%s'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>", i, to)
	}, false},
}

// sea is a node with one jicofo, rooms for floods, and a quiet room in which a few
// people talk.
type sea struct {
	t      testing.TB
	node   *reached
	focus  *hearing
	ledger *conference.Ledger
	quiet  *conference.MainRoom
	others []*conference.MainRoom
	swarm  *conference.Swarm

	speakers  []conference.Speaker
	moderator map[string]string // nick, by room
	flooders  []*flooder
}

// speed of a jicofo that is slow, in bytes a second.
const slowFocus = 8 << 20

// reached is a node as its peers reach it.
type reached struct {
	http, c2s, s2s, password string

	metric func(name string) float64 // the sum over its labels
	memory func() float64            // the most it has used, in MB; nil for one of this process
	stop   func()
}

// reachedInside is a node of this process, which finds main there.
func reachedInside(t testing.TB, main string) *reached {
	t.Helper()
	cfg := testConfig(t, main)
	defaults, err := config.Load(flag.NewFlagSet("", flag.ContinueOnError), nil, func(string) (string, bool) { return "", false })
	require.NoError(t, err)
	cfg.MaxConnections, cfg.MaxPerAddress = 5000, 5000
	n := startLogging(t, cfg, io.Discard)
	require.NoError(t, n.rooms.SetLimits(roomLimits(defaults))) // what operators have
	return &reached{
		http: n.Addresses().HTTP[0], c2s: n.Addresses().C2S[0], s2s: n.Addresses().S2S[0], password: n.password(), stop: n.stop,
		metric: func(name string) float64 {
			families, err := n.registry.Gather()
			require.NoError(t, err)
			return sumOf(families, name)
		},
	}
}

// sumOf is the sum of a metric over its labels.
func sumOf(families []*dto.MetricFamily, name string) (sum float64) {
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// newSea opens the rooms of a node that reach returns and that finds main there. The
// focus reads that many bytes a second.
func newSea(t testing.TB, reach func(t testing.TB, main string) *reached, rooms int, perSecond float64) *sea {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &sea{t: t, node: reach(t, ln.Addr().String()), ledger: conference.NewLedger(), moderator: make(map[string]string)}
	main, err := conference.NewMain(conference.MainOptions{
		Domain: "meet.jitsi", Node: "v3.meet.jitsi", NodeAddr: s.node.s2s, Listener: ln, Log: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = main.Close(ctx) // the node may have ended the streams
	})
	s.focus = newHearing(t, s.node, perSecond)
	for i := range rooms {
		r := main.Room(fmt.Sprintf("loud%d", i), conference.NewLedger())
		s.others = append(s.others, r)
		s.open(r, loudRoom(i), 1)
	}
	s.quiet = main.Room("quiet", s.ledger)
	s.speakers = s.open(s.quiet, quietRoom, 2)
	s.swarm = conference.NewSwarm(conference.SwarmOptions{
		URL:    "ws://" + s.node.http + "/xmpp-websocket?room=quiet&vnode=v3",
		Domain: "v3.meet.jitsi", Room: quietRoom, Ledger: s.ledger, Timeout: time.Minute,
	})
	t.Cleanup(s.swarm.Close)
	require.NoError(t, s.swarm.Join(t.Context(), quietVisitors, 0))
	return s
}

const (
	quietRoom     = "quiet@conference.v3.meet.jitsi"
	quietVisitors = 10
)

func loudRoom(i int) string { return fmt.Sprintf("loud%d@conference.v3.meet.jitsi", i) }

func (s *sea) open(r *conference.MainRoom, address string, participants int) (speakers []conference.Speaker) {
	s.t.Helper()
	for range participants {
		p, err := r.Join(s.t.Context())
		require.NoError(s.t, err)
		speakers = append(speakers, p)
		s.moderator[address] = p.Nick()
	}
	s.focus.create(address)
	require.NoError(s.t, r.ConnectVNode(s.t.Context()))
	return speakers
}

// fill lets visitors into the loud rooms.
func (s *sea) fill(visitors int, transport string) {
	s.t.Helper()
	for i := range visitors {
		room := loudRoom(i % len(s.others))
		f := newFlooder(s.t, s.node, transport, room)
		f.moderator = s.moderator[room]
		s.flooders = append(s.flooders, f)
	}
	for _, f := range s.flooders {
		f.awaitInside(s.t)
	}
}

// begin lets all visitors of the loud rooms say all they have to say. What it returns
// waits until they have.
func (s *sea) begin(what flood) (said func()) {
	var g errgroup.Group
	start := make(chan struct{})
	for _, f := range s.flooders {
		g.Go(func() error {
			<-start
			for i := range what.times {
				if err := what.say(f, i); err != nil {
					return fmt.Errorf("a visitor could not say it %d times: %w", what.times, err)
				}
			}
			return nil
		})
	}
	close(start)
	return func() { require.NoError(s.t, g.Wait()) }
}

// talk lets the people of the quiet room talk, come and go until ctx ends. What it
// returns waits for the end of that.
func (s *sea) talk(ctx context.Context, every time.Duration) (ended func()) {
	done := make(chan error, 1)
	go func() { done <- s.conversation(ctx, every) }()
	return func() { require.NoError(s.t, <-done) }
}

func (s *sea) conversation(ctx context.Context, every time.Duration) error {
	speak := context.WithoutCancel(ctx) // what is begun is finished
	for i := 0; ; i++ {
		speaker := s.speakers[i%len(s.speakers)]
		if err := speaker.Chat(speak); err != nil {
			return err
		}
		if v := s.swarm.Visitors(); i%10 == 0 { // as much as one visitor may say in the long run
			if err := v[i/10%quietVisitors].Chat(); err != nil {
				return err
			}
		}
		if conference.Sleep(ctx, every) != nil {
			return nil
		}
	}
}

// calm checks that the quiet room has lost nothing, and that no room has ended.
func (s *sea) calm() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	require.NoError(s.t, s.swarm.Drain(ctx))
	require.NoError(s.t, s.quiet.Drain(ctx))
	present := 0
	for i, v := range s.swarm.Visitors() {
		end, over := v.Ended()
		require.False(s.t, over, "visitor %d: %v", i, end.Err)
		got := v.Tally()
		require.Zero(s.t, got.Faults(), "visitor %d: %+v", i, got)
		present++
	}
	heard := s.quiet.Heard()
	require.Zero(s.t, heard.Faults(), "main: %+v", heard)
	require.Eventually(s.t, func() bool { return s.focus.visitors(quietRoom) == present }, 20*time.Second, 10*time.Millisecond, "jicofo knows all visitors of the quiet room")
	require.Empty(s.t, s.focus.trouble())
	require.Equal(s.t, float64(len(s.others)+1), s.node.metric("vnode_muc_rooms"))
	require.Zero(s.t, s.node.metric("vnode_muc_rooms_ended_total"))
	require.Zero(s.t, s.node.metric("vnode_fanout_overflows_total"))
}

// survived checks that nobody of the loud rooms was put out, and that jicofo knows
// how each is in the end.
func (s *sea) survived(what flood) {
	s.t.Helper()
	for _, f := range s.flooders {
		require.False(s.t, f.gone(), "the stream of %s has ended", f.nick)
	}
	missing := ""
	knows := func() bool {
		for _, f := range s.flooders {
			last, here := s.focus.latest(f.room, f.nick)
			if !here || what.latest && last != what.times-1 {
				missing = fmt.Sprintf("%s is in %s: %t, says %d", f.nick, f.room, here, last)
				return false
			}
		}
		return true
	}
	require.True(s.t, waitUntil(time.Minute, knows), "jicofo does not know how all visitors are: %s", missing)
}

// hearing is jicofo on one connection, which it reads at a steady speed or, for a
// while, not at all.
type hearing struct {
	p     *person
	speed float64
	held  atomic.Bool // it reads nothing at present
	done  chan struct{}

	mu sync.Mutex
	// Guarded by mu.
	rooms  map[string]map[string]int // number of the latest presence by nick, by room; -1 without
	inside map[string]bool
	wrong  []string
	seenAt func(room, nick string, number int) // nil: nobody asks
}

// newHearing logs in as jicofo.
func newHearing(t testing.TB, node *reached, perSecond float64) *hearing {
	t.Helper()
	h := &hearing{speed: perSecond, done: make(chan struct{}), rooms: make(map[string]map[string]int), inside: make(map[string]bool)}
	conn, err := net.Dial("tcp", node.c2s)
	require.NoError(t, err)
	h.p = loginAsFocus(t, &pacedConn{Conn: conn, h: h}, node.password)
	require.NoError(t, conn.SetDeadline(time.Time{}))
	go h.listen()
	t.Cleanup(func() { _ = conn.Close(); h.held.Store(false); <-h.done })
	return h
}

// pacedConn is read as fast as the focus reads.
type pacedConn struct {
	net.Conn
	h    *hearing
	next time.Time
}

func (c *pacedConn) Read(p []byte) (int, error) {
	for c.h.held.Load() {
		time.Sleep(5 * time.Millisecond)
	}
	n, err := c.Conn.Read(p[:min(len(p), 64<<10)])
	if c.h.speed > 0 {
		if now := time.Now(); c.next.Before(now) {
			c.next = now
		}
		c.next = c.next.Add(time.Duration(float64(n) / c.h.speed * float64(time.Second)))
		time.Sleep(time.Until(c.next) - time.Millisecond)
	}
	return n, err
}

func (h *hearing) listen() {
	defer close(h.done)
	for {
		tok, err := h.p.r.Next()
		if err != nil || tok.Kind != wire.Element {
			h.note("the stream has ended: %v", err)
			return
		}
		head, err := wire.ParseHeader(tok.Data)
		if err != nil {
			h.note("%v", err)
			return
		}
		switch string(head.Name) {
		case "presence":
			h.presence(&head, tok.Data)
		case "iq":
			if wire.Answerable(&head) {
				_, _ = h.p.conn.Write(wire.AppendResult(nil, &head, "", wire.Unescape(head.From), nil))
			}
		case "stream:error":
			h.note("%s", tok.Data)
		}
	}
}

func (h *hearing) note(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wrong = append(h.wrong, fmt.Sprintf(format, args...))
}

func (h *hearing) presence(head *wire.Header, stanza []byte) {
	room, nick, _ := strings.Cut(wire.Unescape(head.From), "/")
	h.mu.Lock()
	defer h.mu.Unlock()
	if nick == focusName {
		h.inside[room] = string(head.Type) == ""
		if string(head.Type) == "unavailable" {
			h.wrong = append(h.wrong, fmt.Sprintf("out of %s: %.300s", room, stanza))
		}
		return
	}
	if !strings.Contains(string(stanza), "role='visitor'") && string(head.Type) == "" {
		return
	}
	known := h.rooms[room]
	if string(head.Type) == "unavailable" {
		delete(known, nick)
		return
	}
	number := -1
	for c := range wire.Children(stanza) {
		if n, err := strconv.Atoi(c.Text()); c.Local == "stats-id" && err == nil {
			number = n
		}
	}
	if last, ok := known[nick]; ok && number < last {
		h.wrong = append(h.wrong, fmt.Sprintf("presence %d of %s came behind %d", number, nick, last))
	}
	known[nick] = number
	if h.seenAt != nil {
		h.seenAt(room, nick, number)
	}
}

const focusName = "focus"

// create makes a room and waits until the focus is in it.
func (h *hearing) create(room string) {
	h.p.t.Helper()
	h.mu.Lock()
	h.rooms[room] = make(map[string]int)
	h.mu.Unlock()
	h.p.write("<presence to='" + room + "/" + focusName + "'><x xmlns='" + wire.NSMUC + "'/></presence>")
	require.Eventually(h.p.t, func() bool { h.mu.Lock(); defer h.mu.Unlock(); return h.inside[room] }, 20*time.Second, time.Millisecond)
}

func (h *hearing) visitors(room string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.rooms[room])
}

func (h *hearing) latest(room, nick string) (number int, here bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	number, here = h.rooms[room][nick]
	return number, here
}

func (h *hearing) trouble() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.wrong
}

// Whatever the visitors of some rooms do all at once, while jicofo reads slowly: no
// room ends, nobody is put out, jicofo learns in the end how everybody is, and the
// people of another room hear each other as before, without a loss and in order.
func TestFloodsHarmNobodyElse(t *testing.T) {
	for i, what := range floods {
		transports := []string{"websocket", "tcp", "bosh"}
		if i > 1 { // the first two carry most
			transports = transports[i%3 : i%3+1]
		}
		for k, transport := range transports {
			rooms := 1 + 7*((i+k)%2)
			t.Run(fmt.Sprintf("%s/%s/%d rooms", what.name, transport, rooms), func(t *testing.T) {
				s := newSea(t, reachedInside, rooms, slowFocus)
				s.fill(40, transport)
				s.flows(what)
			})
		}
	}
}

// Many rooms with a few visitors each may not make jicofo's connection break either,
// when jicofo reads nothing for a while.
func TestFloodsOfManyRoomsWhileJicofoIsAway(t *testing.T) {
	s := newSea(t, reachedInside, 300, slowFocus)
	s.fill(300, "websocket")
	s.focus.held.Store(true)
	requests, hands := floods[1], floods[3]
	s.begin(requests)()
	s.begin(hands)()
	require.NoError(t, s.swarm.Join(t.Context(), 3, 0))
	s.focus.held.Store(false)
	s.survived(hands)
	s.calm()
}

// flows lets a flood come while the quiet room talks.
func (s *sea) flows(what flood) {
	s.t.Helper()
	talking, stop := context.WithCancel(s.t.Context())
	defer stop()
	talked := s.talk(talking, 50*time.Millisecond)
	said := s.begin(what)
	require.NoError(s.t, s.swarm.Join(s.t.Context(), 3, 0))
	said()
	s.survived(what)
	stop()
	talked()
	s.calm()
}
