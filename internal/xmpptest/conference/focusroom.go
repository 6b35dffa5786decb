package conference

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"vnode/internal/wire"
)

// FocusRoom is a room the focus created. Its methods are safe for concurrent
// use, except that Update takes turns: stamps leave in the order they are taken.
type FocusRoom struct {
	// Static after construction.
	focus   *Focus
	jid     string        // bare
	source  *Source       // nil: presences are not stamped
	joined  chan struct{} // closed at the own presence
	refused chan error    // one slot: the error of the join
	out     chan struct{} // closed at the own unavailable presence

	mu sync.Mutex
	// Guarded by mu.
	visitors  map[string]struct{} // nicks present with role visitor
	seen      int                 // visitors that ever came
	owner     bool
	inside    bool // joined is closed
	outside   bool // out is closed
	destroyed bool
	reason    string // of the destruction
}

// focusNick is what jicofo calls itself in a room.
const focusNick = "focus"

// CreateRoom joins the room, reads and submits its configuration, and updates
// the presence, as jicofo does (XEP-0045 §10.1, §10.2). It blocks until all is
// answered or ctx ends. Presences are stamped in the ledger, unless that is nil.
func (f *Focus) CreateRoom(ctx context.Context, room string, l *Ledger) (*FocusRoom, error) {
	r := &FocusRoom{
		focus: f, jid: room, joined: make(chan struct{}), out: make(chan struct{}),
		visitors: make(map[string]struct{}), refused: make(chan error, 1),
	}
	if l != nil {
		r.source = l.Add(RoleFocus, focusNick)
	}
	f.mu.Lock()
	f.rooms[room] = r
	f.mu.Unlock()
	if err := r.create(ctx); err != nil {
		return nil, fmt.Errorf("focus: create %s: %w", room, err)
	}
	return r, nil
}

func (r *FocusRoom) create(ctx context.Context) error {
	join := wire.NewBuilder(nil).Start("presence", "to", r.jid+"/"+focusNick).Elem("x", "", "xmlns", wire.NSMUC).Bytes()
	if err := r.focus.send(ctx, join); err != nil {
		return err
	}
	select {
	case <-r.joined:
	case err := <-r.refused:
		return err
	case <-r.focus.done:
		return r.focus.ended()
	case <-ctx.Done():
		return ctx.Err()
	}
	if !r.isOwner() {
		return errors.New("the focus is not owner of its room")
	}
	if err := r.configure(ctx); err != nil {
		return err
	}
	return r.Update(ctx)
}

func (r *FocusRoom) isOwner() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.owner
}

// whois is the field jicofo reads and sets.
const whois = "muc#roomconfig_whois"

func (r *FocusRoom) configure(ctx context.Context) error {
	get := wire.NewBuilder(nil).Start("iq", "type", "get", "to", r.jid).Elem("query", "", "xmlns", wire.NSMUCOwner).Bytes()
	var answer struct {
		Fields []struct {
			Var string `xml:"var,attr"`
		} `xml:"query>x>field"`
	}
	if err := r.focus.iq(ctx, get, &answer); err != nil {
		return fmt.Errorf("configuration form: %w", err)
	}
	found := false
	for _, f := range answer.Fields {
		found = found || f.Var == whois
	}
	if !found {
		return fmt.Errorf("configuration form of %d fields lacks %s", len(answer.Fields), whois)
	}
	b := wire.NewBuilder(nil).Start("iq", "type", "set", "to", r.jid).Start("query", "xmlns", wire.NSMUCOwner)
	b.Start("x", "xmlns", wire.NSForm, "type", "submit")
	b.Start("field", "var", "FORM_TYPE").Elem("value", "http://jabber.org/protocol/muc#roomconfig").End()
	b.Start("field", "var", whois).Elem("value", "anyone").End()
	if err := r.focus.iq(ctx, b.Bytes(), nil); err != nil {
		return fmt.Errorf("submit the configuration: %w", err)
	}
	return nil
}

// Update sends the focus's presence with its versions and conference
// properties, as jicofo does when the number of visitors changes.
func (r *FocusRoom) Update(ctx context.Context) error {
	now, _ := r.Visitors()
	b := wire.NewBuilder(nil).Start("presence", "to", r.jid+"/"+focusNick)
	b.Start("versions", "xmlns", nsMeet).Elem("component", "1.0.1000", "name", "focus").End()
	b.Start("conference-properties", "xmlns", nsFocus)
	for _, p := range [][2]string{
		{"support-terminate-restart", "true"}, {"visitors-enabled", "true"}, {"visitor-count", fmt.Sprint(now)},
	} {
		b.Elem("property", "", "key", p[0], "value", p[1])
	}
	b.End()
	if r.source != nil {
		appendStamp(b, r.source.Publish(Presence))
	}
	return r.focus.send(ctx, b.Bytes())
}

// Visitors returns how many visitors the focus sees now, and how many it ever
// saw come.
func (r *FocusRoom) Visitors() (now, ever int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.visitors), r.seen
}

// Out is closed when the focus is told that it is not in the room any more.
func (r *FocusRoom) Out() <-chan struct{} { return r.out }

// Destroyed returns whether the room was destroyed, and the reason given.
func (r *FocusRoom) Destroyed() (bool, string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.destroyed, r.reason
}

// Leave leaves the room and waits for the confirmation, until ctx ends. In a
// room that was destroyed it does nothing.
func (r *FocusRoom) Leave(ctx context.Context) error {
	if gone, _ := r.Destroyed(); gone {
		return nil
	}
	p := wire.NewBuilder(nil).Start("presence", "type", "unavailable", "to", r.jid+"/"+focusNick).Bytes()
	if err := r.focus.send(ctx, p); err != nil {
		return err
	}
	select {
	case <-r.out:
		return nil
	case <-r.focus.done:
		return r.focus.ended()
	case <-ctx.Done():
		return fmt.Errorf("focus: leave %s: %w", r.jid, ctx.Err())
	}
}

// presence takes the presence of the occupant with that nick.
func (r *FocusRoom) presence(nick string, p *focusPresence) {
	if nick == focusNick {
		r.own(p)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case p.Type == "unavailable":
		delete(r.visitors, nick)
	case p.Type == "" && p.X.Item.Role == "visitor":
		if _, again := r.visitors[nick]; !again {
			r.visitors[nick] = struct{}{}
			r.seen++
		}
	}
}

func (r *FocusRoom) own(p *focusPresence) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch p.Type {
	case "error":
		if p.Error != nil {
			select {
			case r.refused <- p.Error:
			default: // only the first answer to the join matters
			}
		}
	case "unavailable":
		if d := p.X.Destroy; d != nil {
			r.destroyed, r.reason = true, d.Reason
		}
		if !r.outside {
			r.outside = true
			close(r.out)
		}
	case "":
		if p.self() && !r.inside {
			r.inside, r.owner = true, p.X.Item.Affiliation == "owner"
			close(r.joined)
		}
	}
}
