package s2s

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/internal/wire"
	"vnode/s2s/trust"
)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

const end = "</stream:stream>"

// Main connects as a real Prosody does, one segment after the restart carrying
// all it has to say, and gets an answer on the same stream.
func TestMainConnectsWithExternalAndBidi(t *testing.T) {
	within(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		p := w.connect(fromMain, mainCert)
		p.encrypted(mainHost, rooms)
		p.expect(answerHeader(rooms, mainHost), authFeatures)
		p.write("<bidi xmlns='urn:xmpp:bidi'>" + limitsElem + "</bidi>" + auth(b64(mainHost)))
		p.expect(success)
		update := "<iq type='set' id='1' from='main.example' to='conference.v3.meet.example'><visitors xmlns='jitsi:visitors'/></iq>"
		presence := "<presence from='a@main.example/x' to='r@conference.v3.meet.example/a'/>"
		p.write(header(mainHost, rooms) + update + presence)
		p.expect(answerHeader(rooms, mainHost), lastFeatures)
		synctest.Wait()
		require.Equal(t, []string{update, presence}, w.in.stanzas())
		require.Equal(t, wire.JID{Local: "a", Domain: mainHost, Resource: "x"}, w.in.all[1].from)
		require.Equal(t, wire.JID{Local: "r", Domain: rooms, Resource: "a"}, w.in.all[1].to)

		result := "<iq type='result' id='1' from='conference.v3.meet.example' to='main.example'/>"
		w.Send(rooms, mainHost, []byte(result))
		p.expect(result)
		synctest.Wait()
		require.True(t, w.Up(rooms, mainHost))
		require.EqualValues(t, 1, w.metric("vnode_s2s_streams", "in", "ready"))
		require.EqualValues(t, 2, w.metric("vnode_s2s_stanzas_total", "in"))
		require.EqualValues(t, 1, w.metric("vnode_s2s_stanzas_total", "out"))

		p.write(end)
		p.expect(end, closed)
		synctest.Wait()
		require.False(t, w.Up(rooms, mainHost))
		require.EqualValues(t, 1, w.metric("vnode_s2s_closed_total", "in", "closed"))
		require.Contains(t, w.log.String(), `method="EXTERNAL, address"`)
	})
}

// Each row is a conversation on an incoming stream: lines with > are sent,
// those with < expected, and words are actions. The stream ends with reason.
func TestIncomingNegotiation(t *testing.T) {
	encryptedStart := `> HEADER
< ANSWER
< TLSFEATURES
> ` + startTLS + `
< ` + proceed + `
tls
> HEADER
< ANSWER
`
	toAuth := encryptedStart + "< AUTHFEATURES\n"
	toReady := toAuth + "> " + auth("=") + "\n< " + success + "\n> HEADER\n< ANSWER\n< LASTFEATURES\n"
	refused := func(condition, text string) string {
		return "< " + streamError(condition, text) + "\n< " + end + "\n< EOF"
	}

	rows := []struct {
		name, script string
		reason       Reason
		log          string
	}{
		{"STARTTLS comes first", "> HEADER\n< ANSWER\n< TLSFEATURES\n> " + end + "\n< " + end + "\n< EOF", Closed, ""},
		{"unknown host", "> " + header(mainHost, "unknown.example") + "\n< " + answerHeader("unknown.example", mainHost) + "\n" +
			refused("host-unknown", "This host does not serve unknown.example"), HostUnknown, "check id and main-domain"},
		{"own host", "> " + header(node, rooms) + "\n< " + answerHeader(rooms, node) + "\n" +
			refused("undefined-condition", "Attempt to connect from a host we serve"), OwnHost, ""},
		{"not whitelisted", "> " + header("evil.example", rooms) + "\n< " + answerHeader(rooms, "evil.example") + "\n" +
			refused("policy-violation", restricted), NotAllowed, "add it to extra-domains"},
		{"sub-domain of a peer", "> " + header("x.main.example", rooms) + "\n< " + answerHeader(rooms, "x.main.example") + "\n" +
			refused("policy-violation", restricted), NotAllowed, ""},
		{"a user as from", "> " + header("u@main.example", rooms) + "\n< " + answerHeader(rooms, "u@main.example") + "\n" +
			refused("improper-addressing", "a stream between servers needs the domains from and to"), BadAddress, ""},
		{"no addresses", "> <stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>\n" +
			"< " + strings.Replace(answerHeader(node, "x"), " to='x'", "", 1) + "\n" +
			refused("improper-addressing", "a stream between servers needs the domains from and to"), BadAddress, ""},
		{"client namespace", "> " + strings.Replace(header(mainHost, rooms), "jabber:server'", "jabber:client'", 1) + "\n< ANSWER\n" +
			refused("invalid-namespace", ""), BadXML, ""},
		{"no stream namespace", "> <stream xmlns='jabber:server' from='main.example' to='conference.v3.meet.example' version='1.0'>\n< ANSWER\n" +
			refused("invalid-namespace", ""), BadXML, ""},
		{"before XMPP 1.0", "> " + strings.Replace(header(mainHost, rooms), " version='1.0' xml:lang", " xml:lang", 1) + "\n< ANSWER\n" +
			refused("unsupported-version", ""), BadXML, ""},
		{"garbage", "> GET / HTTP/1.1\n< " + strings.Replace(answerHeader(node, "x"), " to='x'", "", 1) + "\n" + refused("not-well-formed", ""), BadXML, ""},
		{"other encoding", "> <?xml version='1.0' encoding='utf-16'?>\n< " + strings.Replace(answerHeader(node, "x"), " to='x'", "", 1) + "\n" +
			refused("unsupported-encoding", ""), BadXML, ""},
		{"document type", "> HEADER\n< ANSWER\n< TLSFEATURES\n> <!DOCTYPE x [<!ENTITY y 'z'>]>\n" +
			refused("restricted-xml", "comments, processing instructions and document types are not allowed"), BadXML, ""},
		{"stanza before TLS", "> HEADER\n< ANSWER\n< TLSFEATURES\n> <presence><a/></presence>\n" + refused("not-authorized", ""), Unauthenticated, ""},
		{"SASL before TLS", "> HEADER\n< ANSWER\n< TLSFEATURES\n> " + auth("=") + "\n< " + saslFail("encryption-required") + "\n" +
			refused("policy-violation", "STARTTLS is required"), Unauthenticated, ""},
		{"dialback before TLS", "> HEADER\n< ANSWER\n< TLSFEATURES\n> <db:result from='main.example' to='conference.v3.meet.example'>x</db:result>\n" +
			refused("policy-violation", "STARTTLS is required"), BadProtocol, ""},
		{"clear text behind STARTTLS", "> HEADER\n< ANSWER\n< TLSFEATURES\n> " + startTLS + "<presence/>\n< " + proceed + "\n< EOF", BadProtocol, ""},
		{"no handshake", "> HEADER\n< ANSWER\n< TLSFEATURES\n> " + startTLS + "\n< " + proceed + "\n> <auth/>     \n< EOF", TLSFailed, ""},
		{"stanza before authentication", toAuth + "> <iq type='get' id='x1' from='main.example' to='conference.v3.meet.example'/>\n" +
			refused("not-authorized", ""), Unauthenticated, ""},
		{"unknown element before authentication", toAuth + "> <x xmlns='y'/>\n" + refused("unsupported-stanza-type", ""), BadProtocol, ""},
		{"too large before authentication", toAuth + "> <x>" + strings.Repeat("y", 10001) + "\n" + refused("policy-violation", "stanza too large"), BadXML, ""},
		{"other domains after TLS", strings.TrimSuffix(encryptedStart, "> HEADER\n< ANSWER\n") + "> " + header(mainRooms, rooms) + "\n< ANSWER\n" +
			refused("improper-addressing", "the new stream header names other domains than the first"), BadAddress, ""},
		{"empty authzid", toReady + "> " + end + "\n< " + end + "\n< EOF", Closed, ""},
		{"authzid in other case", toAuth + "> " + auth(b64("MAIN.example")) + "\n< " + success + "\n> HEADER\n< ANSWER\n< LASTFEATURES\n> " + end + "\n< " + end + "\n< EOF", Closed, ""},
		{"no header after SASL", toAuth + "> " + auth("=") + "\n< " + success + "\n> " + end + "\n< ANSWER\n" + refused("not-well-formed", ""), BadXML, ""},
		{"no initial response", toAuth + "> " + auth("") + "\n< <challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>\n" +
			"> <response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>" + b64(mainHost) + "</response>\n< SUCCESS\n> HEADER\n< ANSWER\n< LASTFEATURES\n> " + end + "\n< " + end + "\n< EOF", Closed, ""},
		{"response out of order", toAuth + "> <response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>=</response>\n< " + saslFail("malformed-request") + "\n> " + end + "\n< " + end + "\n< EOF", Closed, ""},
		{"wrong authzid", toAuth + "> " + auth(b64("evil.example")) + "\n< " + saslFail("invalid-authzid") + "\n> " + end + "\n< " + end + "\n< EOF", Closed, ""},
		{"authzid is a user", toAuth + "> " + auth(b64("u@main.example")) + "\n< " + saslFail("invalid-authzid") + "\n> " + end + "\n< " + end + "\n< EOF", Closed, ""},
		{"authzid is no base64", toAuth + "> " + auth("main.example") + "\n< " + saslFail("incorrect-encoding") + "\n> " + end + "\n< " + end + "\n< EOF", Closed, ""},
		{"other mechanism", toAuth + "> <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEAYg==</auth>\n< " + saslFail("invalid-mechanism") +
			"\n> <abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>\n< " + saslFail("aborted") + "\n> " + auth("=") + "\n< SUCCESS\n> HEADER\n< ANSWER\n< LASTFEATURES\n> " + end + "\n< " + end + "\n< EOF", Closed, ""},
		{"three failures", toAuth + strings.Repeat("> "+auth(b64("evil.example"))+"\n< "+saslFail("invalid-authzid")+"\n", 3) +
			refused("not-authorized", "too many failed attempts"), AuthFailed, ""},
		{"foreign from", toReady + "> <iq type='set' id='x2' from='evil.example' to='conference.v3.meet.example'/>\n" + refused("invalid-from", ""), ForeignFrom, ""},
		{"another peer's from", toReady + "> <message from='r@conference.main.example' to='r@conference.v3.meet.example'/>\n" + refused("invalid-from", ""), ForeignFrom, ""},
		{"our own from", toReady + "> <message from='conference.v3.meet.example' to='r@conference.v3.meet.example'/>\n" + refused("invalid-from", ""), ForeignFrom, ""},
		{"to a host elsewhere", toReady + "> <message from='main.example' to='a@evil.example'/>\n" +
			refused("host-unknown", "This host does not serve evil.example"), HostUnknown, ""},
		{"no from", toReady + "> <message to='conference.v3.meet.example'/>\n" +
			refused("improper-addressing", "a stanza between servers needs from and to"), BadAddress, ""},
		{"no to", toReady + "> <message from='main.example' to=''/>\n" +
			refused("improper-addressing", "a stanza between servers needs from and to"), BadAddress, ""},
		{"client stanza", toReady + "> <message xmlns='jabber:client' from='main.example' to='conference.v3.meet.example'/>\n" +
			refused("unsupported-stanza-type", ""), BadProtocol, ""},
		{"undeclared prefix", toReady + "> <y:x/>\n" + refused("bad-namespace-prefix", ""), BadXML, ""},
		{"STARTTLS again", toReady + "> " + startTLS + "\n" + refused("unsupported-stanza-type", ""), BadProtocol, ""},
		{"too large, and no stanza", toReady + "> <x>" + strings.Repeat("y", 524288) + "</x>\n" + refused("policy-violation", "stanza too large"), BadXML, ""},
		{"ill-formed", toReady + "> <message><a></b></message>\n" + refused("not-well-formed", ""), BadXML, ""},
		{"a second header", toReady + "> HEADER\n" + refused("restricted-xml", "comments, processing instructions and document types are not allowed"), BadXML, ""},
		{"comment", toReady + "> <!-- x -->\n" + refused("restricted-xml", "comments, processing instructions and document types are not allowed"), BadXML, ""},
		{"the peer's error", toReady + "> " + streamError("system-shutdown", "bye") + end + "\n< " + end + "\n< EOF", PeerError, "system-shutdown: bye"},
		{"whitespace between stanzas", toReady + ">    \n> " + end + "\n< " + end + "\n< EOF", Closed, ""},
		{"a cut connection", toReady + "> <message from='main.exa\nhangup\n< EOF", Lost, "unexpected EOF"},
		{"silence instead of a header", "< " + strings.Replace(answerHeader(node, "x"), " to='x'", "", 1) + "\n" + refused("connection-timeout", "no stream header in time"), Timeout, ""},
		{"silence instead of STARTTLS", "> HEADER\n< ANSWER\n< TLSFEATURES\n" + refused("connection-timeout", "no STARTTLS in time"), Timeout, ""},
		{"silence instead of a handshake", "> HEADER\n< ANSWER\n< TLSFEATURES\n> " + startTLS + "\n< " + proceed + "\n< EOF", Timeout, ""},
		{"silence instead of authentication", toAuth + refused("connection-timeout", "no authentication in time"), Timeout, ""},
		{"silence instead of the last header", toAuth + "> " + auth("=") + "\n< SUCCESS\n< ANSWER\n" + refused("connection-timeout", "no stream header in time"), Timeout, ""},
		{"one byte at a time", "drip\n< " + strings.Replace(answerHeader(node, "x"), " to='x'", "", 1) + "\n" + refused("connection-timeout", "no stream header in time"), Timeout, ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			within(t, func(t *testing.T) {
				w := newWorld(t, nil, nil)
				p := w.connect(fromMain, mainCert)
				runScript(t, p, row.script)
				p.conn.Close()
				synctest.Wait()
				require.EqualValues(t, 1, w.metric("vnode_s2s_closed_total", "in", string(row.reason)), w.log)
				require.EqualValues(t, 0, w.metric("vnode_s2s_streams"))
				require.Contains(t, w.log.String(), row.log)
			})
		})
	}
}

func runScript(t *testing.T, p *peer, script string) {
	t.Helper()
	words := strings.NewReplacer("HEADER", header(mainHost, rooms), "ANSWER", answerHeader(rooms, mainHost), "TLSFEATURES", tlsFeatures,
		"AUTHFEATURES", authFeatures, "LASTFEATURES", lastFeatures, "SUCCESS", success)
	var drip sync.WaitGroup
	defer drip.Wait()
	for line := range strings.SplitSeq(script, "\n") {
		switch do, what, _ := strings.Cut(words.Replace(line), " "); do {
		case ">":
			p.write(what)
		case "<":
			p.expect(what)
		case "tls":
			p.tlsClient()
		case "hangup":
			p.raw.Close()
		case "drip":
			drip.Go(func() {
				for _, c := range []byte(header(mainHost, rooms)) {
					if _, err := p.conn.Write([]byte{c}); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
			})
		default:
			t.Fatalf("no such action: %q", line)
		}
	}
}

// What speaks for a peer decides whether EXTERNAL is offered to it.
func TestWhoIsOfferedExternal(t *testing.T) {
	ca := newAuthority()
	expired := ca.issue(time.Date(1999, 6, 1, 0, 0, 0, 0, time.UTC), mainHost)
	later := time.Now().Add(time.Hour)
	pin := func(c tls.Certificate) string {
		return strings.ToUpper(trust.Of(c.Leaf).String())
	}
	rows := []struct {
		name  string
		trust Trust
		main  string
		from  string
		cert  tls.Certificate
		by    string // "" for nobody
	}{
		{"main's address", Trust{}, mainAddr, fromMain, mainCert, "address"},
		{"main's address without a certificate", Trust{}, mainAddr, fromMain, tls.Certificate{}, "address"},
		{"one of the addresses of main's name", Trust{}, "xmpp.main.example:5269", fromMain, mainCert, "address"},
		{"main's name does not resolve", Trust{}, "gone.example", fromMain, mainCert, ""},
		{"another address", Trust{}, mainAddr, fromOther, mainCert, ""},
		{"an address on the list", Trust{Addresses: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}}, mainAddr, fromOther, mainCert, "address"},
		{"a mapped address", Trust{}, "[::ffff:192.0.2.1]:5269", fromMain, mainCert, "address"},
		{"main's address, strict", Trust{Strict: true}, mainAddr, fromMain, mainCert, ""},
		{"CA", Trust{CAs: ca.pool()}, mainAddr, fromOther, ca.issue(later, mainHost), "certificate"},
		{"CA, wildcard", Trust{CAs: ca.pool()}, mainAddr, fromOther, ca.issue(later, "*.example"), "certificate"},
		{"CA, other domain", Trust{CAs: ca.pool()}, mainAddr, fromOther, ca.issue(later, "evil.example"), ""},
		{"CA, expired", Trust{CAs: ca.pool()}, mainAddr, fromOther, expired, ""},
		{"other CA", Trust{CAs: newAuthority().pool()}, mainAddr, fromOther, ca.issue(later, mainHost), ""},
		{"self-signed", Trust{CAs: ca.pool()}, mainAddr, fromOther, mainCert, ""},
		{"pinned", Trust{Pins: []string{pin(mainCert)}}, mainAddr, fromOther, mainCert, "pinned certificate"},
		{"other pin", Trust{Pins: []string{pin(nodeCert)}}, mainAddr, fromOther, mainCert, ""},
		{"anyone", Trust{Anyone: true}, mainAddr, fromOther, tls.Certificate{}, "trusting anyone"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			within(t, func(t *testing.T) {
				w := newWorld(t, func(c *Config) { c.Trust, c.Main = row.trust, row.main }, nil)
				w.lookup = func(_ context.Context, host string) ([]netip.Addr, error) {
					if host != "xmpp.main.example" {
						return nil, &net.DNSError{IsNotFound: true, Name: host}
					}
					return []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.1")}, nil
				}
				p := w.connect(row.from, row.cert)
				if row.cert.Certificate == nil {
					p.cert.Certificates = nil
				}
				p.encrypted(mainHost, rooms)
				if row.by == "" {
					p.expect(answerHeader(rooms, mainHost), onlyDialback)
					p.write(auth("="))
					p.expect(saslFail("invalid-mechanism"))
					p.conn.Close()
					synctest.Wait()
					require.Contains(t, w.log.String(), "add "+trust.Of(mainCertOr(row.cert)).String()+" to s2s-pins or its address to s2s-trusted-addresses")
					return
				}
				p.expect(answerHeader(rooms, mainHost), authFeatures)
				p.write(auth("="))
				p.expect(success)
				p.write(header(mainHost, rooms))
				p.expect(answerHeader(rooms, mainHost), lastFeatures)
				synctest.Wait()
				require.Contains(t, w.log.String(), "EXTERNAL, "+row.by)
				if row.trust.Anyone {
					require.Contains(t, w.log.String(), "is believed: Trust.Anyone is set")
				}
			})
		})
	}
}

func mainCertOr(c tls.Certificate) *x509.Certificate {
	if c.Leaf != nil {
		return c.Leaf
	}
	return mainCert.Leaf
}

// A certificate that main showed when it was dialed speaks for it when it
// dials, from wherever, until another one was seen the same way.
func TestKnownCertificateIsOfferedExternal(t *testing.T) {
	within(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		require.NoError(t, w.checkDialed(w.cfg.Load(), []*x509.Certificate{mainCert.Leaf}, mainHost))
		p := w.connect(fromOther, mainCert)
		p.encrypted(mainHost, rooms)
		p.expect(answerHeader(rooms, mainHost), authFeatures)
		p.conn.Close()

		changed := selfSigned(time.Now().Add(time.Hour), mainHost)
		require.NoError(t, w.checkDialed(w.cfg.Load(), []*x509.Certificate{changed.Leaf}, mainHost))
		require.Contains(t, w.log.String(), "the certificate of a peer changed")
		p = w.connect(fromOther, mainCert)
		p.encrypted(mainHost, rooms)
		p.expect(answerHeader(rooms, mainHost), onlyDialback)
	})
}

func TestDirectTLS(t *testing.T) {
	within(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		p := w.connect(fromMain, mainCert)
		p.cert.NextProtos = []string{"xmpp-server"}
		p.tlsClient()
		require.Equal(t, "xmpp-server", p.state.NegotiatedProtocol)
		p.write(header(mainHost, rooms))
		p.expect(answerHeader(rooms, mainHost), authFeatures)
	})
}

func TestOldTLSIsRefused(t *testing.T) {
	within(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		p := w.connect(fromMain, mainCert)
		p.write(header(mainHost, rooms))
		p.expect(answerHeader(rooms, mainHost), tlsFeatures)
		p.write(startTLS)
		p.expect(proceed)
		c := p.cert.Clone()
		c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		require.Error(t, tls.Client(p.conn, c).Handshake())
		synctest.Wait()
		require.EqualValues(t, 1, w.metric("vnode_s2s_closed_total", "in", "tls_failed"))
	})
}

// Connections beyond the limits are told so; one that authenticates makes room.
func TestTooManyConnections(t *testing.T) {
	within(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.MaxPending, c.MaxStreams = 1, 2 }, nil)
		busy := []string{strings.Replace(answerHeader(node, "x"), " to='x'", "", 1), streamError("resource-constraint", "too many connections"), end, closed}
		busy[0] = strings.Replace(strings.Replace(busy[0], " xmlns:db='jabber:server:dialback'", "", 1), " xml:lang='en'", "", 1)
		first := w.connect(fromMain, mainCert)
		w.connect(fromMain, mainCert).expect(busy...)
		first.authenticated(mainHost, rooms, "")
		synctest.Wait()
		second := w.connect(fromMain, mainCert)
		second.authenticated(mainHost, rooms, "")
		synctest.Wait()
		w.connect(fromMain, mainCert).expect(busy...)
		second.conn.Close()
		synctest.Wait()
		w.connect(fromMain, mainCert).authenticated(mainRooms, rooms, "")
		require.EqualValues(t, 2, w.metric("vnode_s2s_closed_total", "in", "busy"))
	})
}

// A peer that never closes after an error is not waited for.
func TestErrorIsFollowedByClose(t *testing.T) {
	within(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		p := w.connect(fromMain, mainCert)
		p.authenticated(mainHost, rooms, "")
		p.write("<x/>" + strings.Repeat(" ", 1000))
		began := time.Now()
		synctest.Wait()
		p.expect(streamError("unsupported-stanza-type", ""), end, closed)
		time.Sleep(2 * time.Second)
		_, err := p.raw.Write([]byte("x"))
		require.Error(t, err, "still open after %v", time.Since(began))
	})
}

// A nick we cannot parse costs its sender an error and nobody else anything.
func TestMalformedAddressIsAnsweredNotFatal(t *testing.T) {
	within(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		p := w.connect(fromMain, mainCert)
		p.authenticated(mainHost, rooms, bidi)
		bad := "r@" + rooms + "/\u00ad\u200b"
		p.write("<message id='1' from='a@main.example/x' to='" + bad + "'/><presence type='error' from='a@main.example/x' to='" + bad + "'/>" +
			"<presence from='a@main.example/x' to='r@conference.v3.meet.example/b'/>")
		p.expect("<message to='a@main.example/x' from='" + bad + "' id='1' type='error'><error type='modify'>" +
			"<jid-malformed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
		synctest.Wait()
		require.Len(t, w.in.stanzas(), 1)
	})
}

// Main whose domain is a suffix of ours takes our room domain for a tenant of
// its own; what it then writes is put right by the stream it comes on.
func TestTenantFormIsUndone(t *testing.T) {
	rows := []struct{ name, from, to, wantFrom, wantTo string }{
		{"relayed chat", "r@conference.meet.jitsi", "[v3]r@conference.meet.jitsi", "r@conference.meet.jitsi", "r@conference.v3.meet.jitsi"},
		{"private message", "u@conference.meet.jitsi/x", "[v3]r@conference.meet.jitsi/nick", "u@conference.meet.jitsi/x", "r@conference.v3.meet.jitsi/nick"},
		{"tenant's room", "[t]r@conference.meet.jitsi", "[v3][t]r@conference.meet.jitsi", "[t]r@conference.meet.jitsi", "[t]r@conference.v3.meet.jitsi"},
		{"our bare domain", "r@conference.meet.jitsi/a", "conference.meet.jitsi", "r@conference.meet.jitsi/a", "conference.v3.meet.jitsi"},
		{"an IQ whose sender was replaced too", "conference.v3.meet.jitsi", "conference.meet.jitsi", "conference.meet.jitsi", "conference.v3.meet.jitsi"},
		{"a tenant's room as clients know it", "r@conference.acme.meet.jitsi/a", "conference.meet.jitsi", "[acme]r@conference.meet.jitsi/a", "conference.v3.meet.jitsi"},
		{"the same, recipient right", "r@conference.acme.meet.jitsi/a", "conference.v3.meet.jitsi", "[acme]r@conference.meet.jitsi/a", "conference.v3.meet.jitsi"},
		{"a tenant itself", "conference.acme.meet.jitsi", "conference.meet.jitsi", "", ""},
		{"a tenant of another prefix", "r@muc.acme.meet.jitsi", "conference.v3.meet.jitsi", "", ""},
		{"our bare domain as sender", "conference.v3.meet.jitsi", "conference.v3.meet.jitsi", "", ""},
		{"a room of ours as sender", "r@conference.v3.meet.jitsi", "conference.meet.jitsi", "", ""},
		{"another domain", "r@conference.meet.jitsi", "r@conference.other.example", "", ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			within(t, func(t *testing.T) {
				w := newWorld(t, func(c *Config) {
					c.Hosts, c.Peers = []string{"conference.v3.meet.jitsi"}, []string{"conference.meet.jitsi"}
				}, nil)
				p := w.connect(fromMain, mainCert)
				p.authenticated("conference.meet.jitsi", "conference.v3.meet.jitsi", bidi)
				p.write("<message id='1' type='groupchat' from='" + row.from + "' to='" + row.to + "'><body>hi</body></message>")
				synctest.Wait()
				if row.wantTo == "" {
					require.Empty(t, w.in.stanzas())
					require.Contains(t, p.read(), "<stream:error>")
					return
				}
				require.Equal(t, []string{"<message to='" + row.wantTo + "' from='" + row.wantFrom + "' id='1' type='groupchat'><body>hi</body></message>"},
					w.in.stanzas())
				require.Equal(t, row.wantFrom, w.in.all[0].from.String())
				require.Equal(t, row.wantTo, w.in.all[0].to.String())
			})
		})
	}
}
