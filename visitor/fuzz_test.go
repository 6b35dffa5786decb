package visitor

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"vnode/fanout"
	"vnode/internal/wire"
	"vnode/visitor/admission"
)

// FuzzStream throws bytes at a stream, over both transports, from its first
// byte on and after bind. Whatever they are, the stream ends when the client
// has gone, what is said on it is well-formed, and nobody is let in as focus.
func FuzzStream(f *testing.F) {
	header := strings.ReplaceAll(streamTo, "%s", testDomain)
	login := header + anonymousAuth + header + bindIQ
	f.Add(false, []byte(login+`<iq type='get' id='p' to='v3.meet.jitsi'><ping xmlns='urn:xmpp:ping'/></iq></stream:stream>`))
	f.Add(false, []byte(login+`<enable xmlns='urn:xmpp:sm:3'/><r xmlns='urn:xmpp:sm:3'/><a xmlns='urn:xmpp:sm:3' h='0'/><a xmlns='urn:xmpp:sm:3' h='1'/>`))
	f.Add(false, []byte(login+`<enable xmlns='urn:xmpp:sm:3' resume='true' max='99999999999'/><r xmlns='urn:xmpp:sm:3'/><resume xmlns='urn:xmpp:sm:3' previd='fuzz' h='0'/>`))
	f.Add(false, []byte(login+`<iq type='get' id='s' to='v3.meet.jitsi'><services xmlns='urn:xmpp:extdisco:2' type='turn'/></iq>`+
		`<iq type='get' id='c' to='v3.meet.jitsi'><credentials xmlns='urn:xmpp:extdisco:1'><service type='turn' host='x' port='1'/></credentials></iq>`))
	f.Add(false, []byte(strings.ReplaceAll(streamTo, "%s", testAuth)+`<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>`))
	f.Add(false, []byte(header+`<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/><response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>`))
	for _, c := range badOnTCP {
		if len(c.send) < 4096 {
			f.Add(false, []byte(c.send))
			f.Add(false, []byte(header+c.send))
			f.Add(false, []byte(login+c.send))
		}
	}
	open := strings.ReplaceAll(openTo, "%s", testDomain)
	frames := func(elems ...string) []byte {
		var b []byte
		for _, e := range elems {
			b = append(b, clientFrame(0x81, e)...)
		}
		return b
	}
	f.Add(true, frames(open, anonymousAuth, open, bindIQ, `<presence xmlns='jabber:client' to='r@conference.v3.meet.jitsi/n'/>`, wsClose))
	for _, c := range badOnWebSocket {
		if len(c.send) < 4096 {
			f.Add(true, frames(open, anonymousAuth, open, bindIQ, c.send))
		}
	}
	for _, c := range brokenFrames {
		f.Add(true, append(frames(open), c.send...))
	}

	fan := fanout.New(fanout.Config{Shards: 1}, prometheus.NewRegistry())
	f.Cleanup(func() { _ = fan.Close(context.Background()) })
	cfg := testConfig()
	withServices(&cfg)
	cfg.Limits.Close = 100 * time.Millisecond
	f.Fuzz(func(t *testing.T, ws bool, in []byte) {
		srv, err := New(cfg, fan, noHandler{t}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
		require.NoError(t, err)
		near, far := net.Pipe()
		st := srv.newStream(near, transportTCP, true)
		st.t = newTCPTransport(&st.meter, srv.cfg.Limits.NegotiationBytes)
		if ws {
			st = srv.newWebSocket(near, nil, false)
		}
		require.Nil(t, srv.admit(srv.lifetime, st.peer, admission.Exempt, 0))
		require.True(t, srv.start(st))
		said := make(chan []byte, 1)
		go func() { said <- readToTheEnd(far) }()
		_, _ = far.Write(in) // the server may hang up in the midst of it
		require.NoError(t, srv.Close(context.Background()))
		far.Close()
		checkSaid(t, ws, <-said)
		require.Empty(t, srv.users.taken)
	})
}

// FuzzResume throws elements at the server from a client that comes back to a
// session whose connection is lost or still there; ID stands for its id.
// Whatever they are, the session ends once, and nothing is left of it.
func FuzzResume(f *testing.F) {
	for _, elems := range []string{
		`<resume xmlns='urn:xmpp:sm:3' previd='ID' h='0'/>`,
		`<resume xmlns='urn:xmpp:sm:3' previd='ID' h='1'/><r xmlns='urn:xmpp:sm:3'/>`,
		`<resume xmlns='urn:xmpp:sm:3' previd='ID' h='2'/>`,
		`<resume xmlns='urn:xmpp:sm:3' previd='ID' h='-1'/>`,
		`<resume xmlns='urn:xmpp:sm:3' previd='ID'/>`,
		`<resume xmlns='urn:xmpp:sm:3' previd='' h='0'/>`,
		`<resume xmlns='urn:xmpp:sm:3' h='4294967295' previd='ID'/>`,
		`<resume xmlns='urn:xmpp:sm:3' previd='ID' h='0'/><resume xmlns='urn:xmpp:sm:3' previd='ID' h='0'/>`,
		`<resume xmlns='urn:xmpp:sm:3' previd='ID' h='0'/><a xmlns='urn:xmpp:sm:3' h='1'/><enable xmlns='urn:xmpp:sm:3' resume='true'/>`,
		`<enable xmlns='urn:xmpp:sm:3' resume='true'/><resume xmlns='urn:xmpp:sm:3' previd='ID' h='0'/>`,
		bindIQ + `<resume xmlns='urn:xmpp:sm:3' previd='ID' h='0'/>`,
	} {
		f.Add(true, elems)
		f.Add(false, elems)
	}
	f.Fuzz(func(t *testing.T, lost bool, elems string) {
		h := newHouse(t, func(c *Config) { c.Limits.Close = 100 * time.Millisecond })
		p := h.websocket().visitor()
		id := p.resumable()
		h.tell(p.jid, 0)
		p.expect(told(0))
		if lost {
			p.hangUp()
		} else {
			go func() { _, _ = io.Copy(io.Discard, p.conn); p.hangUp() }()
		}
		q := h.returning(id).anonymous()
		said := make(chan []byte, 1)
		go func() { said <- readToTheEnd(q.conn) }()
		for _, elem := range strings.SplitAfter(strings.ReplaceAll(elems, "ID", id), "/>") {
			_, _ = q.conn.Write(clientFrame(0x81, elem)) // the server may hang up
		}
		require.NoError(t, h.srv.Close(context.Background()))
		q.hangUp()
		checkSaid(t, true, <-said)
		h.shut()
		require.Contains(t, h.ended(), p.jid)
	})
}

// readToTheEnd reads what the server says, and hangs up at the end of the
// stream so that the server need not wait for it.
func readToTheEnd(conn net.Conn) []byte {
	var all []byte
	var chunk [4096]byte
	for {
		n, err := conn.Read(chunk[:])
		all = append(all, chunk[:n]...)
		if err != nil {
			return all
		}
		if bytes.HasSuffix(all, tcpOutput.end) || bytes.HasSuffix(all, wsTrailer) {
			conn.Close()
		}
	}
}

// checkSaid verifies what a server wrote on one connection.
func checkSaid(t *testing.T, ws bool, said []byte) {
	if ws {
		p := &peer{t: t, conn: readOnly{bytes.NewReader(said)}, ws: true}
		for {
			elem, err := p.readFrame()
			if err != nil {
				require.Equal(t, io.EOF, err)
				return
			}
			if strings.HasPrefix(elem, "<") {
				require.NoError(t, wire.CheckWellFormed([]byte(elem), wire.Limits{MaxBytes: 1 << 20}), elem)
			}
		}
	}
	// After a restart there is a second header; each part is a stream.
	for i, part := range strings.Split(string(said), "<?xml version='1.0'?>") {
		if i == 0 {
			require.Empty(t, part)
			continue
		}
		r := wire.NewReader(strings.NewReader(part), wire.Limits{MaxBytes: 1 << 20})
		for {
			tok, err := r.Next()
			if err != nil {
				require.Equal(t, io.EOF, err, part)
				break
			}
			require.NotContains(t, string(tok.Data), "focus@auth.meet.jitsi</jid>")
		}
	}
}

type readOnly struct{ io.Reader }

func (readOnly) Write([]byte) (int, error)        { return 0, io.ErrClosedPipe }
func (readOnly) Close() error                     { return nil }
func (readOnly) LocalAddr() net.Addr              { return nil }
func (readOnly) RemoteAddr() net.Addr             { return nil }
func (readOnly) SetDeadline(time.Time) error      { return nil }
func (readOnly) SetReadDeadline(time.Time) error  { return nil }
func (readOnly) SetWriteDeadline(time.Time) error { return nil }

// noHandler checks what the rest of the node relies on.
type noHandler struct{ t *testing.T }

func (n noHandler) Stanza(s *Session, st *wire.Stanza) {
	require.NoError(n.t, wire.Check(st.Raw, wire.Limits{}))
	require.False(n.t, s.Admin())
	require.False(n.t, st.To.IsZero())
	require.Equal(n.t, s.JID(), st.From)
	require.Contains(n.t, []string{"message", "presence", "iq"}, string(st.Name))
}

func (n noHandler) Opened(*Session) {}
func (n noHandler) Closed(*Session) {}
