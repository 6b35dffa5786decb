package prosody

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// conference is a running main with one room, its focus and one participant.
type conference struct {
	server      *Server
	room        string // room JID on main
	focus, main *client
}

func newConference(t *testing.T, opts Options, peers ...*peer) *conference {
	t.Helper()
	opts.Nodes = map[string]netip.AddrPort{}
	for _, p := range peers {
		opts.Nodes[p.id] = p.addr()
	}
	c := &conference{server: Run(t, opts)}
	for _, p := range peers {
		p.start(c.server)
	}
	c.room = "tea@" + c.server.RoomsDomain()
	c.focus = focus(t, c.server)
	c.focus.join(t, c.room, "focus")
	c.main = participant(t, c.server)
	c.main.join(t, c.room, "ann")
	return c
}

// vnode sends connect-vnode or disconnect-vnode and returns the answer.
func (c *conference) vnode(t *testing.T, by *client, command, id string) element {
	t.Helper()
	return by.ask(t, command+id, "get", c.server.VisitorsDomain(), fmt.Sprintf(
		`<visitors xmlns='jitsi:visitors' room='%s'><%s vnode='%s'/></visitors>`, c.room, command, id))
}

// connect has the node connected, its IQs answered.
func (c *conference) connect(t *testing.T, p *peer) {
	t.Helper()
	require.Equal(t, "result", c.vnode(t, c.focus, "connect-vnode", p.id).attr("type"))
	p.answer(p.got.take(t, "update", isCommand("update")))
	p.answer(p.got.take(t, "connect", isCommand("connect")))
	waitLog(t, c.server, "connect to "+p.rooms()+": result")
}

// configure submits one field of the room's form.
func (c *conference) configure(t *testing.T, field, value string) {
	t.Helper()
	answer := c.focus.ask(t, "form-"+field+value, "set", c.room, fmt.Sprintf(
		`<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>`+
			`<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>`+
			`<field var='%s'><value>%s</value></field></x></query>`, field, value))
	require.Equal(t, "result", answer.attr("type"), "%v", answer)
}

// waitLog returns the first line of the server's log with text in it.
func waitLog(t *testing.T, s *Server, text string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	line, err := s.WaitLog(ctx, text)
	require.NoError(t, err)
	return line
}

func isCommand(name string) func(arrival) bool {
	return func(a arrival) bool { return a.has("visitors", name) }
}

// occupant is the address of a nick in the node's room.
func (p *peer) occupant(nick string) string { return "tea@" + p.rooms() + "/" + nick }

func TestClientsMeetInARoom(t *testing.T) {
	c := newConference(t, Options{})

	// Nobody but the focus makes rooms.
	refused := participant(t, c.server)
	refused.send(`<presence to='other@` + c.server.RoomsDomain() + `/eve'><x xmlns='http://jabber.org/protocol/muc'/></presence>`)
	e := refused.got.next(t, "refusal")
	require.Equal(t, "not-allowed", e.errorCondition(), "%v", e)

	// A participant over TCP and one over WebSocket see each other and the focus.
	bob := dialTCP(t, c.server, c.server.MainDomain(), "", anonymous)
	bob.send(`<presence to='` + c.room + `/bob'><x xmlns='http://jabber.org/protocol/muc'/></presence>`)
	seen := map[string]bool{}
	for len(seen) < 3 {
		e := bob.got.next(t, "occupants")
		if e.XMLName.Local == "presence" {
			seen[e.attr("from")] = true
		}
	}
	require.Equal(t, map[string]bool{c.room + "/focus": true, c.room + "/ann": true, c.room + "/bob": true}, seen)
	item := c.main.got.take(t, "presence of bob", presenceFrom(c.room+"/bob")).find("x", "item")
	require.Equal(t, bob.jid, item.attr("jid"), "real addresses are public")

	bob.send(`<message type='groupchat' to='` + c.room + `'><body>tea?</body></message>`)
	e = c.main.got.take(t, "chat", bodyIs("tea?"))
	require.Equal(t, c.room+"/bob", e.attr("from"))
}

// A node is told update, history, participants, connect, in this order; then
// what happens in the room is mirrored until it ends.
func TestConnectVnode(t *testing.T) {
	for _, auth := range []Auth{AuthSelfSigned, AuthDialback, AuthExternal} {
		for _, bidi := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v bidi=%v", auth, bidi), func(t *testing.T) {
				p := newPeer(t, "v3", auth, bidi)
				c := newConference(t, Options{Auth: auth, Bidi: bidi, ComponentsDial: true}, p)
				for _, text := range []string{"one", "two"} {
					c.main.send(`<message type='groupchat' to='` + c.room + `'><body>` + text + `</body></message>`)
					c.main.got.take(t, "echo", bodyIs(text))
				}
				require.Equal(t, "result", c.vnode(t, c.focus, "connect-vnode", "v3").attr("type"))
				checkConnect(t, c, p)
				checkMirror(t, c, p)
				checkOffer(t, c, p)
			})
		}
	}
}

// checkOffer looks at what main offers a node that dials it.
func checkOffer(t *testing.T, c *conference, p *peer) {
	offer := p.dial(p.rooms(), c.server.RoomsDomain()).opening
	require.Equal(t, p.bidi, offer.has("bidi"), "%v", offer)
	require.Equal(t, p.auth == AuthDialback, offer.has("dialback"), "%v", offer)
	require.Equal(t, p.auth != AuthDialback, offer.has("mechanisms", "mechanism"), "%v", offer)
}

// With AuthExternal a certificate that the CA did not sign ends the stream in
// both directions, and nothing is sent.
func TestExternalRefusesOtherCertificates(t *testing.T) {
	p := newPeer(t, "v3", AuthSelfSigned, true)
	c := newConference(t, Options{Auth: AuthExternal, Bidi: true}, p)
	require.Equal(t, "result", c.vnode(t, c.focus, "connect-vnode", "v3").attr("type"))
	waitLog(t, c.server, "connect to "+p.rooms()+": error")
	require.Empty(t, p.got)
	_, err := p.open(p.rooms(), c.server.RoomsDomain())
	require.ErrorContains(t, err, "not-authorized")
}

func checkConnect(t *testing.T, c *conference, p *peer) {
	// History travels on a stream of its own, so only the order within each
	// stream is certain.
	var fromMain, history []arrival
	for len(fromMain) < 3 || len(history) < 2 {
		a := p.got.next(t, "update, history, presence, connect")
		switch a.from {
		case c.server.MainDomain():
			fromMain = append(fromMain, a)
		case c.server.RoomsDomain():
			history = append(history, a)
		}
		require.Equal(t, p.rooms(), a.to)
	}

	update := fromMain[0].find("visitors", "update")
	require.NotEmpty(t, update.XMLName.Local, "%v", fromMain[0])
	require.True(t, update.has("moderators"))
	require.Empty(t, update.find("moderators").Children)
	for _, a := range []arrival{fromMain[0], fromMain[2]} {
		require.Equal(t, c.server.MainDomain(), a.attr("from"))
		require.Equal(t, p.rooms(), a.attr("to"))
		require.Equal(t, "tea@"+p.rooms(), a.find("visitors").attr("room"))
		command := a.find("visitors").Children[0]
		require.Equal(t, "false", command.attr("lobby"))
		require.Equal(t, "", command.attr("password"))
		require.Len(t, command.attr("meetingId"), 36)
		require.Regexp(t, `^\d{13}$`, command.attr("createdTimestamp"))
	}
	require.True(t, fromMain[2].has("visitors", "connect"), "%v", fromMain[2])

	join := fromMain[1]
	require.Equal(t, c.main.jid, join.attr("from"))
	require.Equal(t, p.occupant("ann"), join.attr("to"))
	require.Equal(t, "ann", join.find("nick").Text)
	require.True(t, join.hasSpace("x", "http://jabber.org/protocol/muc"), "%v", join)

	for i, text := range []string{"one", "two"} {
		require.Equal(t, text, history[i].find("body").Text)
		require.Equal(t, c.room+"/ann", history[i].attr("from"))
		require.Equal(t, p.rooms(), history[i].attr("to"), "addressed to the bare host")
		require.NotEmpty(t, history[i].find("delay").attr("stamp"))
	}
	for _, a := range []arrival{fromMain[0], fromMain[2]} {
		p.answer(a)
	}
	for _, kind := range []string{"update", "connect"} {
		waitLog(t, c.server, kind+" to "+p.rooms()+": result (sent=1 result=1")
	}
}

func checkMirror(t *testing.T, c *conference, p *peer) {
	c.main.send(`<presence to='` + c.room + `/ann'><raised>1</raised></presence>`)
	update := p.got.next(t, "presence update")
	require.Equal(t, p.occupant("ann"), update.attr("to"))
	require.Equal(t, "1", update.find("raised").Text)
	require.False(t, update.has("x"), "an update is no join: %v", update)

	bob := participant(t, c.server)
	bob.join(t, c.room, "bob")
	join := p.got.next(t, "late join")
	require.Equal(t, bob.jid, join.attr("from"))
	require.Equal(t, p.occupant("bob"), join.attr("to"))
	require.True(t, join.has("x"))

	bob.send(`<message type='groupchat' to='` + c.room + `'><body>hi</body></message>`)
	chat := p.got.next(t, "chat")
	require.Equal(t, bob.jid, chat.attr("from"))
	require.Equal(t, "tea@"+p.rooms(), chat.attr("to"))

	bob.quit()
	leave := p.got.next(t, "leave of a lost connection")
	require.Equal(t, "unavailable", leave.attr("type"))
	require.Equal(t, p.occupant("bob"), leave.attr("to"))

	answer := c.focus.ask(t, "destroy", "set", c.room,
		`<query xmlns='http://jabber.org/protocol/muc#owner'><destroy><reason>over</reason></destroy></query>`)
	require.Equal(t, "result", answer.attr("type"))
	leave = p.got.next(t, "leave at the end of the room")
	require.Equal(t, "unavailable", leave.attr("type"))
	require.Equal(t, p.occupant("ann"), leave.attr("to"))
	require.True(t, p.got.next(t, "disconnect").has("visitors", "disconnect"))
}

func TestDisconnectVnodeByFocus(t *testing.T) {
	p := newPeer(t, "v3", AuthSelfSigned, true)
	c := newConference(t, Options{Bidi: true}, p)
	c.connect(t, p)
	require.Equal(t, "result", c.vnode(t, c.focus, "connect-vnode", "v3").attr("type"), "twice is once")
	require.Equal(t, "result", c.vnode(t, c.focus, "disconnect-vnode", "v3").attr("type"))
	a := p.got.next(t, "disconnect")
	require.True(t, a.has("visitors", "disconnect"), "%v", a)

	// Now out of the room: what happens there is not told any more.
	c.main.send(`<presence to='` + c.room + `/ann'><raised>1</raised></presence>`)
	c.main.got.take(t, "own update", func(e element) bool { return e.has("raised") })
	require.Equal(t, "result", c.vnode(t, c.focus, "disconnect-vnode", "v3").attr("type"))
	require.True(t, p.got.next(t, "repeated disconnect").has("visitors", "disconnect"))
}

func TestVnodeCommandsAreForTheFocus(t *testing.T) {
	c := newConference(t, Options{})
	for _, command := range []string{"connect-vnode", "disconnect-vnode"} {
		require.Equal(t, "forbidden", c.vnode(t, c.main, command, "v3").errorCondition())
	}
	for _, id := range []string{"", "a b", "v3.evil"} {
		require.Equal(t, "bad-request", c.vnode(t, c.focus, "connect-vnode", id).errorCondition())
	}
	for room, want := range map[string]string{"none@" + c.server.RoomsDomain(): "item-not-found", "": "item-not-found"} {
		e := c.focus.ask(t, "room"+room, "get", c.server.VisitorsDomain(),
			`<visitors xmlns='jitsi:visitors' room='`+room+`'><connect-vnode vnode='v3'/></visitors>`)
		require.Equal(t, want, e.errorCondition())
	}
	e := c.focus.ask(t, "odd", "get", c.server.VisitorsDomain(),
		`<visitors xmlns='jitsi:visitors' room='`+c.room+`'><tea/></visitors>`)
	require.Equal(t, "feature-not-implemented", e.errorCondition())
	e = c.focus.ask(t, "empty", "get", c.server.VisitorsDomain(),
		`<visitors xmlns='jitsi:visitors' room='`+c.room+`'/>`)
	require.Equal(t, "bad-request", e.errorCondition())
}

func TestVisitorChat(t *testing.T) {
	v3, v4 := newPeer(t, "v3", AuthSelfSigned, true), newPeer(t, "v4", AuthSelfSigned, true)
	c := newConference(t, Options{Bidi: true, ComponentsDial: true}, v3, v4)
	up := v3.dial(v3.rooms(), c.server.RoomsDomain())
	say := func(id, text string) {
		require.NoError(t, up.send(`<message type='groupchat' id='%s' from='%s' to='%s'><body>%s</body></message>`,
			id, v3.occupant("vis"), c.room, text))
	}

	say("early", "too early")
	refusal := v3.got.next(t, "refusal")
	require.Equal(t, "error", refusal.attr("type"))
	require.Equal(t, "early", refusal.attr("id"))
	require.Equal(t, "not-acceptable", refusal.errorCondition())

	c.connect(t, v3)
	c.connect(t, v4)
	say("m1", "hello")
	e := c.main.got.take(t, "chat of the visitor", bodyIs("hello"))
	require.Equal(t, c.room, e.attr("from"), "from the bare room")
	require.Equal(t, "m1", e.attr("id"))
	relayed := v4.got.next(t, "chat of the visitor on the other node")
	require.Equal(t, "hello", relayed.find("body").Text)
	require.Equal(t, c.room, relayed.attr("from"))
	require.Equal(t, "tea@"+v4.rooms(), relayed.attr("to"))

	bob := participant(t, c.server)
	bob.send(`<presence to='` + c.room + `/bob'><x xmlns='http://jabber.org/protocol/muc'/></presence>`)
	old := bob.got.take(t, "history", bodyIs("hello"))
	require.True(t, old.has("delay"), "%v", old)

	// A private message arrives from the bare room with the address to answer,
	// and the answer goes straight to the node.
	require.NoError(t, up.send(`<message type='chat' id='pm' from='%s' to='%s/ann'><body>psst</body></message>`,
		v3.occupant("vis"), c.room))
	e = c.main.got.take(t, "private message", bodyIs("psst"))
	require.Equal(t, c.room, e.attr("from"))
	require.Equal(t, v3.occupant("vis"), e.find("addresses", "address").attr("jid"))
	c.main.send(`<message type='chat' to='` + v3.occupant("vis") + `'><body>yes?</body></message>`)
	answer := v3.got.take(t, "answer", func(a arrival) bool { return a.find("body").Text == "yes?" })
	require.Equal(t, c.main.jid, answer.attr("from"))

	require.NoError(t, up.send(`<message type='chat' id='lost' from='%s' to='%s/nobody'><body>?</body></message>`,
		v3.occupant("vis"), c.room))
	lost := v3.got.take(t, "error", func(a arrival) bool { return a.attr("id") == "lost" })
	require.Equal(t, "item-not-found", lost.errorCondition())
}

func TestRequestsOfANode(t *testing.T) {
	p := newPeer(t, "v3", AuthSelfSigned, true)
	c := newConference(t, Options{Bidi: true}, p)
	up := p.dial(p.domain(), c.server.VisitorsDomain())
	ask := func(id, payload string) arrival {
		require.NoError(t, up.send(`<iq type='set' id='%s' from='%s' to='%s'><visitors xmlns='jitsi:visitors' room='%s'>%s</visitors></iq>`,
			id, p.domain(), c.server.VisitorsDomain(), c.room, payload))
		return p.got.take(t, "answer to "+id, func(a arrival) bool { return a.attr("id") == id })
	}
	promotion := `<promotion-request jid='vis@v3.meet.jitsi/r' time='17' forcePromote='false'/><nick xmlns='http://jabber.org/protocol/nick'>vis</nick>`
	languages := `<transcription-languages langs='en,fr' count='3'/>`

	require.Equal(t, "forbidden", ask("p0", promotion).errorCondition(), "not connected yet")
	require.Equal(t, "forbidden", ask("l0", languages).errorCondition())
	c.connect(t, p)
	require.Equal(t, "result", ask("p1", promotion).attr("type"))
	require.Equal(t, "result", ask("l1", languages).attr("type"))
	require.Equal(t, "forbidden", ask("c1", `<connect-vnode vnode='v3'/>`).errorCondition(), "a node is no focus")
	line := waitLog(t, c.server, "transcription-languages")
	require.Contains(t, line, "en,fr")

	votes := p.dial(p.rooms(), "polls."+c.server.MainDomain())
	require.NoError(t, votes.send(`<message from='%s' to='polls.%s'><json-message xmlns='http://jitsi.org/jitmeet' roomJid='%s'>{"command":"answer-poll"}</json-message></message>`,
		p.rooms(), c.server.MainDomain(), c.room))
	waitLog(t, c.server, "vote from "+p.rooms()+" for "+c.room)
	require.NoError(t, votes.send(`<message id='bad' from='%s' to='polls.%s'><body>?</body></message>`, p.rooms(), c.server.MainDomain()))
	bad := p.got.take(t, "refusal", func(a arrival) bool { return a.attr("id") == "bad" })
	require.Equal(t, "forbidden", bad.errorCondition())
}

func TestSettingsReachTheNode(t *testing.T) {
	p := newPeer(t, "v3", AuthSelfSigned, true)
	c := newConference(t, Options{Bidi: true}, p)
	c.configure(t, "muc#roomconfig_roomsecret", "s3cret")
	require.Equal(t, "result", c.vnode(t, c.focus, "connect-vnode", "v3").attr("type"))
	require.Equal(t, "s3cret", p.got.next(t, "update").find("visitors", "update").attr("password"))
	require.Equal(t, "s3cret", p.got.next(t, "join").find("x", "password").Text)
	require.Equal(t, "s3cret", p.got.next(t, "connect").find("visitors", "connect").attr("password"))

	c.configure(t, "muc#roomconfig_roomsecret", "")
	require.Equal(t, "", p.got.next(t, "update without password").find("visitors", "update").attr("password"))

	// Owners made by another owner are announced, those made by the focus not.
	grant := func(by *client, id, to string) {
		e := by.ask(t, id, "set", c.room, `<query xmlns='http://jabber.org/protocol/muc#admin'><item affiliation='owner' jid='`+
			strings.Split(to, "/")[0]+`'/></query>`)
		require.Equal(t, "result", e.attr("type"))
	}
	bob := participant(t, c.server)
	bob.join(t, c.room, "bob")
	require.True(t, p.got.next(t, "bob").has("x"))
	grant(c.focus, "g1", c.main.jid)
	grant(c.main, "g2", bob.jid)
	moderators := p.got.next(t, "moderators").find("visitors", "update", "moderators").Children
	require.Len(t, moderators, 2)
	require.ElementsMatch(t, []string{"ann", "bob"}, []string{moderators[0].attr("epId"), moderators[1].attr("epId")})

	c.configure(t, "muc#roomconfig_membersonly", "1")
	require.Equal(t, "true", p.got.next(t, "lobby").find("visitors", "update").attr("lobby"))
}

// In the official set-up only the main domain can dial. What its components
// have to say waits for a bidirectional stream of the node, or is lost.
func TestComponentsThatCannotDial(t *testing.T) {
	p := newPeer(t, "v3", AuthSelfSigned, true)
	c := newConference(t, Options{Bidi: true}, p)
	c.main.send(`<message type='groupchat' to='` + c.room + `'><body>old</body></message>`)
	c.main.got.take(t, "echo", bodyIs("old"))

	require.Equal(t, "result", c.vnode(t, c.focus, "connect-vnode", "v3").attr("type"))
	for _, want := range []string{"update", "presence", "connect"} {
		a := p.got.next(t, want)
		require.Equal(t, c.server.MainDomain(), a.from)
	}
	waitLog(t, c.server, "Sending error replies for 1 queued stanzas because of failed outgoing connection to "+p.rooms())

	require.Equal(t, "result", c.vnode(t, c.focus, "disconnect-vnode", "v3").attr("type"))
	p.got.take(t, "disconnect", isCommand("disconnect"))
	p.dial(p.rooms(), c.server.RoomsDomain())
	require.Equal(t, "result", c.vnode(t, c.focus, "connect-vnode", "v3").attr("type"))
	a := p.got.take(t, "history on the stream of the node", func(a arrival) bool { return a.has("delay") })
	require.Equal(t, p.rooms(), a.from)
	require.Equal(t, c.server.RoomsDomain(), a.to)
}

func TestUnansweredIQsAreCounted(t *testing.T) {
	p := newPeer(t, "v3", AuthSelfSigned, true)
	c := newConference(t, Options{Bidi: true, Extra: "vnode_answer_seconds = 0.1"}, p)
	require.Equal(t, "result", c.vnode(t, c.focus, "connect-vnode", "v3").attr("type"))
	for _, kind := range []string{"update", "connect"} {
		waitLog(t, c.server, kind+" to "+p.rooms()+": unanswered (sent=1 result=0 error=0 unanswered=1)")
	}

	// An error is told apart from a result.
	require.Equal(t, "result", c.vnode(t, c.focus, "disconnect-vnode", "v3").attr("type"))
	iq := p.got.take(t, "disconnect", isCommand("disconnect"))
	require.NoError(t, iq.stream.send(`<iq type='error' id='%s' from='%s' to='%s'><error type='cancel'>`+
		`<item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`, iq.attr("id"), p.rooms(), c.server.MainDomain()))
	waitLog(t, c.server, "disconnect to "+p.rooms()+": error (sent=1 result=0 error=1")
}
