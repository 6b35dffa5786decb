package node

import (
	"context"
	"log/slog"

	"vnode/cmd/internal/logging"
	"vnode/internal/wire"
	"vnode/muc"
	"vnode/muc/room"
	"vnode/visitor"
)

// router ties the parts together: what clients and main send goes to the
// rooms.
type router struct {
	main  string // its domain
	rooms *muc.Service
	log   *slog.Logger

	// fault is called for each stanza of a client by tests that inject faults; nil
	// otherwise.
	fault func(*visitor.Session, *wire.Stanza)
}

// fromClients is the clients' handler.
type fromClients struct{ *router }

// Stanza implements visitor.Handler. The rooms answer what is not for them.
func (r fromClients) Stanza(s *visitor.Session, st *wire.Stanza) {
	if r.log.Enabled(context.Background(), logging.Trace) {
		trace(r.log, "from a client", st)
	}
	if r.fault != nil {
		r.fault(s, st)
	}
	r.rooms.FromClient(client{s}, st)
}

// Opened implements visitor.Handler.
func (r fromClients) Opened(s *visitor.Session) { r.rooms.SessionOpened(client{s}) }

// Closed implements visitor.Handler.
func (r fromClients) Closed(s *visitor.Session) { r.rooms.SessionClosed(client{s}) }

// client is a client as rooms see it.
type client struct{ *visitor.Session }

// Identity implements muc.Session. The two types are one, declared where each
// is needed.
func (c client) Identity() *room.Identity { return (*room.Identity)(c.Session.Identity()) }

// fromMain is the s2s streams' handler.
type fromMain struct{ *router }

// Stanza implements s2s.Handler.
func (r fromMain) Stanza(st *wire.Stanza) {
	if r.log.Enabled(context.Background(), logging.Trace) {
		trace(r.log, "from main", st)
	}
	r.rooms.FromRemote(st)
}

// Link implements s2s.Handler. Participants' presences come from main's own
// domain: its streams are what rooms depend on.
func (r fromMain) Link(peer string, change uint64) {
	if peer == r.main {
		r.rooms.MainLink(change)
	}
}
