package peers

import (
	"context"
	"errors"
	"path/filepath"
	"strconv"
)

// startFloor runs the floor, which is this program again.
func startFloor(ctx context.Context, s *Server, o Options) error {
	if len(o.Self) == 0 {
		return errors.New("the program that is the floor is not named")
	}
	if err := s.hold(1); err != nil {
		return err
	}
	network, addr := "tcp", s.ports[0].String()
	if s.Transport == "unix" {
		network, addr = "unix", filepath.Join(s.dir, "floor.sock")
		s.Socket = addr
		s.serveRoom("ws://" + mucDomain + wsPath)
	} else {
		s.serveRoom("ws://" + addr + wsPath)
	}
	args := append(append([]string(nil), o.Self[1:]...),
		"-listen", network+":"+addr, "-domain", mucDomain,
		"-speakers", strconv.Itoa(o.Speakers+1)) // whoever looks whether it listens is the first
	return s.run(ctx, command{program: o.Self[0], args: args, cores: o.Cores}, network, addr)
}
