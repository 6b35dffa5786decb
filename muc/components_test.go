package muc

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The pace of votes, and how many a visitor may send at once.
const (
	voteTick     = 200 * time.Millisecond
	votesPerTick = 10
	voteBurst    = 10
)

// poll makes main tell of a poll p1 with two answers.
func (p *player) poll() {
	p.send("s2s", p.expand("<iq type='set' id='u' from='meet.jitsi' to='{cv}'><visitors xmlns='{vis}' room='{room}'><update password=''><polls>"+
		escaped(`{"command":"old-polls","polls":[{"pollId":"p1","question":"?","answers":[{"name":"y"},{"name":"n"}]}]}`)+
		"</polls></update></visitors></iq>"))
}

func (p *player) vote(name, choices string) {
	p.send(name, p.expand("<message to='polls.{v}' id='v'><json-message xmlns='http://jitsi.org/jitmeet'>"+
		escaped(`{"type":"polls","command":"answer-poll","pollId":"p1","answers":[`+choices+`]}`)+"</json-message></message>"))
}

// Each vote goes to all, so that all cannot be told at once.
func TestVotesAreToldAtAPace(t *testing.T) {
	inBubble(t, testConfig(), func(t *testing.T, p *player) {
		const voters = 35
		p.setup([]string{"main1"})
		for i := range voters {
			p.joinAs(fmt.Sprint("vis", i), fmt.Sprint("nick", i))
		}
		p.poll()
		time.Sleep(voteTick)
		p.drain()
		for i := range voters {
			p.vote(fmt.Sprint("vis", i), "true")
		}
		told, sent := 0, 0
		for tick := 1; told < voters; tick++ {
			told += strings.Count(p.got("vis7"), "answer-poll")
			sent += len(p.main.take())
			require.Equal(t, min(tick*votesPerTick, voters), told, "tick %d", tick)
			require.Equal(t, told, sent, "main is spared too")
			time.Sleep(voteTick)
		}
		p.joinAs("vis99", "late")
		require.Equal(t, voters, strings.Count(p.got("vis99"), "&quot;id&quot;:"))
	})
}

func TestAVisitorsVotesAreLimited(t *testing.T) {
	inBubble(t, testConfig(), func(t *testing.T, p *player) {
		p.setup([]string{"main1"})
		p.joinAs("vis1", "one")
		p.poll()
		p.drain()
		for i := range voteBurst {
			p.vote("vis1", fmt.Sprint(i%2 == 0))
			require.NotContains(t, p.got("vis1"), "error")
			p.main.take()
		}
		p.vote("vis1", "true")
		require.Contains(t, p.got("vis1"), "Votes come too fast")
		time.Sleep(2 * time.Second)
		p.drain()
		p.vote("vis1", "true")
		require.NotContains(t, p.got("vis1"), "error")
		p.vote("vis1", strings.Repeat(" ", 1000)+"true")
		require.Contains(t, p.got("vis1"), "<policy-violation")
	})
}

// A vote is for the room that the session has joined last.
func TestVotesGoToTheLatestRoom(t *testing.T) {
	inBubble(t, testConfig(), func(t *testing.T, p *player) {
		for _, room := range []string{"first", "second"} {
			p.room = room
			p.setup([]string{"main1"})
			p.joinAs("vis1", "one")
			p.poll()
			p.drain()
		}
		p.vote("vis1", "true")
		require.Contains(t, string(p.main.take()[0]), "roomJid='second@conference.meet.jitsi'")
		p.room = "first"
		p.send("vis1", p.expand("<presence to='{pub}/one'/>")) // an update is no join
		p.vote("vis1", "false,true")
		require.Contains(t, string(p.main.take()[0]), "roomJid='second@conference.meet.jitsi'")
		p.send("vis1", p.expand("<presence to='{pub}/one' type='unavailable'/>"))
		p.joinAs("vis1", "one")
		p.vote("vis1", "true")
		require.Contains(t, string(p.main.take()[0]), "roomJid='first@conference.meet.jitsi'")
	})
}

// Votes that could not be sent go out when main is there again.
func TestVotesWaitForMain(t *testing.T) {
	inBubble(t, testConfig(), func(t *testing.T, p *player) {
		p.svc.MainLink(1)
		p.setup([]string{"main1"})
		p.joinAs("vis1", "one")
		p.poll()
		p.svc.MainLink(2)
		p.drain()
		p.vote("vis1", "true")
		require.Len(t, p.main.take(), 1)
		p.send("s2s", p.expand("<message type='error' from='polls.meet.jitsi' to='{cv}' id='1@room'><error type='wait'/></message>"))
		p.send("s2s", p.expand("<message type='error' from='polls.meet.jitsi' to='{cv}' id='nonsense'/>"))
		p.send("s2s", p.expand("<message type='error' from='polls.meet.jitsi' to='{cv}' id='7@elsewhere'/>"))
		require.Empty(t, p.main.take())
		p.svc.MainLink(3)
		p.settle()
		sent := p.main.take()
		require.Len(t, sent, 2, "the question whether the room is there, and the vote")
		require.Contains(t, string(sent[1]), "answer-poll")
	})
}
