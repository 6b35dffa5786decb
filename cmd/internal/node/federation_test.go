package node

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"vnode/cmd/internal/config"
	"vnode/internal/xmpptest/conference"
	"vnode/internal/xmpptest/prosody"
)

const mainRoomJID = "demo@conference.meet.jitsi"

// stage is a real main and its nodes, each behind a link of its own, with a
// focus for everybody.
type stage struct {
	t     *testing.T
	main  *prosody.Server
	nodes map[string]*running
	links map[string]*link
	focus map[string]*conference.Focus
}

// newStage starts nodes and a main that knows them. The streams of the nodes
// notice failures within about a second.
func newStage(t *testing.T, options prosody.Options, ids ...string) *stage {
	t.Helper()
	s := &stage{t: t, nodes: map[string]*running{}, links: map[string]*link{}, focus: map[string]*conference.Focus{}}
	ports, err := prosody.Reserve()
	require.NoError(t, err)
	options.Ports, options.Nodes = ports, map[string]netip.AddrPort{}
	for _, id := range ids {
		l := newLink(t, ports.S2S())
		cfg := testConfig(t, l.toMain.Addr().String())
		cfg.ID = config.ID(id)
		if options.CA != nil {
			certify(t, cfg, options.CA)
		}
		node := start(t, cfg)
		l.leadsTo(node.Addresses().S2S[0])
		fast, err := node.s2sConfig(cfg)
		require.NoError(t, err)
		fast.NegotiationTimeout, fast.LossTimeout, fast.QueueTimeout = 2*time.Second, 2*time.Second, time.Second
		fast.RetryMin, fast.RetryMax = 20*time.Millisecond, 200*time.Millisecond
		require.NoError(t, node.federation.Reload(fast))
		s.nodes[id], s.links[id] = node, l
		options.Nodes[id] = netip.MustParseAddrPort(l.toNode.Addr().String())
	}
	s.main = prosody.Run(t, options)
	return s
}

// certify gives a node a certificate of the CA and lets it believe nothing
// else.
func certify(t *testing.T, cfg *config.Config, ca *prosody.CA) {
	t.Helper()
	issued, err := ca.Issue(cfg.Host(), cfg.Rooms())
	require.NoError(t, err)
	write := func(name string, b []byte) string {
		path := filepath.Join(cfg.StateDir, name)
		require.NoError(t, os.WriteFile(path, b, 0o600))
		return path
	}
	cfg.CertificateFile, cfg.KeyFile = write("ca-node.crt", issued.CertPEM), write("ca-node.key", issued.KeyPEM)
	cfg.S2SCAFile, cfg.S2STrust = write("ca.crt", ca.PEM()), config.TrustCertificate
}

// open lets the focus create the room on main and on every node. Participants
// are to come before connect.
func (s *stage) open() {
	s.t.Helper()
	s.openOnMain()
	for id, node := range s.nodes {
		s.focus[id] = node.focus()
		_, err := s.focus[id].CreateRoom(s.t.Context(), fmt.Sprintf("demo@conference.%s.meet.jitsi", id), nil)
		require.NoError(s.t, err)
	}
}

func (s *stage) openOnMain() {
	s.t.Helper()
	f, err := conference.DialFocus(s.t.Context(), conference.FocusOptions{
		Addr: s.main.C2SAddr().String(), JID: "focus@auth.meet.jitsi/focus", Password: s.main.FocusPassword(),
	})
	require.NoError(s.t, err)
	s.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = f.Close(ctx) // main may be gone
	})
	s.focus[""] = f
	_, err = f.CreateRoom(s.t.Context(), mainRoomJID, nil)
	require.NoError(s.t, err)
}

// connect lets main connect the room to every node.
func (s *stage) connect() {
	s.t.Helper()
	for id := range s.nodes {
		require.NoError(s.t, s.focus[""].ConnectVNode(s.t.Context(), s.main.VisitorsDomain(), mainRoomJID, id))
	}
}

func (s *stage) participant() *person {
	s.t.Helper()
	return enter(s.t, s.main.C2SAddr().String(), "meet.jitsi", mainRoomJID)
}

func (s *stage) visitor(id string) *person {
	s.t.Helper()
	return enter(s.t, s.nodes[id].Addresses().C2S[0], id+".meet.jitsi", fmt.Sprintf("demo@conference.%s.meet.jitsi", id))
}

// ready waits until all streams that a node keeps are up.
func (s *stage) ready() {
	s.t.Helper()
	for _, node := range s.nodes {
		require.Eventually(s.t, func() bool {
			for _, up := range node.up() {
				if !up {
					return false
				}
			}
			return true
		}, 20*time.Second, 5*time.Millisecond)
	}
}

// metric sums the values of a node's counter or gauge whose labels have value.
func (r *running) metric(name, value string) (sum float64) {
	r.t.Helper()
	families, err := prometheus.Gatherer(r.registry).Gather()
	require.NoError(r.t, err)
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			match := value == ""
			for _, l := range m.GetLabel() {
				match = match || l.GetValue() == value
			}
			if match {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

// A visitor's line reaches everybody exactly once: the visitors of its node,
// those of the other node, and the participants. Main has the usual
// configuration, in which its components cannot dial a node, so what is for
// the other node takes the stream which that one has opened.
func TestVisitorsOfTwoNodesHearEachOther(t *testing.T) {
	s := newStage(t, prosody.Options{Auth: prosody.AuthSelfSigned, Bidi: true}, "v3", "v4")
	s.ready()
	s.open()
	participant := s.participant()
	s.connect()
	people := []*person{participant, s.visitor("v3"), s.visitor("v3"), s.visitor("v4"), s.visitor("v4")}
	var said []string
	for round := range 5 {
		for i, p := range people {
			said = append(said, p.say(fmt.Sprintf("line-%d-of-%d", round, i)))
		}
	}
	for _, p := range people {
		p.hears(said...)
	}
	for _, l := range s.links {
		l.quiet()
	}
	for _, p := range people {
		for _, id := range said {
			require.Equal(t, 1, p.heard(id), "%s heard %s", p.nick, id)
			require.Zero(t, p.returned(id))
		}
		p.stayed()
	}
	for id, node := range s.nodes {
		require.Zero(t, node.metric("vnode_s2s_undelivered_total", ""), id)
		require.Positive(t, node.metric("vnode_s2s_rtt_seconds", ""), id)
		require.Zero(t, node.metric("vnode_s2s_unacked_stanzas", ""), id)
	}
}

// Main is killed in the middle of a conference and comes back without it. The
// visitors stay and are told nothing but the truth: the old participants leave
// when main has connected the room anew, the new ones come, and all go on
// talking.
func TestMainIsKilledAndComesBack(t *testing.T) {
	s := newStage(t, prosody.Options{Auth: prosody.AuthSelfSigned, Bidi: true}, "v3")
	s.ready() // or a line may wait for its stream for longer than QueueTimeout
	s.open()
	old := []*person{s.participant(), s.participant()}
	s.connect()
	visitors := []*person{s.visitor("v3"), s.visitor("v3")}
	for _, v := range visitors {
		v.sees(old...)
		v.hears(old[0].say("from-main-to-" + v.nick))
		old[1].hears(v.say("from-" + v.nick))
	}
	s.links["v3"].quiet()

	require.NoError(t, s.main.Kill())
	var between []string
	for _, v := range visitors {
		between = append(between, v.say("while-away-"+v.nick))
	}
	late := s.visitor("v3") // the node goes on without main
	late.sees(old...)
	for _, v := range visitors {
		v.hears(between...)
	}

	require.NoError(t, s.main.Restart(t.Context()))
	s.ready()
	s.openOnMain()
	young := []*person{s.participant(), s.participant()}
	s.connect()
	visitors = append(visitors, late)
	for i, v := range visitors {
		v.sees(young...)
		for _, o := range old {
			v.eventually(o.nick+" has left", func() bool { return v.left[o.nick] == 1 && !v.here[o.nick] })
		}
		v.hears(young[0].say(fmt.Sprint("again-from-main-", i)))
		young[1].hears(v.say(fmt.Sprint("again-from-visitor-", i)))
	}
	s.links["v3"].quiet()
	for i, v := range visitors {
		v.stayed()
		require.Equal(t, 1, v.heard(fmt.Sprint("again-from-main-", i)))
		require.Equal(t, 1, young[1].heard(fmt.Sprint("again-from-visitor-", i)))
		for _, y := range young {
			require.True(t, v.is(func() bool { return v.left[y.nick] == 0 }))
		}
	}
	// What was said while main was away has come back to its sender, from the
	// queue or from a main that knew no such room. Or it has arrived after all:
	// main can be back, and the room connected, before the line has waited for
	// QueueTimeout. It never did both.
	for i, id := range between {
		accounted := func() int { return visitors[i].returned(id) + young[0].heard(id) }
		require.Eventually(t, func() bool { return accounted() > 0 }, 20*time.Second, 5*time.Millisecond, "%s was lost", id)
		s.links["v3"].quiet()
		require.Equal(t, 1, accounted(), id)
	}
}

// EXTERNAL with certificates of a CA that both sides trust and nothing else.
// Main's own domain manages the streams: each side acknowledges the other's
// stanzas.
func TestCertificatesOfACA(t *testing.T) {
	for name, options := range map[string]prosody.Options{
		"bidi":                {Bidi: true},
		"one stream each way": {ComponentsDial: true},
	} {
		t.Run(name, func(t *testing.T) {
			ca, err := prosody.NewCA()
			require.NoError(t, err)
			options.Auth, options.CA, options.Debug = prosody.AuthExternal, ca, true
			s := newStage(t, options, "v3")
			s.ready()
			s.open()
			participant := s.participant()
			s.connect()
			visitor := s.visitor("v3")
			visitor.sees(participant)
			visitor.hears(participant.say("from-main"))
			participant.hears(visitor.say("from-visitor"))
			s.links["v3"].quiet()
			require.Equal(t, 1, visitor.heard("from-main"))
			require.Equal(t, 1, participant.heard("from-visitor"))
			require.Zero(t, s.nodes["v3"].metric("vnode_s2s_undelivered_total", ""))
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			for _, event := range []string{"Enabling stream management", "Received ack request, acking for", "#queue = 0 (acked: "} {
				_, err := s.main.WaitLog(ctx, event)
				require.NoError(t, err)
			}
		})
	}
}
