package node

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vnode/internal/wire"
	"vnode/internal/xmpptest/conference"
	"vnode/visitor"
)

// While a conference is watched by fifty visitors, others meet faults of the program:
// on the way in, on the way out, in a request, and in a room of their own. Each fault costs what met
// it. The conference loses nothing, twice nothing and keeps its order.
func TestPanicsUnderLoad(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	cfg := testConfig(t, ln.Addr().String())
	node := startWith(t, cfg, testWriter{t}, func(n *Node) {
		web := n.web
		n.web = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/fatal-request" {
				panic("a fault of the program")
			}
			web.ServeHTTP(w, r)
		})
		n.router.fault = func(s *visitor.Session, st *wire.Stanza) {
			switch string(st.ID) {
			case "fatal-session":
				panic("a fault of the program")
			case "fatal-output":
				s.Drained(func() { panic("a fault of the program") })
			case "fatal-room":
				st.Raw = st.Raw[:3] // as no stream reads it
			}
		}
	})
	ledger := conference.NewLedger()
	main := node.simulatedMain(ln)
	meeting := main.Room("demo", ledger)
	other, err := conference.DialFocus(t.Context(), conference.FocusOptions{
		Addr: node.Addresses().C2S[0], JID: "focus@auth.meet.jitsi/other", Password: node.password(),
	})
	require.NoError(t, err)
	behind := conference.NewLedger()
	aside := main.Room("second", behind)
	_, err = aside.Join(t.Context())
	require.NoError(t, err)
	second, err := other.CreateRoom(t.Context(), "second@conference.v3.meet.jitsi", behind)
	require.NoError(t, err)
	require.NoError(t, aside.ConnectVNode(t.Context()))

	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, id := range []string{"fatal-session", "fatal-output", "fatal-session"} {
			time.Sleep(300 * time.Millisecond) // into the talk, whenever that is
			v := login(t, node.Addresses().C2S[0], "v3.meet.jitsi")
			v.write("<iq type='get' id='" + id + "' to='" + demoRoom + "'><ping xmlns='urn:xmpp:ping'/></iq>")
			v.untilEnd()
		}
		_, err := http.Get("http://" + node.Addresses().HTTP[0] + "/fatal-request")
		assert.ErrorIs(t, err, io.EOF)
		fatal := "<iq type='result' id='fatal-room' to='second@conference.v3.meet.jitsi/focus'/>"
		v := login(t, node.Addresses().C2S[0], "v3.meet.jitsi")
		v.write("<presence to='second@conference.v3.meet.jitsi/" + v.nick + "'><x xmlns='" + wire.NSMUC + "'/></presence>" + fatal)
		v.untilEnd()
		select {
		case <-second.Out():
		case <-time.After(20 * time.Second):
			t.Error("jicofo was not told that the room is gone")
		}
	}()
	play(t, node, meeting, ledger)
	<-done
	destroyed, _ := second.Destroyed()
	require.True(t, destroyed)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	require.NoError(t, other.Close(ctx))
	require.Equal(t, 2.0, node.metric("vnode_panics_total", "session"))
	require.Equal(t, 1.0, node.metric("vnode_panics_total", "output"))
	require.Equal(t, 1.0, node.metric("vnode_panics_total", "request"))
	require.Equal(t, 1.0, node.metric("vnode_panics_total", "room"))
	node.stop()
}

// login logs in anonymously over TCP and joins nothing.
func login(t testing.TB, addr, domain string) *person {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	p := &person{t: t, conn: conn, r: wire.NewReader(conn, readAnything)}
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	p.login(domain, "<auth xmlns='"+wire.NSSASL+"' mechanism='ANONYMOUS'/>")
	_, after, ok := strings.Cut(p.expect("iq"), "<jid>")
	require.True(t, ok)
	p.jid, _, _ = strings.Cut(after, "</jid>")
	p.nick = p.jid[:8]
	return p
}

// untilEnd reads until the stream or the connection ends.
func (p *person) untilEnd() {
	for {
		tok, err := p.r.Next()
		if err != nil || tok.Kind == wire.StreamEnd {
			return
		}
	}
}
