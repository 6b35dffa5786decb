package conference

import (
	"context"
	"encoding/base64"
	"log/slog"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"vnode/internal/wire"
)

// newMainAlone returns a simulated main, its address, and a peer that plays the
// node's part of the negotiation. The node's listener is l, never accepted
// from unless the test does.
func newMainAlone(t *testing.T, dialback bool) (*MainRoom, *server, net.Listener) {
	t.Helper()
	node := listen(t)
	l := listen(t)
	main, err := NewMain(MainOptions{
		Domain: "meet.jitsi", Node: fakeDomain, NodeAddr: node.Addr().String(), Listener: l,
		Dialback: dialback, Timeout: testTime, Log: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = node.Close()
		ctx, cancel := context.WithTimeout(context.Background(), testTime)
		defer cancel()
		require.NoError(t, main.Close(ctx))
	})
	peer, err := newServer([]string{fakeRooms, fakeDomain}, []string{"meet.jitsi", "conference.meet.jitsi"})
	require.NoError(t, err)
	peer.addr, peer.dial, peer.timeout, peer.dialback = l.Addr().String(), (&net.Dialer{}).DialContext, testTime, dialback
	return main.Room("demo", NewLedger()), peer, node
}

// connected goes as far as TLS with main.
func connected(t *testing.T, peer *server, from, to string) (*handshake, error) {
	t.Helper()
	h, stop, err := peer.connect(testContext(t), from, to)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { stop(); _ = h.conn.Close() })
	return h, nil
}

func TestMainRefusesStreamsThatAreNotTheNodes(t *testing.T) {
	_, peer, _ := newMainAlone(t, false)
	_, err := connected(t, peer, fakeRooms, "elsewhere.example")
	require.ErrorContains(t, err, "host-unknown")
	_, err = connected(t, peer, "conference.v9.meet.jitsi", "meet.jitsi")
	require.ErrorContains(t, err, "policy-violation")

	h, err := connected(t, peer, fakeRooms, "meet.jitsi")
	require.NoError(t, err)
	other := base64.StdEncoding.EncodeToString([]byte(fakeDomain))
	require.NoError(t, h.write("<auth xmlns='"+wire.NSSASL+"' mechanism='EXTERNAL'>"+other+"</auth>"))
	elem, err := h.expect("failure")
	require.NoError(t, err)
	require.Contains(t, string(elem), "invalid-authzid")

	h, err = connected(t, peer, fakeRooms, "meet.jitsi")
	require.NoError(t, err)
	require.NoError(t, h.write("<message/>"))
	_, _, err = h.element()
	require.Equal(t, wire.StreamError{Condition: wire.NotAuthorized}, err)
}

func TestMainEndsAStreamThatSpeaksForOthers(t *testing.T) {
	main, peer, _ := newMainAlone(t, false)
	h, err := peer.open(testContext(t), fakeRooms, "conference.meet.jitsi")
	require.NoError(t, err)
	defer h.conn.Close()
	require.NoError(t, h.write("<message type='groupchat' from='demo@"+fakeDomain+"/x' to='"+main.jid+"'/>"))
	_, _, err = h.element()
	require.ErrorContains(t, err, "invalid-from")
	require.NoError(t, poll(testContext(t), func() error {
		if len(main.Faults()) == 0 {
			return errGone
		}
		return nil
	}))
}

func TestMainAnswersWhatANodeAsks(t *testing.T) {
	main, peer, _ := newMainAlone(t, false)
	h, err := peer.open(testContext(t), fakeDomain, "visitors.meet.jitsi")
	require.NoError(t, err)
	defer h.conn.Close()
	for _, c := range []struct{ payload, want string }{
		{"<visitors xmlns='jitsi:visitors' room='demo@conference.meet.jitsi'><promotion-request/></visitors>", "type='result'"},
		{"<ping xmlns='" + wire.NSPing + "'/>", "type='result'"},
		{"<query xmlns='jabber:iq:version'/>", "service-unavailable"},
	} {
		require.NoError(t, h.write("<iq type='set' id='1' from='"+fakeDomain+"' to='visitors.meet.jitsi'>"+c.payload+"</iq>"))
		elem, err := h.expect("iq")
		require.NoError(t, err)
		require.Contains(t, string(elem), c.want)
	}
	require.NoError(t, h.write("<message from='"+fakeDomain+"' to='visitors.meet.jitsi'/>"))
	require.NoError(t, poll(testContext(t), func() error {
		if len(main.Faults()) != 1 {
			return errGone
		}
		return nil
	}))
	require.Contains(t, main.Faults()[0], "message main has no use for")
}

func TestMainOnAStreamOfRooms(t *testing.T) {
	main, peer, _ := newMainAlone(t, false)
	h, err := peer.open(testContext(t), fakeRooms, "conference.meet.jitsi")
	require.NoError(t, err)
	defer h.conn.Close()
	from := " from='" + main.onNode + "/x' to='" + main.jid + "'"
	require.NoError(t, h.write("<message type='error'"+from+"/><message type='groupchat'"+from+"><subject/></message>"))
	require.NoError(t, h.write("<db:result from='"+fakeDomain+"' to='meet.jitsi'>another pair</db:result>"))
	elem, err := h.expect("db:result")
	require.NoError(t, err)
	require.Contains(t, string(elem), "feature-not-implemented")
	require.NoError(t, h.write("<db:verify from='"+fakeRooms+"' to='meet.jitsi' id='i'>made up</db:verify>"))
	elem, err = h.expect("db:verify")
	require.NoError(t, err)
	require.Contains(t, string(elem), "type='invalid'")
	require.Equal(t, Tally{Errors: 1}, main.Heard())
	require.Empty(t, main.Faults())
}

func TestAKeyThatIsNotItsOwnFails(t *testing.T) {
	main, peer, node := newMainAlone(t, true)
	done := make(chan struct{})
	go func() { // the node's listener, asked about keys
		defer close(done)
		for {
			conn, err := node.Accept()
			if err != nil {
				return
			}
			_, _ = peer.accept(conn)
		}
	}()
	h, err := peer.open(testContext(t), fakeRooms, "conference.meet.jitsi")
	require.NoError(t, err, "the right key")
	require.NoError(t, h.conn.Close())

	h, err = connected(t, peer, fakeRooms, "conference.meet.jitsi")
	require.NoError(t, err)
	require.NoError(t, h.write("<db:result from='"+fakeRooms+"' to='conference.meet.jitsi'>made up</db:result>"))
	elem, err := h.expect("db:result")
	require.NoError(t, err)
	require.Contains(t, string(elem), "invalid")

	// Main as the authority about its own keys.
	require.NoError(t, peer.verify(testContext(t), fakeRooms, "meet.jitsi", "id", main.main.server.dialbackKey(fakeRooms, "meet.jitsi", "id")))
	require.ErrorIs(t, peer.verify(testContext(t), fakeRooms, "meet.jitsi", "id", "made up"), errDialback)
	require.NoError(t, node.Close())
	<-done
}

func TestANodeThatDoesNotAnswer(t *testing.T) {
	main, peer, node := newMainAlone(t, false)
	speaker, err := main.Join(testContext(t))
	require.NoError(t, err)
	require.NoError(t, speaker.Chat(testContext(t))) // history
	connect := func() (giveUp func(), result <-chan error) {
		ctx, cancel := context.WithCancel(testContext(t))
		done := make(chan error, 1)
		go func() { done <- main.ConnectVNode(ctx) }()
		return cancel, done
	}

	giveUp, result := connect()
	conn, err := node.Accept()
	require.NoError(t, err)
	giveUp()
	require.ErrorContains(t, <-result, "stream meet.jitsi to "+fakeRooms, "it does not even negotiate")
	require.NoError(t, conn.Close())

	giveUp, result = connect()
	conn, err = node.Accept()
	require.NoError(t, err)
	h, err := peer.accept(conn)
	require.NoError(t, err)
	defer h.conn.Close()
	old := question(t, h)
	giveUp()
	require.ErrorContains(t, <-result, "update of demo@"+fakeRooms+": the node has not answered")

	giveUp, result = connect()
	require.NoError(t, h.write(old))
	require.NoError(t, h.write(question(t, h)))
	require.NoError(t, poll(testContext(t), func() error {
		main.main.mu.Lock()
		defer main.main.mu.Unlock()
		if len(main.main.waiting) > 0 {
			return errGone
		}
		return nil
	}))
	giveUp()
	require.ErrorContains(t, <-result, "the node has opened no stream from "+fakeRooms+" to conference.meet.jitsi", "history cannot be sent")
	require.Len(t, main.Faults(), 1, "an answer to a question that was given up")
}

// question reads main's update and returns the answer to it.
func question(t *testing.T, h *handshake) string {
	t.Helper()
	elem, err := h.expect("iq")
	require.NoError(t, err)
	require.Contains(t, string(elem), "<update ")
	head, err := wire.ParseHeader(elem)
	require.NoError(t, err)
	return string(wire.AppendResult(nil, &head, "", "meet.jitsi", nil))
}
