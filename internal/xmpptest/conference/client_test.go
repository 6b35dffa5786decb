package conference

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"vnode/internal/wire"
)

const (
	scriptJID  = "0123abcd-user@" + fakeDomain + "/res"
	scriptRoom = "demo@" + fakeRooms
	scriptNick = "0123abcd"
)

// selfJoined is the answer that completes the scripted visitor's join.
var selfJoined = string(selfPresence(scriptRoom, &fakeClient{jid: scriptJID, nick: scriptNick}, "visitor", "none"))

// scripted is a server that logs one visitor in, answers its join with the
// lines given and then reports what it says. The end of the lines is the end
// of the connection unless the visitor ends it before.
func scripted(t *testing.T, lines ...string) (url string, said <-chan string) {
	t.Helper()
	heard := make(chan string, 100)
	url = serveWS(t, xmppProtocol, func(ctx context.Context, ws *websocket.Conn) {
		defer close(heard)
		opened := 0
		for {
			_, p, err := ws.Read(ctx)
			if err != nil {
				return
			}
			h, _ := wire.ParseHeader(p)
			var answers []string
			switch string(h.Name) {
			case "open":
				opened++
				answers = []string{"<open xmlns='" + wire.NSFraming + "' version='1.0'/>", fakeFeatures(opened)}
			case "auth":
				answers = []string{"<success xmlns='" + wire.NSSASL + "'/>"}
			case "enable":
				answers = []string{"<enabled xmlns='" + wire.NSSM + "'/>"}
			case "close":
				answers = []string{"<close xmlns='" + wire.NSFraming + "'/>"}
			case "iq":
				if strings.HasPrefix(string(h.ID), "_") { // bind, session
					answers = []string{fmt.Sprintf("<iq xmlns='jabber:client' type='result' id='%s'><bind xmlns='%s'><jid>%s</jid></bind></iq>", h.ID, wire.NSBind, scriptJID)}
				}
			case "presence":
				if string(h.Type) != "unavailable" {
					answers = lines
				}
			}
			if opened == 2 && len(answers) == 0 {
				heard <- string(p)
			}
			for _, a := range answers {
				if ws.Write(ctx, websocket.MessageText, []byte(a)) != nil {
					return
				}
			}
		}
	})
	return url, heard
}

// stayOf lets one visitor join there and returns how its stay ended.
func stayOf(t *testing.T, url string, during func(*Visitor)) (End, Tally, error) {
	t.Helper()
	swarm := NewSwarm(SwarmOptions{URL: url, Domain: fakeDomain, Room: scriptRoom, Ledger: NewLedger(), Timeout: testTime})
	defer swarm.Close()
	ctx := testContext(t)
	err := swarm.Join(ctx, 1, 0)
	v := swarm.Visitors()[0]
	if during != nil {
		during(v)
	}
	require.NoError(t, swarm.WaitEnd(ctx))
	end, _ := v.Ended()
	return end, v.Tally(), err
}

func TestHowAStayEnds(t *testing.T) {
	own := "<presence xmlns='jabber:client' type='%s' from='" + scriptRoom + "/" + scriptNick + "' to='" + scriptJID + "'>%s</presence>"
	user := "<x xmlns='" + wire.NSMUCUser + "'>%s<item role='none' affiliation='none'/><status code='110'/></x>"
	for name, c := range map[string]struct {
		lines []string
		join  string // error of the join; "" for none
		want  string // of End: a reason of destruction, or an error
	}{
		"the room is destroyed": {
			[]string{selfJoined, fmt.Sprintf(own, "unavailable", fmt.Sprintf(user, "<destroy><reason>No visitors.</reason></destroy>"))},
			"", "No visitors.",
		},
		"it is kicked": {
			[]string{selfJoined, fmt.Sprintf(own, "unavailable", fmt.Sprintf(user, "<status code='307'/>"))},
			"", "removed from the room",
		},
		"the join is refused": {
			[]string{fmt.Sprintf(own, "error", "<error type='cancel'><not-allowed xmlns='"+wire.NSStanzas+"'/><text xmlns='"+wire.NSStanzas+"'>Room creation is restricted</text></error>")},
			"cancel/not-allowed: Room creation is restricted", "cancel/not-allowed",
		},
		"the stream ends with an error": {
			[]string{selfJoined, string(wire.StreamError{Condition: wire.SystemShutdown}.Append(nil, true))},
			"", "system-shutdown",
		},
		"the server closes the stream": {[]string{selfJoined, "<close xmlns='" + wire.NSFraming + "'/>"}, "", errStreamClosed.Error()},
		"more is acknowledged than was sent": {
			[]string{selfJoined, "<a xmlns='" + wire.NSSM + "' h='2'/>"}, "", `acknowledged "2" stanzas, 0 before, of 1 sent`,
		},
		"what comes is no XML":    {[]string{selfJoined, "nonsense"}, "", "not-well-formed"},
		"what comes is no stanza": {[]string{selfJoined, "<surprise/>"}, "", "instead of a stanza came <surprise/>"},
		"less is acknowledged than before": {
			[]string{selfJoined, "<a xmlns='" + wire.NSSM + "' h='1'/>", "<a xmlns='" + wire.NSSM + "' h='0'/>"}, "", `acknowledged "0" stanzas, 1 before`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			url, _ := scripted(t, c.lines...)
			end, _, err := stayOf(t, url, nil)
			if c.join == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.join)
			}
			if end.Destroyed {
				require.Equal(t, c.want, end.Reason)
				require.NoError(t, end.Err)
			} else {
				require.ErrorContains(t, end.Err, c.want)
			}
		})
	}
}

func TestWhatAVisitorMustNotSee(t *testing.T) {
	stanza := func(name, attrs, content string) string {
		return "<" + name + " xmlns='jabber:client' from='" + scriptRoom + "/other' " + attrs + ">" + content + "</" + name + ">"
	}
	to := "to='" + scriptJID + "'"
	role := func(r string) string {
		return "<x xmlns='" + wire.NSMUCUser + "'><item role='" + r + "' affiliation='none'/></x>"
	}
	for name, c := range map[string]struct {
		line string
		want Tally
	}{
		"another visitor":               {stanza("presence", to, role("visitor")), Tally{Unexpected: 1}},
		"a participant":                 {stanza("presence", to, role("participant")), Tally{}},
		"the leave of somebody unknown": {stanza("presence", to+" type='unavailable'", role("none")), Tally{Unexpected: 1}},
		"a stanza for somebody else":    {stanza("message", "to='x@y/z' type='groupchat'", "<body/>"), Tally{Misaddressed: 1}},
		"an error":                      {stanza("message", to+" type='error'", ""), Tally{Errors: 1}},
		"a presence error":              {stanza("presence", to+" type='error'", ""), Tally{Errors: 1}},
		"a line nobody said":            {stanza("message", to+" type='groupchat'", "<body>"+Stamp{Kind: Chat, Seq: 1, Order: 1}.String()+"</body>"), Tally{Unexpected: 1}},
		"history":                       {stanza("message", to+" type='groupchat'", "<body>"+Stamp{Kind: Chat, Seq: 1, Order: 1}.String()+"</body><delay xmlns='"+wire.NSDelay+"'/>"), Tally{History: 1}},
		"the subject":                   {stanza("message", to+" type='groupchat'", "<subject/>"), Tally{}},
		"a component of the node":       {"<message xmlns='jabber:client' from='polls." + fakeDomain + "'/>", Tally{}},
	} {
		t.Run(name, func(t *testing.T) {
			url, _ := scripted(t, selfJoined, c.line, "<close xmlns='"+wire.NSFraming+"'/>")
			_, got, _ := stayOf(t, url, nil)
			require.Equal(t, c.want, got)
		})
	}
}

func TestRequestsAreAnsweredAndStanzasCounted(t *testing.T) {
	ask := func(id, typ, payload string) string {
		return "<iq xmlns='jabber:client' from='" + scriptRoom + "/focus' to='" + scriptJID + "' id='" + id + "' type='" + typ + "'>" + payload + "</iq>"
	}
	url, said := scripted(t, selfJoined,
		ask("1", "get", "<ping xmlns='"+wire.NSPing+"'/>"),
		ask("2", "get", "<query xmlns='"+wire.NSDisco+"'/>"),
		ask("3", "set", "<jingle xmlns='urn:xmpp:jingle:1'/>"),
		ask("4", "result", ""),
		"<r xmlns='"+wire.NSSM+"'/>")
	ledger := NewLedger()
	swarm := NewSwarm(SwarmOptions{URL: url, Domain: fakeDomain, Room: scriptRoom, Ledger: ledger, Timeout: testTime})
	defer swarm.Close()
	require.NoError(t, swarm.Join(testContext(t), 1, 0))
	for _, want := range []string{"id='1' type='result'/>", "id='2' type='result'><query", "service-unavailable", "h='5'"} {
		require.Contains(t, <-said, want)
	}
	// The join and three answers were sent: the next stanza is the fifth.
	require.NoError(t, swarm.Visitors()[0].Chat())
	require.Contains(t, <-said, "vnode-bench:0:c:1:1:")
	require.Equal(t, "<r xmlns='"+wire.NSSM+"'/>", <-said)
}

func TestASwarmThatIsClosedLeavesNothing(t *testing.T) {
	url, said := scripted(t, selfJoined)
	swarm := NewSwarm(SwarmOptions{URL: url, Domain: fakeDomain, Room: scriptRoom, Ledger: NewLedger(), Timeout: testTime, NoAcks: true})
	require.NoError(t, swarm.Join(testContext(t), 1, 0))
	swarm.Close()
	end, over := swarm.Visitors()[0].Ended()
	require.True(t, over)
	require.ErrorIs(t, end.Err, context.Canceled)
	for range said { // closed when the server has seen the end
	}
}

func TestVisitorsThatFailAreToldOf(t *testing.T) {
	swarm := NewSwarm(SwarmOptions{URL: "ws://127.0.0.1:1/", Domain: fakeDomain, Room: scriptRoom, Ledger: NewLedger(), Timeout: testTime})
	defer swarm.Close()
	require.ErrorContains(t, swarm.Join(testContext(t), 3, 1000), "3 of 3 visitors could not join")
	require.Equal(t, Progress{Started: 3, Failed: 3}, swarm.Progress())
}
