package probe

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"vnode/internal/xmpptest/turn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestTURN(t *testing.T) {
	s, err := turn.Start("secret")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	server := TURNServer{Address: s.Addr().String()}
	require.NoError(t, server.Bind(bounded(t)))
	require.NoError(t, server.Allocate(bounded(t), "secret"))
	var refused *TURNError
	require.ErrorAs(t, server.Allocate(bounded(t), "another"), &refused)
	require.Equal(t, 401, refused.Code)
}

// A server that says nothing is asked again until the time is over, and what is
// no STUN is named so.
func TestSTUNOfOthers(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.ErrorContains(t, TURNServer{Address: silent.LocalAddr().String()}.Bind(ctx), "timeout")

	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.Error(t, TURNServer{Address: web.Listener.Addr().String(), TCP: true}.Bind(ctx))
}

// main plays main's side of a stream by a script: what it waits for, and what
// it says then.
func main(t *testing.T, script ...[2]string) *Target {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		var heard bytes.Buffer
		b := make([]byte, 4096)
		for _, step := range script {
			for !strings.Contains(heard.String(), step[0]) {
				n, err := conn.Read(b)
				if err != nil {
					return
				}
				heard.Write(b[:n])
			}
			heard.Reset()
			if _, err := conn.Write([]byte(step[1])); err != nil {
				return
			}
		}
		for {
			if _, err := conn.Read(b); err != nil {
				return
			}
		}
	}()
	return &Target{Address: ln.Addr().String()}
}

const header = `<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' id='s1' from='meet.jitsi' version='1.0'>`

func TestStreamErrorsAreToldApart(t *testing.T) {
	external := header + `<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms></stream:features>`
	for name, tc := range map[string]struct {
		script [][2]string
		check  func(*testing.T, error)
	}{
		"policy": {[][2]string{{"to='meet.jitsi'", header + `<stream:error><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>restricted</text></stream:error>`}},
			func(t *testing.T, err error) {
				var e *StreamError
				require.ErrorAs(t, err, &e)
				require.Equal(t, StreamError{"policy-violation", "restricted"}, *e)
			}},
		"no way": {[][2]string{{"<stream:stream", header + `<stream:features/>`}},
			func(t *testing.T, err error) {
				var e *NotAuthenticated
				require.ErrorAs(t, err, &e)
			}},
		"refused": {[][2]string{{"<stream:stream", external}, {"Y29u", `<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>`}},
			func(t *testing.T, err error) {
				var e *NotAuthenticated
				require.ErrorAs(t, err, &e)
				require.Contains(t, e.Answer, "not-authorized")
				require.Equal(t, []string{"EXTERNAL"}, e.Offered)
			}},
		"taken":    {[][2]string{{"<stream:stream", external}, {"Y29u", `<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>`}, {"<stream:stream", header + `<stream:features><bidi xmlns='urn:xmpp:features:bidi'/></stream:features>`}}, func(t *testing.T, err error) { require.NoError(t, err) }},
		"not XMPP": {[][2]string{{"<stream:stream", "HTTP/1.1 400 Bad Request\r\n\r\n<html></html>"}}, func(t *testing.T, err error) { require.Error(t, err) }},
		"closed":   {[][2]string{{"<stream:stream", header + `</stream:stream>`}}, func(t *testing.T, err error) { require.ErrorContains(t, err, "closed") }},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := main(t, tc.script...).Open(bounded(t), "conference.v1.meet.jitsi", "meet.jitsi")
			if s != nil {
				defer s.Close()
			}
			tc.check(t, err)
		})
	}
}

// Without EXTERNAL the node proves itself by dialback. The key is that of the
// example in XEP-0185 §3.
func TestDialback(t *testing.T) {
	const key = "37c69b1cf07a3f67c04a5ef5902fa5114f2c76fe4a2686482ba5b89323075643"
	features := strings.Replace(header, "id='s1'", "id='D60000229F'", 1) + `<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>`
	for answer, good := range map[string]bool{"valid": true, "invalid": false} {
		target := main(t, [2]string{"<stream:stream", features}, [2]string{key, `<db:result from='xmpp.example.com' to='example.org' type='` + answer + `'/>`})
		target.DialbackSecret = "s3cr3tf0rd14lb4ck"
		s, err := target.Open(bounded(t), "example.org", "xmpp.example.com")
		if good {
			require.NoError(t, err)
			s.Close()
		} else {
			require.ErrorContains(t, err, "dialback invalid")
		}
	}
}

func FuzzSTUN(f *testing.F) {
	f.Add(encodeSTUN(bindingRequest, make([]byte, 12), []attribute{{attrUsername, []byte("u")}}, []byte("k")))
	f.Add([]byte{1, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, id, err := decodeSTUN(b)
		if err == nil {
			require.Len(t, id, 12)
			_ = refusal(m, bindingRequest)
		}
	})
}
