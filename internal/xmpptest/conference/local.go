package conference

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"vnode/internal/wire"
)

// LocalOptions describes a room of a MUC server.
type LocalOptions struct {
	URL     string   // of the server's WebSocket
	Domain  string   // of anonymous users
	Room    string   // bare JID
	Dial    DialFunc // default: TCP
	Ledger  *Ledger
	Timeout time.Duration // of one speaker's join and end; default 30 s
}

// Local is the speakers of a room on the very server that serves the room's
// visitors, so that any MUC server can be given the work of a visitor node. The
// first to join owns the room; it gives voice to the others when the room is
// moderated.
type Local struct {
	// Static after construction.
	opt LocalOptions
	wg  sync.WaitGroup

	// Owned by the caller of Join and Close.
	speakers []*localSpeaker
}

// NewLocal returns a room without speakers. Close it.
func NewLocal(o LocalOptions) *Local {
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	return &Local{opt: o}
}

// localSpeaker is a [Speaker].
type localSpeaker struct {
	// Static after construction.
	opt    *LocalOptions
	client *client
	name   string
	source *Source
	joined chan struct{} // closed when in the room
	voiced chan struct{} // closed when allowed to speak, too
	done   chan struct{} // closed when the stream has ended

	// Static once done is closed.
	err error

	// Owned by the reading goroutine.
	isIn, isVoiced bool

	// Owned by the caller of the [Speaker]'s methods.
	muted bool
}

// Join lets one more speaker in and returns when it may speak. It blocks until
// then, Timeout at most. It must not be called by several goroutines at once.
func (l *Local) Join(ctx context.Context) (Speaker, error) {
	ctx, cancel := context.WithTimeout(ctx, l.opt.Timeout)
	defer cancel()
	number := len(l.speakers) + 1
	p, err := l.enter(ctx)
	if err != nil {
		return nil, fmt.Errorf("speaker %d: %w", number, err)
	}
	return p, nil
}

func (l *Local) enter(ctx context.Context) (*localSpeaker, error) {
	// Without acknowledgements: they are asked of visitors.
	c, err := login(ctx, loginOptions{URL: l.opt.URL, Domain: l.opt.Domain, Dial: l.opt.Dial})
	if err != nil {
		return nil, err
	}
	p := &localSpeaker{
		opt: &l.opt, client: c, name: fmt.Sprintf("Participant %d", len(l.speakers)+1),
		source: l.opt.Ledger.Add(RoleParticipant, c.user),
		joined: make(chan struct{}), voiced: make(chan struct{}), done: make(chan struct{}),
	}
	l.speakers = append(l.speakers, p)
	l.wg.Go(p.listen)
	if err := p.sendPresence(true, Now(), 0); err != nil {
		return nil, err
	}
	if err := p.await(ctx, p.joined); err != nil {
		return nil, err
	}
	if len(l.speakers) > 1 {
		if err := l.giveVoice(p.Nick()); err != nil {
			return nil, err
		}
	}
	return p, p.await(ctx, p.voiced)
}

// giveVoice asks for it in the owner's name (XEP-0045 §8.4). A server whose
// rooms are not moderated may refuse: only the role counts in the end.
func (l *Local) giveVoice(nick string) error {
	b := wire.NewBuilder(nil).Start("iq", "xmlns", wire.NSClient, "type", "set", "to", l.opt.Room, "id", "voice-"+nick)
	b.Start("query", "xmlns", wire.NSMUCAdmin).Elem("item", "", "nick", nick, "role", "participant")
	return l.speakers[0].client.send(b.Bytes())
}

func (p *localSpeaker) await(ctx context.Context, what <-chan struct{}) error {
	select {
	case <-what:
		return nil
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return fmt.Errorf("no place in the room with voice: %w", ctx.Err())
	}
}

// listen reads until the stream ends. What the room says is the visitors'
// business.
func (p *localSpeaker) listen() {
	defer close(p.done)
	for p.err == nil {
		var s stanza
		if s, p.err = p.client.next(); p.err == nil && string(s.Name) == "presence" && wire.Unescape(s.From) == p.address() {
			p.err = p.self(&s)
		}
	}
	p.client.close()
}

func (p *localSpeaker) self(s *stanza) error {
	switch string(s.Type) {
	case "error":
		return fmt.Errorf("refused by the room: %s", errorOf(s.raw))
	case "unavailable":
		return errStreamClosed
	}
	if !p.isIn {
		p.isIn = true
		close(p.joined)
	}
	if !p.isVoiced && parseMUC(s.raw).role != "visitor" {
		p.isVoiced = true
		close(p.voiced)
	}
	return nil
}

func (p *localSpeaker) address() string { return p.opt.Room + "/" + p.Nick() }

func (p *localSpeaker) sendPresence(join bool, due int64, size int) error {
	b := wire.NewBuilder(nil).Start("presence", "xmlns", wire.NSClient, "to", p.address())
	if join {
		b.Elem("x", "", "xmlns", wire.NSMUC)
	}
	appendPresence(b, p.Nick(), p.name, p.muted, p.source.PublishDue(Presence, due), size)
	return p.client.send(b.Bytes())
}

// Nick implements [Speaker]: the whole localpart, which is unique.
func (p *localSpeaker) Nick() string { return p.source.Nick() }

// Update implements [Speaker].
func (p *localSpeaker) Update(ctx context.Context) error { return p.Say(ctx, Presence, Now(), 0) }

// Chat implements [Speaker].
func (p *localSpeaker) Chat(ctx context.Context) error { return p.Say(ctx, Chat, Now(), 0) }

// Say implements [Speaker].
func (p *localSpeaker) Say(_ context.Context, k Kind, due int64, size int) error {
	if k == Chat {
		return p.client.send(ChatLine(p.source, p.opt.Room, p.name, due, size))
	}
	p.muted = !p.muted
	return p.sendPresence(false, due, size)
}

// Leave implements [Speaker].
func (p *localSpeaker) Leave(ctx context.Context) error {
	p.source.Leave()
	b := wire.NewBuilder(nil).Start("presence", "xmlns", wire.NSClient, "type", "unavailable", "to", p.address())
	if err := p.client.send(b.Bytes()); err != nil {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Faults returns the speakers whose stream broke, one line each.
func (l *Local) Faults() []string {
	var faults []string
	for _, p := range l.speakers {
		select {
		case <-p.done:
			if !errors.Is(p.err, errStreamClosed) {
				faults = append(faults, fmt.Sprintf("%s: %v", p.name, p.err))
			}
		default:
		}
	}
	return faults
}

// Close cuts the speakers' connections and waits for the goroutines; it does
// not wait for the server.
func (l *Local) Close(context.Context) error {
	for _, p := range l.speakers {
		p.client.close()
	}
	l.wg.Wait()
	return nil
}
