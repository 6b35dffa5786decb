package room

import (
	"time"

	"vnode/internal/wire"
)

// Effects is what a room does to the world, in the order it does it. The methods
// neither block nor call back into the room. Packets and stanzas are the caller's
// to keep, and are not changed any more.
type Effects interface {
	// Broadcast sends p to every session that follows.
	Broadcast(p *Packet)
	// Deliver sends ps to one session, behind what was broadcast so far.
	Deliver(to Session, ps ...*Packet)
	// Follow sends ps and then what is broadcast from now on.
	Follow(s Session, ps ...*Packet)
	// Unfollow sends what was broadcast so far, then ps, then no more of it.
	Unfollow(s Session, ps ...*Packet)
	// HangUp ends a client's stream, at which its page reloads.
	HangUp(s Session)
	// Pause has the node read a client no more until it is called with false.
	Pause(s Session, on bool)

	// Send hands a stanza to the stream between two domains.
	Send(from, to string, stanza []byte)
	// Tell is Send of what visitors say to the main server, or ask of it.
	Tell(from, to string, stanza []byte)

	// After asks for a [Timeout] with a and setting when d has passed, in place of
	// the one that was asked for a before.
	After(a Alarm, d time.Duration, setting uint64)
	// AwaitDrained asks for a [FocusDrained] when the connection of the focus has
	// taken what it was delivered so far.
	AwaitDrained(focus Session)
	// Ahead counts n bytes that the focus was delivered out of turn.
	Ahead(focus Session, n int)
	// AskTurn asks for a [FocusTurn], again when the room has just had one, and
	// EndTurn ends it; used is false if nothing was said in it.
	AskTurn(focus Session, again bool)
	EndTurn(focus Session, used bool)
	// AskJicofo asks for a [JicofoChose]: jicofo is sent a conference request for a
	// visitor of that room on the main server.
	AskJicofo(room string)
	// CountParticipants asks for a [Participants]: jicofo is asked who is in that
	// room on the main server.
	CountParticipants(room string)

	// Began tells that a room lives from now on, whose meeting has that id; Meets
	// that the id is another now; Ended that the room lives no more.
	Began(meeting string)
	Meets(meeting string)
	Ended(e End)
	// Holds tells how many visitors are held that have not been told to come back,
	// and why.
	Holds(visitors int, why string)
	// Here tells that a visitor came, or has another display name; Left that it is
	// out.
	Here(v VisitorName)
	Left(id string)

	// Seats counts n more visitors in the rooms of the node, fewer if negative.
	Seats(n int)
	// Waits counts n more bytes of visitors' requests that wait for the focus, fewer
	// if negative.
	Waits(n int)
}

// End is how a room ended.
type End struct {
	// Reason is what its focus was told, or is to be told.
	Reason string
	// Focus is the bare JID of the focus, and Nick its nick; zero if there never was
	// one.
	Focus wire.JID
	Nick  string
	// Known: the focus knows of the end, it made it or was told in a way that cannot
	// be lost with its session.
	Known bool
	// Told: the focus was there to be told.
	Told bool
}
