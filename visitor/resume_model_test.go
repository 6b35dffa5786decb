package visitor

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/fanout"
	"vnode/internal/wire"
)

// rider is a model of a client on a train: its connection breaks anywhere, and
// it comes back. It keeps both counts as XEP-0198 asks, so it can tell a stanza
// lost, doubled or out of order.
type rider struct {
	t     *testing.T
	h     *house
	ln    net.Listener
	rnd   *rand.Rand
	total int // stanzas, each way

	// Of the session.
	id, jid string
	s       *Session
	room    *fanout.Log
	made    int // stanzas the room has sent
	sent    int // what of the client's stanzas this connection has taken
	stale   []*peer

	mu       sync.Mutex // guards what the reading goroutine changes, and its writes
	received int
	acked    int // of the client's stanzas
}

const rides = 40

func TestNothingIsLostOrDoubledOverLostConnections(t *testing.T) {
	h := newHouse(t, nil)
	t.Cleanup(h.shut)
	var riders sync.WaitGroup
	for seed := range uint64(8) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		r := &rider{t: t, h: h, ln: ln, rnd: rand.New(rand.NewPCG(seed, 198)), total: 300}
		riders.Go(func() {
			defer ln.Close()
			r.run()
		})
	}
	riders.Wait()
	require.Empty(t, h.ended(), "no session was given up")
	require.GreaterOrEqual(t, h.resumptions(resumeOK), 8*rides)
}

func (r *rider) run() {
	defer func() {
		for _, p := range r.stale {
			p.hangUp()
		}
	}()
	p := r.connect("").visitor()
	r.jid, r.id = p.jid, p.resumable()
	to, err := wire.ParseJID(r.jid)
	require.NoError(r.t, err)
	r.s, r.room = r.h.srv.session(to), r.h.fan.NewLog()
	require.True(r.t, r.s.Follow(r.room))
	for range rides {
		r.ride(p, r.rnd.IntN(20), r.rnd.IntN(20))
		r.part(p)
		r.make(r.rnd.IntN(5)) // while it is away
		p = r.comeBack()
	}
	for r.ride(p, -1, -1); r.waits(); r.ride(p, -1, -1) { // a rival may have won
		p = r.comeBack()
	}
	p.hangUp()
	var handled []string
	for _, s := range r.h.handled() {
		if strings.HasPrefix(s, r.jid) {
			handled = append(handled, s)
		}
	}
	require.Len(r.t, handled, r.total)
	for i, s := range handled {
		require.Contains(r.t, s, fmt.Sprintf(" id='%d' ", i))
	}
}

// connect returns a connection over a real socket: what the server has written
// may be lost with it.
func (r *rider) connect(previd string) *peer {
	far, err := net.Dial("tcp", r.ln.Addr().String())
	require.NoError(r.t, err)
	near, err := r.ln.Accept()
	require.NoError(r.t, err)
	require.NoError(r.t, far.SetDeadline(time.Now().Add(time.Minute)))
	return r.h.returningOn(near, far, previd)
}

// make has the room send n stanzas, to all its visitors or to this one.
func (r *rider) make(n int) {
	for ; n > 0 && r.made < r.total; n-- {
		head, tail := "<message xmlns='jabber:client' to='", fmt.Sprintf("' id='%d'/>", r.made)
		if r.rnd.IntN(2) == 0 {
			r.room.Append(fanout.NewMessage(fanout.Plain, "", []byte(head), []byte(tail)))
		} else {
			r.s.Deliver(r.room, fanout.NewPrivate([]byte(head+r.jid+tail)))
		}
		r.made++
	}
}

// ride sends and receives until the connection has carried so many frames each
// way; below zero, until everything has arrived.
func (r *rider) ride(p *peer, reads, writes int) {
	read := make(chan struct{})
	go func() {
		defer close(read)
		for ; reads != 0 && r.read(p); reads-- {
		}
	}()
	for ; r.sent < r.total && writes != 0; writes-- {
		r.make(r.rnd.IntN(3))
		if !r.write(p, fmt.Sprintf(toRoom, r.sent)) {
			break
		}
		r.sent++
		if r.rnd.IntN(5) == 0 {
			r.write(p, "<r xmlns='urn:xmpp:sm:3'/>")
		}
	}
	if writes < 0 {
		r.make(r.total)
		r.write(p, "<r xmlns='urn:xmpp:sm:3'/>")
	} else {
		soon := time.Duration(r.rnd.IntN(3)) * time.Millisecond
		require.NoError(r.t, p.conn.SetReadDeadline(time.Now().Add(soon)))
	}
	<-read
}

var numbered = regexp.MustCompile(` (?:id|h)='(\d+)'`)

// read takes a frame. False: it was the last one of the connection, or of all.
func (r *rider) read(p *peer) bool {
	frame, err := p.read()
	if err != nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case strings.HasPrefix(frame, "<message "):
		require.Equal(r.t, strconv.Itoa(r.received), numbered.FindStringSubmatch(frame)[1], "the next one")
		r.received++
	case strings.HasPrefix(frame, "<r "):
		_, _ = p.conn.Write(clientFrame(0x81, fmt.Sprintf("<a xmlns='urn:xmpp:sm:3' h='%d'/>", r.received))) // may be gone
	case strings.HasPrefix(frame, "<a "), strings.HasPrefix(frame, "<resumed "):
		r.count(frame)
	default:
		require.Contains(r.t, frame, "<conflict ") // a rival has taken over
		return false
	}
	return r.waits()
}

// waits reports whether something is still to come.
func (r *rider) waits() bool { return r.received < r.total || r.acked < r.total }

// count takes the server's count of our stanzas.
func (r *rider) count(frame string) {
	n, err := strconv.Atoi(numbered.FindStringSubmatch(frame)[1])
	require.NoError(r.t, err)
	require.GreaterOrEqual(r.t, n, r.acked)
	require.LessOrEqual(r.t, n, r.total)
	r.acked = n
}

func (r *rider) write(p *peer, elem string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, err := p.conn.Write(clientFrame(0x81, elem))
	return err == nil
}

// part loses the connection: closed, closed in the midst of a frame, or still
// open for all the server can tell.
func (r *rider) part(p *peer) {
	switch r.rnd.IntN(3) {
	case 0:
		p.hangUp()
	case 1:
		frame := clientFrame(0x81, fmt.Sprintf(toRoom, r.sent))
		_, _ = p.conn.Write(frame[:r.rnd.IntN(len(frame))]) // the connection may be gone already
		p.hangUp()
	default:
		r.stale = append(r.stale, p)
	}
}

// comeBack resumes, sometimes over two connections at once of which either may
// win, and is ready to send again what got lost.
func (r *rider) comeBack() *peer {
	for {
		p := r.resume()
		var rival *peer
		if r.rnd.IntN(3) == 0 {
			rival = r.resume()
		}
		resumed := r.read(p) || !r.waits()
		if rival != nil {
			r.read(rival)
			rival.hangUp()
		}
		r.sent = r.acked
		if resumed {
			return p
		}
		p.hangUp()
	}
}

func (r *rider) resume() *peer {
	p := r.connect(r.id).anonymous()
	p.resume(r.id, r.received)
	return p
}

// A resumption meets what ends the session, at the same instant of fake time
// and truly in parallel. Either wins; nothing hangs, nothing is left over, and
// the session ends exactly once.
func TestResumptionMeetsTheEnd(t *testing.T) {
	for name, meet := range map[string]func(h *house, p *peer){
		"expiry":     func(h *house, p *peer) {},
		"close":      func(h *house, p *peer) { p.write(clientFrame(0x81, wsClose)) },
		"loss":       func(h *house, p *peer) { p.hangUp() },
		"shutdown":   func(h *house, p *peer) { h.shut() },
		"rebinding":  func(h *house, p *peer) { h.srv.session(mustJID(p.jid)).end(streamReason(errReplaced)) },
		"overflow":   func(h *house, p *peer) { h.srv.Deliver(mustJID(p.jid), fanout.NewPrivate(make([]byte, 2<<20))) },
		"fanout end": func(h *house, p *peer) { _ = h.fan.Close(context.Background()) },
	} {
		t.Run(name, func(t *testing.T) {
			for range 30 {
				inBubble(t, nil, func(t *testing.T, h *house) { resumeAgainst(h, name == "expiry", meet) })
			}
		})
	}
}

func resumeAgainst(h *house, lost bool, meet func(h *house, p *peer)) {
	p := h.websocket().visitor()
	id := p.resumable()
	if lost {
		p.hangUp()
		time.Sleep(59 * time.Second)
	}
	q := h.returning(id).anonymous()
	if lost {
		time.Sleep(time.Second) // to the instant of its expiry
	}
	var both sync.WaitGroup
	both.Go(func() { meet(h, p) })
	both.Go(func() { _, _ = io.Copy(io.Discard, p.conn); p.hangUp() })
	var answer string
	both.Go(func() {
		q.resume(id, 0)
		answer = q.next()
		for s := answer; s != "EOF" && !strings.HasPrefix(s, "CLOSE") && !strings.HasPrefix(s, "<resumed ") && !strings.HasPrefix(s, "<failed "); {
			s = q.next()
		}
		time.Sleep(time.Second)
		q.hangUp()
	})
	both.Wait()
	synctest.Wait()
	require.True(h.t, strings.HasPrefix(answer, "<resumed ") || strings.HasPrefix(answer, "<failed ") ||
		strings.HasPrefix(answer, "<stream:error") || answer == "EOF", answer)
	time.Sleep(2 * time.Minute)
	require.Len(h.t, h.ended(), 1)
}
