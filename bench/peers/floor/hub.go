package floor

import (
	"context"
	"encoding/binary"
	"net"
	"slices"
	"time"
)

// receiver is one client in the room.
type receiver struct {
	conn net.Conn
	raw  sender
}

// hub sends. Its goroutine is [hub.run].
type hub struct {
	// Static after construction.
	size int // stanzas of one batch
	work chan func()
	done chan struct{} // closed when nothing is done any more

	// Owned by the hub's goroutine.
	receivers []*receiver
	ready     []byte // frames not sent yet
	count     int    // of them
	nicks     []string
	latest    map[string][]byte // the newest presence of each speaker, framed
	flush     *time.Timer
}

func newHub(size int) *hub {
	h := &hub{size: size, work: make(chan func(), 64), done: make(chan struct{}), latest: make(map[string][]byte), flush: time.NewTimer(time.Hour)}
	h.flush.Stop()
	return h
}

func (h *hub) run(ctx context.Context) {
	defer close(h.done)
	for {
		select {
		case f := <-h.work:
			f()
		case <-h.flush.C:
			h.send()
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
	h.send()
	var room []byte
	for _, nick := range h.nicks {
		room = append(room, h.latest[nick]...)
	}
	if r.raw.send(appendFrame(room, self)) {
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
	h.latest[nick] = appendFrame(nil, presence)
}

// say sends a stanza to everybody, with others if it has to wait for them.
func (h *hub) say(stanza []byte) {
	h.ready = appendFrame(h.ready, stanza)
	h.count++
	switch {
	case h.count >= h.size:
		h.send()
	case h.count == 1:
		h.flush.Reset(maxBatchAge)
	}
}

// send is what all of this is about.
func (h *hub) send() {
	h.flush.Stop()
	if h.count == 0 {
		return
	}
	ready := h.ready
	h.ready, h.count = h.ready[:0], 0
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

// appendFrame appends one text message of a server (RFC 6455 §5.2).
func appendFrame(b, text []byte) []byte {
	const finalText = 0x81
	switch n := len(text); {
	case n < 126:
		b = append(b, finalText, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, finalText, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, finalText, 127), uint64(n))
	}
	return append(b, text...)
}
