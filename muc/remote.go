package muc

import (
	"slices"

	"vnode/internal/wire"
	"vnode/muc/room"
)

// FromRemote takes a stanza of another server whose from domain the stream it
// came on has proved. It blocks only while the room's mailbox is full. The
// stanza is the caller's again on return.
func (s *Service) FromRemote(stanza []byte) {
	h, err := wire.ParseHeader(stanza)
	if err != nil {
		return
	}
	from, err1 := wire.ParseAddress(h.From)
	to, err2 := wire.ParseAddress(h.To)
	if err1 != nil || err2 != nil || from.IsZero() || to.IsZero() {
		s.log.Debug("stanza with malformed addresses ignored") // there is nobody to answer, or nobody to do it
		return
	}
	local, ok := s.concerned(from, to, &h, stanza)
	switch {
	case ok:
		s.remoteToRoom(from, local, stanza)
	case s.componentMessage(from, to, &h, stanza):
	case string(h.Name) == "iq" && wire.Answerable(&h):
		s.remoteToComponent(from, to, &h, stanza)
	default:
		room.SendError(s, from, &h, wire.ErrServiceUnavailable)
	}
}

// concerned returns the localpart of the room that a stanza of another server
// is about: the one it is sent to, or for those to the node's own domains the
// one it names.
func (s *Service) concerned(from, to wire.JID, h *wire.Header, stanza []byte) (local string, ok bool) {
	if to.Domain == s.domains.Rooms && to.Local != "" {
		return to.Local, true
	}
	if to.Domain != s.domains.Rooms && to.Domain != s.domains.Host {
		return "", false
	}
	switch string(h.Name) {
	case "message": // history, a system message to one visitor, or a vote that came back
		if (from == wire.JID{Domain: s.domains.MainPolls}) {
			return roomOfVote(h)
		}
		if from.Domain != s.domains.MainRooms {
			return "", false
		}
		if from.Local == "" && to.Domain == s.domains.Rooms {
			from = room.SpeakerOf(from, h, stanza)
		}
		return from.Local, from.Local != ""
	case "iq":
		if string(h.Type) != "set" {
			return "", false
		}
		q, ok := room.ParseVisitorsIQ(stanza)
		if !ok {
			return "", false
		}
		of, err := wire.ParseJID(q.Room)
		if err != nil {
			return "", false
		}
		local, ok = s.domains.Real(of.Local, of.Domain)
		return local, ok && local != ""
	}
	return "", false
}

func (s *Service) remoteToRoom(from wire.JID, local string, stanza []byte) {
	s.mu.RLock()
	b := s.rooms[local]
	s.mu.RUnlock()
	if b == nil || !b.mail.put(fromRemote(from, slices.Clone(stanza))) {
		room.WithoutRoom(s, s.domains, from, stanza)
	}
}

// remoteToComponent answers another server's request to the node's own
// domains.
func (s *Service) remoteToComponent(from, to wire.JID, h *wire.Header, stanza []byte) {
	if _, ok := wire.FindChild(stanza, wire.NSVisitors, "visitors"); ok {
		room.SendError(s, from, h, wire.ErrBadRequest) // names no room of ours
		return
	}
	if to.Domain != s.domains.Rooms {
		room.SendError(s, from, h, wire.ErrServiceUnavailable)
		return
	}
	payload, err := componentIQ(h, stanza)
	if err != nil {
		room.SendError(s, from, h, room.AsStanzaError(err))
		return
	}
	room.SendResult(s, from, h, payload)
}

// Send is what rooms and errors use to reach other servers.
func (s *Service) Send(from, to string, stanza []byte) { s.remote.Send(from, to, stanza) }
