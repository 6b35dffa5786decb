package bosh

import "vnode/internal/guard"

// change does something with the session, with mu held. A panic leaves half a change,
// on which nothing can be built: the session is over then.
func (c *Conn) change(do func()) {
	defer c.srv.cfg.Guard.Recover(guard.Session, (*broken)(c))
	do()
}

// broken is a session that met a panic.
type broken Conn

// Doing implements [guard.Met]: what a request holds is looked at later.
func (b *broken) Doing() (string, int) { return "", 0 }

// Panicked implements [guard.Met]. Every request that waits is answered.
func (b *broken) Panicked() {
	c := (*Conn)(b)
	c.err = ErrBroken
	for _, s := range c.slots {
		if s != nil && s.held != nil {
			s.held.giveOnce(brokenBody)
		}
	}
	c.over()
}

var brokenBody = terminateBody(internalServerError, nil)
