package muc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/internal/wire"
	"vnode/internal/xmpptest/canonical"
	"vnode/internal/xmpptest/cast"
	"vnode/muc/rate"
	"vnode/muc/room"
)

// TestTranscripts plays testdata/*.txt, each named after the flow of the real
// stack it was made from. In a file
//
//	NAME> stanza    is sent by a local client
//	s2s> stanza     comes from the main server
//	NAME< stanza    is what that client gets next
//	s2s< stanza     is what the main server gets next
//	setup mainN...  creates and connects the room with these participants
//	join visN...    lets visitors join
//	close NAME      ends a session
//	wait 15s        lets time pass
//	main down       loses the streams to the main server; main up brings some
//	open NAME       logs in, where rooms are to be told of it
//	client NAME K=V what a client's token and proxy say: user, group, moderator,
//	                other-tenant, feature, region
//	mainroom exists how main answers from now on when it is asked for the room:
//	                exists, gone, or silent (then the question is to be listed)
//	jicofo v3       which node jicofo chooses when it is asked, at first and after
//	                "jicofo silent" it does not answer; "jicofo< <conference .../>"
//	                is what it is asked
//	hungup NAME     the input ended that client's stream
//	limits K=V...   sets limits; before the first other step, those at start
//	config K V      a setting, see settings; at the beginning
//
// Everything anybody gets after an input must be listed behind it, in order
// for each recipient; setup and join discard it. A line that starts with white
// space continues the one before. {...} stands for text, see expand.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { playFile(t, file) })
		})
	}
}

type player struct {
	*bubble
	cfg      Config
	room     string // localpart between servers
	expected map[string][]expectation
	input    string // the last one, for messages
	links    uint64 // changes of the streams to main
	jicofo   *jicofo
	hung     map[string]bool // whose stream was ended
}

// jicofo is asked for conferences.
type jicofo struct {
	mu    sync.Mutex
	node  string // it answers; "" for no answer
	asked [][]byte
	there string // how many participants it counts; "" when it does not say
}

func (j *jicofo) count(context.Context, string) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strconv.Atoi(j.there)
}

func (j *jicofo) ask(ctx context.Context, room string) (string, error) {
	j.mu.Lock()
	node := j.node
	j.asked = append(j.asked, fmt.Appendf(nil, "<conference room='%s'/>", room))
	j.mu.Unlock()
	if node == "" {
		<-ctx.Done()
		return "", ctx.Err()
	}
	return node, nil
}

func (j *jicofo) take() [][]byte {
	j.mu.Lock()
	defer j.mu.Unlock()
	got := j.asked
	j.asked = nil
	return got
}

type expectation struct {
	line   int
	stanza string
}

func playFile(t *testing.T, file string) {
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	cfg, room := testConfig(), "room"
	for _, m := range regexp.MustCompile(`(?m)^config (\S+) (\S+)$`).FindAllStringSubmatch(string(raw), -1) {
		if m[1] == "room" {
			room = m[2]
			continue
		}
		set, ok := settings[m[1]]
		require.True(t, ok, m[1])
		set(&cfg, m[2])
	}
	j := new(jicofo)
	cfg.AskJicofo, cfg.CountParticipants = j.ask, j.count
	p := &player{bubble: newBubble(t, cfg), cfg: cfg, room: room, expected: make(map[string][]expectation), jicofo: j, hung: make(map[string]bool)}
	defer p.end()
	require.Regexp(t, `(?m)^\w+< `, string(raw), "expects nothing")
	text := regexp.MustCompile(`\n[ \t]+`).ReplaceAllString(string(raw), "")
	for i, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			p.play(i+1, line)
		}
	}
	p.verify()
}

// settings are those a transcript can make.
var settings = map[string]func(c *Config, v string){
	"main-domain":          func(c *Config, v string) { c.MainDomain = v },
	"room-prefix":          func(c *Config, v string) { c.RoomPrefix, c.Domain = v, v+".v3.meet.jitsi" },
	"participant-domain":   func(c *Config, v string) { c.ParticipantDomains = append(c.ParticipantDomains, v) },
	"tokens":               func(c *Config, v string) { c.Room.Tokens = v == "checked" },
	"no-token-promotion":   func(c *Config, v string) { c.Room.NoTokenPromotion = v == "true" },
	"comeback":             func(c *Config, v string) { c.Room.Comeback.Mode = room.ComebackMode(v) },
	"comeback-rate":        func(c *Config, v string) { c.Room.Comeback.Rate, _ = strconv.ParseFloat(v, 64) },
	"main-without-connect": func(c *Config, v string) { c.Room.MainWithoutConnect = v == "true" },
}

// setLimit sets one limit by its name in transcripts.
func setLimit(t require.TestingT, l *room.Limits, name, v string) {
	number, err := strconv.ParseFloat(v, 64)
	perSecond := rate.Limit{PerSecond: number, Burst: max(1, int(number))}
	switch name {
	case "audience":
		l.Chat.Audience, err = room.Audience(v), nil
	case "slow-mode":
		l.Chat.SlowMode, err = time.ParseDuration(v)
	case "chat":
		l.Chat.Visitor = perSecond
	case "room-chat":
		l.Chat.Room = perSecond
	case "joins":
		l.Joins = perSecond
	case "leaves":
		l.Leaves = perSecond
	case "presences":
		l.Presences = perSecond
	case "rooms":
		l.MaxRooms = int(number)
	case "visitors":
		l.MaxVisitors = int(number)
	case "visitors-on-node":
		l.MaxVisitorsOnNode = int(number)
	default:
		require.Fail(t, "unknown limit", name)
	}
	require.NoError(t, err, name)
}

// says sets what a client's token and proxy say of it.
func (c *client) says(name, value string) {
	if name == "region" {
		c.region = value
		return
	}
	if c.identity == nil {
		c.identity = &room.Identity{TenantMatches: true, Features: make(map[string]bool)}
	}
	switch name {
	case "user":
		c.identity.UserID = value
	case "group":
		c.identity.GroupID = value
	case "moderator":
		c.identity.Moderator = value == "true"
	case "other-tenant":
		c.identity.TenantMatches = value != "true"
	case "feature":
		c.identity.Features[value] = true
	default:
		panic("a client says nothing of " + name)
	}
}

func (p *player) play(line int, text string) {
	if m := regexp.MustCompile(`^(\w+)([<>]) (.*)$`).FindStringSubmatch(text); m != nil {
		if m[2] == "<" {
			p.expected[m[1]] = append(p.expected[m[1]], expectation{line, p.expand(m[3])})
			return
		}
		p.verify()
		p.input = fmt.Sprintf("line %d: %s", line, text)
		p.send(m[1], p.expand(m[3]))
		return
	}
	words := strings.Fields(text)
	if words[0] == "hungup" {
		p.hung[words[1]] = true
		return
	}
	p.verify()
	p.input = fmt.Sprintf("line %d: %s", line, text)
	switch words[0] {
	case "mainroom":
		p.main.answer(p.svc, words[1])
	case "jicofo":
		p.jicofo.mu.Lock()
		p.jicofo.node = strings.TrimPrefix(words[1], "silent")
		p.jicofo.mu.Unlock()
	case "counts": // what jicofo says of main's room
		p.jicofo.mu.Lock()
		p.jicofo.there = words[1]
		p.jicofo.mu.Unlock()
	case "config":
	case "setup":
		p.setup(words[1:])
	case "join":
		for _, name := range words[1:] {
			p.send(name, p.expand("<presence to='{pub}/{"+name+".nick}'><x xmlns='{muc}'/><nick xmlns='{nick}'>"+name+"</nick></presence>"))
		}
		p.drain()
	case "limits":
		l := *p.svc.limits.Load()
		for _, w := range words[1:] {
			name, v, _ := strings.Cut(w, "=")
			setLimit(p.t, &l, name, v)
		}
		require.NoError(p.t, p.svc.SetLimits(l))
	case "client":
		for _, w := range words[2:] {
			name, v, _ := strings.Cut(w, "=")
			p.client(words[1]).says(name, v)
		}
	case "open":
		p.svc.SessionOpened(p.client(words[1]))
	case "close":
		p.svc.SessionClosed(p.client(words[1]))
	case "main":
		p.links++
		require.Equal(p.t, words[1] == "up", p.links%2 == 1, text)
		p.svc.MainLink(p.links)
	case "wait":
		d, err := time.ParseDuration(words[1])
		require.NoError(p.t, err)
		time.Sleep(d)
	default:
		require.Fail(p.t, "unknown step", text)
	}
}

func (p *player) setup(mains []string) {
	p.send("focus", p.expand("<presence to='{pub}/focus' id='f1'><x xmlns='{muc}'/></presence>"))
	p.send("s2s", p.expand("<iq type='set' id='u' from='{m}' to='{cv}'><visitors xmlns='{vis}' room='{room}'><update password='' lobby='false' meetingId='meeting' createdTimestamp='1795335615000'><moderators/></update></visitors></iq>"))
	for _, name := range mains {
		p.send("s2s", p.expand("<presence from='{"+name+"}' to='{room}/{"+name+".nick}' xml:lang='en'><nick xmlns='{nick}'>"+name+"</nick>{oid}<x xmlns='{muc}'/></presence>"))
	}
	p.send("s2s", p.expand("<iq type='set' id='c' from='{m}' to='{cv}'><visitors xmlns='{vis}' room='{room}'><connect password='' lobby='false' meetingId='meeting' createdTimestamp='1795335615000'/></visitors></iq>"))
	p.drain()
}

func (p *player) send(who, stanza string) {
	require.NoError(p.t, wire.Check([]byte(stanza), wire.Limits{}), stanza)
	st, err := wire.ParseStanza([]byte(stanza))
	switch {
	case errors.Is(err, wire.ErrJID): // the streams answer it
	case who == "s2s":
		p.svc.FromRemote(st)
	default:
		p.svc.FromClient(p.client(who), st)
	}
	p.settle()
}

func (p *player) drain() {
	p.settle()
	p.main.take()
	for _, c := range p.clients {
		c.take()
	}
}

// verify compares what everybody got since the last input with what was
// expected.
func (p *player) verify() {
	p.settle()
	p.compare("s2s", p.main.take())
	if p.jicofo != nil {
		p.compare("jicofo", p.jicofo.take())
	}
	for name, c := range p.clients {
		p.compare(name, c.take())
		require.Equal(p.t, p.hung[name], c.hungUp.Load(), "%s hung up, after %s", name, p.input)
	}
	for name, left := range p.expected {
		require.Empty(p.t, left, "%s got nothing\nafter %s", name, p.input)
	}
}

func (p *player) compare(name string, got [][]byte) {
	want := p.expected[name]
	delete(p.expected, name)
	for i, b := range got {
		n, err := canonical.Parse(b)
		require.NoError(p.t, err)
		require.Less(p.t, i, len(want), "%s also got %s\nafter %s", name, b, p.input)
		pattern, err := canonical.Parse([]byte(want[i].stanza))
		require.NoError(p.t, err)
		if !n.Matches(pattern) {
			require.Fail(p.t, "unexpected stanza", "%s, line %d, after %s\nwant %s\ngot  %s", name, want[i].line, p.input, pattern, n)
		}
	}
	require.Len(p.t, got, len(want), "%s, after %s", name, p.input)
}

var placeholder = regexp.MustCompile(`\{[^{}"]+\}`)

// expand replaces placeholders:
//
//	{room} {pub} {main}        the room's address between servers, to clients, on main
//	{cv} {v}                   the node's domains
//	{NAME} {NAME.nick}         an address, and the nick made of it
//	{oid}                      any occupant-id
//	{err TYPE CONDITION BY TEXT}
//	{x [CODE...] ROLE AFFILIATION NAME [110]}
func (p *player) expand(s string) string {
	return placeholder.ReplaceAllStringFunc(s, func(m string) string {
		words := strings.Fields(m[1 : len(m)-1])
		switch words[0] {
		case "x":
			return p.expandX(words[1:])
		case "err":
			return p.expandError(words[1:])
		case "oid":
			return "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='*'/>"
		}
		if v, ok := p.constant(words[0]); ok {
			return v
		}
		if strings.HasPrefix(m, `{&quot;`) || strings.Contains(m, ":") {
			return m // JSON
		}
		name, nick := strings.CutSuffix(words[0], ".nick")
		address := p.people(name)
		if nick && strings.HasPrefix(address, "focus") {
			return "focus"
		} else if nick {
			return address[:8]
		}
		return address
	})
}

// people is [people] with the main domain of the transcript.
func (p *player) people(name string) string {
	address := cast.Address(name)
	if p.cfg.MainDomain == "meet.jitsi" {
		return address
	}
	return strings.Replace(address, "@meet.jitsi/", "@"+p.cfg.MainDomain+"/", 1)
}

func (p *player) constant(name string) (string, bool) {
	cfg := p.cfg.withDefaults()
	d := cfg.domains()
	v, ok := map[string]string{
		"room": p.room + "@" + d.Rooms, "pub": d.Public(p.room).String(),
		"main": p.room + "@" + d.MainRooms, "cv": d.Rooms, "v": d.Host,
		"m": d.Main, "cm": d.MainRooms, "vm": d.Visitors,
		"correct": "urn:xmpp:message-correct:0", "retract": "urn:xmpp:message-retract:1", "moderate": "urn:xmpp:message-moderate:1", "fasten": "urn:xmpp:fasten:0",
		"reactions": "urn:xmpp:reactions:0", "hints": "urn:xmpp:hints", "rayo": "urn:xmpp:rayo:1",
		"muc": wire.NSMUC, "user": wire.NSMUCUser, "nick": wire.NSNick, "vis": wire.NSVisitors,
		"owner": wire.NSMUCOwner, "admin": wire.NSMUCAdmin, "form": wire.NSForm, "info": wire.NSDisco,
		"items": wire.NSItems, "dn": "http://jitsi.org/protocol/display-name", "delay": wire.NSDelay,
	}[name]
	return v, ok
}

func (p *player) expandX(words []string) string {
	var before, after strings.Builder
	for len(words[0]) == 3 {
		fmt.Fprintf(&before, "<status code='%s'/>", words[0])
		words = words[1:]
	}
	role, affiliation, who, rest := words[0], words[1], words[2], words[3:]
	if len(rest) > 0 {
		after.WriteString("<status code='110'/>")
	}
	return fmt.Sprintf("<x xmlns='%s'>%s<item role='%s' affiliation='%s' jid='%s'/>%s</x>",
		wire.NSMUCUser, &before, role, affiliation, p.people(who), &after)
}

func (p *player) expandError(words []string) string {
	by, text := "", strings.Join(words[3:], " ")
	if words[2] != "-" {
		v, _ := p.constant(words[2])
		by = " by='" + v + "'"
	}
	if text != "" {
		text = "<text xmlns='" + wire.NSStanzas + "'>" + text + "</text>"
	}
	return fmt.Sprintf("<error type='%s'%s><%s xmlns='%s'/>%s</error>", words[0], by, words[1], wire.NSStanzas, text)
}
