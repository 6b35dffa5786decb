package s2s

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// The examples of XEP-0185 §2 and XEP-0220 §2.1.1.
func TestDialbackKey(t *testing.T) {
	require.Equal(t, "37c69b1cf07a3f67c04a5ef5902fa5114f2c76fe4a2686482ba5b89323075643",
		dialbackKey("s3cr3tf0rd14lb4ck", "xmpp.example.com", "example.org", "D60000229F"))
	require.Equal(t, "b4835385f37fe2895af6c196b59097b16862406db80559900d96bf6fa7d23df3",
		dialbackKey("s3cr3tf0rd14lb4ck", "montague.example", "capulet.example", "D60000229F"))
}

func claimOf(from, to, key string) string {
	return "<db:result from='" + from + "' to='" + to + "'>" + key + "</db:result>"
}

// An incoming stream nothing speaks for is proved by asking main.
func TestIncomingDialback(t *testing.T) {
	answered := func(kind string) string {
		return "<db:verify from='main.example' to='conference.v3.meet.example' id='ID' type='" + kind + "'/>"
	}
	refusedWith := func(elem string) []string {
		return []string{elem, streamError("not-authorized", "dialback failed"), end, closed}
	}
	resultError := func(kind, condition string) string {
		return "<db:result from='conference.v3.meet.example' to='main.example' type='error'><error type='" + kind + "'><" + condition +
			" xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></db:result>"
	}
	rows := []struct {
		name   string
		answer string // of main; ID is replaced; "" for silence
		dial   error
		want   []string
		proved bool
	}{
		{"valid", answered("valid"), nil, []string{"<db:result from='conference.v3.meet.example' to='main.example' type='valid'/>"}, true},
		{"invalid", answered("invalid"), nil, refusedWith("<db:result from='conference.v3.meet.example' to='main.example' type='invalid'/>"), false},
		{"error", answered("error"), nil, refusedWith(resultError("wait", "remote-server-timeout")), false},
		{"after answers to other questions", "<db:verify from='main.example' to='conference.v3.meet.example' id='other' type='invalid'/><x xmlns='y'/>" + answered("valid"), nil,
			[]string{"<db:result from='conference.v3.meet.example' to='main.example' type='valid'/>"}, true},
		{"silence", "", nil, refusedWith(resultError("wait", "remote-server-timeout")), false},
		{"main ends the stream", streamError("host-unknown", ""), nil, refusedWith(resultError("cancel", "remote-server-not-found")), false},
		{"main is down", "", errors.New("connection refused"), refusedWith(resultError("wait", "remote-server-timeout")), false},
		{"main is nowhere", "", &net.DNSError{IsNotFound: true}, refusedWith(resultError("cancel", "remote-server-not-found")), false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			within(t, func(t *testing.T) {
				d := newDialled(t)
				w := newWorld(t, nil, func(ctx context.Context) (net.Conn, error) {
					if row.dial != nil {
						return nil, row.dial
					}
					return d.dial(ctx)
				})
				p := w.connect(fromOther, mainCert)
				p.encrypted(mainHost, rooms)
				p.expect(answerHeader(rooms, mainHost), onlyDialback)
				p.write(bidi + claimOf(mainHost, rooms, "the key"))
				if row.dial == nil {
					main := d.next()
					main.receive(rooms, mainHost, dialbackFeat)
					main.expect("<db:verify from='conference.v3.meet.example' to='main.example' id='" + p.id + "'>the key</db:verify>")
					main.write(strings.ReplaceAll(row.answer, "ID", p.id))
					defer main.conn.Close()
				}
				p.expect(row.want...)
				synctest.Wait()
				if row.proved {
					require.True(t, w.Up(rooms, mainHost))
					p.write("<message from='main.example' to='conference.v3.meet.example'/>")
					synctest.Wait()
					require.Len(t, w.in.stanzas(), 1)
					return
				}
				p.conn.Close()
				synctest.Wait()
				require.EqualValues(t, 1, w.metric("vnode_s2s_closed_total", "in", "auth_failed"))
				require.EqualValues(t, 0, w.metric("vnode_s2s_streams"))
			})
		})
	}
}

// Claims that are refused without asking anybody.
func TestRefusedClaims(t *testing.T) {
	failed := func(from, to, errType, condition, text string) string {
		if text != "" {
			text = "<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>" + text + "</text>"
		}
		return "<db:result from='" + to + "' to='" + from + "' type='error'><error type='" + errType + "'><" + condition +
			" xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>" + text + "</error></db:result>"
	}
	rows := []struct{ name, send, want string }{
		{"no from", "<db:result to='conference.v3.meet.example'>k</db:result>", streamError("improper-addressing", "dialback needs the domains from and to")},
		{"a user", claimOf("u@main.example", rooms, "k"), streamError("improper-addressing", "dialback needs the domains from and to")},
		{"unknown host", claimOf(mainHost, "evil.example", "k"), failed(mainHost, "evil.example", "cancel", "item-not-found", "")},
		{"not a peer", claimOf("evil.example", rooms, "k"), failed("evil.example", rooms, "cancel", "policy-violation", restricted)},
		{"no key", claimOf(mainHost, rooms, ""), failed(mainHost, rooms, "modify", "not-acceptable", "")},
		{"a key without end", claimOf(mainHost, rooms, strings.Repeat("k", 1025)), failed(mainHost, rooms, "modify", "not-acceptable", "")},
		{"neither result nor verify", "<db:other from='main.example' to='conference.v3.meet.example'/>", streamError("unsupported-stanza-type", "")},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			within(t, func(t *testing.T) {
				w := newWorld(t, nil, nil)
				p := w.connect(fromOther, mainCert)
				p.encrypted(mainHost, rooms)
				p.expect(answerHeader(rooms, mainHost), onlyDialback)
				p.write(row.send)
				p.expect(row.want)
			})
		})
	}
}

func TestDialbackCanBeOff(t *testing.T) {
	within(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.Trust.NoDialback = true }, nil)
		p := w.connect(fromOther, mainCert)
		p.encrypted(mainHost, rooms)
		p.expect(answerHeader(rooms, mainHost), "<stream:features>"+bidiFeature+limitsElem+"</stream:features>")
		p.write(claimOf(mainHost, rooms, "k"))
		p.expect(streamError("unsupported-stanza-type", "dialback is not used here"), end)
	})
}

// One stream carries further pairs once their keys were checked; stanzas of
// the first go on meanwhile.
func TestMultiplexedPairs(t *testing.T) {
	within(t, func(t *testing.T) {
		d := newDialled(t)
		w := newWorld(t, nil, d.dial)
		p := w.connect(fromMain, mainCert)
		p.authenticated(mainHost, rooms, bidi)
		p.write(claimOf(mainRooms, rooms, "k1") + claimOf(visitors, node, "k2"))
		first := "<message from='main.example' to='conference.v3.meet.example'/>"
		p.write(first)
		synctest.Wait()
		require.Equal(t, []string{first}, w.in.stanzas())

		for range 2 {
			main := d.next()
			tok := main.read()
			if strings.Contains(tok, "from='v3.meet.example'") {
				main.answerVerify(tok, node, visitors, p.id, "invalid")
				p.expect("<db:result from='v3.meet.example' to='visitors.main.example' type='invalid'/>")
			} else {
				main.answerVerify(tok, rooms, mainRooms, p.id, "valid")
				p.expect("<db:result from='conference.v3.meet.example' to='conference.main.example' type='valid'/>")
			}
		}
		p.write("<message from='r@conference.main.example' to='r@conference.v3.meet.example'/>")
		synctest.Wait()
		require.Len(t, w.in.stanzas(), 2)
		w.Send(rooms, mainRooms, []byte("<message from='r@conference.v3.meet.example/a' to='r@conference.main.example'/>"))
		p.expect("<message from='r@conference.v3.meet.example/a' to='r@conference.main.example'/>")
		p.write("<message from='visitors.main.example' to='v3.meet.example'/>")
		p.expect(streamError("invalid-from", ""), end)
	})
}

// answerVerify plays main, whose header was read already, as the authority.
func (p *peer) answerVerify(head, local, remote, id, kind string) {
	p.t.Helper()
	require.Equal(p.t, answerHeader(local, remote), head)
	p.write(headerWithID(remote, local) + "<stream:features>" + startTLS + "</stream:features>")
	p.expect(startTLS)
	p.write(proceed)
	p.tlsServer()
	p.expect(answerHeader(local, remote))
	p.write(headerWithID(remote, local) + "<stream:features/>")
	require.Contains(p.t, p.read(), "<db:verify from='"+local+"' to='"+remote+"' id='"+id+"'>")
	p.write("<db:verify from='" + remote + "' to='" + local + "' id='" + id + "' type='" + kind + "'/>")
	p.expect(end)
}

// Too many claims at once are put off.
func TestTooManyClaims(t *testing.T) {
	within(t, func(t *testing.T) {
		w := newWorld(t, nil, func(ctx context.Context) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() })
		p := w.connect(fromMain, mainCert)
		p.authenticated(mainHost, rooms, "")
		p.write(strings.Repeat(claimOf(mainRooms, rooms, "k"), maxChecks+1))
		p.expect("<db:result from='conference.v3.meet.example' to='conference.main.example' type='error'><error type='wait'>" +
			"<resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></db:result>")
	})
}

// The node is the authority for its own domains: it knows its keys and no
// others.
func TestAuthoritativeAnswer(t *testing.T) {
	verify := func(to, id, key string) string {
		return "<db:verify from='conference.main.example' to='" + to + "' id='" + id + "'>" + key + "</db:verify>"
	}
	key := dialbackKey("secret", mainRooms, rooms, "id&1")
	rows := []struct{ name, ask, want string }{
		{"ours", verify(rooms, "id&amp;1", key), " id='id&amp;1' type='valid'/>"},
		{"other id", verify(rooms, "id2", key), " id='id2' type='invalid'/>"},
		{"other host", verify(node, "id&amp;1", key), " id='id&amp;1' type='invalid'/>"},
		{"no key", verify(rooms, "id&amp;1", ""), " id='id&amp;1' type='invalid'/>"},
		{"unknown host", verify("evil.example", "1", key), " id='1' type='error'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></db:verify>"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			within(t, func(t *testing.T) {
				w := newWorld(t, func(c *Config) { c.DialbackSecret = "secret" }, nil)
				p := w.connect(fromOther, mainCert)
				p.encrypted(mainRooms, rooms)
				p.expect(answerHeader(rooms, mainRooms), onlyDialback)
				p.write(row.ask)
				require.Contains(t, p.read(), row.want)
				p.write(end)
				p.expect(end, closed)
			})
		})
	}
}

// A peer that asks and asks without reading the answers is stopped.
func TestUnreadAnswersAreBounded(t *testing.T) {
	within(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		p := w.connect(fromMain, mainCert)
		p.authenticated(mainHost, rooms, "")
		p.raw.in.mu.Lock()
		p.raw.in.limit = 0 // reads nothing more
		p.raw.in.mu.Unlock()
		ask := "<db:verify from='main.example' to='conference.v3.meet.example' id='" + strings.Repeat("i", 500) + "'>k</db:verify>"
		for range 300 {
			if _, err := p.conn.Write([]byte(ask)); err != nil {
				break
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		require.EqualValues(t, 1, w.metric("vnode_s2s_closed_total", "in"))
	})
}

func FuzzDialbackKey(f *testing.F) {
	f.Add("s", "a", "b", "1")
	f.Add("", "", "", "")
	f.Fuzz(func(t *testing.T, secret, receiving, originating, id string) {
		key := dialbackKey(secret, receiving, originating, id)
		require.Regexp(t, "^[0-9a-f]{64}$", key)
		require.Equal(t, key, dialbackKey(secret, receiving, originating, id))
		require.NotEqual(t, key, dialbackKey(secret+"x", receiving, originating, id))
		require.NotEqual(t, key, dialbackKey(secret, receiving, originating, id+"x"))
	})
}
