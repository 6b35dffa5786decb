package visitor

import (
	"sync"

	"vnode/internal/guard"
)

// task is something to be done by a goroutine, because it may take its time.
type task interface{ work() }

// crew does tasks on goroutines that are kept for the next ones: a new one begins
// with a small stack, and copying it as it grows was a twentieth of what it costs
// to let a visitor in. A task that blocks holds up no other. Most do not, and
// then a burst of a hundred is done by one goroutine.
type crew struct {
	guard *guard.Guard // static

	mu    sync.Mutex // guards what follows
	some  sync.Cond  // there is a task, or the end
	queue []task
	first int // of the queue that is not taken
	// coming: somebody has been called and has not looked yet. One at a time is
	// enough: who takes a task calls the next if there are more.
	coming  bool
	resting int
	closed  bool
}

// maxResting is how many goroutines are kept that have nothing to do.
const maxResting = 8

func newCrew(g *guard.Guard) *crew {
	c := &crew{guard: g}
	c.some.L = &c.mu
	return c
}

// do has a task done. It does not wait for that.
func (c *crew) do(t task) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = append(c.queue, t)
	c.call()
}

// call sees to it that somebody comes.
func (c *crew) call() {
	switch {
	case c.coming:
		return
	case c.resting > 0:
		c.some.Signal()
	default:
		go c.run()
	}
	c.coming = true
}

func (c *crew) run() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.coming = false
	for {
		t := c.next()
		if t == nil {
			return
		}
		c.mu.Unlock()
		c.work(t)
		c.mu.Lock()
	}
}

// work does a task. Those of the server end their own client at a panic; here it
// only does not reach the crew's lock.
func (c *crew) work(t task) {
	defer c.guard.Recover(guard.Task, nil)
	t.work()
}

// next waits for a task and takes it; nil is the end of a goroutine.
func (c *crew) next() task {
	for c.first == len(c.queue) {
		if c.closed || c.resting == maxResting {
			return nil
		}
		c.resting++
		c.some.Wait()
		c.resting--
		c.coming = false
	}
	t := c.queue[c.first]
	c.queue[c.first] = nil
	if c.first++; c.first == len(c.queue) {
		c.queue, c.first = c.queue[:0], 0
	} else {
		c.call()
	}
	return t
}

// close lets those go who rest. Tasks are done as before.
func (c *crew) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.some.Broadcast()
}
