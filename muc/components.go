package muc

import (
	"slices"
	"strings"

	"vnode/internal/wire"
	"vnode/muc/files"
	"vnode/muc/room"
)

// The polls and file-sharing components of the node. On a main server each is
// a component of its own; here they are faces of the rooms. Clients find them
// by the identities of the domain they log in to, and take their messages from
// these very addresses only.

// Component is a service beside the rooms that clients are told of.
type Component struct {
	// Type of its identity in the category component (XEP-0030 §3.1).
	Type string
	// Domain is its address.
	Domain string
}

// Components returns those of the rooms at domain, whose first label is
// prefix.
func Components(cfg Config) []Component {
	cfg = cfg.withDefaults()
	d := cfg.domains()
	return []Component{{"polls", d.Polls}, {files.Component, d.Files}}
}

// clientToShared handles a stanza to one of the components. It is about the
// room that the session has joined last: clients name none.
func (s *Service) clientToShared(from Session, st *wire.Stanza) {
	switch string(st.Name) {
	case "iq":
		s.answerIQ(from, st, func() ([]byte, error) { return s.sharedIQ(st, st.To.Domain) })
	case "message":
		local, ok := s.latestRoom(from)
		if !ok {
			s.refuse(from, st, room.ErrNotJoined)
			return
		}
		s.clientToRoom(from, local, fromClient(from, st.Clone()), false)
	default:
		s.refuse(from, st, wire.ErrServiceUnavailable)
	}
}

func (s *Service) latestRoom(from Session) (local string, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	g := s.guest(from)
	if g == nil || g.latest == nil {
		return "", false
	}
	return g.latest.local, true
}

// sharedIQ answers a request to a component (XEP-0030 §3, XEP-0199 §4.3).
func (s *Service) sharedIQ(st *wire.Stanza, domain string) ([]byte, error) {
	c, ok := st.FirstChild()
	switch {
	case !ok:
		return nil, wire.ErrBadRequest
	case string(st.Type) != "get":
	case c.Space == wire.NSDisco && c.Local == "query":
		i := slices.IndexFunc(Components(s.cfg), func(c Component) bool { return c.Domain == domain })
		b := wire.NewBuilder(nil).Start("query", "xmlns", wire.NSDisco)
		b.Elem("identity", "", "category", "component", "type", Components(s.cfg)[i].Type, "name", domain)
		for _, f := range []string{wire.NSDisco, wire.NSItems, wire.NSPing} {
			b.Elem("feature", "", "var", f)
		}
		return b.Bytes(), nil
	case c.Space == wire.NSItems && c.Local == "query":
		return []byte("<query xmlns='" + wire.NSItems + "'/>"), nil
	case c.Space == wire.NSPing:
		return nil, nil
	}
	return nil, wire.ErrServiceUnavailable
}

// roomOfVote returns the localpart of the room whose vote came back.
func roomOfVote(st *wire.Stanza) (local string, ok bool) {
	if string(st.Type) != "error" {
		return "", false
	}
	_, local, ok = strings.Cut(wire.Unescape(st.ID), "@")
	return local, ok && local != ""
}
