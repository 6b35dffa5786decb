package node

import (
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/cmd/internal/admin"
	"vnode/internal/wire"
)

// loginAsFocus opens a stream for jicofo.
func (r *running) loginAsFocus() *person {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.Addresses().C2S[0])
	require.NoError(r.t, err)
	return loginAsFocus(r.t, conn, r.password())
}

func loginAsFocus(t testing.TB, conn net.Conn, password string) *person {
	t.Helper()
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	p := &person{t: t, conn: conn, r: wire.NewReader(conn, wire.Limits{MaxBytes: 1 << 20})}
	plain := base64.StdEncoding.EncodeToString([]byte("\x00focus\x00" + password))
	p.login("auth.meet.jitsi", "<auth xmlns='"+wire.NSSASL+"' mechanism='PLAIN'>"+plain+"</auth>")
	p.expect("iq")
	return p
}

// A focus that loses its session loses its rooms, and is told so when it is
// back: jicofo of before 2026 would send visitors there for ever.
func TestFocusIsToldOfTheRoomsItLost(t *testing.T) {
	node := start(t, testConfig(t, "127.0.0.1:1"))
	first := node.loginAsFocus()
	first.write("<presence to='" + demoRoom + "/focus'><x xmlns='" + wire.NSMUC + "'/></presence>")
	require.Contains(t, first.expect("presence"), "code='201'")
	first.write("</stream:stream>")

	again := node.loginAsFocus()
	told := again.expect("presence")
	require.Contains(t, told, "from='"+demoRoom+"/focus'")
	require.Contains(t, told, "<destroy><reason>Conference ended.</reason></destroy>")
}

// A drained node sends jicofo away and refuses it, so that it chooses other nodes,
// until the drain is called off. A stream that ended without an error would keep
// jicofo from connecting again.
func TestDrainedNodeSendsJicofoAway(t *testing.T) {
	cfg := testConfig(t, "127.0.0.1:1")
	node := start(t, cfg)
	first := node.loginAsFocus()
	first.write("<presence to='" + demoRoom + "/focus'><x xmlns='" + wire.NSMUC + "'/></presence>")
	require.Contains(t, first.expect("presence"), "code='201'")
	require.ErrorContains(t, operator{node.Node}.Drain(t.Context(), 0, "an operator drains the node", false), "other-nodes is empty")
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(admin.Report{State: admin.Ready, Focus: true})
	}))
	defer other.Close()
	next := *cfg
	next.OtherNodes = []string{other.Listener.Addr().String()}
	require.NoError(t, node.Reload(&next))
	require.NoError(t, operator{node.Node}.Drain(t.Context(), 0, "an operator drains the node", true))
	require.Eventually(t, func() bool { return node.drain.state() == admin.Draining }, 10*time.Second, time.Millisecond)
	first.write("<presence type='unavailable' to='" + demoRoom + "/focus'/>")
	require.Contains(t, first.expect("stream:error"), "system-shutdown")
	require.Eventually(t, func() bool { return node.drain.state() == admin.Drained }, 10*time.Second, time.Millisecond)

	header := wire.StreamHeader{Content: wire.NSClient, To: "auth.meet.jitsi", Version: "1.0"}
	conn, err := net.Dial("tcp", node.Addresses().C2S[0])
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	refused := &person{t: t, conn: conn, r: wire.NewReader(conn, wire.Limits{MaxBytes: 1 << 20})}
	refused.write(string(header.Append(nil, "")))
	plain := base64.StdEncoding.EncodeToString([]byte("\x00focus\x00" + node.password()))
	refused.write("<auth xmlns='" + wire.NSSASL + "' mechanism='PLAIN'>" + plain + "</auth>")
	require.Contains(t, refused.expect("failure"), "temporary-auth-failure")

	require.NoError(t, operator{node.Node}.Undrain())
	again := node.loginAsFocus()
	again.write("<presence to='" + demoRoom + "/focus'><x xmlns='" + wire.NSMUC + "'/></presence>")
	require.Contains(t, again.expect("presence"), "code='201'")
}
