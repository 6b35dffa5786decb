package muc

import (
	"vnode/fanout"
	"vnode/internal/wire"
	"vnode/muc/room"
)

// Session is a local client as rooms see it. Its methods may be called by
// several rooms' goroutines at once and must not block. It is comparable: the
// same client is the same value until [Service.SessionClosed]. No two that are
// open have the same JID.
type Session interface {
	// JID is the full JID.
	JID() wire.JID
	// Admin reports whether this is the focus.
	Admin() bool
	// room.Identity is what the client's token has proved, nil without a token.
	// It is never changed, but may be another one when the client has
	// resumed its session with a new token.
	Identity() *room.Identity
	// Region is where the proxy says the client is, "" if it does not.
	Region() string
	// HangUp ends the client's stream with a stream error, at which its page
	// reloads.
	HangUp()
	// Deliver sends ms behind what was appended to after so far, as soon as
	// possible if after is nil.
	Deliver(after *fanout.Log, ms ...*fanout.Message)
	// Follow sends ms and from then on everything appended to l. False:
	// the session follows another room, and nothing was done.
	Follow(l *fanout.Log, ms ...*fanout.Message) bool
	// Unfollow sends what was appended to l so far, then ms, then no more
	// of l.
	Unfollow(l *fanout.Log, ms ...*fanout.Message)
	// Drained calls tell, which does not block, once the connection has taken
	// what was delivered so far, from any goroutine; never if the session
	// ends before.
	Drained(tell func())
	// Pause has the node read the client no more until it is called with
	// false: the client says more than others can hear. It is a hint.
	Pause(on bool)
}

// Remote sends stanzas to other servers.
type Remote interface {
	// Send takes a complete stanza without xmlns for the stream between
	// the domains from and to. It neither blocks nor calls back: what
	// cannot be delivered comes to [Service.FromRemote] as an error stanza
	// later, from another goroutine.
	Send(from, to string, stanza []byte)
}

// Logs makes room logs; a *fanout.Broadcaster does.
type Logs interface {
	NewLog() *fanout.Log
}
