package conference

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"vnode/internal/wire"
)

// LiveOptions describes a conference at a real main Prosody.
type LiveOptions struct {
	URL       string // main's WebSocket for participants
	Domain    string // of the participants, e.g. meet.jitsi
	Room      string // bare JID on main, e.g. demo@conference.meet.jitsi
	Component string // takes connect-vnode, e.g. visitors.meet.jitsi
	VNode     string // the node's id as main knows it, e.g. v3
	Focus     FocusOptions
	Ledger    *Ledger
	Timeout   time.Duration // of one participant's join and end; default 30 s
}

// Live is a conference at a real main Prosody: a scripted focus and
// participants by WebSocket. It is a [Conference].
type Live struct {
	// Static after construction.
	opt    LiveOptions
	focus  *Focus
	room   *FocusRoom
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu sync.Mutex
	// Guarded by mu.
	participants []*Participant
}

// NewLive logs the focus in at main and lets it create the room there. It
// blocks until then or until ctx ends. Close it.
func NewLive(ctx context.Context, o LiveOptions) (*Live, error) {
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	focus, err := DialFocus(ctx, o.Focus)
	if err != nil {
		return nil, fmt.Errorf("main: %w", err)
	}
	l := &Live{opt: o, focus: focus}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	if l.room, err = focus.CreateRoom(ctx, o.Room, nil); err != nil {
		return nil, errors.Join(fmt.Errorf("main: %w", err), l.Close(ctx))
	}
	return l, nil
}

// Participant is one participant of a real main room. It is a [Speaker].
type Participant struct {
	// Static after construction.
	live   *Live
	o      occupant
	name   string
	source *Source

	// Owned by the caller of its methods.
	muted bool
}

// Join implements [Conference].
func (l *Live) Join(ctx context.Context) (Speaker, error) {
	l.mu.Lock()
	n := len(l.participants)
	p := &Participant{live: l, name: fmt.Sprintf("Participant %d", n+1)}
	l.participants = append(l.participants, p)
	l.mu.Unlock()
	p.o = occupant{
		login: loginOptions{URL: l.opt.URL, Domain: l.opt.Domain, Acks: true},
		room:  l.opt.Room, number: n, timeout: l.opt.Timeout,
		joined: make(chan struct{}), done: make(chan struct{}),
		tracker:  NewTracker(l.opt.Ledger, RoleVisitor),
		presence: p.joinPresence,
	}
	p.o.tracker.relayed = true
	l.wg.Go(func() { p.o.run(l.ctx) })
	if err := p.o.waitJoined(ctx); err != nil {
		return nil, fmt.Errorf("participant %d: %w", n+1, err)
	}
	return p, nil
}

// joinPresence is called by the occupant's goroutine, before the join is
// complete.
func (p *Participant) joinPresence(b *wire.Builder, nick string) {
	p.source = p.live.opt.Ledger.Add(RoleParticipant, nick)
	p.o.mu.Lock()
	p.o.source = p.source
	p.o.mu.Unlock()
	b.Elem("x", "", "xmlns", wire.NSMUC)
	appendPresence(b, nick, p.name, p.muted, p.source.Publish(Presence), 0)
}

// Nick implements [Speaker].
func (p *Participant) Nick() string { return p.source.Nick() }

// Update implements [Speaker].
func (p *Participant) Update(context.Context) error { return p.update(Now(), 0) }

// Chat implements [Speaker].
func (p *Participant) Chat(context.Context) error { return p.chat(Now(), 0) }

// Say implements [Speaker].
func (p *Participant) Say(_ context.Context, k Kind, due int64, size int) error {
	if k == Chat {
		return p.chat(due, size)
	}
	return p.update(due, size)
}

func (p *Participant) update(due int64, size int) error {
	c, src, err := p.o.speaker(p.live.opt.Ledger, RoleParticipant)
	if err != nil {
		return err
	}
	p.muted = !p.muted
	b := wire.NewBuilder(nil).Start("presence", "xmlns", wire.NSClient, "to", p.o.room+"/"+src.Nick())
	appendPresence(b, src.Nick(), p.name, p.muted, src.PublishDue(Presence, due), size)
	return c.send(b.Bytes())
}

func (p *Participant) chat(due int64, size int) error {
	return p.o.chat(p.live.opt.Ledger, RoleParticipant, p.name, due, size)
}

// Leave implements [Speaker].
func (p *Participant) Leave(ctx context.Context) error { return p.o.leave(ctx) }

// ConnectVNode implements [Conference].
func (l *Live) ConnectVNode(ctx context.Context) error {
	return l.focus.ConnectVNode(ctx, l.opt.Component, l.opt.Room, l.opt.VNode)
}

// DisconnectVNode implements [Conference].
func (l *Live) DisconnectVNode(ctx context.Context) error {
	return l.focus.DisconnectVNode(ctx, l.opt.Component, l.opt.Room, l.opt.VNode)
}

func (l *Live) all() []*Participant {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.participants[:len(l.participants):len(l.participants)]
}

// Heard implements [Conference].
func (l *Live) Heard() Tally {
	var sum Tally
	for _, p := range l.all() {
		p.o.mu.Lock()
		sum.Add(p.o.tracker.Tally())
		p.o.mu.Unlock()
	}
	return sum
}

// Drain implements [Conference].
func (l *Live) Drain(ctx context.Context) error {
	return poll(ctx, func() error {
		var n uint64
		for _, p := range l.all() {
			p.o.mu.Lock()
			n += p.o.tracker.Missing()
			p.o.mu.Unlock()
		}
		if n > 0 {
			return fmt.Errorf("%d lines of visitors have not arrived at participants", n)
		}
		return nil
	})
}

// Faults implements [Conference]: the participants that broke. What main itself
// objects to is in its log.
func (l *Live) Faults() []string {
	var faults []string
	for _, p := range l.all() {
		if err := p.o.ending().Err; err != nil {
			faults = append(faults, fmt.Sprintf("%s: %v", p.name, err))
		}
	}
	return faults
}

// Close implements [Conference]: the participants leave, then the focus.
func (l *Live) Close(ctx context.Context) error {
	var errs []error
	for _, p := range l.all() {
		if err := p.Leave(ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p.name, err))
		}
	}
	if l.room != nil {
		errs = append(errs, l.room.Leave(ctx))
	}
	errs = append(errs, l.focus.Close(ctx))
	l.cancel()
	l.wg.Wait()
	return errors.Join(errs...)
}
