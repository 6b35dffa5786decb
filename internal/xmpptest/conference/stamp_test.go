package conference

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStampSurvivesAStanza(t *testing.T) {
	s := Stamp{Source: 12, Kind: Chat, Seq: 3, Order: 7, At: Now()}
	got, ok := ParseStamp([]byte("<message from='a@b/c'><body>hi " + s.String() + "</body></message>"))
	require.True(t, ok)
	require.Equal(t, s, got)
}

func TestWhatIsNoStamp(t *testing.T) {
	for _, text := range []string{
		"", "vnode-bench:", "vnode-bench:1:p:1:1:1", "vnode-bench:1:x:1:1:1;", "vnode-bench:1:p:0:1:1;",
		"vnode-bench:1:p:1:0:1;", "vnode-bench:-1:p:1:1:1;", "vnode-bench::p:1:1:1;", "vnode-bench:1:p:1:1:;",
		"vnode-bench:99999999999:p:1:1:1;", "vnode-bench:1:p:99999999999999999999:1:1;",
	} {
		_, ok := ParseStamp([]byte(text))
		require.False(t, ok, text)
	}
}

func TestParseStampDoesNotAllocate(t *testing.T) {
	p := []byte("<presence from='room@conference.v3.meet.jitsi/nick'><stamp xmlns='urn:vnode:bench'>" +
		Stamp{Source: 1, Kind: Presence, Seq: 2, Order: 3, At: 4}.String() + "</stamp></presence>")
	require.Zero(t, testing.AllocsPerRun(100, func() { ParseStamp(p) }))
}

func FuzzParseStamp(f *testing.F) {
	f.Add([]byte(Stamp{Source: 1, Kind: Presence, Seq: 2, Order: 3, At: 4}.String()))
	f.Add([]byte("vnode-bench:1:c:2:3;4;"))
	f.Add([]byte("vnode-bench:"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, ok := ParseStamp(b)
		if !ok {
			return
		}
		again, ok := ParseStamp([]byte(s.String()))
		require.True(t, ok)
		require.Equal(t, s, again)
	})
}
