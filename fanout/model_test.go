package fanout

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/internal/socket"
)

// The oracle: every session has a simple queue of what it must be sent, in
// order. A room and a handful of clients then do random things; a client may
// read slowly or not at all for a while. In the end each must have read its
// queue, but for updates that were superseded while it lagged.
func TestRandomSchedulesMatchAQueuePerSession(t *testing.T) {
	for seed := range uint64(100) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { newModel(t, seed).run() })
	}
}

type model struct {
	t       *testing.T
	rnd     *rand.Rand
	b       *Broadcaster
	log     *Log
	clients []*modelClient
	n       int
	latest  map[string]*bool // of each occupant's newest Update: expected.superseded
}

type expected struct {
	text       string
	superseded *bool // of an Update: whether a newer message of its occupant is in the log
}

type modelClient struct {
	s         *Session
	following bool
	queue     []expected
	counted   int // stanzas since acks were enabled; -1 before

	gate sync.Mutex // held by the schedule while the client does not read
	shut bool
	got  chan []string
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), latest: map[string]*bool{}}
	m.b = newBroadcaster(t, Config{
		Shards: 1 + int(seed%3), ConflateLag: 3, LogMessages: 4096, SweepGap: time.Duration(seed/3%2) * time.Millisecond,
	})
	m.log = m.b.NewLog()
	for i := range 5 {
		m.clients = append(m.clients, m.newClient(i))
	}
	return m
}

func (m *model) newClient(i int) *modelClient {
	near, far := net.Pipe()
	if i%3 > 0 { // on sockets, for the raw sender
		near, far = socketPair(m.t)
		require.NoError(m.t, far.(*net.TCPConn).SetReadBuffer(4096))
	}
	if i%3 > 1 {
		near = polled(m.t, near)
	}
	c := &modelClient{counted: -1, got: make(chan []string, 1)}
	c.s, _ = attachTo(m.t, m.b, Options{
		To: fmt.Sprintf("c%d", i), Terms: m.b.Terms(Terms{AckRequest: NewNonza([]byte("<r/>")), AckEvery: 4}),
	}, near, far)
	go c.read(far)
	return c
}

// polled gives a connection to a poller of its own, if this system has one.
func polled(t *testing.T, conn net.Conn) net.Conn {
	p, err := socket.NewPoller(time.Millisecond)
	if errors.Is(err, errors.ErrUnsupported) {
		return conn
	}
	require.NoError(t, err)
	c, err := p.Take(conn)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close(); require.NoError(t, p.Close()) })
	return c
}

func socketPair(t *testing.T) (near, far net.Conn) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	far, err = net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	near, err = ln.Accept()
	require.NoError(t, err)
	return near, far
}

// read collects elements until <end/>, a few bytes at a time.
func (c *modelClient) read(conn net.Conn) {
	var got []string
	r := bufio.NewReaderSize(conn, 16)
	for {
		c.gate.Lock()
		elem, err := r.ReadString('>')
		c.gate.Unlock()
		if err != nil || elem == "<end/>" {
			c.got <- got
			return
		}
		if elem != "<r/>" {
			got = append(got, elem)
		}
	}
}

func (m *model) run() {
	for range 400 {
		c := m.clients[m.rnd.IntN(len(m.clients))]
		switch m.rnd.IntN(12) {
		case 0, 1, 2, 3:
			m.publish()
		case 4:
			m.deliver(c)
		case 5:
			m.join(c)
		case 6:
			m.leave(c)
		case 7:
			m.enable(c)
		case 8, 9:
			m.toggleReading(c)
		default:
			m.publish()
		}
	}
	for _, c := range m.clients {
		if c.shut {
			c.gate.Unlock()
		}
		c.s.Close("over", NewNonza([]byte("<end/>")))
	}
	for _, c := range m.clients {
		m.compare(c, <-c.got)
		<-c.s.Done()
		require.Equal(m.t, Reason("over"), c.s.Reason())
		if c.counted >= 0 {
			require.LessOrEqual(m.t, int(c.s.sent.Load()), c.counted)
		}
	}
}

func (m *model) publish() {
	m.n++
	occupant := string(rune('x' + m.rnd.IntN(3)))
	class := Class(m.rnd.IntN(3))
	text := fmt.Sprintf("' n='%d' %s/>", m.n, strings.Repeat("p", m.rnd.IntN(300)))
	m.log.Append(NewMessage(class, occupant, []byte("<m to='"), []byte(text)))
	var superseded *bool
	if old := m.latest[occupant]; old != nil && class != Plain {
		*old = true
		delete(m.latest, occupant)
	}
	if class == Update {
		superseded = new(bool)
		m.latest[occupant] = superseded
	}
	for i, c := range m.clients {
		if c.following {
			c.expect(expected{text: fmt.Sprintf("<m to='c%d%s", i, text), superseded: superseded})
		}
	}
}

func (c *modelClient) expect(e expected) {
	c.queue = append(c.queue, e)
	if c.counted >= 0 {
		c.counted++
	}
}

func (m *model) deliver(c *modelClient) {
	m.n++
	elem := fmt.Sprintf("<i n='%d'/>", m.n)
	c.s.Deliver(m.log, NewPrivate([]byte(elem)))
	c.expect(expected{text: elem})
}

func (m *model) join(c *modelClient) {
	m.n++
	elem := fmt.Sprintf("<join n='%d'/>", m.n)
	if c.s.Follow(m.log, NewPrivate([]byte(elem))) {
		require.False(m.t, c.following)
		c.following = true
		c.expect(expected{text: elem})
	}
}

func (m *model) leave(c *modelClient) {
	if !c.following {
		return
	}
	m.n++
	elem := fmt.Sprintf("<leave n='%d'/>", m.n)
	c.s.Unfollow(m.log, NewPrivate([]byte(elem)))
	c.following = false
	c.expect(expected{text: elem})
}

func (m *model) enable(c *modelClient) {
	if c.counted >= 0 || c.following { // it waits for no place in the room's order
		return
	}
	c.s.EnableAcks(NewNonza([]byte("<enabled/>")), false)
	c.queue = append(c.queue, expected{text: "<enabled/>"})
	c.counted = 0
}

func (m *model) toggleReading(c *modelClient) {
	if c.shut {
		c.gate.Unlock()
		c.shut = false
		return
	}
	// A client blocked in Read holds the gate; then it is not shut this time.
	c.shut = c.gate.TryLock()
}

// compare walks the queue: whatever was left out must be an update that a
// later message of the same occupant replaces.
func (m *model) compare(c *modelClient, got []string) {
	for _, want := range c.queue {
		if len(got) > 0 && got[0] == want.text {
			got = got[1:]
			continue
		}
		require.Truef(m.t, want.superseded != nil && *want.superseded,
			"missing %.40q, next is %.40q", want.text, first(got))
	}
	require.Empty(m.t, got)
}

func first(s []string) string {
	if len(s) == 0 {
		return ""
	}
	return s[0]
}

// The sent counter is what a client's h is judged by: it must be exact even
// when updates were left out.
func TestSentCounterCountsWhatWasWritten(t *testing.T) {
	b := newBroadcaster(t, Config{Shards: 1, ConflateLag: 2})
	l := b.NewLog()
	near, far := net.Pipe()
	s, c := attachTo(t, b, Options{To: "a"}, near, far)
	s.EnableAcks(NewNonza([]byte("<enabled/>")), false)
	s.Follow(l)
	for range 50 {
		l.Append(public(Update, "alice", "state"))
	}
	s.Close("over", NewNonza([]byte("<end/>")))
	var all bytes.Buffer
	for {
		e := c.next()
		if e == "<end/>" {
			break
		}
		all.WriteString(e)
	}
	require.Equal(t, strings.Count(all.String(), "<p "), int(s.sent.Load()))
	require.NoError(t, s.Acked(s.sent.Load()))
}
