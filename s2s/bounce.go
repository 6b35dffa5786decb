package s2s

import (
	"log/slog"
	"sync"

	"mellium.im/xmpp/stanza"

	"vnode/internal/guard"
	"vnode/internal/wire"
)

// bouncer answers stanzas that could not be delivered. It has a goroutine of
// its own because Send must not block while the Handler, which gets the
// answers, may: its room could be the one that is sending.
type bouncer struct {
	// Static after construction.
	handler Handler
	m       *metrics
	wake    chan struct{} // of capacity 1

	// Guarded by mu.
	mu    sync.Mutex
	queue []bounced
	bytes int
}

type bounced struct {
	stanza []byte
	err    wire.StanzaError
}

// maxBounceBytes bounds the stanzas that wait for their error. A handler so
// far behind does not get the answers that are beyond it.
const maxBounceBytes = 16 << 20

func newBouncer(h Handler, m *metrics) *bouncer {
	return &bouncer{handler: h, m: m, wake: make(chan struct{}, 1)}
}

func (b *bouncer) add(stanza []byte, err wire.StanzaError) {
	b.mu.Lock()
	full := b.bytes+len(stanza) > maxBounceBytes
	if !full {
		b.queue = append(b.queue, bounced{stanza, err})
		b.bytes += len(stanza)
	}
	b.mu.Unlock()
	if full {
		b.m.unanswered.Inc()
		return
	}
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// run answers until stop is closed.
func (b *bouncer) run(g *guard.Guard, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-b.wake:
		}
		for _, it := range b.takeAll() {
			b.answerGuarded(g, it)
		}
	}
}

func (b *bouncer) takeAll() []bounced {
	b.mu.Lock()
	defer b.mu.Unlock()
	its := b.queue
	b.queue, b.bytes = nil, 0
	return its
}

func (b *bouncer) answerGuarded(g *guard.Guard, it bounced) {
	defer g.Recover(guard.Task, nil)
	b.answer(it)
}

func (b *bouncer) answer(it bounced) {
	s, err := wire.ParseStanza(it.stanza)
	if err != nil || !s.Answerable() || s.From.IsZero() {
		return
	}
	reply, err := wire.ParseStanza(wire.AppendErrorReply(nil, &s.Header, "", s.From.String(), it.err))
	if err == nil {
		b.handler.Stanza(reply)
	}
}

// errorOf is what the sender of an undelivered stanza is told.
func (u undeliveredCause) errorOf() wire.StanzaError {
	switch u {
	case undeliveredNotFound:
		return wire.ErrRemoteNotFound
	case undeliveredNotAllowed:
		e := wire.ErrNotAllowed
		e.Text = restricted
		return e
	case undeliveredTooLarge:
		return wire.StanzaError{Type: stanza.Modify, Condition: stanza.PolicyViolation, Text: "stanza too large for the remote server"}
	case undeliveredOverflow:
		e := wire.ErrRemoteTimeout
		e.Text = "too many stanzas wait for the remote server"
		return e
	}
	return wire.ErrRemoteTimeout
}

// restricted is what Jitsi's whitelist module says in both directions;
// operators search for it.
const restricted = "Communication with this domain is restricted"

// undelivered counts a stanza that will not be sent and has it answered.
func (s *Server) undelivered(log *slog.Logger, stanza []byte, cause undeliveredCause) {
	s.m.undelivered[cause].Inc()
	level := slog.LevelDebug
	if cause == undeliveredOverflow && s.noise.Allow() {
		level = slog.LevelWarn
	}
	log.Log(s.ctx, level, "stanza not delivered", "reason", cause)
	if cause != undeliveredShutdown {
		s.bounces.add(stanza, cause.errorOf())
	}
}
