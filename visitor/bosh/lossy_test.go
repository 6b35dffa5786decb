package bosh

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestNothingIsLostNorDoubled lets a client's requests overtake each other,
// break off, and come again, and its responses get lost, while both sides say
// numbered things: each must hear all of them, once, in order.
func TestNothingIsLostNorDoubled(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			// Polls are not slowed down: they only make the story shorter.
			inBubble(t, Config{Polling: 1, OutputBytes: 1 << 20, InputBytes: 500}, func(t *testing.T, h *house) {
				l := &lossy{session: h.begin(), rnd: rand.New(rand.NewPCG(seed, 1)), got: map[int]string{}, next: 101}
				for range 800 {
					l.step()
				}
				l.comeToRest()
				require.Equal(t, l.sent, l.read, "up")
				require.Equal(t, l.written, l.heard, "down")
				require.Greater(t, l.read, 50)
				require.Greater(t, l.heard, 50)
				l.rid = l.next - 1
				l.leave()
				l.stop()
			})
		})
	}
}

type lossy struct {
	*session
	rnd *rand.Rand

	next  int            // rid of the next new request
	open  []*numbered    // without an answer that the client has seen
	got   map[int]string // answers by rid, ahead of their turn
	taken int            // rid of the answer read last, less 100

	sent, read     int // up
	written, heard int // down
}

type numbered struct {
	rid  int
	body string
	call *call // nil: to be sent (again)
}

func (l *lossy) step() {
	switch l.rnd.IntN(9) {
	case 0, 1:
		l.ask()
	case 2:
		l.askInWrongOrder()
	case 3:
		l.breakOff()
	case 4:
		l.sendAgain()
	case 5:
		time.Sleep(time.Duration(l.rnd.IntN(2000)) * time.Millisecond)
	case 6:
		for range l.rnd.IntN(4) {
			l.written++
			l.write(fmt.Sprintf("<message id='d%d'/>", l.written))
		}
	case 7:
		l.readSome()
	case 8:
		l.collect()
	}
	l.resend()
}

func (l *lossy) mayAsk() bool {
	return len(l.open) == 0 || l.next-l.open[0].rid < 2
}

func (l *lossy) prepare() *numbered {
	var content string
	for range 1 + l.rnd.IntN(3) {
		l.sent++
		content += fmt.Sprintf("<message id='u%d'/>", l.sent)
	}
	n := &numbered{rid: l.next, body: l.body(l.next, "", content)}
	l.next++
	l.open = append(l.open, n)
	return n
}

func (l *lossy) ask() {
	if l.mayAsk() {
		n := l.prepare()
		n.call = l.post(n.body)
	}
}

func (l *lossy) askInWrongOrder() {
	if len(l.open) > 0 {
		return
	}
	a, b := l.prepare(), l.prepare()
	b.call = l.post(b.body)
	time.Sleep(time.Duration(l.rnd.IntN(500)) * time.Millisecond)
	a.call = l.post(a.body)
}

// breakOff cuts a connection, or loses the answer that has just come.
func (l *lossy) breakOff() {
	if n := l.any(); n != nil && n.call != nil {
		n.call.hangUp()
		n.call = nil
	}
}

// sendAgain gives up a connection that the server takes for alive.
func (l *lossy) sendAgain() {
	if n := l.any(); n != nil && n.call != nil {
		n.call = l.post(n.body)
	}
}

func (l *lossy) any() *numbered {
	if len(l.open) == 0 {
		return nil
	}
	return l.open[l.rnd.IntN(len(l.open))]
}

// resend sends, sooner or later, what broke off.
func (l *lossy) resend() {
	for _, n := range l.open {
		if n.call == nil && l.rnd.IntN(3) == 0 {
			n.call = l.post(n.body)
		}
	}
}

// collect takes the answers that are here, in whatever order they came.
func (l *lossy) collect() {
	var left []*numbered
	for _, n := range l.open {
		if n.call == nil || n.call.waits() {
			left = append(left, n)
			continue
		}
		l.got[n.rid] = n.call.answer()
	}
	l.open = left
	for {
		body, ok := l.got[101+l.taken]
		if !ok {
			return
		}
		l.taken++
		for _, m := range regexp.MustCompile(`id='d(\d+)'`).FindAllStringSubmatch(body, -1) {
			l.heard++
			require.Equal(l.t, itoa(l.heard), m[1])
		}
	}
}

func (l *lossy) readSome() {
	for l.pending() {
		ev, err := l.conn.Next()
		require.NoError(l.t, err)
		l.read++
		require.Equal(l.t, fmt.Sprintf("<message id='u%d'/>", l.read), string(ev.Data))
	}
}

func (l *lossy) pending() bool {
	l.conn.mu.Lock()
	defer l.conn.mu.Unlock()
	return len(l.conn.events) > 0
}

// comeToRest brings everything under way to its end.
func (l *lossy) comeToRest() {
	for range 100 {
		l.resend()
		l.readSome()
		l.collect()
		if l.heard == l.written && l.read == l.sent && len(l.open) < 2 && l.connected() {
			return
		}
		l.ask()
		time.Sleep(time.Second)
	}
}

// connected reports whether no request has to be sent again.
func (l *lossy) connected() bool {
	return !slices.ContainsFunc(l.open, func(n *numbered) bool { return n.call == nil })
}

// stop ends what still waits.
func (l *lossy) stop() {
	for _, n := range l.open {
		if n.call != nil {
			<-n.call.done
		}
	}
}
