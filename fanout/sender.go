package fanout

import (
	"net"
	"time"
)

// sender writes to one connection without making the shard wait.
type sender interface {
	// send takes as much of b as it can now. wait means that await must
	// return before the next call; what of b was not taken (n < len(b)) is
	// to be sent again then.
	send(b []byte) (n int, wait bool, err error)
	// arm bounds the await that follows, and one under way.
	arm(deadline time.Time)
	// await blocks, on a goroutine of its own, until more can be sent or
	// the armed deadline has passed.
	await() error
	// closeWrite tells the peer that nothing more comes.
	closeWrite()
}

func newSender(conn net.Conn, sendBuffer int) sender {
	if s := newSocketSender(conn, sendBuffer); s != nil {
		return s
	}
	return &connSender{conn: conn}
}

// connSender serves any net.Conn: TLS, in-memory pipes, systems without the
// socket sender. Each write is handed to a goroutine that lives as long as it.
type connSender struct {
	conn net.Conn
	buf  []byte // owned by the shard, and by await while it runs
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

func (c *connSender) await() error {
	_, err := c.conn.Write(c.buf)
	if cap(c.buf) > keepCopy {
		c.buf = nil
	}
	return err
}

func (c *connSender) closeWrite() {
	if w, ok := c.conn.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite() // the connection is closed next in any case
	}
}
