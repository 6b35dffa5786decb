package muc

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func TestConfigValidate(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   string // part of the error, "" for none
	}{
		{"usual", func(*Config) {}, ""},
		{"other prefix", func(c *Config) { c.RoomPrefix, c.Domain = "muc", "muc.v3.meet.jitsi" }, ""},
		{"no main domain", func(c *Config) { c.MainDomain = "" }, "main domain"},
		{"no domain", func(c *Config) { c.Domain = "" }, "does not begin with"},
		{"prefix only", func(c *Config) { c.Domain = "conference." }, "does not begin with"},
		{"wrong prefix", func(c *Config) { c.RoomPrefix = "muc" }, "does not begin with"},
		{"main's own rooms", func(c *Config) { c.Domain = "conference.meet.jitsi" }, "main server's rooms"},
		{"negative limit", func(c *Config) { c.MaxQueued = -1 }, "MaxQueued"},
		{"negative time", func(c *Config) { c.EmptyTimeout = -1 }, "EmptyTimeout"},
		{"negative grace", func(c *Config) { c.MainGrace = -1 }, "MainGrace"},
		{"no history", func(c *Config) { c.HistoryMessages = -1 }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := testConfig()
			c.change(&cfg)
			if c.want == "" {
				require.NoError(t, cfg.Validate())
				return
			}
			require.ErrorContains(t, cfg.Validate(), c.want)
		})
	}
}

func TestQueueForgetsWhoWent(t *testing.T) {
	q := queue{index: make(map[Session]*waiting)}
	stay := &nullSession{}
	q.put(stay, who{}, "stay", nil)
	for range 1000 {
		s := &nullSession{}
		q.put(s, who{}, "x", nil)
		require.NotNil(t, q.drop(s))
		require.Nil(t, q.drop(s))
	}
	require.Less(t, len(q.order), 50)
	all := q.take()
	require.Len(t, all, 1)
	require.Equal(t, "stay", all[0].nick)
	require.Zero(t, q.joins())
}

func TestMailboxHandsBackWhatNobodyTook(t *testing.T) {
	m := newMailbox(10, 1000)
	for i := range 3 {
		require.True(t, m.put(event{turn: uint64(i)}))
	}
	require.Len(t, m.take(nil), 3)
	require.True(t, m.put(event{turn: 3}))
	left := m.close()
	require.Len(t, left, 1)
	require.Equal(t, uint64(3), left[0].turn)
	require.False(t, m.put(event{}))
}

func TestMailboxIsFullOfEventsOrBytes(t *testing.T) {
	for name, m := range map[string]*mailbox{"events": newMailbox(2, 1000), "bytes": newMailbox(10, 100)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				require.True(t, m.put(event{stanza: make([]byte, 50)}))
				require.True(t, m.put(event{stanza: make([]byte, 70)}))
				put := make(chan bool, 1)
				go func() { put <- m.put(event{}) }()
				synctest.Wait()
				require.Empty(t, put, "should wait")
				require.Len(t, m.take(nil), 2)
				require.True(t, <-put)
			})
		})
	}
}

func TestClipKeepsCharactersWhole(t *testing.T) {
	require.Equal(t, "abc", clip("abc", 3))
	require.Equal(t, "ab", clip("abc", 2))
	require.Equal(t, "a", clip("aé", 2))
	require.Equal(t, "", clip("é", 1))
	require.Equal(t, strings.Repeat("é", 5), clip(strings.Repeat("é", 9), 11))
}

// The identifier is the same for a user's sessions, and another in another
// room.
func TestOccupantIDIsStableAndOpaque(t *testing.T) {
	s := newSim(t, testConfig())
	user := s.session("vis1").jid
	salted := newOccupantIDs([]byte("salt"))
	peppered := newOccupantIDs([]byte("pepper"))
	id := string(salted.append(nil, user.Bare()))
	require.NotEqual(t, id, string(salted.append(nil, s.session("vis2").jid.Bare())))
	require.Equal(t, id, string(salted.append(nil, user.WithResource("other").Bare())))
	require.NotEqual(t, id, string(peppered.append(nil, user.Bare())))
	require.NotContains(t, id, user.Local[:8])
}
