package node

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/internal/xmpptest/conference"
	"vnode/internal/xmpptest/prosody"
)

// talk is a visitor and a participant who talk across a link that fails, and
// what they said.
type talk struct {
	*stage
	link                 *link
	node                 *running
	visitor, participant *person
	said                 int
	fromVisitor, toNode  []string
}

// says lets one of them say a line.
func (k *talk) says(p *person) string {
	k.said++
	id := p.say(fmt.Sprintf("line-%d-of-%s", k.said, p.nick))
	if p == k.visitor {
		k.fromVisitor = append(k.fromVisitor, id)
	} else {
		k.toNode = append(k.toNode, id)
	}
	return id
}

// settle waits until every line has reached the other side or has come back to
// who said it, and checks that none did both, or twice.
func (k *talk) settle() {
	k.t.Helper()
	check := func(ids []string, from, to *person) {
		k.t.Helper()
		for _, id := range ids {
			require.Eventually(k.t, func() bool { return to.heard(id)+from.returned(id) > 0 }, 20*time.Second, 5*time.Millisecond, "%s was lost", id)
		}
		k.link.quiet()
		for _, id := range ids {
			heard, back := to.heard(id), from.returned(id)
			require.Equal(k.t, 1, heard+back, "%s was heard %d times and came back %d times", id, heard, back)
		}
	}
	check(k.fromVisitor, k.visitor, k.participant)
	check(k.toNode, k.participant, k.visitor)
	k.visitor.stayed()
	// A line that main has, but has not acknowledged, would come back at the next cut.
	require.Eventually(k.t, func() bool { return k.node.metric("vnode_s2s_unacked_stanzas", "") == 0 }, 20*time.Second, 5*time.Millisecond)
}

// healed checks that all is well again, once both sides have noticed what
// happened to their streams.
func (k *talk) healed() {
	k.t.Helper()
	k.link.heal()
	k.ready()
	k.through(k.visitor, k.participant)
	k.through(k.participant, k.visitor)
	k.settle()
}

// through lets one say lines until the other hears one.
func (k *talk) through(from, to *person) {
	k.t.Helper()
	for range 20 {
		id := k.says(from)
		require.Eventually(k.t, func() bool { return to.heard(id)+from.returned(id) > 0 }, 20*time.Second, 5*time.Millisecond, "%s was lost", id)
		if to.heard(id) > 0 {
			return
		}
	}
	require.Fail(k.t, "nothing gets through", "from %s", from.nick)
}

func back(p *person, id string) {
	p.t.Helper()
	p.eventually(id+" comes back", func() bool { return p.errors[id] > 0 })
}

// The link between a node and a real main fails in every way. What is said
// meanwhile either arrives or comes back, once; the visitor stays in its room;
// and when the link is good again everything is as before.
func TestLinkFails(t *testing.T) {
	s := newStage(t, prosody.Options{Auth: prosody.AuthSelfSigned, Bidi: true}, "v3")
	s.ready()
	s.open()
	k := &talk{stage: s, link: s.links["v3"], node: s.nodes["v3"], participant: s.participant()}
	s.connect()
	k.visitor = s.visitor("v3")
	k.visitor.sees(k.participant)
	k.healed()

	t.Run("cut for a while", func(t *testing.T) {
		k.link.cut()
		lost := k.says(k.visitor)
		back(k.participant, k.says(k.participant))
		back(k.visitor, lost) // it has waited long enough
		k.says(k.visitor)     // may still make it
		k.healed()
	})
	t.Run("cut in the middle of a visitor's line", func(t *testing.T) {
		k.link.cutAfter(up, 60)
		k.says(k.visitor)
		require.Eventually(t, k.link.wasCut, 20*time.Second, time.Millisecond)
		k.says(k.visitor)
		k.says(k.participant)
		k.healed()
	})
	t.Run("cut in the middle of a participant's line", func(t *testing.T) {
		k.link.cutAfter(down, 60)
		k.says(k.participant)
		require.Eventually(t, k.link.wasCut, 20*time.Second, time.Millisecond)
		k.says(k.visitor)
		k.says(k.participant)
		k.healed()
	})
	t.Run("half-open", func(t *testing.T) {
		stalled := k.node.metric("vnode_s2s_closed_total", "stalled")
		k.link.freeze()
		k.says(k.participant)
		back(k.visitor, k.says(k.visitor)) // the node noticed
		require.Greater(t, k.node.metric("vnode_s2s_closed_total", "stalled"), stalled)
		k.says(k.visitor)
		k.healed()
	})
	t.Run("slow", func(t *testing.T) {
		k.link.quiet()
		ended := k.node.metric("vnode_s2s_closed_total", "")
		undelivered := k.node.metric("vnode_s2s_undelivered_total", "")
		k.link.slow(20_000)
		for range 10 {
			k.says(k.visitor)
			k.says(k.participant)
		}
		k.settle()
		require.Equal(t, ended, k.node.metric("vnode_s2s_closed_total", ""))
		require.Equal(t, undelivered, k.node.metric("vnode_s2s_undelivered_total", ""))
		k.healed()
	})
	require.Positive(t, k.node.metric("vnode_s2s_undelivered_total", "unacknowledged"))
	require.Positive(t, k.node.metric("vnode_s2s_undelivered_total", "expired"))
}

// The link is cut again and again while visitors talk without a pause. Every
// line arrives or comes back, none arrives twice. A line whose acknowledgement
// was lost with the link does both: nobody can tell it from one that was lost
// itself, and to send it again could make it arrive twice.
func TestLinkIsCutWhileVisitorsTalk(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := newLink(t, netip.MustParseAddrPort(ln.Addr().String()))
	cfg := testConfig(t, l.toMain.Addr().String())
	node := start(t, cfg)
	l.leadsTo(node.Addresses().S2S[0])
	fast, err := node.s2sConfig(cfg)
	require.NoError(t, err)
	fast.RetryMin, fast.RetryMax = 10*time.Millisecond, 100*time.Millisecond
	require.NoError(t, node.federation.Reload(fast))
	ledger := conference.NewLedger()
	meeting := node.simulatedMain(ln).Room("demo", ledger)
	_, err = meeting.Join(t.Context())
	require.NoError(t, err)
	_, err = node.focus().CreateRoom(t.Context(), demoRoom, nil)
	require.NoError(t, err)
	require.NoError(t, meeting.ConnectVNode(t.Context()))
	swarm := node.swarm(ledger)
	const visitors, rounds, lines = 5, 8, 40
	require.NoError(t, swarm.Join(t.Context(), visitors, 0))
	linked := func() bool { return node.up()["conference.v3.meet.jitsi -> conference.meet.jitsi"] }

	for round := range rounds {
		require.Eventually(t, linked, 20*time.Second, time.Millisecond)
		l.cutAfter(up, 1000*(round+1))
		for n := range lines {
			require.NoError(t, swarm.Visitors()[n%visitors].Chat())
		}
		require.Eventually(t, l.wasCut, 20*time.Second, time.Millisecond)
		require.NoError(t, swarm.Visitors()[0].Chat())
		l.heal()
	}

	const said = rounds * (lines + 1)
	account := func() (delivered, back uint64) {
		for _, v := range swarm.Visitors() {
			back += v.Tally().Errors
		}
		return meeting.Heard().Delivered, back
	}
	require.Eventually(t, func() bool {
		delivered, back := account()
		return delivered+back >= said && node.metric("vnode_s2s_unacked_stanzas", "")+node.metric("vnode_s2s_queue_stanzas", "") == 0
	}, 40*time.Second, 10*time.Millisecond)
	delivered, back := account()
	t.Logf("%d said, %d arrived, %d came back, so %d did both", said, delivered, back, delivered+back-said)
	heard := meeting.Heard()
	require.Zero(t, heard.Duplicate+heard.OutOfOrder+heard.Unexpected+heard.Misaddressed)
	require.EqualValues(t, said-delivered, heard.Lost)
	require.LessOrEqual(t, delivered, uint64(said))
	require.LessOrEqual(t, back, uint64(said))
	for _, v := range swarm.Visitors() {
		_, over := v.Ended()
		require.False(t, over)
	}
}
