package conference

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"vnode/internal/wire"
)

// MainRoom is one room at a simulated main server. It is a [Conference].
type MainRoom struct {
	// Static after construction.
	main   *Main
	name   string // localpart
	jid    string // bare, on main
	onNode string // bare JID on the node
	ledger *Ledger

	mu sync.Mutex
	// Guarded by mu.
	members   []*simulated // in order of their joins
	connected bool         // the node is told of every change
	heard     *Tracker
	history   [][]byte // chat before the node was connected
}

// Room returns the room with that localpart, empty, whose publications go into
// the ledger. It is to be called once for each.
func (m *Main) Room(name string, l *Ledger) *MainRoom {
	r := &MainRoom{
		main: m, name: name, jid: name + "@" + m.roomsDomain(), onNode: name + "@" + m.nodeRoomsDomain(),
		ledger: l, heard: NewTracker(l, RoleVisitor),
	}
	r.heard.Joined(Now())
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rooms[r.jid] = r
	return r
}

// said takes a line that came from the node.
func (r *MainRoom) said(elem []byte, from wire.JID) {
	st, ok := ParseStamp(elem)
	if !ok {
		return
	}
	nick := from.Resource
	if from.Bare().String() != r.onNode {
		nick = "" // of another room: misaddressed
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heard.Got(st, nick)
}

// bounced takes a message of type error.
func (r *MainRoom) bounced() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heard.tally.Errors++
}

// Faults implements [Conference]: those of the whole main.
func (r *MainRoom) Faults() []string { return r.main.Faults() }

// Heard implements [Conference].
func (r *MainRoom) Heard() Tally {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.heard.Tally()
}

// Drain implements [Conference].
func (r *MainRoom) Drain(ctx context.Context) error {
	return poll(ctx, func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if n := r.heard.Missing(); n > 0 {
			return fmt.Errorf("%d lines of visitors have not arrived at main", n)
		}
		return nil
	})
}

// Close implements [Conference]: who is left leaves. The streams are main's.
func (r *MainRoom) Close(ctx context.Context) error {
	var errs []error
	for _, p := range r.present() {
		errs = append(errs, p.Leave(ctx))
	}
	return errors.Join(errs...)
}

// simulated is a participant that exists in [Main] only. It is a [Speaker].
type simulated struct {
	// Static after construction.
	room   *MainRoom
	jid    string // full
	nick   string
	name   string
	source *Source

	// Owned by the caller of its methods.
	muted bool

	// Guarded by the room's mu.
	presence []byte // children of the newest one
	gone     bool
}

// Join implements [Conference].
func (r *MainRoom) Join(context.Context) (Speaker, error) {
	p := &simulated{room: r}
	p.jid, p.nick = newRealJID(r.main.opt.Domain)
	p.name = "Participant " + p.nick
	p.source = r.ledger.Add(RoleParticipant, p.nick)
	children := p.children(Now(), 0)
	r.mu.Lock()
	r.members = append(r.members, p)
	p.presence = children
	connected := r.connected
	r.mu.Unlock()
	if connected {
		return p, p.sendPresence(children, true)
	}
	return p, nil
}

// children builds the content of the participant's next presence.
func (p *simulated) children(due int64, size int) []byte {
	b := wire.NewBuilder(nil)
	appendPresence(b, p.nick, p.name, p.muted, p.source.PublishDue(Presence, due), size)
	b.Elem("occupant-id", "", "xmlns", "urn:xmpp:occupant-id:0", "id", p.nick)
	return b.Bytes()
}

// sendPresence sends the presence to the node, as a join or as an update.
func (p *simulated) sendPresence(children []byte, join bool) error {
	b := wire.NewBuilder(nil).Start("presence", "from", p.jid, "to", p.room.onNode+"/"+p.nick, "xml:lang", "en").Raw(children)
	if join {
		b.Elem("x", "", "xmlns", wire.NSMUC)
	}
	return p.room.send(b.Bytes())
}

// Nick implements [Speaker].
func (p *simulated) Nick() string { return p.nick }

// Update implements [Speaker].
func (p *simulated) Update(context.Context) error { return p.update(Now(), 0) }

// Chat implements [Speaker]. Before the node is connected the line becomes
// history, which visitors get replayed.
func (p *simulated) Chat(context.Context) error { return p.chat(Now(), 0) }

// Say implements [Speaker].
func (p *simulated) Say(_ context.Context, k Kind, due int64, size int) error {
	if k == Chat {
		return p.chat(due, size)
	}
	return p.update(due, size)
}

func (p *simulated) update(due int64, size int) error {
	if p.hasLeft() {
		return errGone
	}
	p.muted = !p.muted
	children := p.children(due, size)
	p.room.mu.Lock()
	connected := p.room.connected
	p.presence = children
	p.room.mu.Unlock()
	if !connected {
		return nil
	}
	return p.sendPresence(children, false)
}

func (p *simulated) hasLeft() bool {
	p.room.mu.Lock()
	defer p.room.mu.Unlock()
	return p.gone
}

func (p *simulated) chat(due int64, size int) error {
	if p.hasLeft() {
		return errGone
	}
	st := p.source.PublishDue(Chat, due)
	id := fmt.Sprintf("bench-%d-%d", st.Source, st.Seq)
	body := wire.NewBuilder(nil).Elem("body", chatBody(p.name, st, size)).Bytes()
	p.room.mu.Lock()
	connected := p.room.connected
	if !connected {
		p.room.history = append(p.room.history, p.historic(id, body))
	}
	p.room.mu.Unlock()
	if !connected {
		return nil
	}
	b := wire.NewBuilder(nil).Start("message", "from", p.jid, "to", p.room.onNode, "type", "groupchat", "id", id)
	return p.room.send(b.Raw(body).Bytes())
}

// historic is a line as main's room replays it to a node: addressed to the
// bare host.
func (p *simulated) historic(id string, body []byte) []byte {
	b := wire.NewBuilder(nil).Start("message", "from", p.room.jid+"/"+p.nick, "to", p.room.main.nodeRoomsDomain(), "type", "groupchat", "id", id)
	b.Raw(body)
	return b.Elem("delay", "", "xmlns", wire.NSDelay, "from", p.room.jid, "stamp", time.Now().UTC().Format(time.RFC3339)).Bytes()
}

// Leave implements [Speaker].
func (p *simulated) Leave(context.Context) error {
	p.source.Leave()
	p.room.mu.Lock()
	gone, connected := p.gone, p.room.connected
	p.gone = true
	p.room.members = slices.DeleteFunc(p.room.members, func(o *simulated) bool { return o == p })
	p.room.mu.Unlock()
	if gone || !connected {
		return nil
	}
	b := wire.NewBuilder(nil).Start("presence", "type", "unavailable", "from", p.jid, "to", p.room.onNode+"/"+p.nick)
	return p.room.send(b.Bytes())
}

// send sends a stanza from main's domain to the node's rooms.
func (r *MainRoom) send(elem []byte) error {
	return r.main.send(r.main.opt.Domain, r.main.nodeRoomsDomain(), elem)
}

func (r *MainRoom) present() []*simulated {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.members)
}

// ConnectVNode implements [Conference]: update, history, presences, connect,
// as Jitsi's mod_visitors sends them.
func (r *MainRoom) ConnectVNode(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.main.opt.Timeout)
	defer cancel()
	if err := r.main.reach(ctx, r.main.opt.Domain, r.main.nodeRoomsDomain()); err != nil {
		return err
	}
	if err := r.tell(ctx, "update"); err != nil {
		return err
	}
	if err := r.sendHistory(ctx); err != nil {
		return err
	}
	// From here on changes are sent as they happen. Whoever changes something
	// meanwhile is sent twice, which no rule forbids, but the ledger's owner
	// connects the node while nobody speaks.
	r.mu.Lock()
	r.connected = true
	members := slices.Clone(r.members)
	joins := make([][]byte, len(members))
	for i, p := range members {
		joins[i] = p.presence
	}
	r.mu.Unlock()
	for i, p := range members {
		if err := p.sendPresence(joins[i], true); err != nil {
			return err
		}
	}
	return r.tell(ctx, "connect")
}

// sendHistory sends what was said before. It comes from the rooms' domain,
// whose stream the node has to open.
func (r *MainRoom) sendHistory(ctx context.Context) error {
	r.mu.Lock()
	history := slices.Clone(r.history)
	r.mu.Unlock()
	if len(history) == 0 {
		return nil
	}
	if err := r.main.reach(ctx, r.main.roomsDomain(), r.main.nodeRoomsDomain()); err != nil {
		return err
	}
	for _, line := range history {
		if err := r.main.send(r.main.roomsDomain(), r.main.nodeRoomsDomain(), line); err != nil {
			return err
		}
	}
	return nil
}

// DisconnectVNode implements [Conference].
func (r *MainRoom) DisconnectVNode(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.main.opt.Timeout)
	defer cancel()
	r.mu.Lock()
	r.connected = false
	r.mu.Unlock()
	return r.tell(ctx, "disconnect")
}

// tell sends one of mod_visitors' IQs and waits for the answer.
func (r *MainRoom) tell(ctx context.Context, what string) error {
	id := newID()
	b := wire.NewBuilder(nil).Start("iq", "type", "set", "id", id, "from", r.main.opt.Domain, "to", r.main.nodeRoomsDomain())
	b.Start("visitors", "xmlns", wire.NSVisitors, "room", r.onNode)
	b.Start(what, "password", "", "lobby", "false", "meetingId", r.name+"-meeting",
		"createdTimestamp", fmt.Sprint(time.Now().UnixMilli()))
	if what == "update" {
		b.Start("moderators")
		if members := r.present(); len(members) > 0 {
			b.Elem("item", "", "epId", members[0].nick)
		}
		b.End()
	}
	if err := r.main.ask(ctx, id, b.Bytes()); err != nil {
		return fmt.Errorf("%s of %s: %w", what, r.onNode, err)
	}
	return nil
}
