package node

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/internal/wire"
	"vnode/internal/xmpptest/prosody"
)

// What a page that reloads costs the main Prosody before jicofo sends it to a node:
// a connection, an anonymous login, a bind, one request and its answer. One over it
// is how many can come back in a second, which comeback-rate is chosen by.
func BenchmarkPageAtMain(b *testing.B) {
	main := prosody.Run(b, prosody.Options{Auth: prosody.AuthSelfSigned, Bidi: true})
	visit := func() error {
		conn, err := net.Dial("tcp", main.C2SAddr().String())
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		r := wire.NewReader(conn, wire.Limits{MaxBytes: 1 << 20})
		header := wire.StreamHeader{Content: wire.NSClient, To: "meet.jitsi", Version: "1.0"}
		await := func(name string) error {
			for {
				tok, err := r.Next()
				if err != nil {
					return err
				}
				if h, err := wire.ParseHeader(tok.Data); err != nil || string(h.Name) == name {
					return err
				}
			}
		}
		fmt.Fprintf(conn, "%s", header.Append(nil, ""))
		if err := await("stream:features"); err != nil {
			return err
		}
		fmt.Fprintf(conn, "<auth xmlns='%s' mechanism='ANONYMOUS'/>", wire.NSSASL)
		if err := await("success"); err != nil {
			return err
		}
		r.Restart()
		fmt.Fprintf(conn, "%s", header.Append(nil, ""))
		if err := await("stream:features"); err != nil {
			return err
		}
		for _, iq := range []string{
			"<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
			"<iq type='get' id='info' to='meet.jitsi'><query xmlns='" + wire.NSDisco + "'/></iq>",
		} {
			fmt.Fprint(conn, iq)
			if err := await("iq"); err != nil {
				return err
			}
		}
		fmt.Fprint(conn, "</stream:stream>")
		return nil
	}
	b.SetParallelism(16)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := visit(); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pages/s")
	require.NotZero(b, b.N)
}
