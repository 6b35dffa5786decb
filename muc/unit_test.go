package muc

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"vnode/internal/wire"
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
		{"negative limit", func(c *Config) { c.Room.MaxQueued = -1 }, "MaxQueued"},
		{"negative time", func(c *Config) { c.Room.EmptyTimeout = -1 }, "EmptyTimeout"},
		{"negative grace", func(c *Config) { c.Room.MainGrace = -1 }, "MainGrace"},
		{"no history", func(c *Config) { c.Room.HistoryMessages = -1 }, ""},
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

func TestMailboxHandsBackWhatNobodyTook(t *testing.T) {
	m := newMailbox(10, 1000)
	for i := range 3 {
		require.True(t, m.put(event{joins: i == 2}))
	}
	require.Len(t, m.take(nil), 3)
	require.True(t, m.put(event{joins: true}))
	left := m.close()
	require.Len(t, left, 1)
	require.True(t, left[0].joins)
	require.False(t, m.put(event{}))
}

func TestMailboxIsFullOfEventsOrBytes(t *testing.T) {
	for name, m := range map[string]*mailbox{"events": newMailbox(2, 1000), "bytes": newMailbox(10, 100)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				require.True(t, m.put(event{stanza: &wire.Stanza{Raw: make([]byte, 50)}}))
				require.True(t, m.put(event{stanza: &wire.Stanza{Raw: make([]byte, 70)}}))
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
