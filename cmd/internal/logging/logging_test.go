package logging

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// paper is a log on paper.
type paper struct {
	*Logs
	*slog.Logger
	bytes.Buffer
	level slog.LevelVar
}

func newPaper() *paper {
	p := new(paper)
	p.Logs, p.Logger = New(slog.NewTextHandler(&p.Buffer, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}), &p.level, prometheus.NewRegistry())
	return p
}

// wrote returns what was written since the last look.
func (p *paper) wrote() string {
	s := p.String()
	p.Reset()
	return s
}

func (p *paper) debug(t *testing.T, name string, d time.Duration) {
	t.Helper()
	require.NoError(t, p.Logs.Debug(name, d))
}

// One room is logged in every detail, the others as before, and not for ever.
func TestOneRoomInEveryDetail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPaper()
		demo, other := p.With("room", "demo@conference.v3.meet.jitsi"), p.With("room", "other@conference.v3.meet.jitsi")
		demo.Debug("quiet")
		require.Empty(t, p.wrote())
		for _, name := range []string{"demo@conference.v3.meet.jitsi", "demo"} {
			p.debug(t, name, time.Minute)
			demo.Debug("loud", "nick", "ada")
			other.Debug("quiet")
			p.Logger.Debug("quiet")
			p.Log(t.Context(), Trace, "stanza", "room", "demo@conference.v3.meet.jitsi")
			p.Log(t.Context(), Trace, "stanza", "room", "demonstration@conference.v3.meet.jitsi")
			require.Equal(t, "level=DEBUG msg=loud room=demo@conference.v3.meet.jitsi nick=ada\n"+
				"level=DEBUG-4 msg=stanza room=demo@conference.v3.meet.jitsi\n", p.wrote())
			require.Len(t, p.Debugged(), 1)
			time.Sleep(time.Minute)
			demo.Debug("quiet")
			require.Empty(t, p.wrote())
			require.Empty(t, p.Debugged())
		}
	})
}

func TestOneSessionInEveryDetail(t *testing.T) {
	p := newPaper()
	for _, name := range []string{"abc@v3.meet.jitsi/x", "abc@v3.meet.jitsi", "abc"} {
		p.debug(t, name, time.Minute)
		p.Logger.Debug("in", "session", "abc@v3.meet.jitsi/x")
		p.Logger.Debug("in", "session", "abcd@v3.meet.jitsi/x")
		p.Logger.WithGroup("g").Debug("in", "session", "abc@v3.meet.jitsi/x") // that is g.session
		require.Equal(t, "level=DEBUG msg=in session=abc@v3.meet.jitsi/x\n", p.wrote(), name)
		p.debug(t, name, 0)
		require.ErrorContains(t, p.Logs.Debug(name, 0), "no detailed log")
	}
}

func TestTargetsAreBounded(t *testing.T) {
	p := newPaper()
	for i := range maxTargets {
		p.debug(t, fmt.Sprint(i), time.Minute)
	}
	require.ErrorIs(t, p.Logs.Debug("one more", time.Minute), ErrTooMany)
	p.debug(t, "3", time.Hour) // longer
	p.debug(t, "4", 0)
	p.debug(t, "one more", time.Minute)
}

// Secrets stay out, wherever somebody put them.
func TestSecretsAreTakenOut(t *testing.T) {
	p := newPaper()
	p.Info("login", "password", "hunter2", "user", "focus")
	p.With("turn_secret", "hunter2").WithGroup("http").Info("request", "Authorization", "Bearer hunter2")
	p.Info("nested", slog.Group("a", slog.Group("b", "access_token", "hunter2")), "n", 1)
	text := p.wrote()
	require.NotContains(t, text, "hunter2")
	require.Equal(t, 4, strings.Count(text, hidden))
	require.Contains(t, text, "user=focus")
	require.Contains(t, text, "n=1")
	p.With("room", "r@x").Info("joined", "token", "hunter2")
	require.NotContains(t, fmt.Sprint(p.Events("r@x")), "hunter2")
}

// flood is one place in the code: inlined, it would be two.
//
//go:noinline
func (p *paper) flood(n int) {
	for range n {
		p.Warn("somebody knocks")
	}
}

// A flood of one kind is cut short and counted; other kinds are heard.
func TestFloodsAreCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPaper()
		p.flood(10 * burst)
		p.Warn("the roof is on fire")
		text := p.wrote()
		require.Equal(t, burst, strings.Count(text, "knocks"))
		require.Contains(t, text, "fire")
		require.InDelta(t, 9*burst, testutil.ToFloat64(p.suppressed), 0)
		require.InDelta(t, burst+1, testutil.ToFloat64(p.records[slog.LevelWarn]), 0)
		time.Sleep(time.Second)
		p.flood(1)
		require.Contains(t, p.wrote(), fmt.Sprintf("suppressed=%d", 9*burst))
		// Who asked for a room's details gets them.
		p.debug(t, "r@x", time.Hour)
		for range 10 * burst {
			p.Warn("busy", "room", "r@x")
		}
		require.Equal(t, 10*burst, strings.Count(p.wrote(), "busy"))
	})
}

// What happened in a room lately can be looked at, whatever the log's level.
func TestEventsOfARoom(t *testing.T) {
	p := newPaper()
	p.level.Set(slog.LevelError)
	r := p.With("room", "r@x")
	r.Debug("joined", "nick", "ada", "role", "visitor")
	r.Warn("main is lost")
	events := p.Events("r@x")
	require.Len(t, events, 2)
	require.Equal(t, "main is lost", events[0].Text)
	require.Equal(t, slog.LevelWarn, events[0].Level)
	require.Equal(t, "joined (nick ada, role visitor)", events[1].Text)
	for i := range 3 * maxEvents {
		r.Info(fmt.Sprint("event ", i))
	}
	events = p.Events("r@x")
	require.Len(t, events, maxEvents)
	require.Equal(t, fmt.Sprint("event ", 3*maxEvents-1), events[0].Text)
	require.Equal(t, fmt.Sprint("event ", 2*maxEvents), events[maxEvents-1].Text)
	require.Empty(t, p.wrote())
	require.Empty(t, p.Events("nobody@x"))
}

func TestEventsForgetRoomsThatAreSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPaper()
		for i := range maxEventRooms {
			p.With("room", fmt.Sprint(i)).Info("x")
			time.Sleep(time.Millisecond)
		}
		p.With("room", "0").Info("again")
		p.With("room", "new").Info("x")
		require.Len(t, p.Events("0"), 2)
		require.Empty(t, p.Events("1"))
		require.Len(t, p.events.rooms, maxEventRooms)
	})
}

// A log call that nobody hears costs nothing to speak of.
func TestSilenceDoesNotAllocate(t *testing.T) {
	p := newPaper()
	ctx := t.Context()
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if p.Enabled(ctx, Trace) || p.Enabled(ctx, slog.LevelDebug) {
			t.Fail()
		}
	}))
}

// login is a value that says itself how it is logged.
type login struct{ user, password string }

func (l login) LogValue() slog.Value {
	return slog.GroupValue(slog.String("user", l.user), slog.String("password", l.password))
}

func TestSecretsOfValuesThatLogThemselvesAreTakenOut(t *testing.T) {
	p := newPaper()
	p.Info("login", "by", login{"focus", "hunter2"})
	p.With("by", login{"focus", "hunter2"}).Info("again")
	text := p.wrote()
	require.NotContains(t, text, "hunter2")
	require.Equal(t, 2, strings.Count(text, hidden))
	require.Equal(t, 2, strings.Count(text, "by.user=focus"))
}
