//go:build !linux

package floor

import "net"

// sender writes to one connection. Only on Linux it is the floor.
type sender struct {
	conn net.Conn
	dead bool
}

func newSender(conn net.Conn) (sender, error) { return sender{conn: conn}, nil }

// send writes all of b. It reports false once the connection is broken.
func (s *sender) send(b []byte) bool {
	if !s.dead {
		_, err := s.conn.Write(b)
		s.dead = err != nil
	}
	return !s.dead
}

func (s *sender) broken() bool { return s.dead }
