package muc

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/muc/rate"
	"vnode/muc/room"
)

// wrote is how many lines main was sent since it was asked last, from that room.
func (p *player) wrote(room string) (n int) {
	p.settle()
	for _, stanza := range p.main.take() {
		if bytes.Contains(stanza, []byte("<body>")) && bytes.Contains(stanza, []byte("from='"+room+"@")) {
			n++
		}
	}
	return n
}

func (p *player) chats(name, id string, length int) {
	p.send(name, p.expand(fmt.Sprintf("<message type='groupchat' id='%s' to='{pub}'><body>%s</body></message>", id, strings.Repeat("x", length))))
}

// The visitors of one room may not use up what the main server hears of all: each
// other room still gets its share, and what main hears is bounded, however long
// the lines are.
func TestMainHearsAllRoomsWithinItsLimit(t *testing.T) {
	for name, length := range map[string]int{"short lines": 1, "lines of 10 KB": 10_000} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig()
			cfg.Limits.Main = rate.Limit{PerSecond: 40, Burst: 80}
			inBubble(t, cfg, func(t *testing.T, p *player) {
				for i, room := range []string{"loud", "quiet"} {
					p.room = room
					p.setup([]string{"main1"})
					p.joinAs(fmt.Sprint("vis", i+1), "one")
				}
				p.drain()
				p.room = "loud"
				for i := range 300 {
					p.chats("vis1", fmt.Sprint(i), length)
				}
				units := room.Units(length + 60)
				heard := p.wrote("loud")
				require.GreaterOrEqual(t, heard*units, 80)
				require.LessOrEqual(t, (heard-11)*units, 80, "one over the limit, and ten of its share")
				p.room = "quiet"
				for i := range 5 {
					p.chats("vis2", fmt.Sprint(i), 1)
				}
				require.Equal(t, 5, p.wrote("quiet"))

				// In the long run main hears what is allowed, and of each room.
				loud, quiet := 0, 0
				const seconds = 100
				for i := range 10 * seconds {
					time.Sleep(time.Second / 10)
					p.room = "loud"
					for k := range 10 {
						p.chats("vis1", fmt.Sprint("l", i, k), length)
					}
					loud += p.wrote("loud")
					if i%10 == 0 {
						p.room = "quiet"
						p.chats("vis2", fmt.Sprint("q", i), 1)
						quiet += p.wrote("quiet")
					}
				}
				require.Equal(t, seconds, quiet)
				require.Greater(t, loud*units, 30*seconds)
				// The limit, and two a second of its share.
				require.Less(t, loud*units, (40+2*units+1)*seconds)
				require.Positive(t, counter(t, p.reg, "vnode_muc_main_refused_total"))
			})
		})
	}
}

// What a room may say although main hears too much follows from the limit and the
// number of rooms, so that even all of them together say no more than as much again.
func TestShareOfMain(t *testing.T) {
	l := rate.Limit{PerSecond: 300, Burst: 1000}
	require.Equal(t, rate.Limit{PerSecond: 2, Burst: 10}, mainShare(l, 1))
	require.Equal(t, rate.Limit{PerSecond: 2, Burst: 10}, mainShare(l, 100))
	require.Equal(t, rate.Limit{PerSecond: 0.3, Burst: 1}, mainShare(l, 1000))
	require.Equal(t, rate.Limit{PerSecond: 2, Burst: 10}, mainShare(l, 0))
}

// What the node says to main of its own accord, as answers, is not counted: a main
// that connects many rooms at once does not silence their visitors.
func TestAnswersToMainAreNoFlood(t *testing.T) {
	cfg := testConfig()
	cfg.Limits.Main = rate.Limit{PerSecond: 0.01, Burst: 2}
	inBubble(t, cfg, func(t *testing.T, p *player) {
		p.setup([]string{"main1"})
		p.joinAs("vis1", "one")
		for i := range 20 {
			p.send("s2s", p.expand(fmt.Sprintf("<iq type='set' id='u%d' from='{m}' to='{cv}'><visitors xmlns='{vis}' room='{room}'><update/></visitors></iq>", i)))
		}
		p.drain()
		for i := range 4 {
			p.chats("vis1", fmt.Sprint(i), 1)
		}
		require.Equal(t, 4, p.wrote("room"), "two, and two of its share")
	})
}
