package s2s

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/s2s/trust"
)

// dialled is main as the node dials it: each connection becomes a peer for the
// test to play.
type dialled struct {
	t     *testing.T
	cert  tls.Certificate
	conns chan *memConn
}

func newDialled(t *testing.T) *dialled {
	return &dialled{t, mainCert, make(chan *memConn, 16)}
}

func (d *dialled) dial(context.Context) (net.Conn, error) {
	c, s := memPipe("192.0.2.3:50000", mainAddr)
	d.conns <- s
	return c, nil
}

func (d *dialled) next() *peer { return newPeer(d.t, <-d.conns, d.cert) }

const mainID = "main-stream-1"

func headerWithID(from, to string) string {
	return strings.Replace(header(from, to), " version='1.0' xml:lang", " id='"+mainID+"' version='1.0' xml:lang", 1)
}

// receive plays main up to its features on the encrypted stream.
func (p *peer) receive(local, remote, features string) {
	p.t.Helper()
	p.expect(answerHeader(local, remote))
	p.write(headerWithID(remote, local) + "<stream:features>" + startTLS + "</stream:features>")
	p.expect(startTLS)
	p.write(proceed)
	p.tlsServer()
	p.expect(answerHeader(local, remote))
	p.write(headerWithID(remote, local) + "<stream:features>" + features + "</stream:features>")
}

// accepted plays main until the stream is ready.
func (p *peer) accepted(local, remote string) {
	p.t.Helper()
	p.receive(local, remote, bidiFeature+mechanisms)
	p.expect("<bidi xmlns='urn:xmpp:bidi'>"+limitsElem+"</bidi>", auth(b64(local)))
	p.write(success)
	p.expect(answerHeader(local, remote))
	p.write(headerWithID(remote, local) + "<stream:features/>")
}

// The node opens the stream main cannot open itself; main uses it for what it
// has to say.
func TestNodeDialsWithExternalAndBidi(t *testing.T) {
	within(t, func(t *testing.T) {
		d := newDialled(t)
		w := newWorld(t, nil, d.dial)
		w.Keep(rooms, mainRooms)
		p := d.next()
		p.accepted(rooms, mainRooms)
		require.Equal(t, nodeCert.Leaf.Raw, p.state.PeerCertificates[0].Raw)
		require.Equal(t, mainRooms, p.state.ServerName)
		chat := "<message type='groupchat' from='r@conference.main.example' to='r@conference.v3.meet.example'><body>hi</body></message>"
		p.write(chat)
		synctest.Wait()
		require.Equal(t, []string{chat}, w.in.stanzas())
		line := "<message type='groupchat' from='r@conference.v3.meet.example/a' to='r@conference.main.example'/>"
		w.Send(rooms, mainRooms, []byte(line))
		p.expect(line)
		require.EqualValues(t, 1, w.metric("vnode_s2s_streams", "out", "ready"))

		p.write("<message from='main.example' to='conference.v3.meet.example'/>")
		p.expect(streamError("invalid-from", ""), end)
	})
}

// Each row is what main says when it is dialed, and what becomes of it: how the
// stream was authenticated, or why there is none and what the operator reads.
func TestOutgoingNegotiation(t *testing.T) {
	receive := `< HEADER
> ANSWER<stream:features>` + startTLS + `</stream:features>
< ` + startTLS + `
> ` + proceed + `
tls
< HEADER
> ANSWER`
	withFeatures := func(f string) string { return receive + "<stream:features>" + f + "</stream:features>\n" }
	askBidi := "< <bidi xmlns='urn:xmpp:bidi'>" + limitsElem + "</bidi>\n"
	claim := "< <db:result from='conference.v3.meet.example' to='conference.main.example'>KEY</db:result>\n"
	restart := "> " + success + "\n< HEADER\n> ANSWER<stream:features/>\n"
	rows := []struct {
		name, script, method string
		reason               Reason
		log                  string
	}{
		{"EXTERNAL and bidi", withFeatures(bidiFeature+mechanisms+dialbackFeat) + askBidi + "< AUTH\n" + restart, "EXTERNAL", "", ""},
		{"EXTERNAL without bidi", withFeatures(mechanisms) + "< AUTH\n" + restart, "EXTERNAL", "", ""},
		{"dialback and bidi", withFeatures(dialbackFeat+bidiFeature) + askBidi + claim +
			"> <db:result from='conference.main.example' to='conference.v3.meet.example' type='valid'/>\n", "dialback", "", ""},
		{"EXTERNAL fails, dialback works", withFeatures(mechanisms+dialbackFeat) + "< AUTH\n> " + saslFail("not-authorized") + "\n" + claim +
			"> <db:result from='conference.main.example' to='conference.v3.meet.example' type='valid'>x</db:result>\n", "dialback", "", "trying dialback"},
		{"EXTERNAL fails", withFeatures(mechanisms) + "< AUTH\n> " + saslFail("not-authorized") + "\n< " + end, "", AuthFailed, "SASL EXTERNAL: not-authorized"},
		{"dialback invalid", withFeatures(dialbackFeat) + claim + "> <db:result from='conference.main.example' to='conference.v3.meet.example' type='invalid'/>\n< " + end,
			"", AuthFailed, "it must reach this node for that domain: add conference.v3.meet.example to s2sout_override"},
		{"dialback error", withFeatures(dialbackFeat) + claim + "> <db:result from='conference.main.example' to='conference.v3.meet.example' type='error'>" +
			"<error type='wait'><remote-server-timeout xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></db:result>\n< " + end, "", AuthFailed, "remote-server-timeout"},
		{"dialback unanswered", withFeatures(dialbackFeat) + claim + "< " + streamError("connection-timeout", "no answer to dialback in time") + "\n< " + end, "", Timeout, ""},
		{"a stanza instead of an answer to dialback", withFeatures(dialbackFeat) + claim + "> <message/>\n< " +
			streamError("unsupported-stanza-type", "no answer to dialback") + "\n< " + end, "", BadProtocol, ""},
		{"a stanza instead of an answer to SASL", withFeatures(mechanisms) + "< AUTH\n> <message/>\n< " +
			streamError("unsupported-stanza-type", "no answer to SASL") + "\n< " + end, "", BadProtocol, ""},
		{"no method", withFeatures(bidiFeature) + askBidi + "< " + end, "", NoMethod,
			"load certs_s2soutinjection there and add conference.v3.meet.example to s2sout_override"},
		{"no STARTTLS", "< HEADER\n> ANSWER<stream:features>" + mechanisms + "</stream:features>\n< " +
			streamError("policy-violation", "STARTTLS is required and was not offered") + "\n< " + end, "", TLSFailed, "enable the module tls there"},
		{"STARTTLS fails", "< HEADER\n> ANSWER<stream:features>" + startTLS + "</stream:features>\n< " + startTLS +
			"\n> <failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>\n< " + end, "", TLSFailed, "answered STARTTLS with"},
		{"not on the whitelist", "< HEADER\n> ANSWER" + streamError("policy-violation", restricted) + end + "\n< " + end, "", PeerError,
			"it refused; add conference.v3.meet.example to s2s_whitelist there"},
		{"host unknown", "< HEADER\n> ANSWER" + streamError("host-unknown", "") + end + "\n< " + end, "", PeerError, "it does not serve conference.main.example"},
		{"our certificate is not accepted", receive + streamError("not-authorized", "Your server's certificate is self-signed") + "\n< " + end, "", PeerError,
			"it does not accept our certificate"},
		{"answer from another domain", "< HEADER\n> " + headerWithID("evil.example", rooms) + "\n< " + streamError("invalid-from", "the answer is from another domain") + "\n< " + end,
			"", BadAddress, ""},
		{"no stream id", "< HEADER\n> " + header(mainRooms, rooms) + "\n< " + streamError("invalid-xml", "the stream has no id") + "\n< " + end, "", BadProtocol, ""},
		{"no features", "< HEADER\n> ANSWER<message/>\n< " + streamError("unsupported-stanza-type", "no stream features") + "\n< " + end, "", BadProtocol, ""},
		{"garbage", "< HEADER\n> SSH-2.0-OpenSSH\n< " + streamError("not-well-formed", "") + "\n< " + end, "", BadXML, ""},
		{"silence instead of a header", "< HEADER\n< " + streamError("connection-timeout", "no stream header in time") + "\n< " + end, "", Timeout, ""},
		{"silence instead of features", "< HEADER\n> ANSWER\n< " + streamError("connection-timeout", "no stream features in time") + "\n< " + end, "", Timeout, ""},
		{"silence instead of a handshake", "< HEADER\n> ANSWER<stream:features>" + startTLS + "</stream:features>\n< " + startTLS + "\n> " + proceed + "\nraw\n< EOF", "", Timeout, ""},
		{"the connection is cut", "< HEADER\n> ANSWER\nhangup", "", Lost, ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			within(t, func(t *testing.T) {
				d := newDialled(t)
				w := newWorld(t, nil, d.dial)
				w.Keep(rooms, mainRooms)
				p := d.next()
				playMain(t, p, row.script)
				synctest.Wait()
				if row.reason == "" {
					require.True(t, w.Up(rooms, mainRooms), w.log)
					require.Contains(t, w.log.String(), "method="+row.method)
				} else {
					p.conn.Close()
					synctest.Wait()
					require.EqualValues(t, 1, w.metric("vnode_s2s_connect_failures_total", string(row.reason)), w.log)
					require.Contains(t, w.log.String(), "cannot open a stream to conference.main.example at 192.0.2.1:5269")
				}
				require.Contains(t, w.log.String(), row.log)
			})
		})
	}
}

func playMain(t *testing.T, p *peer, script string) {
	t.Helper()
	words := strings.NewReplacer("HEADER", answerHeader(rooms, mainRooms), "ANSWER", headerWithID(mainRooms, rooms), "AUTH", auth(b64(rooms)))
	for line := range strings.SplitSeq(strings.TrimSuffix(script, "\n"), "\n") {
		switch do, what, _ := strings.Cut(words.Replace(line), " "); do {
		case "<":
			p.expect(what)
		case ">":
			p.write(what)
		case "tls":
			p.tlsServer()
		case "raw": // read the client's handshake record and say nothing
			_, err := p.raw.Read(make([]byte, 4096))
			require.NoError(t, err)
			p.r.Reset(p.raw)
		case "hangup":
			p.raw.Close()
		default:
			t.Fatalf("no such action: %q", line)
		}
	}
}

func TestUnreachableMain(t *testing.T) {
	rows := []struct {
		name      string
		err       error
		reason    Reason
		condition string
	}{
		{"no such name", &net.OpError{Op: "dial", Err: &net.DNSError{Name: "main.example", IsNotFound: true}}, Unresolved, "remote-server-not-found"},
		{"connection refused", errors.New("connection refused"), Unreachable, "remote-server-timeout"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			within(t, func(t *testing.T) {
				w := newWorld(t, nil, func(context.Context) (net.Conn, error) { return nil, row.err })
				w.Send(rooms, mainRooms, []byte("<message id='1' from='r@conference.v3.meet.example/a' to='r@conference.main.example'><body>x</body></message>"))
				time.Sleep(29 * time.Second)
				synctest.Wait()
				require.Empty(t, w.in.stanzas())
				time.Sleep(2 * time.Second)
				synctest.Wait()
				require.Len(t, w.in.stanzas(), 1)
				require.Contains(t, w.in.stanzas()[0], "<"+row.condition+" ")
				require.Positive(t, w.metric("vnode_s2s_connect_failures_total", string(row.reason)))
				require.Equal(t, 1, strings.Count(w.log.String(), "level=WARN msg=\"cannot open a stream"), w.log)
			})
		})
	}
}

// The dial is bounded even when the network swallows everything.
func TestDialTimesOut(t *testing.T) {
	within(t, func(t *testing.T) {
		w := newWorld(t, nil, func(ctx context.Context) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() })
		w.Keep(rooms, mainRooms)
		time.Sleep(15 * time.Second)
		synctest.Wait()
		require.EqualValues(t, 1, w.metric("vnode_s2s_connect_failures_total", "unreachable"))
	})
}

// What a strict node accepts from the server it dials.
func TestCertificateOfDialedMain(t *testing.T) {
	ca := newAuthority()
	later := time.Now().Add(time.Hour)
	good := ca.issue(later, mainRooms)
	rows := []struct {
		name  string
		trust Trust
		seen  *tls.Certificate // when it was dialed before
		cert  tls.Certificate
		ok    bool
	}{
		{"first use", Trust{}, nil, mainCert, true},
		{"changed", Trust{}, &good, mainCert, true},
		{"strict, first use", Trust{Strict: true}, nil, mainCert, true},
		{"strict, the same again", Trust{Strict: true}, &mainCert, mainCert, true},
		{"strict, changed", Trust{Strict: true}, &good, mainCert, false},
		{"strict, CA", Trust{Strict: true, CAs: ca.pool()}, nil, good, true},
		{"strict, CA, self-signed", Trust{Strict: true, CAs: ca.pool()}, nil, mainCert, false},
		{"strict, CA, other domain", Trust{Strict: true, CAs: ca.pool()}, nil, ca.issue(later, "evil.example"), false},
		{"strict, pinned", Trust{Strict: true, Pins: []string{trust.Of(mainCert.Leaf).String()}}, nil, mainCert, true},
		{"strict, other pin", Trust{Strict: true, Pins: []string{trust.Of(good.Leaf).String()}}, &mainCert, mainCert, false},
		{"strict, anyone", Trust{Strict: true, Anyone: true, CAs: ca.pool()}, nil, mainCert, true},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			within(t, func(t *testing.T) {
				d := newDialled(t)
				d.cert = row.cert
				w := newWorld(t, func(c *Config) { c.Trust = row.trust }, d.dial)
				if row.seen != nil {
					require.NoError(t, w.known.Learn(mainRooms, trust.Of(row.seen.Leaf)))
				}
				w.Keep(rooms, mainRooms)
				p := d.next()
				p.expect(answerHeader(rooms, mainRooms))
				p.write(headerWithID(mainRooms, rooms) + "<stream:features>" + startTLS + "</stream:features>")
				p.expect(startTLS)
				p.write(proceed)
				p.tlsServer()
				if row.ok {
					p.expect(answerHeader(rooms, mainRooms))
					return
				}
				p.expect(closed)
				synctest.Wait()
				require.EqualValues(t, 1, w.metric("vnode_s2s_connect_failures_total", "bad_certificate"))
				require.Contains(t, w.log.String(), "its certificate is not believed; add the new one to s2s-pins")
			})
		})
	}
}

func TestDirectTLSOutgoing(t *testing.T) {
	within(t, func(t *testing.T) {
		d := newDialled(t)
		w := newWorld(t, func(c *Config) { c.Main = "tls://192.0.2.1" }, d.dial)
		w.Keep(rooms, mainRooms)
		p := d.next()
		p.cert.NextProtos = []string{"xmpp-server"}
		p.tlsServer()
		require.Equal(t, "xmpp-server", p.state.NegotiatedProtocol)
		p.expect(answerHeader(rooms, mainRooms))
	})
}

// A stream that is not bidirectional carries nothing towards us.
func TestStanzaOnOneWayStream(t *testing.T) {
	within(t, func(t *testing.T) {
		d := newDialled(t)
		w := newWorld(t, nil, d.dial)
		w.Keep(rooms, mainRooms)
		p := d.next()
		p.receive(rooms, mainRooms, mechanisms)
		p.expect(auth(b64(rooms)))
		p.write(success)
		p.expect(answerHeader(rooms, mainRooms))
		p.write(headerWithID(mainRooms, rooms) + "<stream:features/><message from='r@conference.main.example' to='r@conference.v3.meet.example'/>")
		p.expect(streamError("invalid-from", ""), end)
		require.Empty(t, w.in.stanzas())
	})
}
