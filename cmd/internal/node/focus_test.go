package node

import (
	"encoding/base64"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/internal/wire"
)

// loginAsFocus opens a stream for jicofo.
func (r *running) loginAsFocus() *person {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.Addresses().C2S[0])
	require.NoError(r.t, err)
	r.t.Cleanup(func() { _ = conn.Close() })
	require.NoError(r.t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	p := &person{t: r.t, conn: conn, r: wire.NewReader(conn, wire.Limits{MaxBytes: 1 << 20})}
	plain := base64.StdEncoding.EncodeToString([]byte("\x00focus\x00" + r.password()))
	p.login("auth.meet.jitsi", "<auth xmlns='"+wire.NSSASL+"' mechanism='PLAIN'>"+plain+"</auth>")
	p.expect("iq")
	return p
}

// A focus that loses its session loses its rooms, and is told so when it is
// back: jicofo of before 2026 would send visitors there for ever.
func TestFocusIsToldOfTheRoomsItLost(t *testing.T) {
	node := start(t, testConfig(t, "127.0.0.1:1"))
	first := node.loginAsFocus()
	first.write("<presence to='" + room + "/focus'><x xmlns='" + wire.NSMUC + "'/></presence>")
	require.Contains(t, first.expect("presence"), "code='201'")
	first.write("</stream:stream>")

	again := node.loginAsFocus()
	told := again.expect("presence")
	require.Contains(t, told, "from='"+room+"/focus'")
	require.Contains(t, told, "<destroy><reason>Conference ended.</reason></destroy>")
}
