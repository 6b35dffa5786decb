package fanout

import (
	"net"
	"time"

	"vnode/internal/socket"
)

// sender writes to one connection without making the shard wait.
type sender interface {
	// send takes as much of b as it can now. wait means that await must
	// have told before the next call; what of b was not taken (n < len(b))
	// is to be sent again then.
	send(b []byte) (n int, wait bool, err error)
	// arm bounds the await that follows, and one under way.
	arm(deadline time.Time)
	// await has tell called once, when more can be sent or the armed
	// deadline has passed. What has to block for that is run by spawn.
	await(spawn func(func()), tell func(error))
	// closeWrite tells the peer that nothing more comes. wait means that
	// await does it, and tells when it is done.
	closeWrite() (wait bool)
}

func newSender(conn net.Conn, sendBuffer int) sender {
	if c, ok := conn.(*socket.Conn); ok {
		_ = c.SetWriteBuffer(sendBuffer) // only a hint; a broken socket shows at the first write
		return polledSender{c}
	}
	if s := newSocketSender(conn, sendBuffer); s != nil {
		return s
	}
	return &connSender{conn: conn}
}

// polledSender writes to a socket whose poller tells when there is room: a
// client that takes nothing costs no goroutine.
type polledSender struct{ conn *socket.Conn }

func (s polledSender) send(b []byte) (int, bool, error) {
	n, err := s.conn.TryWrite(b)
	return sent(n, err, b)
}

// sent is what a sender says of a write that did not block.
func sent(n int, err error, b []byte) (int, bool, error) {
	if err != nil && err != socket.ErrAgain {
		return n, false, err
	}
	return n, n < len(b), nil
}

func (s polledSender) arm(deadline time.Time) { _ = s.conn.SetWriteDeadline(deadline) }

func (s polledSender) await(_ func(func()), tell func(error)) { s.conn.AwaitRoom(tell) }

func (s polledSender) closeWrite() bool {
	_ = s.conn.CloseWrite()
	return false
}

// connSender serves any net.Conn: TLS, in-memory pipes, systems without the
// socket sender. Each write is handed to a goroutine that lives as long as it.
type connSender struct {
	conn net.Conn
	// Owned by the shard, and by the goroutine while it runs.
	buf  []byte
	last interface{ CloseWrite() error } // to be ended next; nil before
}

// keepCopy is the largest copy an idle connSender keeps.
const keepCopy = 4 << 10

func (c *connSender) send(b []byte) (int, bool, error) {
	c.buf = append(c.buf[:0], b...)
	return len(b), true, nil
}

func (c *connSender) arm(deadline time.Time) {
	// It fails only on a connection that is broken, which await finds.
	_ = c.conn.SetWriteDeadline(deadline)
}

func (c *connSender) await(spawn func(func()), tell func(error)) {
	spawn(func() {
		if c.last != nil {
			_ = c.last.CloseWrite() // the connection is closed next in any case
			tell(nil)
			return
		}
		_, err := c.conn.Write(c.buf)
		if cap(c.buf) > keepCopy {
			c.buf = nil
		}
		tell(err)
	})
}

// closeWrite waits: TLS writes its end, for which there may be no room.
func (c *connSender) closeWrite() bool {
	var ok bool
	c.last, ok = c.conn.(interface{ CloseWrite() error })
	return ok
}
