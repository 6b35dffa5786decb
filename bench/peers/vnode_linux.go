package peers

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"vnode/internal/xmpptest/conference"
)

// Names of the node's conference: the second node of the default main domain.
const (
	mainDomain = "meet.jitsi"
	nodeID     = "2"
	nodeDomain = "v" + nodeID + "." + mainDomain
	roomName   = "bench"
	nodeRoom   = roomName + "@conference." + nodeDomain
	focusJID   = "focus@auth." + mainDomain + "/focus"
)

// nodeSide is what a node is told of its surroundings.
type nodeSide struct {
	main     net.Listener // where it finds main
	s2s, c2s string
	password string
}

// startVNode runs our node beside a simulated main.
func startVNode(ctx context.Context, s *Server, o Options) error {
	if o.VNode == "" {
		return fmt.Errorf("the node's program is not named: %w", os.ErrNotExist)
	}
	s.Version = programVersion(ctx, o.VNode)
	main, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	side := nodeSide{main: main, password: rand.Text()}
	if err := s.runNode(ctx, o, &side); err != nil {
		return errors.Join(err, main.Close())
	}
	s.Domain, s.Room = nodeDomain, nodeRoom
	s.open = func(ctx context.Context, speakers int, l *conference.Ledger) (*Stage, error) {
		return side.open(ctx, speakers, l)
	}
	return nil
}

func (s *Server) runNode(ctx context.Context, o Options, side *nodeSide) error {
	if err := s.hold(3); err != nil {
		return err
	}
	side.s2s, side.c2s = s.ports[0].String(), s.ports[1].String()
	network, addr := "tcp", s.ports[2].String()
	http := addr
	s.URL = "ws://" + addr + wsPath + "?room=" + roomName
	if s.Transport == "unix" {
		network, addr = "unix", filepath.Join(s.dir, "node.sock")
		http = "unix:" + addr
		s.URL, s.Socket = "ws://"+nodeDomain+wsPath+"?room="+roomName, addr
	}
	secret := filepath.Join(s.dir, "focus-password")
	if err := os.WriteFile(secret, []byte(side.password+"\n"), 0o600); err != nil {
		return err
	}
	err := s.run(ctx, command{program: o.VNode, cores: o.Cores, args: []string{
		"-id", nodeID, "-s2s", side.s2s, "-c2s", side.c2s, "-http", http, "-admin", "127.0.0.1:0",
		"-main-domain", mainDomain, "-main-s2s", side.main.Addr().String(),
		"-state-dir", filepath.Join(s.dir, "state"), "-focus-password-file", secret, "-log-level", "warn",
	}}, network, addr)
	if err != nil {
		return err
	}
	for _, a := range []string{side.s2s, side.c2s} {
		if err := s.proc.listens(ctx, "tcp", a); err != nil {
			return err
		}
	}
	return nil
}

// open plays main and jicofo: participants, the room on the node, and main's
// connection to it.
func (n *nodeSide) open(ctx context.Context, speakers int, l *conference.Ledger) (*Stage, error) {
	main, err := conference.NewMain(conference.MainOptions{
		Domain: mainDomain, Node: nodeDomain, NodeAddr: n.s2s, Listener: n.main, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, errors.Join(err, n.main.Close())
	}
	room := main.Room(roomName, l)
	st := &Stage{}
	var focus *conference.Focus
	st.close = func(ctx context.Context) error {
		err := room.DisconnectVNode(ctx)
		if focus != nil {
			err = errors.Join(err, focus.Close(ctx))
		}
		return errors.Join(err, main.Close(ctx))
	}
	err = func() error {
		for range speakers {
			p, err := room.Join(ctx)
			if err != nil {
				return err
			}
			st.Speakers = append(st.Speakers, p)
		}
		var err error
		if focus, err = conference.DialFocus(ctx, conference.FocusOptions{Addr: n.c2s, JID: focusJID, Password: n.password}); err != nil {
			return err
		}
		if _, err := focus.CreateRoom(ctx, nodeRoom, l); err != nil {
			return err
		}
		return room.ConnectVNode(ctx)
	}()
	if err != nil {
		_ = st.close(context.WithoutCancel(ctx)) // the first error counts
		return nil, err
	}
	return st, nil
}
