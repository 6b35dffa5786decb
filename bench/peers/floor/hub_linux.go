package floor

import (
	"context"
	"net"
	"slices"

	"github.com/gobwas/ws"
)

// receiver is one client in the room.
type receiver struct {
	conn net.Conn
	raw  sender
}

// hub sends. Its goroutine is [hub.run].
type hub struct {
	// Static after construction.
	work chan func()
	done chan struct{} // closed when nothing is done any more

	// Owned by the hub's goroutine.
	receivers []*receiver
	nicks     []string
	latest    map[string][]byte // the newest presence of each speaker, framed
}

func newHub() *hub {
	return &hub{work: make(chan func(), 64), done: make(chan struct{}), latest: make(map[string][]byte)}
}

func (h *hub) run(ctx context.Context) {
	defer close(h.done)
	for {
		select {
		case f := <-h.work:
			f()
		case <-ctx.Done():
			return
		}
	}
}

// do hands work to the hub's goroutine and waits until it is done or the hub
// has ended.
func (h *hub) do(f func()) {
	done := make(chan struct{})
	select {
	case h.work <- func() { f(); close(done) }:
	case <-h.done:
		return
	}
	select {
	case <-done:
	case <-h.done:
	}
}

// enter sends the room as it is, and then everything.
func (h *hub) enter(r *receiver, self []byte) {
	var room []byte
	for _, nick := range h.nicks {
		room = append(room, h.latest[nick]...)
	}
	if r.raw.send(append(room, frame(self)...)) {
		h.receivers = append(h.receivers, r)
	}
}

// leave takes a receiver out; its connection may be closed then.
func (h *hub) leave(r *receiver) {
	h.receivers = slices.DeleteFunc(h.receivers, func(other *receiver) bool { return other == r })
}

// remember keeps a speaker's presence for those who enter; nil forgets it.
func (h *hub) remember(nick string, presence []byte) {
	known := slices.Index(h.nicks, nick)
	switch {
	case presence == nil && known >= 0:
		h.nicks = slices.Delete(h.nicks, known, known+1)
		delete(h.latest, nick)
		return
	case presence == nil:
		return
	case known < 0:
		h.nicks = append(h.nicks, nick)
	}
	h.latest[nick] = frame(presence)
}

// say sends a stanza to everybody: what all of this is about.
func (h *hub) say(stanza []byte) {
	ready := frame(stanza)
	broken := 0
	for _, r := range h.receivers {
		if !r.raw.send(ready) {
			_ = r.conn.Close() // its session finds out and leaves
			broken++
		}
	}
	if broken > 0 {
		h.receivers = slices.DeleteFunc(h.receivers, func(r *receiver) bool { return r.raw.broken() })
	}
}

// frame is a text message of a server (RFC 6455 §5.2).
func frame(text []byte) []byte { return ws.MustCompileFrame(ws.NewTextFrame(text)) }
