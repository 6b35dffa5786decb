package s2s

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"vnode/internal/wire"
	"vnode/internal/xmpptest/hostile"
)

// ready connects main to the node, both ways on one stream.
func (w *world) ready() *peer {
	w.t.Helper()
	p := w.connect(fromMain, mainCert)
	p.authenticated(mainHost, rooms, bidi)
	return p
}

func policyViolation(name, id string, v wire.Violation) string {
	return fmt.Sprintf("<%s to='a@main.example/x' from='r@conference.v3.meet.example/a' id='%s' type='error'><error type='modify'>"+
		"<policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>%s</text></error></%s>",
		name, id, v.StanzaError().Text, name)
}

const (
	participant = " from='a@main.example/x' to='r@conference.v3.meet.example/a'"
	fine        = "<message" + participant + "><body>fine</body></message>"
)

// The main server passes on what its participants say. What others could not
// read is dropped alone, whatever form it has; the stream of all goes on.
func TestParticipantsCannotEndTheStreamOfTheMainServer(t *testing.T) {
	kinds := append(hostile.Kinds(), hostile.Kind{Name: "undeclared prefix", Children: "<q:a/>", Reason: "undeclared_prefix"},
		hostile.Kind{Name: "size", Children: "<body>" + strings.Repeat("&apos;", 100_000) + "</body>", Reason: "size"})
	violations := map[string]wire.Violation{}
	for _, v := range wire.Violations() {
		violations[v.String()] = v
	}
	within(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		p := w.ready()
		var want []string
		dropped := 0
		for i, k := range kinds {
			id := fmt.Sprint("h", i)
			v := violations[k.Reason]
			if v == wire.TooLargeRewritten {
				continue // the main server has written it again already
			}
			before := w.metric("vnode_s2s_dropped_stanzas_total", k.Reason)
			for _, form := range []struct {
				name, typ string
				answered  bool
			}{
				{"message", " type='groupchat'", true}, {"message", " type='error'", false}, {"presence", "", true}, {"presence", " type='error'", false},
				{"iq", " type='set'", true}, {"iq", " type='result'", false},
			} {
				p.write("<" + form.name + form.typ + participant + " id='" + id + "'>" + k.Children + "</" + form.name + ">" + fine)
				if form.answered {
					p.expect(policyViolation(form.name, id, v))
				}
				want = append(want, fine)
				dropped++
			}
			synctest.Wait()
			require.EqualValues(t, before+6, w.metric("vnode_s2s_dropped_stanzas_total", k.Reason), k.Name)
		}
		synctest.Wait()
		require.Equal(t, want, w.in.stanzas())
		require.EqualValues(t, dropped, w.metric("vnode_s2s_dropped_stanzas_total"))
		require.EqualValues(t, 1, w.metric("vnode_s2s_streams", "in", "ready"))
		require.Less(t, strings.Count(w.log.String(), "a stanza dropped"), 30)
		require.NotContains(t, w.log.String(), "urn:x")
	})
}

// A participant who leaves with a hostile farewell has left, or it would be
// shown for ever.
func TestAHostileLeaveIsALeave(t *testing.T) {
	within(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		p := w.ready()
		p.write("<presence type='unavailable'" + participant + "><xml:a/></presence>" + fine)
		synctest.Wait()
		require.Equal(t, []string{"<presence from='a@main.example/x' to='r@conference.v3.meet.example/a' type='unavailable'/>", fine}, w.in.stanzas())
		require.EqualValues(t, 1, w.metric("vnode_s2s_dropped_stanzas_total", "xml_element"))
	})
}

// What is dropped is acknowledged too: it must not come again when the stream is
// resumed.
func TestDroppedStanzasAreAcknowledged(t *testing.T) {
	within(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		p := w.ready()
		p.write(enable)
		require.Contains(t, p.read(), "<enabled ")
		p.write("<message type='error'" + participant + "><xml:a/></message>" +
			"<message" + participant + " x='" + strings.Repeat("y", 600_000) + "'/>" + fine + ackAsked)
		p.expect(ack(3))
		require.Equal(t, []string{fine}, w.in.stanzas())
	})
}

// The answer goes the way the rooms' own answers go; where the addresses are not
// those of the stream there is none, and a stanza that means nothing to others
// does not end it.
func TestAnswersToDroppedStanzasAreAddressed(t *testing.T) {
	within(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		p := w.ready()
		for _, addresses := range []string{
			" from='a@evil.example/x' to='r@conference.v3.meet.example/a'", " from='a@main.example/x' to='r@elsewhere.example'",
			" from='a@main.example/x'", " to='r@conference.v3.meet.example/a'", " from='@' to='@'", "",
		} {
			p.write("<message id='h'" + addresses + "><xml:a/></message>")
		}
		// The stanza of which the mapper has changed both addresses.
		p.write("<iq type='set' id='m' from='conference.v3.meet.example' to='[v3]r@conference.meet.example'><xml:a/></iq>")
		p.expect("<iq to='main.example' from='r@conference.v3.meet.example' id='m' type='error'><error type='modify'>" +
			"<policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>element of the XML namespace</text></error></iq>")
		p.write(fine)
		synctest.Wait()
		require.Equal(t, []string{fine}, w.in.stanzas())
	})
}

// A peer may say more for itself than for its users: what it tells of polls has no
// other bound.
func TestUsersSayLessThanTheirServer(t *testing.T) {
	within(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.MaxBytes = 8 << 20 }, nil)
		_, raw := memPipe(fromMain, nodeAddr)
		st := newStream(w.Server, raw, inbound)
		st.setDomains(domainPair{local: rooms, remote: mainHost})
		proved := []domainPair{st.domainPair}
		st.proved.Store(&proved)
		said := func(elem string) {
			s, err := wire.ParseStanza([]byte(elem))
			require.NoError(t, err)
			require.NoError(t, st.stanza(s))
		}
		large := "<body>" + strings.Repeat("y", maxFromPerson) + "</body></message>"
		own := "<message from='main.example' to='r@conference.v3.meet.example'>" + large
		said("<message type='error'" + participant + ">" + large)
		said(own)
		said("<presence type='unavailable'" + participant + "><x>" + large[:maxFromPerson] + "</x></presence>")
		require.Equal(t, []string{own, "<presence from='a@main.example/x' to='r@conference.v3.meet.example/a' type='unavailable'/>"}, w.in.stanzas())
		require.EqualValues(t, 2, w.metric("vnode_s2s_dropped_stanzas_total", "size"))
		st.end(because(Closed, nil))
		st.finish()
	})
}

// Even a size has an end.
func TestAStanzaWithoutAnEndEndsTheStream(t *testing.T) {
	within(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		p := w.ready()
		p.write("<message><body>")
		for range maxSkipped / wire.DefaultMaxServerBytes {
			p.write(strings.Repeat("y", wire.DefaultMaxServerBytes))
		}
		p.expect(streamError("policy-violation", "stanza too large"), end, closed)
	})
}
