package visitor

import (
	"mellium.im/xmpp/stanza"

	"vnode/internal/wire"
	"vnode/visitor/token"
)

// bearer is what a connection's request has told of its client, apart from the
// stream. It is never changed; most clients have none, see nobody.
type bearer struct {
	grant  *token.Grant // nil without a token
	region string       // as the proxy says
}

// nobody is the bearer of clients of which nothing is known.
var nobody bearer

// Identity is what the client's token has proved, nil without a token. It may be
// another one when the client has resumed its session with a new token.
func (s *Session) Identity() *token.Identity { return s.bearer.Load().grant.Identity() }

// Region is where the proxy says the client is, "" if it does not.
func (s *Session) Region() string { return s.bearer.Load().region }

// carry takes over what the request of the session's connection has told. A
// client that resumes with a new token does so for its sake; one that has none
// now goes on with the old.
func (s *Session) carry(st *stream) {
	b := bearer{st.who.grant, st.request.Region}
	if old := s.bearer.Load(); old != nil && b.grant == nil {
		b.grant = old.grant
	}
	if b == nobody {
		s.bearer.Store(&nobody)
		return
	}
	s.bearer.Store(&bearer{b.grant, b.region})
}

var errOtherRoom = wire.StanzaError{
	Type: stanza.Cancel, Condition: stanza.NotAllowed, Text: "The token is for another room",
}

// mayEnter reports whether the client's token is for the room it sends a
// presence to. Without having joined it can do nothing else there. The Handler
// refuses presences that are for no room.
func (s *Session) mayEnter(h *wire.Header, to wire.JID) bool {
	grant := s.bearer.Load().grant
	if grant == nil || string(h.Name) != "presence" || len(h.Type) > 0 {
		return true
	}
	room, tenant, ok := s.srv.rooms.Room(to)
	return !ok || grant.Covers(room, tenant)
}
