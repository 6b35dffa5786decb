package conference

import (
	"context"
	"crypto/tls"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/internal/xmpptest/prosody"
)

// A real main Prosody, real participants and a real focus there; only the node
// is a fake, so that what is tested is the load itself.
func TestAConferenceAtARealProsody(t *testing.T) {
	ctx := testContext(t)
	node := newFakeNode(t, false)
	main := prosody.Run(t, prosody.Options{
		Bidi: true, Nodes: map[string]netip.AddrPort{"v3": netip.MustParseAddrPort(node.s2s.Addr().String())},
	})
	node.openToMain(main.S2SAddr().String())
	ledger := NewLedger()
	room := "demo@" + main.RoomsDomain()
	live, err := NewLive(ctx, LiveOptions{
		URL: main.WebSocketURL(), Domain: main.MainDomain(), Room: room, Component: main.VisitorsDomain(), VNode: "v3", Ledger: ledger,
		Focus: FocusOptions{Addr: main.C2SAddr().String(), JID: fakeFocus, Password: main.FocusPassword()},
	})
	require.NoError(t, err)
	require.Equal(t, fakeFocus, live.focus.JID(), "the resource asked for")
	focus, err := DialFocus(ctx, FocusOptions{
		Addr: node.c2s.Addr().String(), JID: fakeFocus, Password: "secret", Plain: true,
	})
	require.NoError(t, err)
	swarm := NewSwarm(SwarmOptions{URL: node.url, Domain: fakeDomain, Room: "demo@" + fakeRooms, Ledger: ledger, Timeout: testTime})
	defer swarm.Close()
	s := &Scenario{
		Name: "test", Conference: live, Focus: focus, Room: "demo@" + fakeRooms, Swarm: swarm, Ledger: ledger,
		Participants: 3, Visitors: 10, Talk: 300 * time.Millisecond, Updates: 50, Lines: 50, VisitorLines: 50, Changes: 10,
	}
	rep := s.Run(ctx)
	require.Empty(t, rep.Problems)
	require.Positive(t, rep.Main.Tally.Delivered)
	ctx, cancel := context.WithTimeout(context.Background(), testTime)
	defer cancel()
	require.NoError(t, live.Close(ctx))
	require.NoError(t, focus.Close(ctx))
}

func TestAFocusLogsInByEveryMechanismWithAndWithoutTLS(t *testing.T) {
	main := prosody.Run(t, prosody.Options{})
	ctx := testContext(t)
	for _, plain := range []bool{false, true} {
		for _, conf := range []*tls.Config{nil, {InsecureSkipVerify: true}} {
			f, err := DialFocus(ctx, FocusOptions{
				Addr: main.C2SAddr().String(), JID: fakeFocus, Password: main.FocusPassword(), Plain: plain, TLS: conf,
			})
			require.NoError(t, err, "PLAIN %t, TLS %t", plain, conf != nil)
			require.NoError(t, f.Close(ctx))
		}
	}
}

func TestAFocusThatIsRefused(t *testing.T) {
	ctx := testContext(t)
	node := newFakeNode(t, false)
	_, err := DialFocus(ctx, FocusOptions{Addr: node.c2s.Addr().String(), JID: fakeFocus, Password: "wrong", Plain: true})
	require.Error(t, err)
	_, err = DialFocus(ctx, FocusOptions{Addr: node.c2s.Addr().String(), JID: fakeFocus, Password: "secret"})
	require.Error(t, err, "SCRAM-SHA-1 is not offered")
	for _, wrong := range []string{"no@@jid", "focus@auth.meet.jitsi", "auth.meet.jitsi/focus"} {
		_, err = DialFocus(ctx, FocusOptions{JID: wrong})
		require.ErrorContains(t, err, wrong)
	}
}
