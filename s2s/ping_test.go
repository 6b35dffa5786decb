package s2s

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/internal/wire"
	"vnode/s2s/acks"
)

var pingID = regexp.MustCompile(`^<iq type='get' id='(s2s-ping-\w+)' from='(.*)' to='(.*)'><ping xmlns='urn:xmpp:ping'/></iq>$`)

// pong is the answer of a component that knows no pings.
func pong(t *testing.T, ping string) string {
	t.Helper()
	m := pingID.FindStringSubmatch(ping)
	require.NotNil(t, m, ping)
	return fmt.Sprintf("<iq type='error' id='%s' from='%s' to='%s'><error type='cancel'><service-unavailable xmlns='%s'/></error></iq>",
		m[1], m[3], m[2], wire.NSStanzas)
}

func (p *peer) answer(ping string) { p.t.Helper(); p.write(pong(p.t, ping)) }

// Without stream management pings tell what main has handled, if it answers
// them; what it has not then comes back.
func TestPingsTellWhatArrived(t *testing.T) {
	within(t, func(t *testing.T) {
		d := newDialled(t)
		w := newWorld(t, nil, d.dial)
		w.Keep(rooms, mainRooms)
		p := d.next()
		p.pings = true
		p.accepted(rooms, mainRooms)
		first := p.read()
		time.Sleep(20 * time.Millisecond)
		p.answer(first)
		synctest.Wait()
		require.EqualValues(t, 1, w.samples("vnode_s2s_rtt_seconds"))
		time.Sleep(2 * time.Second)
		w.Send(rooms, mainRooms, chat(1))
		p.expect(string(chat(1)))
		p.answer(p.read())
		w.Send(rooms, mainRooms, chat(2))
		w.Send(rooms, mainRooms, chat(3))
		p.expect(string(chat(2)), string(chat(3)))
		began := time.Now()
		ping := p.read() // not with every write
		require.Equal(t, acks.PingEvery, time.Since(began))
		w.Send(rooms, mainRooms, chat(4))
		p.expect(string(chat(4)))
		p.answer(ping)
		p.write(pong(t, first) + strings.Replace(pong(t, ping), "s2s-ping-", "s2s-ping-X", 1)) // late, forged: nobody cares
		synctest.Wait()
		require.EqualValues(t, 1, w.metric("vnode_s2s_unacked_stanzas"))
		p.conn.Close()
		synctest.Wait()
		require.Equal(t, []int{4}, w.bounces())
		require.Len(t, w.in.stanzas(), 1, "answers to pings do not reach the rooms")

		// The next stream knows from the start that main answers.
		w.Send(rooms, mainRooms, chat(5))
		p = d.next()
		p.accepted(rooms, mainRooms)
		p.expect(string(chat(5)))
		p.conn.Close()
		synctest.Wait()
		require.Equal(t, []int{4, 5}, w.bounces())

		// And learns it when main has become another.
		p = d.next()
		p.accepted(rooms, mainRooms)
		w.Send(rooms, mainRooms, chat(6))
		p.expect(string(chat(6)))
		time.Sleep(31 * time.Second)
		p.conn.Close()
		synctest.Wait()
		require.Equal(t, []int{4, 5}, w.bounces())
		require.EqualValues(t, 0, w.metric("vnode_s2s_closed_total", "out", "stalled"))
	})
}

// A main without bidi answers on the stream that it opens.
func TestPongOnAnotherStream(t *testing.T) {
	within(t, func(t *testing.T) {
		d := newDialled(t)
		w := newWorld(t, nil, d.dial)
		w.Keep(rooms, mainRooms)
		p := d.next()
		p.pings = true
		p.receive(rooms, mainRooms, mechanisms)
		p.expect(auth(b64(rooms)))
		p.write(success)
		p.expect(answerHeader(rooms, mainRooms))
		p.write(headerWithID(mainRooms, rooms) + "<stream:features/>")
		ping := p.read()
		in := w.connect(fromMain, mainCert)
		in.authenticated(mainRooms, rooms, "")
		in.write(pong(t, ping))
		synctest.Wait()
		require.EqualValues(t, 1, w.samples("vnode_s2s_rtt_seconds"))
		require.Empty(t, w.in.stanzas())
	})
}

// Whom a stream connects is only known once it is ready: an answer that comes
// meanwhile does not ask.
func TestPongWhileOthersNegotiate(t *testing.T) {
	within(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		in := w.connect(fromMain, mainCert)
		in.authenticated(mainRooms, rooms, "")
		var over atomic.Bool
		var answers sync.WaitGroup
		answers.Go(func() {
			for !over.Load() {
				in.write("<iq type='result' id='" + pingPrefix + "late' from='" + mainRooms + "' to='" + rooms + "'/>")
			}
		})
		for range 20 {
			p := w.connect(fromMain, mainCert)
			p.encrypted(mainHost, rooms)
			p.conn.Close()
		}
		over.Store(true)
		answers.Wait()
		synctest.Wait()
		require.Empty(t, w.in.stanzas())
	})
}

// A main that has answered before and says nothing at all any more, though its
// kernel still takes what is sent, is given up; one that is busy is not.
func TestSilentMainIsFound(t *testing.T) {
	within(t, func(t *testing.T) {
		d := newDialled(t)
		w := newWorld(t, nil, d.dial)
		w.Keep(rooms, mainRooms)
		p := d.next()
		p.offersSM(rooms, mainRooms)
		p.expect(enable)
		p.write(enabled)
		w.Send(rooms, mainRooms, chat(1))
		p.expect(string(chat(1)), ackAsked)
		for range 10 {
			time.Sleep(20 * time.Second)
			p.write("<message id='9' from='r@conference.main.example' to='r@conference.v3.meet.example'/>")
		}
		synctest.Wait()
		require.True(t, w.Up(rooms, mainRooms))
		time.Sleep(61 * time.Second) // looked at once in LossTimeout
		synctest.Wait()
		require.EqualValues(t, 1, w.metric("vnode_s2s_closed_total", "out", "stalled"))
		require.Equal(t, []int{1}, w.bounces())
	})
}

// While the rooms are busy with what main has sent, its answer waits too: that
// is no silence.
func TestBusyRoomsAreNoSilence(t *testing.T) {
	within(t, func(t *testing.T) {
		d := newDialled(t)
		w := newWorld(t, nil, d.dial)
		release := make(chan struct{})
		w.in.hook = func(got) { <-release }
		w.Keep(rooms, mainRooms)
		p := d.next()
		p.offersSM(rooms, mainRooms)
		p.expect(enable)
		p.write(enabled + "<message id='9' from='r@conference.main.example' to='r@conference.v3.meet.example'/>")
		w.Send(rooms, mainRooms, chat(1))
		p.expect(string(chat(1)), ackAsked)
		p.write(ack(1))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		require.True(t, w.Up(rooms, mainRooms))
		close(release)
		synctest.Wait()
		require.EqualValues(t, 0, w.metric("vnode_s2s_unacked_stanzas"))
	})
}

// The Handler is told when the first stream with a peer comes up and when the
// last one is lost.
func TestLinks(t *testing.T) {
	within(t, func(t *testing.T) {
		d := newDialled(t)
		w := newWorld(t, nil, d.dial)
		require.EqualValues(t, 0, w.in.changes(mainHost))
		in := w.connect(fromMain, mainCert)
		in.authenticated(mainHost, rooms, "")
		synctest.Wait()
		require.EqualValues(t, 1, w.in.changes(mainHost))
		w.Keep(rooms, mainHost)
		out := d.next()
		out.accepted(rooms, mainHost)
		synctest.Wait()
		in.conn.Close()
		synctest.Wait()
		require.EqualValues(t, 1, w.in.changes(mainHost))
		out.raw.Close()
		synctest.Wait()
		require.EqualValues(t, 2, w.in.changes(mainHost))
		d.next().accepted(rooms, mainHost)
		synctest.Wait()
		require.EqualValues(t, 3, w.in.changes(mainHost))
		require.EqualValues(t, 0, w.in.changes(mainRooms))
	})
}
