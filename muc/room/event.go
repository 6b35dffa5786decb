package room

import (
	"time"

	"vnode/internal/wire"
	"vnode/muc/rate"
)

// Event is one thing that happens to a room: one of the types of this file.
type Event interface{ happen(r *Room) }

// Node is what a room is told of its node with each event. What a room decides
// follows from its state, the event and this alone.
type Node struct {
	Now      time.Time
	Limits   *Limits // never changed
	Visitors int     // in all rooms
	Held     int     // visitors that wait to come back, in all rooms

	FocusFull    bool       // the focus has enough to read: it is told nothing out of turn
	RequestsFull bool       // [MaxRequestBytes] of IQs wait for the focus
	MainFull     bool       // the main server is told as much as Limits.Main allows
	MainShare    rate.Limit // what a room may tell it all the same
}

// Who is what the node knows of a session when it says something.
type Who struct {
	Identity *Identity // nil without a token; never changed
	// Region is where the proxy says the client is, "" if it does not.
	Region string
	Banned bool // from this room
}

// Handle takes the next event of a room.
func (r *Room) Handle(n Node, e Event) {
	r.now, r.node = n.Now, n
	e.happen(r)
	r.afterwards()
}

// FromClient is a stanza that a local session sent to the room, or to one of the
// components in its matter. It is the room's.
type FromClient struct {
	From   Session
	Who    Who
	Stanza *wire.Stanza
}

func (e FromClient) happen(r *Room) { r.fromClient(e.From, e.Who, e.Stanza) }

// FromMain is a stanza of another server that concerns the room. It is the room's.
type FromMain struct{ Stanza *wire.Stanza }

func (e FromMain) happen(r *Room) { r.fromRemote(e.Stanza) }

// Closed is the end of a local session.
type Closed struct{ Session Session }

func (e Closed) happen(r *Room) { r.sessionClosed(e.Session) }

// Timeout is that a timer went off which [Effects].After has set.
type Timeout struct {
	Alarm   Alarm
	Setting uint64
}

func (e Timeout) happen(r *Room) { r.timeout(e.Alarm, e.Setting) }

// MainLink is a change of the streams to the main server. Changes are counted from
// 1: odd ones say that there are streams again, even ones that the last was lost.
// A change with an older number is ignored.
type MainLink struct{ Change uint64 }

func (e MainLink) happen(r *Room) { r.mainLink(e.Change) }

// FocusLink is whether a focus is logged in at the node. One with an older number
// is ignored.
type FocusLink struct {
	In     bool
	Change uint64
}

func (e FocusLink) happen(r *Room) { r.focusLink(e) }

// FocusDrained is that the connection of the focus has taken what
// [Effects].AwaitDrained was about.
type FocusDrained struct{ Focus Session }

func (e FocusDrained) happen(r *Room) {
	if r.life != nil {
		r.life.drained(e.Focus)
	}
}

// FocusTurn is the room's turn to say to the focus what it holds. In a short one, for
// a room that has just begun to hold, it says a little, and nothing long. The room
// ends it with [Effects].EndTurn.
type FocusTurn struct {
	Focus Session
	Short bool
}

func (e FocusTurn) happen(r *Room) {
	if r.life == nil || !r.life.turn(r.now, e.Focus, e.Short) {
		r.out.EndTurn(e.Focus, false)
	}
}

// JicofoChose is the answer to [Effects].AskJicofo: the id of the node that jicofo
// chose, or in words why it chose none.
type JicofoChose struct{ Node, Trouble string }

func (e JicofoChose) happen(r *Room) { r.jicofoChose(e.Node, e.Trouble) }

// Participants is the answer to [Effects].CountParticipants: how many are in the
// room on the main server. Known is false if jicofo did not say.
type Participants struct {
	N     int
	Known bool
}

func (e Participants) happen(r *Room) { r.participantsCounted(e.N, e.Known) }

// Shutdown ends the room because the node takes no more conferences. ForGood: the
// node ends, and nobody is held any more.
type Shutdown struct{ ForGood bool }

func (e Shutdown) happen(r *Room) { r.shutdown(e.ForGood) }

// Expel puts visitors out (XEP-0045 §8.2), in the order in which they came, and
// lets none of them wait. The reason is shown to them.
type Expel struct {
	Sessions []Session
	Reason   string
}

func (e Expel) happen(r *Room) { r.expel(e.Sessions, e.Reason) }

// Announce tells the visitors something in the room's own name: JSON as Jitsi's
// components say it.
type Announce struct{ JSON []byte }

func (e Announce) happen(r *Room) { r.announce(e.JSON) }

// Dismiss ends the room with a reason that clients show, "" for the usual one, and
// a hold with the quiet end.
type Dismiss struct{ Reason string }

func (e Dismiss) happen(r *Room) { r.dismiss(e.Reason) }
