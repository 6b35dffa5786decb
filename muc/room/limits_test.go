package room

import (
	"bytes"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/muc/rate"
)

// The operator of an old main, or of one that hangs, is told why visitors wait.
func TestMissingConnectIsLogged(t *testing.T) {
	s := newSim(t, testConfig())
	var out bytes.Buffer
	s.room.log = slog.New(slog.NewTextHandler(&out, nil))
	s.join(s.session("focus"), "focus")
	s.join(s.session("vis1"), "one")
	s.mainJoin("main1", "")
	s.pass(29 * time.Second)
	require.NotContains(t, out.String(), "no connect")
	s.pass(time.Second)
	require.Contains(t, out.String(), "main-without-connect")

	out.Reset()
	s.control("connect", "password=''>")
	s.pass(time.Hour)
	require.NotContains(t, out.String(), "no connect")
}

// The queue never stalls: when a limit is lifted, those who wait come in within
// a second, however low it was.
func TestLiftedJoinLimitIsNoticed(t *testing.T) {
	s, _, _, _ := settled(t)
	l := Limits{Joins: rate.Limit{PerSecond: 1e-6}}.WithDefaults()
	s.node.Limits = &l
	s.join(s.session("vis3"), "three")
	v := s.session("vis4")
	s.join(v, "four")
	s.pass(time.Second)
	require.Empty(t, v.got)
	l.Joins = rate.Limit{}
	s.node.Limits = &l
	s.pass(time.Second)
	require.NotEmpty(t, v.got)
}
