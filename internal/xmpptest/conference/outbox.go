package conference

import (
	"errors"
	"io"
	"sync"
)

// outbox writes stanzas to one connection from a goroutine of its own, so that
// whoever sends never waits for a peer. What gathers while a write is under
// way leaves with the next one.
type outbox struct {
	wake chan struct{} // one slot
	done chan struct{} // closed when nothing will be written any more

	mu sync.Mutex
	// Guarded by mu.
	queue  []byte
	closed bool
}

// maxOutbox bounds what may wait for a peer that does not read.
const maxOutbox = 64 << 20

var errOutbox = errors.New("the stream is closed or takes nothing")

// start begins writing to w. The outbox must be closed.
func (o *outbox) start(w io.WriteCloser) {
	o.wake, o.done = make(chan struct{}, 1), make(chan struct{})
	go o.run(w)
}

func (o *outbox) run(w io.WriteCloser) {
	defer close(o.done)
	defer func() { _ = w.Close() }()
	var spare []byte
	for range o.wake {
		o.mu.Lock()
		batch, closed := o.queue, o.closed
		o.queue = spare[:0]
		o.mu.Unlock()
		if len(batch) > 0 {
			if _, err := w.Write(batch); err != nil {
				o.refuse()
				return
			}
		}
		if closed {
			return
		}
		spare = batch
	}
}

// refuse makes later calls of send fail.
func (o *outbox) refuse() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed, o.queue = true, nil
}

// send queues p, which is copied.
func (o *outbox) send(p []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || len(o.queue)+len(p) > maxOutbox {
		return errOutbox
	}
	o.queue = append(o.queue, p...)
	o.signal()
	return nil
}

// close writes what is queued and last, and then closes the connection. It
// does not wait; done is closed then.
func (o *outbox) close(last []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	o.queue = append(o.queue, last...)
	o.closed = true
	o.signal()
}

// signal wakes the writer; mu is held.
func (o *outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default: // it will see this batch too
	}
}
