package conference

import (
	"context"
)

// Conference is the main side of one room, connected to one node. [Live] is
// one at a real main Prosody, [Main] a simulated one. Its methods are safe for
// concurrent use.
type Conference interface {
	// Join lets one more participant enter the main room and returns when it
	// is in.
	Join(ctx context.Context) (Speaker, error)
	// ConnectVNode connects the room to the node, which must have it already:
	// the focus creates it there first. It returns when the node was told
	// everything.
	ConnectVNode(ctx context.Context) error
	// DisconnectVNode ends the room on the node.
	DisconnectVNode(ctx context.Context) error
	// Drain waits until main has got every line its visitors said, or ctx has
	// ended.
	Drain(ctx context.Context) error
	// Heard returns what main got of the visitors' lines, each receiver there
	// counted for itself.
	Heard() Tally
	// Faults returns what the node did that a main server would object to, one
	// line each.
	Faults() []string
	// Close lets everybody leave.
	Close(ctx context.Context) error
}

// Speaker is one participant of the main room. Its methods are not safe for
// concurrent use: what it says has an order.
type Speaker interface {
	// Nick is the occupant's nick, and its endpoint id.
	Nick() string
	// Update mutes or unmutes the microphone: a presence of about 1 KB.
	Update(ctx context.Context) error
	// Chat says one line.
	Chat(ctx context.Context) error
	// Say is Update or Chat, by its kind, for a load that keeps a schedule: the
	// stanza is stamped with the time it was due, see [Now], and padded to about
	// size bytes if it is smaller.
	Say(ctx context.Context, k Kind, due int64, size int) error
	// Leave leaves the room.
	Leave(ctx context.Context) error
}
