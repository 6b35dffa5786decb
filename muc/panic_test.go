package muc

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"vnode/internal/guard"
	"vnode/internal/wire"
)

func guardedConfig() Config {
	cfg := testConfig()
	cfg.Guard = guard.New(slog.New(slog.NewTextHandler(io.Discard, nil)), prometheus.NewRegistry(), func(int) {})
	return cfg
}

// A panic while a room takes an event costs that room: its visitors' pages reload,
// jicofo is told that it is gone and makes it again. Another room loses nothing, and
// nothing of the old room stays behind.
func TestPanicCostsOneRoom(t *testing.T) {
	inBubble(t, guardedConfig(), func(t *testing.T, p *player) {
		p.svc.SessionOpened(p.client("focus"))
		p.room = "other"
		p.setup([]string{"main2"})
		p.joinAs("vis3", "three")
		p.room = "room"
		p.setup([]string{"main1"})
		p.joinAs("vis1", "one")
		p.joinAs("vis2", "two")
		p.drain()

		p.main.trip = "fatal"
		p.send("vis1", p.expand("<message type='groupchat' to='{pub}'><body>fatal</body></message>"))
		require.Contains(t, p.got("focus"), "<destroy>")
		for _, name := range []string{"vis1", "vis2"} {
			require.True(t, p.client(name).hungUp.Load(), name)
			p.svc.SessionClosed(p.client(name))
		}
		require.False(t, p.client("vis3").hungUp.Load())
		require.False(t, p.client("focus").hungUp.Load())
		p.settle()
		require.Nil(t, p.svc.find("room"))
		require.EqualValues(t, 1, p.svc.visitors.Load())
		require.Equal(t, 1.0, gauge(t, p.reg, "vnode_muc_rooms", ""))
		for role, n := range map[string]float64{"visitor": 1, "participant": 1, "moderator": 1} {
			require.Equal(t, n, gauge(t, p.reg, "vnode_muc_occupants", role), role)
		}
		var told strings.Builder
		for _, s := range p.main.take() {
			told.Write(s)
		}
		require.Contains(t, told.String(), "type='unavailable'", "the main server sends its participants again")

		p.room = "other"
		p.send("vis3", p.expand("<message type='groupchat' to='{pub}'><body>still here</body></message>"))
		require.Contains(t, p.got("vis3"), "still here")
		p.drain()
		p.room = "room"
		p.setup([]string{"main1"})
		p.joinAs("vis4", "four")
		require.Contains(t, p.got("vis4"), "code='100'")
	})
}

// An operator's question that meets a panic is answered, and others in the same
// mailbox are.
func TestPanicAnswersTheOperator(t *testing.T) {
	inBubble(t, guardedConfig(), func(t *testing.T, p *player) {
		p.setup([]string{"main1"})
		err := p.svc.ask(t.Context(), "room", func(time.Time, *box) { panic("a fault of the program") })
		require.ErrorIs(t, err, ErrNoRoom)
		_, err = p.svc.Room(t.Context(), "room")
		require.True(t, errors.Is(err, ErrNoRoom))
	})
}

// A room that met a panic hands back what it has not handled. A panic over one of
// these events costs that one: others are handed back, and nobody waits for ever.
func TestPanicOverWhatARoomLeavesBehind(t *testing.T) {
	inBubble(t, guardedConfig(), func(t *testing.T, p *player) {
		p.setup([]string{"main1"})
		st, err := wire.ParseStanza([]byte("<iq type='get' id='fatal' from='someone@main.example/x' to='room@conference.v3.meet.example'><ping xmlns='urn:xmpp:ping'/></iq>"))
		require.NoError(t, err)
		late := &call{done: make(chan bool, 1), do: func(time.Time, *box) bool { return true }}
		err = p.svc.ask(t.Context(), "room", func(_ time.Time, b *box) {
			p.main.trip = "fatal" // the error that the main server is told
			b.mail.push(fromRemote(st))
			b.mail.push(event{call: late})
			panic("a fault of the program")
		})
		require.ErrorIs(t, err, ErrNoRoom)
		require.False(t, <-late.done)
		require.Empty(t, p.main.trip, "the second panic was met")
		p.settle()
		require.Nil(t, p.svc.find("room"))
	})
}

// A panic over what jicofo answers is trouble with jicofo, and not the room's end.
func TestPanicOverJicofosAnswer(t *testing.T) {
	cfg := guardedConfig()
	cfg.AskJicofo = func(context.Context, string) (string, error) { panic("a fault of the program") }
	inBubble(t, cfg, func(t *testing.T, p *player) {
		answer := make(chan string, 1)
		p.svc.askJicofo("room@rooms", func(node, trouble string) { answer <- node + trouble })
		require.Equal(t, "a fault of the program", <-answer)
	})
}
