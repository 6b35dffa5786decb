package visitor

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"vnode/fanout"
	"vnode/internal/wire"
)

// phase is how far a client has come when it misbehaves.
type phase int

const (
	connected phase = 1 << iota // nothing was said yet
	opened                      // headers were exchanged
	loggedIn                    // not bound yet
	bound
	afterOpen = opened | loggedIn | bound
	anyTime   = connected | afterOpen
)

// badInput is what a client sends and the stream error it gets.
type badInput struct {
	name   string
	phases phase
	send   string
	want   wire.StreamCondition
}

var (
	megabyte = "<message xmlns='jabber:client' to='v3.meet.jitsi'><body>" + strings.Repeat("A", 1<<20) + "</body></message>"
)

var badOnTCP = []badInput{
	{"another protocol", anyTime, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", wire.NotWellFormed},
	{"garbage", anyTime, "\x00\x01\xfe\xff", wire.NotWellFormed},
	{"TLS without STARTTLS", anyTime, "\x16\x03\x01\x02\x00", wire.NotWellFormed},
	{"document type", anyTime, `<!DOCTYPE a [<!ENTITY b "c">]>`, wire.RestrictedXML},
	{"comment", anyTime, `<!-- x -->`, wire.RestrictedXML},
	{"processing instruction", anyTime, `<?php x ?>`, wire.RestrictedXML},
	{"UTF-16", connected, "\xFF\xFE<\x00s\x00", wire.UnsupportedEncoding},
	{"UTF-16, the other way", connected, "\xFE\xFF\x00<\x00s", wire.UnsupportedEncoding},
	{"XML declaration in another encoding", connected, `<?xml version='1.0' encoding='utf-16'?>`, wire.UnsupportedEncoding},
	{"end tag of nothing", connected, `</stream:stream>`, wire.NotWellFormed},
	{"end tag of another element", afterOpen, `</foo>`, wire.NotWellFormed},
	{"header without a domain", connected, `<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>`, wire.ImproperAddressing},
	{"header for another domain", connected, strings.ReplaceAll(streamTo, "%s", "unknown.example"), wire.HostUnknown},
	{"header for an account", connected, strings.ReplaceAll(streamTo, "%s", "a@v3.meet.jitsi"), wire.HostUnknown},
	{"header for a malformed domain", connected, strings.ReplaceAll(streamTo, "%s", "@"), wire.HostUnknown},
	{"header of a server", connected, `<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' to='v3.meet.jitsi' version='1.0'>`, wire.InvalidNamespace},
	{"header in no stream namespace", connected, `<stream:stream xmlns='jabber:client' xmlns:stream='urn:x' to='v3.meet.jitsi' version='1.0'>`, wire.InvalidNamespace},
	{"header of another name", connected, `<stream:flow xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='v3.meet.jitsi' version='1.0'>`, wire.BadFormat},
	{"header without a version", connected, `<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='v3.meet.jitsi'>`, wire.UnsupportedVersion},
	{"header of another version", connected, `<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='v3.meet.jitsi' version='2.0'>`, wire.UnsupportedVersion},
	{"header without an end", connected, `<stream:stream xmlns='jabber:client' x='` + strings.Repeat("x", 8<<10), wire.PolicyViolation},
	{"second header", afterOpen, strings.TrimPrefix(strings.ReplaceAll(streamTo, "%s", testDomain), "<?xml version='1.0'?>"), wire.InvalidXML},
	{"crossed tags", afterOpen, `<presence></iq>`, wire.NotWellFormed},
	{"crossed tags inside", afterOpen, `<presence><a></b></presence>`, wire.NotWellFormed},
	{"unknown entity", afterOpen, `<presence>&nope;</presence>`, wire.NotWellFormed},
	{"attribute twice", afterOpen, `<presence a='1' a='2'/>`, wire.NotWellFormed},
	{"invalid UTF-8", afterOpen, "<presence>\xff</presence>", wire.NotWellFormed},
	{"undeclared prefix", afterOpen, `<presence><x:a/></presence>`, wire.BadNamespacePrefix},
	{"comment in a stanza", afterOpen, `<presence><!-- x --></presence>`, wire.RestrictedXML},
	{"stanza of 1 MB", afterOpen, megabyte, wire.PolicyViolation},
	{"unknown element", afterOpen, `<foo xmlns='jabber:client'/>`, wire.UnsupportedStanzaType},
	{"stanza of a server", afterOpen, `<message xmlns='jabber:server'/>`, wire.UnsupportedStanzaType},
	{"stanza of a server under a prefix", afterOpen, `<c:message xmlns:c='jabber:server'/>`, wire.UnsupportedStanzaType},
	{"login behind the login", loggedIn | bound, anonymousAuth, wire.UnsupportedStanzaType},
	{"unknown stream management", bound, `<x xmlns='urn:xmpp:sm:3'/>`, wire.UnsupportedStanzaType},
}

var badOnWebSocket = []badInput{
	{"XML declaration", anyTime, `<?xml version='1.0'?>`, wire.RestrictedXML},
	{"document type", anyTime, `<!DOCTYPE a [<!ENTITY b "c">]><presence xmlns='jabber:client'>&b;</presence>`, wire.RestrictedXML},
	{"comment", anyTime, `<!-- x -->`, wire.RestrictedXML},
	{"TCP framing", anyTime, `<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='v3.meet.jitsi' version='1.0'>`, wire.NotWellFormed},
	{"half a stanza", anyTime, `<presence xmlns='jabber:client'>`, wire.NotWellFormed},
	{"two stanzas in one frame", anyTime, `<presence xmlns='jabber:client'/><presence xmlns='jabber:client'/>`, wire.NotWellFormed},
	{"stanza instead of the header", connected, `<presence xmlns='jabber:client'/>`, wire.InvalidXML},
	{"header without a domain", connected, `<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' version='1.0'/>`, wire.ImproperAddressing},
	{"header for another domain", connected, fmt.Sprintf(openTo, "unknown.example"), wire.HostUnknown},
	{"header for the auth domain", connected, fmt.Sprintf(openTo, testAuth), wire.HostUnknown},
	{"header of another version", connected, `<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='v3.meet.jitsi' version='0.9'/>`, wire.UnsupportedVersion},
	{"header in no namespace", connected, `<open to='v3.meet.jitsi' version='1.0'/>`, wire.InvalidXML},
	{"second header", afterOpen, fmt.Sprintf(openTo, testDomain), wire.InvalidXML},
	{"crossed tags", afterOpen, `<presence><a></b></presence>`, wire.NotWellFormed},
	{"invalid reference", afterOpen, `<presence>&#0;</presence>`, wire.NotWellFormed},
	{"undeclared prefix", afterOpen, `<presence><x:a/></presence>`, wire.BadNamespacePrefix},
	{"stream prefix, not declared", afterOpen, `<stream:error/>`, wire.BadNamespacePrefix},
	{"stanza of 1 MB", anyTime, megabyte, wire.PolicyViolation},
	{"unknown element", afterOpen, `<foo xmlns='jabber:client'/>`, wire.UnsupportedStanzaType},
	{"STARTTLS", afterOpen, `<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>`, wire.UnsupportedStanzaType},
}

// brokenFrames end with a close frame of RFC 6455 instead of a stream error.
var brokenFrames = []struct {
	name string
	send []byte
	code int
}{
	{"binary", clientFrame(0x82, "x"), 1003},
	{"text that is not XML", clientFrame(0x81, "hello"), 1007},
	{"empty text", clientFrame(0x81, ""), 1007},
	{"white space", clientFrame(0x81, " "), 1007},
	{"invalid UTF-8", clientFrame(0x81, "<a>\xff</a>"), 1007},
	{"reserved bit", clientFrame(0xC1, "<a/>"), 1002},
	{"reserved opcode", clientFrame(0x83, ""), 1002},
	{"not masked", []byte{0x81, 0x04, '<', 'a', '/', '>'}, 1002},
	{"another protocol", []byte("GET / HTTP/1.1\r\n\r\n"), 1002},
	{"close frame of one byte", clientFrame(0x88, "x"), 1002},
}

// reach brings a client to the phase.
func (p *peer) reach(ph phase) {
	p.t.Helper()
	switch ph {
	case opened:
		p.open(testDomain)
	case loggedIn:
		p.open(testDomain)
		p.play("C: "+anonymousAuth, "S: "+saslSuccess)
		p.restart(testDomain)
	case bound:
		p.visitor()
	}
}

func (p *peer) expectStreamError(condition wire.StreamCondition, headerDue bool) {
	p.t.Helper()
	if headerDue {
		require.Regexp(p.t, "^<(stream:stream|open) .* from='v3.meet.jitsi' ", p.next())
	}
	require.Regexp(p.t, "^<stream:error[^>]*><"+string(condition)+" xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>", p.next())
	p.expectEnd()
}

var phases = []struct {
	name string
	phase
}{{"connected", connected}, {"opened", opened}, {"logged in", loggedIn}, {"bound", bound}}

func TestBadInputGetsTheStreamError(t *testing.T) {
	for transport, table := range map[string][]badInput{transportTCP: badOnTCP, transportWebSocket: badOnWebSocket} {
		for _, ph := range phases {
			inBubble(t, nil, func(t *testing.T, h *house) {
				other := h.websocket().visitor()
				n := 0
				for _, c := range table {
					if c.phases&ph.phase == 0 {
						continue
					}
					n++
					p := h.on(transport)
					p.reach(ph.phase)
					before := time.Now()
					sent := make(chan struct{})
					go func() {
						defer close(sent)
						p.send(c.send)
					}()
					t.Log(transport, ph.name, c.name)
					p.expectStreamError(c.want, ph.phase == connected)
					<-sent
					synctest.Wait()
					require.Zero(t, time.Since(before), "it is said at once")
					label := streamReason(wire.StreamError{Condition: c.want}).label
					require.Positive(t, testutil.ToFloat64(h.srv.metrics.closed[label]))
				}
				require.Equal(t, 1, h.open(), "only the other one is left")
				other.play(`C: <iq xmlns='jabber:client' type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>`,
					`S: <iq xmlns='jabber:client' to='{jid}' id='p' type='result'/>`)
				other.leave()
				require.Positive(t, n)
			})
		}
	}
}

func (h *house) open() int {
	h.srv.mu.Lock()
	defer h.srv.mu.Unlock()
	return h.srv.streams.Len()
}

func TestBrokenFramesGetACloseFrame(t *testing.T) {
	for _, ph := range phases {
		for _, c := range brokenFrames {
			inBubble(t, nil, func(t *testing.T, h *house) {
				p := h.websocket()
				p.reach(ph.phase)
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					p.write(c.send)
				}()
				require.Regexp(t, fmt.Sprintf("^CLOSE %d .", c.code), p.next(), "%s, %s", ph.name, c.name)
				p.hangUp()
				<-sent
			})
		}
	}
}

func TestCloseFrameIsEchoed(t *testing.T) {
	for _, ph := range phases {
		inBubble(t, nil, func(t *testing.T, h *house) {
			p := h.websocket()
			p.reach(ph.phase)
			p.write(clientFrame(0x88, "\x03\xe9going"))
			p.expect("CLOSE 1001 Goodbye")
			p.hangUp()
			synctest.Wait()
			require.EqualValues(t, 1, testutil.ToFloat64(h.srv.metrics.closed[reasonClosed]))
		})
	}
}

func TestPingFrameIsAnswered(t *testing.T) {
	for _, ph := range phases {
		inBubble(t, nil, func(t *testing.T, h *house) {
			p := h.websocket()
			p.reach(ph.phase)
			p.write(clientFrame(0x89, ph.name))
			p.expect("PONG " + ph.name)
			p.write(clientFrame(0x89, ""))
			p.expect("PONG ")
			p.write(clientFrame(0x8A, "unasked"))
			p.hangUp()
		})
	}
}

func TestFragmentedStanzaWithPingInside(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		p := h.websocket()
		p.write(clientFrame(0x01, "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' "))
		p.write(clientFrame(0x89, "p"))
		p.expect("PONG p")
		p.write(clientFrame(0x80, "to='v3.meet.jitsi' version='1.0'/>"))
		p.expect(fmt.Sprintf(serverWS, testDomain))
		p.next()
		p.leave()
	})
}

func TestRestartForAnotherDomain(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		p := h.tcp(true)
		p.open(testDomain)
		p.play("C: "+anonymousAuth, "S: "+saslSuccess)
		p.tcp.Restart()
		p.send(fmt.Sprintf(streamTo, testAuth))
		p.expect(fmt.Sprintf(serverTCP, testDomain))
		p.expectStreamError(wire.NotAuthorized, false)
	})
}

// A stanza before login gets a stanza error, and the stream lives; but not for
// ever so many.
func TestStanzaBeforeLogin(t *testing.T) {
	for _, transport := range []string{transportTCP, transportWebSocket} {
		for _, ph := range []phase{opened, loggedIn} {
			inBubble(t, nil, func(t *testing.T, h *house) {
				p := h.on(transport)
				p.reach(ph)
				p.play(
					`C: <presence xmlns='jabber:client' to='x@conference.v3.meet.jitsi/y'><x xmlns='http://jabber.org/protocol/muc'/></presence>`,
					`S: <presence xmlns='jabber:client' from='x@conference.v3.meet.jitsi/y' type='error'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>`,
					`C: <iq xmlns='jabber:client' type='result' id='x'/>`,
				)
				for range 40 {
					p.send(`<presence xmlns='jabber:client' to='x@y/z'/>`)
					if got := p.next(); !strings.HasPrefix(got, "<presence") {
						require.Contains(t, got, "<policy-violation ")
						p.expectEnd()
						require.Empty(t, h.handled())
						return
					}
				}
				require.FailNow(t, "no bound")
			})
		}
	}
}

// A client that goes on connecting but never gets anywhere is ended at the
// deadline, whatever it does meanwhile.
func TestSilenceBeforeBindIsBounded(t *testing.T) {
	for _, transport := range []string{transportTCP, transportWebSocket} {
		for _, ph := range phases[:3] {
			for name, behave := range map[string]func(p *peer){
				"silence":      func(*peer) {},
				"half a thing": func(p *peer) { p.write([]byte("<")) },
				"dripping": func(p *peer) {
					half := "<message to='x"
					if p.ws {
						half = string(clientFrame(0x01, half)[:15])
					}
					for i := range len(half) {
						time.Sleep(time.Second)
						p.write([]byte(half[i : i+1]))
					}
				},
			} {
				if transport == transportWebSocket && name == "half a thing" {
					continue // '<' is a frame that is not masked
				}
				inBubble(t, nil, func(t *testing.T, h *house) {
					p := h.on(transport)
					start := time.Now()
					p.reach(ph.phase)
					behave(p)
					p.expectStreamError(wire.ConnectionTimeout, ph.phase == connected)
					require.Equal(t, 20*time.Second, time.Since(start), "%s %s %s", transport, ph.name, name)
				})
			}
		}
	}
}

// A client that does not take what it is sent cannot hold the server up.
func TestClientThatReadsNothing(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		p := h.tcp(true)
		start := time.Now()
		p.send(fmt.Sprintf(streamTo, testDomain)) // and never reads the answer
		for h.open() > 0 {
			time.Sleep(time.Second)
		}
		require.LessOrEqual(t, time.Since(start), 30*time.Second)
		p.hangUp()
	})
}

func TestSilentSessionIsAskedThenEnded(t *testing.T) {
	const ping = `<iq xmlns='jabber:client' type='get' id='ping' from='v3.meet.jitsi' to='{jid}'><ping xmlns='urn:xmpp:ping'/></iq>`
	for _, transport := range []string{transportTCP, transportWebSocket} {
		inBubble(t, nil, func(t *testing.T, h *house) {
			p := h.on(transport).visitor()
			start := time.Now()
			p.expect(ping)
			require.Equal(t, time.Minute, time.Since(start))
			p.send(`<iq xmlns='jabber:client' type='result' id='ping' to='v3.meet.jitsi'/>`)
			p.expect(ping)
			require.Equal(t, 2*time.Minute, time.Since(start), "it answered, so it is asked again")
			p.play("C: <enable xmlns='urn:xmpp:sm:3'/>", "S: <enabled xmlns='urn:xmpp:sm:3'/>")
			p.play("S: <r xmlns='urn:xmpp:sm:3'/>", "C: <a xmlns='urn:xmpp:sm:3' h='0'/>", "S: <r xmlns='urn:xmpp:sm:3'/>")
			asked := time.Now()
			p.expect("<a xmlns='urn:xmpp:sm:3' h='0'/>")
			require.Equal(t, time.Minute, time.Since(asked))
			p.expectStreamError(wire.ConnectionTimeout, false)
			synctest.Wait()
			require.Equal(t, []string{p.jid}, h.ended())
		})
	}
}

// Bytes are a sign of life, though no stanza has come of them yet.
func TestSlowStanzaIsNoSilence(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		p := h.tcp(true).visitor()
		stanza := `<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>`
		got := make(chan string, 10)
		go func() {
			for {
				s := p.next()
				got <- s
				if strings.Contains(s, "id='p'") {
					return
				}
			}
		}()
		for i := range len(stanza) {
			time.Sleep(50 * time.Second)
			p.send(stanza[i : i+1])
		}
		for s := range got {
			if strings.Contains(s, "type='result'") {
				break
			}
		}
		p.leave()
	})
}

// A session that fanout gives up is over for its reader too, at once: the rooms
// must not count a client that is gone.
func TestStalledClientEnds(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		p := h.websocket().visitor()
		to, err := wire.ParseJID(p.jid)
		require.NoError(t, err)
		h.srv.Deliver(to, fanout.NewPrivate([]byte("<message xmlns='jabber:client'/>"))) // never read
		start := time.Now()
		for len(h.ended()) == 0 {
			time.Sleep(time.Second)
		}
		require.LessOrEqual(t, time.Since(start), 31*time.Second, "fanout's stall timeout is 30 s")
		synctest.Wait()
		require.EqualValues(t, 1, testutil.ToFloat64(h.srv.metrics.closed[fanout.Stalled]))
		p.hangUp()
	})
}

func TestSlowConsumerIsTold(t *testing.T) {
	inBubble(t, func(c *Config) { c.Limits.PrivateBytes = 1000 }, func(t *testing.T, h *house) {
		p := h.tcp(true).visitor()
		to, err := wire.ParseJID(p.jid)
		require.NoError(t, err)
		synctest.Wait() // what was sent so far has been taken
		h.srv.Deliver(to, fanout.NewPrivate([]byte("<message>"+strings.Repeat("x", 2000)+"</message>")))
		p.expect(`<stream:error><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>stanzas are not taken fast enough</text></stream:error>`)
		p.expectEnd()
		for len(h.ended()) == 0 {
			time.Sleep(time.Second)
		}
		synctest.Wait()
		require.EqualValues(t, 1, testutil.ToFloat64(h.srv.metrics.closed[fanout.SlowConsumer]))
	})
}
