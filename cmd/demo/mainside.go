package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"

	"vnode/internal/xmpptest/conference"
	"vnode/internal/xmpptest/prosody"
)

// mainSide is the main server of the demo.
type mainSide interface {
	name() string
	s2sAddr() string // for the node
	meeting(context.Context) (conference.Conference, error)
}

// startMain starts a real Prosody, or the simulated main where there is none.
func (s *stage) startMain(ctx context.Context) (mainSide, error) {
	if s.main != mainSimulated {
		main, err := s.startProsody(ctx)
		if err == nil || s.main == mainProsody || !errors.Is(err, prosody.ErrNotInstalled) {
			return main, err
		}
		s.say("Prosody is not installed, so the demo plays the main server itself. For a real one:\n\n    sudo apt-get install prosody\n")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	main, err := conference.NewMain(conference.MainOptions{
		Domain: mainDomain, Node: nodeDomain, NodeAddr: s.s2sAddr(), Listener: l, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	s.later(main.Close)
	s.say("main server %s is simulated, on %s", mainDomain, l.Addr())
	return &simulatedMain{s, main, l.Addr().String()}, nil
}

// realMain is a Prosody of the demo's own.
type realMain struct {
	stage  *stage
	server *prosody.Server
}

func (s *stage) startProsody(ctx context.Context) (mainSide, error) {
	node, err := netip.ParseAddrPort(s.s2sAddr())
	if err != nil {
		return nil, err
	}
	server, err := prosody.Start(ctx, prosody.Options{
		MainDomain: mainDomain, Bidi: true,
		Nodes: map[string]netip.AddrPort{"v" + nodeID: node},
	})
	if err != nil {
		return nil, err
	}
	s.later(server.Stop)
	s.say("main server %s is Prosody, process %d", mainDomain, server.PID())
	return &realMain{s, server}, nil
}

func (m *realMain) name() string    { return "demo with a real main Prosody" }
func (m *realMain) s2sAddr() string { return m.server.S2SAddr().String() }

func (m *realMain) meeting(ctx context.Context) (conference.Conference, error) {
	live, err := conference.NewLive(ctx, conference.LiveOptions{
		URL: m.server.WebSocketURL(), Domain: m.server.MainDomain(), Room: roomName + "@" + m.server.RoomsDomain(),
		Component: m.server.VisitorsDomain(), VNode: "v" + nodeID, Ledger: m.stage.ledger,
		Focus: conference.FocusOptions{Addr: m.server.C2SAddr().String(), JID: focusJID, Password: m.server.FocusPassword()},
	})
	if err != nil {
		return nil, err
	}
	return live, nil
}

// simulatedMain is the load generator's.
type simulatedMain struct {
	stage *stage
	main  *conference.Main
	addr  string
}

func (m *simulatedMain) name() string    { return "demo with a simulated main server" }
func (m *simulatedMain) s2sAddr() string { return m.addr }

func (m *simulatedMain) meeting(context.Context) (conference.Conference, error) {
	return m.main.Room(roomName, m.stage.ledger), nil
}
