package fanout

// Link is the write side of one connection of a session, from Attach or Resume
// until the shard lets go of it.
type Link struct {
	// Static after construction.
	out     sender
	owner   Owner    // may be nil
	trailer *Message // may be nil
	done    signal
	framing Framing
	patient bool // it is not ended as stalled

	// Owned by the shard.
	blocked bool   // the connection is waited for
	ended   bool   // its write side
	left    bool   // to be released when that is over
	last    bool   // and its session removed with it
	pending []byte // rest of a short write

	reason Reason // static once done is closed
}

func newLink(c Conn, sendBuffer int) *Link {
	return &Link{
		out: newSender(c.Conn, sendBuffer), framing: c.Framing, patient: c.Patient, owner: c.Owner, trailer: c.Trailer,
	}
}

// Done is closed when the connection is its owner's again: then it is to be
// closed.
func (l *Link) Done() <-chan struct{} { return l.done.wait() }

// Reason says why the shard let go of the connection, valid after Done. It is
// empty when the session has gone on with another one.
func (l *Link) Reason() Reason { return l.reason }

// release gives the connection back. Only the shard calls it.
func (l *Link) release() {
	if l.owner != nil {
		l.owner.Released()
	}
	l.done.fire()
}
