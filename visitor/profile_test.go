package visitor

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"vnode/internal/wire"
	"vnode/internal/xmpptest/hostile"
)

// forms are the stanzas that children can stand in, and whether they are
// answered.
var forms = []struct {
	begin, end string
	answered   string // the answer's type of stanza; "" for none
}{
	{"<message xmlns='jabber:client' type='groupchat' id='h' to='r@conference.v3.meet.jitsi'>", "</message>", "message"},
	{"<message xmlns='jabber:client' type='error' id='h' to='r@conference.v3.meet.jitsi'>", "</message>", ""},
	{"<presence xmlns='jabber:client' id='h' to='r@conference.v3.meet.jitsi/n'>", "</presence>", "presence"},
	{"<presence xmlns='jabber:client' id='h'>", "</presence>", ""},
	{"<iq xmlns='jabber:client' type='set' id='h' to='focus@auth.meet.jitsi/focus'>", "</iq>", "iq"},
	{"<iq xmlns='jabber:client' type='result' id='h' to='focus@auth.meet.jitsi/focus'>", "</iq>", ""},
}

func violation(t *testing.T, label string) wire.Violation {
	t.Helper()
	for _, v := range wire.Violations() {
		if v.String() == label {
			return v
		}
	}
	require.Fail(t, "no violation "+label)
	return 0
}

const (
	pingOut = `<iq xmlns='jabber:client' type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>`
	pongIn  = `<iq xmlns='jabber:client' to='{jid}' id='p' type='result'/>`
)

// policyViolation is the pattern of the answer to a stanza outside the profile.
func policyViolation(stanza string) string {
	return "<" + stanza + ` xmlns='jabber:client' to='{jid}' from='[^']*' id='h' type='error'><error type='modify'>` +
		`<policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>[^<]+</text></error></` + stanza + ">"
}

// Nobody is given a stanza that others could not read; its sender is told where
// that is allowed, and goes on.
func TestStanzasOutsideTheProfileAreDropped(t *testing.T) {
	for _, transport := range []string{transportTCP, transportWebSocket} {
		inBubble(t, nil, func(t *testing.T, h *house) {
			p := h.on(transport)
			p.visitor()
			for _, k := range hostile.Kinds() {
				for _, f := range forms {
					v := violation(t, k.Reason)
					before := testutil.ToFloat64(h.srv.metrics.dropped[v])
					p.send(f.begin + k.Children + f.end)
					if f.answered != "" {
						p.matches(policyViolation(f.answered), k.Name)
					}
					p.play("C: "+pingOut, "S: "+pongIn)
					require.EqualValues(t, before+1, testutil.ToFloat64(h.srv.metrics.dropped[v]), "%s: %s", k.Name, f.begin)
				}
			}
			require.Empty(t, h.handled())
			p.leave()
			synctest.Wait()
		})
	}
}

// matches expects an answer that matches a pattern.
func (p *peer) matches(pattern, about string) {
	p.t.Helper()
	require.Regexp(p.t, "^"+strings.ReplaceAll(pattern, "{jid}", p.jid)+"$", p.next(), about)
}

func TestStanzasOutsideTheProfileAreDroppedOverBOSH(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		p := h.bosh().visitor()
		for _, k := range hostile.Kinds() {
			body := p.send("", forms[0].begin+k.Children+forms[0].end+pingOut).body()
			require.Contains(t, body, "<policy-violation ", k.Name)
			if !strings.Contains(body, "id='p' type='result'") {
				body = p.send("", "").body()
			}
			require.Contains(t, body, "id='p' type='result'", k.Name)
		}
		require.Empty(t, h.handled())
		p.terminate()
	})
}

// Before bind as well: the login goes on.
func TestStanzasOutsideTheProfileBeforeBind(t *testing.T) {
	for _, transport := range []string{transportTCP, transportWebSocket} {
		inBubble(t, nil, func(t *testing.T, h *house) {
			p := h.on(transport)
			p.open(testDomain)
			p.send("<iq xmlns='jabber:client' type='set' id='h'><xml:a/></iq>")
			p.expect(`<iq xmlns='jabber:client' id='h' type='error'><error type='modify'><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>` +
				`<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>element of the XML namespace</text></error></iq>`)
			p.play("C: "+anonymousAuth, "S: "+saslSuccess)
			p.restart(testDomain)
			p.send("<enable xmlns='urn:xmpp:sm:3' xml:id='x'/>") // not a stanza
			p.expectStreamError(wire.PolicyViolation, false)
		})
	}
}

// A prefix that the client has not declared is the client's own fault. The focus
// may have been told it by a participant: it stays.
func TestTheFocusMayRepeatWhatParticipantsSay(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		f := h.tcp(true).focus()
		for i, k := range append(hostile.Kinds(), hostile.Kind{Name: "undeclared prefix", Children: "<q:a/>", Reason: "undeclared_prefix"}) {
			if k.Reason == wire.TooLargeRewritten.String() {
				continue // what goes to browsers alone is as large as the focus may send
			}
			f.send(fmt.Sprintf("<iq type='set' id='h%d' to='r@conference.v3.meet.jitsi/n'>%s</iq>", i, k.Children))
			require.Regexp(t, fmt.Sprintf("^<iq .* id='h%d' type='error'><error type='modify'><policy-violation ", i), f.next(), k.Name)
			require.Positive(t, testutil.ToFloat64(h.srv.metrics.dropped[violation(t, k.Reason)]))
		}
		require.Empty(t, h.handled())
		f.leave()
	})
}

// The log says that it happens, not what was said, and does not drown in it.
func TestDroppedStanzasAreLoggedSparingly(t *testing.T) {
	h := newHouse(t, nil)
	head := &wire.Header{Name: []byte("message")}
	for range 1000 {
		h.srv.dropped(head, event{kind: eventElement, outside: wire.NewName, data: []byte("<message>secret</message>")}, "me@v3.meet.jitsi/r")
	}
	require.EqualValues(t, 1000, testutil.ToFloat64(h.srv.metrics.dropped[wire.NewName]))
	h.shut()
	log := h.log.String()
	require.Contains(t, log, "session=me@v3.meet.jitsi/r stanza=message bytes=25 reason=name")
	require.NotContains(t, log, "secret")
	require.Less(t, strings.Count(log, "reason=name"), 30)
}
