package s2s

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/s2s/acks"
)

const (
	enabled   = "<enabled xmlns='urn:xmpp:sm:3'/>"
	resumable = "<enabled xmlns='urn:xmpp:sm:3' resume='true' id='token' max='600'/>"
	ackAsked  = "<r xmlns='urn:xmpp:sm:3'/>"
	enable    = "<enable xmlns='urn:xmpp:sm:3' resume='true'/>"
	sm        = "<sm xmlns='urn:xmpp:sm:3'/>"
)

func ack(h int) string { return fmt.Sprintf("<a xmlns='urn:xmpp:sm:3' h='%d'/>", h) }

func resume(h int) string {
	return fmt.Sprintf("<resume xmlns='urn:xmpp:sm:3' previd='token' h='%d'/>", h)
}

func resumed(h int) string {
	return fmt.Sprintf("<resumed xmlns='urn:xmpp:sm:3' previd='token' h='%d'/>", h)
}

func failed(condition, attrs string) string {
	return "<failed xmlns='urn:xmpp:sm:3'" + attrs + "><" + condition + " xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>"
}

// offersSM plays main until it has offered stream management.
func (p *peer) offersSM(local, remote string) {
	p.t.Helper()
	p.receive(local, remote, bidiFeature+mechanisms)
	p.expect("<bidi xmlns='urn:xmpp:bidi'>"+limitsElem+"</bidi>", auth(b64(local)))
	p.write(success)
	p.expect(answerHeader(local, remote))
	p.write(headerWithID(remote, local) + "<stream:features>" + sm + "</stream:features>")
}

// bounces returns the ids of the stanzas that came back.
func (w *world) bounces() (ids []int) {
	for _, s := range w.in.stanzas() {
		if strings.Contains(s, "type='error'") {
			ids = append(ids, idOf(w.t, s))
		}
	}
	return ids
}

var numberedID = regexp.MustCompile(` id='(\d+)'`)

func idOf(t *testing.T, stanza string) int {
	m := numberedID.FindStringSubmatch(stanza)
	require.NotNil(t, m, stanza)
	n, err := strconv.Atoi(m[1])
	require.NoError(t, err)
	return n
}

// An outgoing stream counts in both directions as soon as main lets it.
func TestStreamManagementOutgoing(t *testing.T) {
	within(t, func(t *testing.T) {
		d := newDialled(t)
		w := newWorld(t, nil, d.dial)
		w.Keep(rooms, mainRooms)
		p := d.next()
		p.offersSM(rooms, mainRooms)
		p.expect(enable)
		w.Send(rooms, mainRooms, chat(1))
		p.expect(string(chat(1))) // counted already; asked about once main counts too
		time.Sleep(3 * time.Millisecond)
		p.write("<enabled xmlns='urn:xmpp:sm:3' resume='true'/>") // Prosody's: without id it means no
		p.expect(ackAsked)
		require.EqualValues(t, 1, w.metric("vnode_s2s_unacked_stanzas"))
		w.Send(rooms, mainRooms, chat(2))
		p.expect(string(chat(2))) // one question at a time
		p.write("<message id='7' from='r@conference.main.example' to='r@conference.v3.meet.example'/>" + ackAsked)
		p.expect(ack(1))
		p.write(ack(1))
		p.expect(ackAsked)
		p.write(ack(2))
		synctest.Wait()
		require.EqualValues(t, 0, w.metric("vnode_s2s_unacked_stanzas"))
		require.EqualValues(t, 3, w.samples("vnode_s2s_rtt_seconds"), "of enable and of two requests")

		// Silence is broken by a question instead of whitespace.
		began := time.Now()
		p.expect(ackAsked)
		require.Equal(t, time.Minute, time.Since(began))
		p.write(ack(2))
		w.Send(rooms, mainRooms, chat(3))
		p.expect(string(chat(3)), ackAsked)
		p.conn.Close()
		synctest.Wait()
		require.Equal(t, []int{3}, w.bounces())
		require.Contains(t, w.in.stanzas()[1], "<remote-server-timeout ")
		require.EqualValues(t, 1, w.metric("vnode_s2s_undelivered_total", "unacknowledged"))
	})
}

// So does an incoming one when main enables it.
func TestStreamManagementIncoming(t *testing.T) {
	within(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		p := w.connect(fromMain, mainCert)
		p.authenticated(mainHost, rooms, bidi)
		presence := "<presence from='a@main.example/x' to='r@conference.v3.meet.example/a'/>"
		result := "<iq type='result' id='1' from='conference.v3.meet.example' to='main.example'/>"
		p.write(ackAsked) // nothing is counted yet
		p.write(presence)
		w.Send(rooms, mainHost, []byte(result))
		p.expect(result)
		p.write(strings.Replace(enable, " resume='true'", "", 1))
		p.expect(enabled, ackAsked) // of what went before, too
		p.write(ack(0) + presence + presence + ackAsked)
		p.expect(ack(2))
		w.Send(rooms, mainHost, []byte(result))
		p.expect(result, ackAsked)
		p.write(enable + resume(0))
		p.expect(failed("unexpected-request", ""), failed("item-not-found", ""))
		p.write(ack(1))
		synctest.Wait()
		require.EqualValues(t, 0, w.metric("vnode_s2s_unacked_stanzas"))
		p.write(presence + end)
		p.expect(ack(3), end, closed)
		require.Empty(t, w.bounces())
	})
}

// What stream management cannot mean ends the stream.
func TestStreamManagementRefusals(t *testing.T) {
	for _, row := range []struct{ name, said, want string }{
		{"more than was sent", ack(1), streamError("undefined-condition", "more stanzas acknowledged than sent")},
		{"less than before", ack(-1), streamError("invalid-xml", "no count of stanzas")},
		{"no count", "<a xmlns='urn:xmpp:sm:3'/>", streamError("invalid-xml", "no count of stanzas")},
		{"beyond 32 bits", "<a xmlns='urn:xmpp:sm:3' h='4294967296'/>", streamError("invalid-xml", "no count of stanzas")},
		{"unknown element", "<x xmlns='urn:xmpp:sm:3'/>", streamError("unsupported-stanza-type", "")},
	} {
		t.Run(row.name, func(t *testing.T) {
			within(t, func(t *testing.T) {
				w := newWorld(t, nil, nil)
				p := w.connect(fromMain, mainCert)
				p.authenticated(mainHost, rooms, bidi)
				p.write(enable)
				p.expect(enabled)
				p.write(row.said)
				p.expect(ack(0), row.want, end)
				p.conn.Close()
				synctest.Wait()
				require.EqualValues(t, 1, w.metric("vnode_s2s_closed_total", "in", "bad_protocol"))
			})
		})
	}
}

// A main that offers stream management and refuses it is pinged.
func TestStreamManagementRefusedByMain(t *testing.T) {
	within(t, func(t *testing.T) {
		d := newDialled(t)
		w := newWorld(t, nil, d.dial)
		w.Keep(rooms, mainRooms)
		p := d.next()
		p.pings = true
		p.offersSM(rooms, mainRooms)
		p.expect(enable)
		w.Send(rooms, mainRooms, chat(1))
		p.expect(string(chat(1)))
		p.write(failed("service-unavailable", ""))
		p.answer(p.read())
		synctest.Wait()
		require.EqualValues(t, 0, w.metric("vnode_s2s_unacked_stanzas"))
		w.Send(rooms, mainRooms, chat(2))
		p.expect(string(chat(2)))
		p.conn.Close()
		synctest.Wait()
		require.Equal(t, []int{2}, w.bounces())
	})
}

// What may be under way is bounded; the rest waits in the queue.
func TestUnacknowledgedIsBounded(t *testing.T) {
	within(t, func(t *testing.T) {
		d := newDialled(t)
		w := newWorld(t, nil, d.dial)
		w.Keep(rooms, mainRooms)
		p := d.next()
		p.offersSM(rooms, mainRooms)
		p.expect(enable)
		p.write(enabled)
		p.raw.in.mu.Lock()
		p.raw.in.limit = 16 << 20
		p.raw.in.mu.Unlock()
		synctest.Wait()
		const total = acks.MaxStanzas + 1000
		for n := range total {
			w.Send(rooms, mainRooms, chat(n))
		}
		synctest.Wait()
		taken := int(w.metric("vnode_s2s_unacked_stanzas"))
		require.InDelta(t, acks.MaxStanzas, taken, batchBytes/float64(len(chat(1))))
		require.EqualValues(t, total-taken, w.metric("vnode_s2s_queue_stanzas"))
		for got := 0; got < total; {
			if s := p.read(); s == ackAsked {
				p.write(ack(got))
			} else {
				require.Equal(t, string(chat(got)), s)
				got++
			}
		}
	})
}
